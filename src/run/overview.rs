//! How a run stands, by its lock and its log: a line in a list of runs.

use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::dir::RunDir;
use super::event::Outcome;
use super::lock::{Liveness, liveness};
use super::log::FollowError;
use super::replay::outline;
use super::state::{Phase, RunState, Summary};
use crate::data::Split;
use crate::format;

/// A run, as `taper runs --json` gives it.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    pub name: String,
    pub path: String,
    /// Whether its trainer lives; on another host that cannot always be told, then it is taken to live.
    pub live: bool,
    /// The other host.
    pub host: Option<String>,
    #[serde(flatten)]
    pub told: Told,
    /// Why its log cannot be read, or whether it lives not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the log of a run tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    #[serde(flatten)]
    pub summary: Summary,
    /// Such as `CIFAR-10 sample`. This and what follows: None before the run began.
    pub data: Option<String>,
    /// Such as `cnn-se 32-64-128`.
    pub model: Option<String>,
    pub device: Option<String>,
    /// What the best accuracy is of.
    pub judged_by: Option<Split>,
    pub batch_size: Option<u64>,
    pub seed: Option<u64>,
    pub first_started_ms: Option<u64>,
}

/// How a run stands, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// With a trainer, or perhaps with one.
    Live,
    /// Nothing can be said of it.
    Unreadable,
    /// Its trainer never came to train.
    NotBegun,
    /// Its trainer left no end in the log.
    Dead,
    Ended(Outcome),
}

impl Standing {
    /// For a table. `host`: where its trainer is, if that is another one.
    pub fn in_words(self, summary: &Summary, host: Option<&str>, now_ms: u64) -> String {
        match (self, host) {
            (Self::Unreadable, _) => "cannot be read".to_owned(),
            (Self::Live, Some(host)) => format!("{} on {host}", summary.phase),
            (Self::Live, None) => match summary.phase.long_silence_secs(summary.last_activity_ms, now_ms) {
                Some(secs) => format!("{}, silent for {}", summary.phase, format::duration(secs)),
                None => summary.phase.to_string(),
            },
            (Self::NotBegun, _) => "not begun".to_owned(),
            (Self::Dead, _) => "dead".to_owned(),
            (Self::Ended(outcome), _) => Phase::Ended(outcome).to_string(),
        }
    }
}

impl Told {
    /// # Errors
    /// As [`outline`].
    pub fn by_log(run: &RunDir) -> Result<Self, FollowError> {
        Ok(Self::of(&outline(run)?))
    }

    fn of(state: &RunState) -> Self {
        let started = state.started.as_ref();
        Self {
            summary: state.summary(),
            data: started.map(|started| started.data.clone()),
            model: started.map(|started| started.model.clone()),
            device: started.map(|started| started.device.clone()),
            judged_by: started.map(|started| started.judged_by),
            batch_size: started.map(|started| started.batch_size),
            seed: started.map(|started| started.seed),
            first_started_ms: state.first_started_ms,
        }
    }
}

impl Overview {
    pub fn of(run: &RunDir) -> Self {
        Self::new(run, Told::by_log(run))
    }

    pub(super) fn new(run: &RunDir, told: Result<Told, FollowError>) -> Self {
        let (live, host, unknown) = match liveness(run) {
            Liveness::Live => (true, None, None),
            Liveness::Dead => (false, None, None),
            Liveness::Elsewhere { host } => (true, Some(host), None),
            Liveness::Unknown { why } => (true, None, Some(why)),
        };
        let (mut told, error) = match told {
            Ok(told) => (told, unknown),
            Err(error) => (Told::of(&RunState::default()), Some(error.to_string())),
        };
        if told.summary.last_activity_ms == 0 {
            told.summary.last_activity_ms = made_ms(run);
        }
        Self { name: run.name(), path: run.path().display().to_string(), live, host, told, error }
    }

    pub fn standing(&self) -> Standing {
        match self.told.summary.phase {
            _ if self.error.is_some() => Standing::Unreadable,
            _ if self.live => Standing::Live,
            Phase::Ended(outcome) => Standing::Ended(outcome),
            Phase::Starting if self.told.first_started_ms.is_none() => Standing::NotBegun,
            _ => Standing::Dead,
        }
    }

    /// Whether it stands still though nobody wanted it to.
    pub fn ended_unexpectedly(&self) -> bool {
        matches!(self.standing(), Standing::NotBegun | Standing::Dead | Standing::Ended(Outcome::Failed))
    }
}

/// When the run was made, where it never began.
fn made_ms(run: &RunDir) -> u64 {
    let made = std::fs::metadata(run.config()).and_then(|config| config.modified()).ok();
    made.and_then(|made| made.duration_since(UNIX_EPOCH).ok()).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
impl Overview {
    /// Of three epochs, last active on 2026-11-24.
    pub fn example(name: &str, live: bool, phase: Phase) -> Self {
        let summary = Summary {
            phase,
            epoch: 3,
            epochs: Some(50),
            total_steps: Some(1600),
            learning_rate: Some(0.001),
            best_epoch: Some(2),
            best_test_accuracy: Some(61.256),
            best_test_time_augmentation: Default::default(),
            active_secs: 723.4,
            last_activity_ms: 1_795_552_323_000,
            ..RunState::default().summary()
        };
        let told = Told {
            summary,
            data: Some("CIFAR-10 sample".into()),
            model: Some("cnn 32-64-128".into()),
            ..Told::of(&RunState::default())
        };
        Self { name: name.into(), path: format!("runs/{name}"), live, host: None, told, error: None }
    }

    /// One of each kind.
    pub fn examples() -> Vec<Self> {
        let mut full = Self::example("20261124-175203-cnn", true, Phase::Paused);
        full.told.data = Some("CIFAR-10".into());
        full.told.model = Some("cnn-non-local 32-64-128".into());
        vec![
            Self::example_not_begun("empty"),
            Self::example("done", false, Phase::Ended(Outcome::Completed)),
            full,
            Self::example("killed", false, Phase::Training),
            Self { host: Some("node7".into()), ..Self::example("far", true, Phase::Evaluating) },
        ]
    }

    /// Of a run that never began.
    pub fn example_not_begun(name: &str) -> Self {
        let mut told = Told::of(&RunState::default());
        told.summary.last_activity_ms = 1_795_552_323_000;
        Self { told, ..Self::example(name, false, Phase::Starting) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_unexpectedly_is_told_from_what_was_stopped() {
        let ended = |outcome| Overview::example("x", false, Phase::Ended(outcome));
        assert!(Overview::example("x", false, Phase::Paused).ended_unexpectedly());
        assert!(Overview::example_not_begun("x").ended_unexpectedly());
        assert!(ended(Outcome::Failed).ended_unexpectedly());
        for outcome in [Outcome::Completed, Outcome::Stopped, Outcome::Interrupted, Outcome::Other] {
            assert!(!ended(outcome).ended_unexpectedly(), "{outcome:?}");
        }
        assert!(!Overview::example("x", true, Phase::Training).ended_unexpectedly());
        let unreadable = Overview { error: Some("why".into()), ..Overview::example_not_begun("x") };
        assert!(!unreadable.ended_unexpectedly());
    }
}
