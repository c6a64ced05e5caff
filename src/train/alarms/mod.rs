//! What is wrong with a run, or may be, and does not end it. Each detector takes numbers and no clock, and speaks up once
//! until what it saw has passed. Those that count epochs go on with what the log says of the trainers before; the others
//! know only what this one has seen.

mod dead_channels;
mod disk_nearly_full;
mod gradient_spike;
mod hysteresis;
mod overfitting;
mod plateau;
mod throughput_collapse;

use std::collections::HashMap;

use anyhow::Result;

use self::dead_channels::DeadChannels;
use self::disk_nearly_full::DiskNearlyFull;
use self::gradient_spike::GradientSpike;
use self::hysteresis::{Hysteresis, Level};
use self::overfitting::Overfitting;
use self::plateau::Plateau;
use self::throughput_collapse::ThroughputCollapse;
use super::recorder::StepResult;
use crate::config::{Config, ScheduleKind};
use crate::run::dir::RunDir;
use crate::run::event::{AlarmKind, EpochDone};
use crate::run::log::Room;

/// Training time between two looks at the disk within an epoch.
const DISK_INTERVAL_SECS: f64 = 30.0;
/// The room below which a disk is nearly full, if the configuration does not say: for so many checkpoints, and this much.
const CHECKPOINTS_OF_ROOM: u64 = 3;
const LEAST_ROOM: u64 = 1 << 30;

/// What there is to say.
pub type Raised = Vec<(AlarmKind, String)>;

/// The detectors that the configuration asks for.
pub struct Alarms {
    dir: RunDir,
    gradient_spike: Option<GradientSpike>,
    dead_channels: Option<DeadChannels>,
    overfitting: Option<Overfitting>,
    plateau: Option<Plateau>,
    throughput_collapse: Option<ThroughputCollapse>,
    disk_nearly_full: Option<DiskNearlyFull>,
    secs_since_disk: f64,
    /// A checkpoint, a probe could not be saved.
    unsaved: HashMap<AlarmKind, Hysteresis>,
}

impl Alarms {
    pub fn new(config: &Config, dir: &RunDir, checkpoint_bytes: u64) -> Self {
        let (alarms, schedule) = (&config.alarms, &config.schedule);
        let floor = (schedule.kind == ScheduleKind::Plateau && schedule.min_learning_rate > 0.0)
            .then_some(schedule.min_learning_rate);
        let room = alarms.disk_free_bytes.unwrap_or(LEAST_ROOM.max(CHECKPOINTS_OF_ROOM * checkpoint_bytes));
        Self {
            dir: dir.clone(),
            gradient_spike: (alarms.gradient_spike > 0.0).then(|| GradientSpike::new(alarms.gradient_spike)),
            dead_channels: (alarms.dead_channels > 0).then(|| DeadChannels::new(alarms.dead_channels)),
            overfitting: (alarms.overfitting_epochs > 0).then(|| Overfitting::new(alarms.overfitting_epochs)),
            plateau: (alarms.plateau_epochs > 0)
                .then(|| Plateau::new(alarms.plateau_epochs, schedule.threshold, floor)),
            throughput_collapse: (alarms.throughput_collapse > 0.0)
                .then(|| ThroughputCollapse::new(alarms.throughput_collapse)),
            disk_nearly_full: (room > 0).then(|| DiskNearlyFull::new(room)),
            // Before the first step already.
            secs_since_disk: DISK_INTERVAL_SECS,
            unsaved: HashMap::new(),
        }
    }

    /// Takes the epochs of the trainers before this one, so that counting goes on; what they said is not said again.
    /// `learning_rate`: of the epoch after the last of them.
    pub fn restore(&mut self, epochs: &[EpochDone], learning_rate: f64) {
        let learning_rates = epochs.iter().skip(1).map(|next| next.learning_rate).chain([learning_rate]);
        for (epoch, learning_rate) in epochs.iter().zip(learning_rates) {
            self.count(epoch, learning_rate);
        }
    }

    /// `room`: a log that is short of it is reason enough to look at the disk.
    pub fn after_step(&mut self, step: &StepResult, room: Room) -> Raised {
        let mut raised = Raised::new();
        say(&mut raised, AlarmKind::GradientSpike, &mut self.gradient_spike, |alarm| alarm.observe(step.gradient_norm));
        say(&mut raised, AlarmKind::ThroughputCollapse, &mut self.throughput_collapse, |alarm| {
            alarm.observe(step.samples, step.train_secs)
        });
        self.secs_since_disk += step.train_secs;
        if self.secs_since_disk >= DISK_INTERVAL_SECS || room == Room::Short {
            self.look_at_disk(&mut raised);
        }
        raised
    }

    /// `dead`: the channels of each block that did not fire in the epoch's evaluation; `learning_rate`: of the next epoch.
    pub fn after_epoch(&mut self, epoch: &EpochDone, dead: &[Vec<usize>], learning_rate: f64) -> Raised {
        let mut raised = Raised::new();
        say(&mut raised, AlarmKind::DeadChannels, &mut self.dead_channels, |alarm| alarm.observe(dead));
        raised.extend(self.count(epoch, learning_rate));
        self.look_at_disk(&mut raised);
        raised
    }

    /// What is counted in epochs.
    fn count(&mut self, epoch: &EpochDone, learning_rate: f64) -> Raised {
        let mut raised = Raised::new();
        say(&mut raised, AlarmKind::Overfitting, &mut self.overfitting, |alarm| {
            alarm.observe(epoch.train_loss, epoch.test_loss)
        });
        say(&mut raised, AlarmKind::Plateau, &mut self.plateau, |alarm| alarm.observe(epoch.test_loss, learning_rate));
        raised
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

    fn look_at_disk(&mut self, raised: &mut Raised) {
        self.secs_since_disk = 0.0;
        if self.disk_nearly_full.is_none() {
            return;
        }
        match self.dir.free_bytes() {
            Ok(free) => say(raised, AlarmKind::DiskNearlyFull, &mut self.disk_nearly_full, |alarm| alarm.observe(free)),
            Err(error) => tracing::warn!("cannot tell how much room {} has: {error}", self.dir.path().display()),
        }
    }
}

fn say<D>(
    raised: &mut Raised,
    kind: AlarmKind,
    detector: &mut Option<D>,
    observe: impl FnOnce(&mut D) -> Option<String>,
) {
    raised.extend(detector.as_mut().and_then(observe).map(|message| (kind, message)));
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::run::step_time::StepTime;

    #[test]
    fn a_failure_to_save_is_told_once_until_one_succeeds() {
        let mut alarms = Alarms::new(&Config::default(), &RunDir::at("/nowhere"), 1);
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
            train_accuracy: 50.0,
            test_loss,
            test_accuracy: 50.0,
            learning_rate: 1e-3,
            elapsed_secs: 1.0,
            evaluation_secs: 0.1,
            best: false,
            confusion: None,
            mistakes: vec![],
        }
    }

    #[test]
    fn whoever_takes_up_a_run_counts_on_and_says_nothing_twice() {
        let mut config = Config::default();
        (config.alarms.overfitting_epochs, config.alarms.plateau_epochs) = (3, 4);
        config.alarms.disk_free_bytes = Some(0);
        let epochs: Vec<EpochDone> =
            (0..9).map(|number| epoch(1 + number, 2.0 - 0.1 * number as f64, 1.0 + 0.1 * number as f64)).collect();
        let new = || Alarms::new(&config, &RunDir::at("/nowhere"), 1);
        let mut whole = new();
        let of_epoch: Vec<Raised> = epochs.iter().map(|epoch| whole.after_epoch(epoch, &[], 1e-3)).collect();
        let kinds: Vec<Vec<AlarmKind>> =
            of_epoch.iter().map(|raised| raised.iter().map(|(kind, _)| *kind).collect()).collect();
        assert_eq!((&kinds[3], &kinds[4]), (&vec![AlarmKind::Overfitting], &vec![AlarmKind::Plateau]));
        for seen in 0..epochs.len() {
            let mut later = new();
            later.restore(&epochs[..seen], 1e-3);
            let after: Vec<Raised> = epochs[seen..].iter().map(|epoch| later.after_epoch(epoch, &[], 1e-3)).collect();
            assert_eq!(after, of_epoch[seen..], "after {seen} epochs");
        }
    }

    #[test]
    fn the_floor_of_the_schedule_is_told_once_though_it_was_reached_before() {
        let mut config = Config::default();
        config.schedule.min_learning_rate = 1e-4;
        config.alarms.disk_free_bytes = Some(0);
        let epochs = [epoch(1, 2.0, 1.0), EpochDone { learning_rate: 1e-4, ..epoch(2, 1.9, 0.9) }];
        let mut alarms = Alarms::new(&config, &RunDir::at("/nowhere"), 1);
        alarms.restore(&epochs, 1e-4);
        assert_eq!(alarms.after_epoch(&epoch(3, 1.8, 0.8), &[], 1e-4), []);
    }

    fn step_raises_disk(alarms: &mut Alarms, room: Room) -> bool {
        let step = StepResult {
            epoch: 1,
            step: 1,
            loss: 1.0,
            gradient_norm: 1.0,
            correct: 0,
            samples: 64,
            time: StepTime::default(),
            train_secs: 0.01,
        };
        alarms.after_step(&step, room).iter().any(|(kind, _)| *kind == AlarmKind::DiskNearlyFull)
    }

    #[test]
    fn the_disk_is_looked_at_before_the_first_step_and_at_once_when_the_log_is_short_of_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.alarms.disk_free_bytes = Some(1 << 60);
        let mut alarms = Alarms::new(&config, &RunDir::at(dir.path()), 1);
        assert!(step_raises_disk(&mut alarms, Room::Reserved), "before the first step");
        alarms = Alarms::new(&config, &RunDir::at(dir.path()), 1);
        alarms.secs_since_disk = 0.0;
        assert!(!step_raises_disk(&mut alarms, Room::Reserved), "not yet");
        assert!(step_raises_disk(&mut alarms, Room::Short));
    }
}
