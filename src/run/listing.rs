//! The runs of a directory as people look for them: live ones first, then by when something last happened in them.

use std::path::Path;
use std::time::SystemTime;

use super::dir::{OpenError, RunDir, RunsDir};
use super::lock::{Liveness, liveness};
use super::overview::Standing;
use super::state::{Phase, RunState, Summary};

/// Points of a run's loss curve in a list: as many as a sparkline has columns at most.
const LOSS_POINTS: usize = 40;

/// A run, and what can be told of it without reading its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub run: RunDir,
    pub liveness: Liveness,
    /// Of a live run when its trainer started, so that live runs do not change places; else when its log was last written.
    pub since: SystemTime,
    /// Of its log; 0 where there is none.
    pub log_bytes: u64,
}

impl Listed {
    fn look(run: RunDir) -> Self {
        let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified());
        let log = std::fs::metadata(run.events());
        let log_bytes = log.as_ref().map_or(0, |log| log.len());
        let liveness = liveness(&run);
        let written = || log.and_then(|log| log.modified()).or_else(|_| modified(&run.config()));
        // The trainer writes its name into the lock when it has it.
        let since = if is_live(&liveness) { modified(&run.lock()).or_else(|_| written()) } else { written() };
        let since = since.unwrap_or(SystemTime::UNIX_EPOCH);
        Self { liveness, since, log_bytes, run }
    }

    pub fn is_live(&self) -> bool {
        is_live(&self.liveness)
    }
}

/// Whether a trainer has the run; one on another host that cannot be asked is taken to have it.
pub fn is_live(liveness: &Liveness) -> bool {
    matches!(liveness, Liveness::Live | Liveness::Elsewhere { .. })
}

/// Every run: the live ones, the last started first, then the others, the last active first.
///
/// # Errors
/// The directory cannot be read.
pub fn list(runs: &RunsDir) -> Result<Vec<Listed>, OpenError> {
    let mut listed: Vec<Listed> = runs.list()?.into_iter().map(Listed::look).collect();
    // By name where all else is equal.
    listed.sort_by_key(|listed| (!listed.is_live(), std::cmp::Reverse(listed.since)));
    Ok(listed)
}

/// The run that many places behind `run` in the list, before it where `by` is negative, round the ends. `None`: there is no
/// other.
///
/// # Errors
/// The directory cannot be read.
pub fn other(runs: &RunsDir, run: &RunDir, by: isize) -> Result<Option<RunDir>, OpenError> {
    let listed = list(runs)?;
    let at = listed.iter().position(|listed| listed.run == *run);
    let count = listed.len() as isize;
    let other = match at {
        Some(at) if count > 1 => (at as isize + by).rem_euclid(count),
        None if count > 0 => 0,
        _ => return Ok(None),
    };
    Ok(listed.into_iter().nth(other as usize).map(|listed| listed.run))
}

/// What a list shows of a run whose log was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub summary: Summary,
    pub model: String,
    pub device: String,
    pub data: String,
    /// The training loss from the first step to the last in equal parts, each their mean.
    pub loss_curve: Vec<f64>,
}

impl Figures {
    pub fn of(state: &RunState) -> Self {
        let started = state.started.as_ref();
        Self {
            summary: state.summary(),
            model: started.map_or_else(String::new, |started| started.model.clone()),
            device: started.map_or_else(String::new, |started| started.device.clone()),
            data: started.map_or_else(String::new, |started| started.data.clone()),
            loss_curve: loss_curve(state),
        }
    }
}

/// Of the batches, or of the epochs where an outline lacks batches.
fn loss_curve(state: &RunState) -> Vec<f64> {
    let losses = &state.losses;
    if losses.unread() > 0 {
        return means(&state.epochs.iter().map(|epoch| epoch.train_loss).collect::<Vec<_>>(), LOSS_POINTS);
    }
    let (steps, count) = (losses.len(), LOSS_POINTS.min(losses.len()));
    let part = |index: usize| losses.mean(index * steps / count..(index + 1) * steps / count);
    (0..count).filter_map(part).collect()
}

/// At most so many means of equally many values, those that are not finite left out.
pub fn means(values: &[f64], count: usize) -> Vec<f64> {
    let count = count.min(values.len());
    let part = |index: usize| &values[index * values.len() / count..(index + 1) * values.len() / count];
    let mean = |part: &[f64]| {
        let finite: Vec<f64> = part.iter().copied().filter(|value| value.is_finite()).collect();
        (!finite.is_empty()).then(|| finite.iter().sum::<f64>() / finite.len() as f64)
    };
    (0..count).filter_map(|index| mean(part(index))).collect()
}

/// How a run stands, in a few words.
pub fn standing(liveness: &Liveness, summary: &Summary, now_ms: u64) -> String {
    let host = if let Liveness::Elsewhere { host } = liveness { Some(host.as_str()) } else { None };
    let standing = match (liveness, summary.phase) {
        (Liveness::Live | Liveness::Elsewhere { .. }, _) => Standing::Live,
        (_, Phase::Ended(outcome)) => Standing::Ended(outcome),
        (Liveness::Unknown { .. }, phase) => return format!("{phase}?"),
        (Liveness::Dead, Phase::Starting) if summary.total_steps.is_none() => Standing::NotBegun,
        (Liveness::Dead, _) => Standing::Dead,
    };
    standing.in_words(summary, host, now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::run::lock::RunLock;

    fn runs(names: &[&str]) -> (tempfile::TempDir, RunsDir) {
        let dir = tempfile::tempdir().unwrap();
        let runs = RunsDir::at(dir.path());
        for (name, secs) in names.iter().zip(1..) {
            let run = runs.create(Some(name), &Config::default()).unwrap();
            std::fs::write(run.events(), "").unwrap();
            let log = std::fs::File::options().write(true).open(run.events()).unwrap();
            log.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 * secs)).unwrap();
        }
        (dir, runs)
    }

    fn names(runs: &RunsDir) -> Vec<String> {
        list(runs).unwrap().iter().map(|listed| listed.run.name()).collect()
    }

    #[test]
    fn live_runs_come_first_and_then_the_last_active() {
        let (_dir, runs) = runs(&["a", "b", "c"]);
        assert_eq!(names(&runs), ["c", "b", "a"]);
        let lock = RunLock::acquire(&runs.open("a").unwrap()).unwrap();
        assert_eq!(names(&runs), ["a", "c", "b"]);
        drop(lock);
        assert_eq!(names(&runs), ["c", "b", "a"]);
    }

    #[test]
    fn the_next_run_goes_round_the_ends() {
        let (_dir, runs) = runs(&["a", "b", "c"]);
        let other = |name: &str, by| other(&runs, &RunDir::at(runs.path().join(name)), by).unwrap().unwrap().name();
        assert_eq!([other("c", 1), other("a", 1), other("c", -1), other("gone", 1)], ["b", "c", "a", "c"]);
        std::fs::remove_dir_all(runs.path().join("b")).unwrap();
        std::fs::remove_dir_all(runs.path().join("c")).unwrap();
        assert_eq!(super::other(&runs, &RunDir::at(runs.path().join("a")), 1).unwrap(), None);
    }

    #[test]
    fn means_are_of_equal_parts() {
        assert_eq!(means(&[1.0, 3.0, 5.0, f64::NAN, 7.0, 9.0], 3), [2.0, 5.0, 8.0]);
        assert_eq!(means(&[1.0, 2.0], 5), [1.0, 2.0]);
        assert_eq!(means(&[], 5), [0.0; 0]);
        assert_eq!(means(&[f64::INFINITY], 5), [0.0; 0]);
    }

    #[test]
    fn a_run_stands_in_words() {
        let summary = |phase| Summary { phase, total_steps: Some(10), ..RunState::default().summary() };
        let training = summary(Phase::Training);
        assert_eq!(standing(&Liveness::Live, &training, 1000), "training");
        assert_eq!(standing(&Liveness::Live, &training, 60_000), "training, silent for 1m 00s");
        assert_eq!(standing(&Liveness::Dead, &training, 1000), "dead");
        assert_eq!(standing(&Liveness::Elsewhere { host: "node7".into() }, &training, 0), "training on node7");
        assert_eq!(standing(&Liveness::Unknown { why: "x".into() }, &training, 0), "training?");
        assert_eq!(standing(&Liveness::Dead, &RunState::default().summary(), 0), "not begun");
    }
}
