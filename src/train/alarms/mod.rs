//! Non-fatal alarms about a run: each is raised once, and again only after its cause has cleared. Those that count epochs
//! go on from the checkpoint; the others know what this trainer has seen.
//!
//! A new alarm is a file beside these, a line in [`DETECTORS`], and a kind in the log.

mod dead_channels;
mod detector;
mod disk_nearly_full;
mod gradient_spike;
mod hysteresis;
mod overfitting;
mod plateau;
mod straggler;
mod throughput_collapse;

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

pub use self::detector::EpochResult;
use self::detector::{Detector, Settings};
use self::hysteresis::{Hysteresis, Level};
use super::step_result::StepResult;
use crate::config::Config;
use crate::run::event::{AlarmKind, EpochDone, RankStarted};
use crate::run::held_dir::HeldRunDir;
use crate::run::log::Room;

/// Makes a detector, unless the configuration switches it off.
type NewDetector = fn(&Settings) -> Option<Box<dyn Detector>>;

/// In the order in which they are shown what happens.
const DETECTORS: [(AlarmKind, NewDetector); 7] = [
    (AlarmKind::GradientSpike, gradient_spike::detector),
    (AlarmKind::ThroughputCollapse, throughput_collapse::detector),
    (AlarmKind::Straggler, straggler::detector),
    (AlarmKind::DeadChannels, dead_channels::detector),
    (AlarmKind::Overfitting, overfitting::detector),
    (AlarmKind::Plateau, plateau::detector),
    (AlarmKind::DiskNearlyFull, disk_nearly_full::detector),
];

/// Alarms and their messages.
pub type Raised = Vec<(AlarmKind, String)>;

/// What the detectors that count epochs have counted.
pub type Counters = BTreeMap<AlarmKind, Value>;

/// The detectors that the configuration asks for.
pub struct Alarms {
    detectors: Vec<(AlarmKind, Box<dyn Detector>)>,
    /// Whether a checkpoint or a probe could not be saved.
    unsaved: BTreeMap<AlarmKind, Hysteresis>,
}

impl Alarms {
    /// `ranks`: where there are several.
    pub fn new(config: &Config, dir: &HeldRunDir, checkpoint_bytes: u64, ranks: &[RankStarted]) -> Self {
        let settings = Settings { config, dir, checkpoint_bytes, ranks };
        let detectors = DETECTORS.iter().filter_map(|(kind, new)| Some((*kind, new(&settings)?))).collect();
        Self { detectors, unsaved: BTreeMap::new() }
    }

    /// To be saved with a checkpoint.
    pub fn counters(&self) -> Counters {
        self.detectors.iter().filter_map(|(kind, detector)| Some((*kind, detector.counters()?))).collect()
    }

    /// Counts on from a checkpoint.
    pub fn restore(&mut self, counters: &Counters) {
        for (kind, detector) in &mut self.detectors {
            if let Some(counters) = counters.get(kind)
                && let Err(error) = detector.restore(counters)
            {
                tracing::warn!("{}: counts epochs anew: {error}", kind.name());
            }
        }
    }

    /// Counts on from the epochs in the log, for a checkpoint that has no counters. `learning_rate`: of the epoch after the
    /// last of them. What was said of them is not said again.
    pub fn replay(&mut self, epochs: &[EpochDone], learning_rate: f64) {
        let learning_rates = epochs.iter().skip(1).map(|next| next.learning_rate).chain([learning_rate]);
        for (done, next_learning_rate) in epochs.iter().zip(learning_rates) {
            let epoch = EpochResult { done, dead_channels: &[], next_learning_rate };
            for (_, detector) in self.detectors.iter_mut().filter(|(_, detector)| detector.counters().is_some()) {
                let _ = detector.after_epoch(&epoch);
            }
        }
    }

    pub fn after_step(&mut self, step: &StepResult, room: Room) -> Raised {
        self.ask(|detector| detector.after_step(step, room))
    }

    pub fn after_epoch(&mut self, epoch: &EpochResult) -> Raised {
        self.ask(|detector| detector.after_epoch(epoch))
    }

    fn ask(&mut self, mut question: impl FnMut(&mut dyn Detector) -> Option<String>) -> Raised {
        let detectors = self.detectors.iter_mut();
        detectors.filter_map(|(kind, detector)| Some((*kind, question(detector.as_mut())?))).collect()
    }

    /// Whether a checkpoint or probe could be saved: the next failure in a row is no news.
    pub fn after_saving<T>(&mut self, kind: AlarmKind, saved: Result<T>) -> Raised {
        let hysteresis = self.unsaved.entry(kind).or_default();
        match saved {
            Ok(_) => {
                hysteresis.raises(Level::Calm);
                Raised::new()
            }
            Err(error) => {
                tracing::error!("{error:#}");
                let raised = hysteresis.raises(Level::Alarming).then(|| (kind, format!("{error:#}")));
                raised.into_iter().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::run::dir::RunDir;

    fn held() -> HeldRunDir {
        HeldRunDir::hold(&RunDir::at(std::env::temp_dir())).expect("held")
    }

    #[test]
    fn a_failure_to_save_is_told_once_until_one_succeeds() {
        let mut alarms = Alarms::new(&Config::default(), &held(), 1, &[]);
        let failed = || Err::<(), _>(anyhow!("no space").context("checkpoint"));
        let mut save = |kind, saved| alarms.after_saving(kind, saved);
        assert_eq!(save(AlarmKind::Checkpoint, failed()), [(AlarmKind::Checkpoint, "checkpoint: no space".to_owned())]);
        assert!(save(AlarmKind::Checkpoint, failed()).is_empty());
        assert_eq!(save(AlarmKind::Probe, failed()).len(), 1, "a probe is something else");
        assert!(save(AlarmKind::Checkpoint, Ok(())).is_empty());
        assert_eq!(save(AlarmKind::Checkpoint, failed()).len(), 1);
    }

    fn epoch(number: u64, train_loss: f64, test_loss: f64) -> EpochDone {
        EpochDone {
            epoch: number,
            step: 10 * number,
            train_loss,
            test_loss,
            elapsed_secs: 1.0,
            evaluation_secs: 0.1,
            best: false,
            ..EpochDone::example()
        }
    }

    fn result(done: &EpochDone, next_learning_rate: f64) -> EpochResult<'_> {
        EpochResult { done, dead_channels: &[], next_learning_rate }
    }

    #[test]
    fn a_resumed_run_counts_on_and_says_nothing_twice() {
        let mut config = Config::default();
        (config.alarms.overfitting_epochs, config.alarms.plateau_epochs) = (3, 4);
        config.alarms.disk_free_bytes = Some(0);
        let epochs: Vec<EpochDone> =
            (0..9).map(|number| epoch(1 + number, 2.0 - 0.1 * number as f64, 1.0 + 0.1 * number as f64)).collect();
        let new = || Alarms::new(&config, &held(), 1, &[]);
        let mut whole = new();
        let of_epoch: Vec<Raised> = epochs.iter().map(|epoch| whole.after_epoch(&result(epoch, 1e-3))).collect();
        let kinds: Vec<Vec<AlarmKind>> =
            of_epoch.iter().map(|raised| raised.iter().map(|(kind, _)| *kind).collect()).collect();
        assert_eq!((&kinds[3], &kinds[4]), (&vec![AlarmKind::Overfitting], &vec![AlarmKind::Plateau]));
        for (seen, of_log) in (0..epochs.len()).flat_map(|seen| [(seen, true), (seen, false)]) {
            let (mut earlier, mut later) = (new(), new());
            if of_log {
                later.replay(&epochs[..seen], 1e-3);
            } else {
                epochs[..seen].iter().for_each(|epoch| drop(earlier.after_epoch(&result(epoch, 1e-3))));
                let saved = serde_json::to_string(&earlier.counters()).expect("JSON");
                later.restore(&serde_json::from_str(&saved).expect("counters"));
            }
            let after: Vec<Raised> =
                epochs[seen..].iter().map(|epoch| later.after_epoch(&result(epoch, 1e-3))).collect();
            assert_eq!(after, of_epoch[seen..], "after {seen} epochs, of the log: {of_log}");
        }
    }

    #[test]
    fn the_floor_of_the_schedule_is_told_once_though_it_was_reached_before() {
        let mut config = Config::default();
        config.schedule.min_learning_rate = 1e-4;
        config.alarms.disk_free_bytes = Some(0);
        let epochs = [epoch(1, 2.0, 1.0), EpochDone { learning_rate: 1e-4, ..epoch(2, 1.9, 0.9) }];
        let mut alarms = Alarms::new(&config, &held(), 1, &[]);
        alarms.replay(&epochs, 1e-4);
        assert_eq!(alarms.after_epoch(&result(&epoch(3, 1.8, 0.8), 1e-4)), []);
    }
}
