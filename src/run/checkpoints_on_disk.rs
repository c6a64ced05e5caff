//! The checkpoints that a run has on disk. A checkpoint's folder has its name only when it is whole, so names are enough.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::dir::RunDir;
use super::event::CheckpointReason;
use super::state::RunState;

/// A checkpoint that is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointOnDisk {
    /// Of its folder.
    pub name: String,
    pub path: PathBuf,
    /// The epoch that was trained last.
    pub epoch: u64,
    pub step: u64,
    /// Percent, by the images that the run is judged by; None where no epoch ended at its step.
    pub accuracy: Option<f64>,
    /// Of its files.
    pub bytes: u64,
    pub saved_ms: u64,
    /// That of the best epoch.
    pub best: bool,
    /// That which the run would go on from.
    pub latest: bool,
}

/// The checkpoints of a run, the latest first; `state` is that of its log.
///
/// # Errors
/// They cannot be looked at. A run that has saved none has an empty list.
pub fn checkpoints_on_disk(dir: &RunDir, state: &RunState) -> io::Result<Vec<CheckpointOnDisk>> {
    let best = best_name(state);
    let mut found = vec![];
    for name in names(&dir.checkpoints())? {
        let path = dir.checkpoints().join(&name);
        let Some((epoch, step, _)) = parse_name(&name) else { continue };
        let (bytes, modified_ms) = match size_and_time(&path) {
            Ok(size_and_time) => size_and_time,
            // The trainer has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let logged = state.checkpoints.iter().rev().find(|checkpoint| checkpoint.saved.name == name);
        found.push(CheckpointOnDisk {
            path,
            epoch,
            step,
            accuracy: state.epochs.iter().find(|done| done.step == step).map(|done| done.test_accuracy),
            bytes,
            saved_ms: logged.map_or(modified_ms, |checkpoint| checkpoint.time_ms),
            best: best == Some(name.as_str()),
            latest: found.is_empty(),
            name,
        });
    }
    Ok(found)
}

/// The checkpoint of the best epoch, by the log, wherever it is.
fn best_name(state: &RunState) -> Option<&str> {
    let step = state.best()?.step;
    let mut saved = state.checkpoints.iter().rev().map(|checkpoint| &checkpoint.saved);
    let of_epoch = saved.find(|saved| saved.step == step && saved.reason == CheckpointReason::Epoch);
    of_epoch.map(|saved| saved.name.as_str())
}

/// The names of the checkpoints in a folder, the latest first; none where there is no such folder.
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut names = vec![];
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((_, step, number)) = parse_name(&name) {
            names.push(((step, number), name));
        }
    }
    names.sort_unstable();
    Ok(names.into_iter().rev().map(|(_, name)| name).collect())
}

/// Epoch, step and number of a checkpoint's name: `e0012-s009384` or `e0012-s009384-2`.
pub fn parse_name(name: &str) -> Option<(u64, u64, u64)> {
    let (epoch, rest) = name.strip_prefix('e')?.split_once("-s")?;
    let epoch = epoch.parse().ok()?;
    match rest.split_once('-') {
        Some((step, number)) => Some((epoch, step.parse().ok()?, number.parse().ok()?)),
        None => Some((epoch, rest.parse().ok()?, 1)),
    }
}

/// Bytes of the files in a checkpoint's folder, and when it was written, in Unix milliseconds.
fn size_and_time(folder: &Path) -> io::Result<(u64, u64)> {
    let modified = fs::metadata(folder)?.modified()?;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok((bytes, modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;
    use crate::run::event::{CheckpointSaved, EpochDone, Event, Record, RunStarted};

    #[test]
    fn names_of_checkpoints() {
        assert_eq!(parse_name("e0012-s009384"), Some((12, 9384, 1)));
        assert_eq!(parse_name("e0012-s009384-2"), Some((12, 9384, 2)));
        assert_eq!(parse_name("e12345-s12345678"), Some((12_345, 12_345_678, 1)));
        for other in ["e12", "s12", "e-s1", "e1-sx", ".unfinished-abc", "e0001-s000001-", "e1-s1-2-3", "best"] {
            assert_eq!(parse_name(other), None, "{other}");
        }
        let dir = tempfile::tempdir().unwrap();
        let latest_first = ["e0100-s1000000-2", "e0100-s1000000", "e0012-s999999"];
        for name in latest_first.iter().rev() {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(names(dir.path()).unwrap(), latest_first);
    }

    fn epoch(epoch: u64, step: u64, test_accuracy: f64, best: bool) -> Event {
        Event::EpochDone(EpochDone {
            judged_by: Split::Test,
            epoch,
            step,
            train_loss: 1.0,
            train_accuracy: 50.0,
            test_loss: 1.0,
            test_accuracy,
            learning_rate: 0.001,
            elapsed_secs: 10.0,
            evaluation_secs: 1.0,
            best,
            confusion: None,
            mistakes: vec![],
        })
    }

    fn saved(name: &str, reason: CheckpointReason) -> Event {
        let (epoch, step, _) = parse_name(name).unwrap();
        Event::CheckpointSaved(CheckpointSaved { epoch, step, name: name.into(), reason, bytes: 1, save_secs: 0.1 })
    }

    #[test]
    fn only_what_is_there_is_told_and_best_and_latest_are_marked() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        let mut state = RunState::default();
        assert_eq!(checkpoints_on_disk(&run, &state).unwrap(), []);
        let events = [
            Event::RunStarted(Box::new(RunStarted { continued_from: None, ..RunStarted::example() })),
            saved("e0001-s000030", CheckpointReason::Interval),
            epoch(1, 32, 40.0, true),
            saved("e0001-s000032", CheckpointReason::Epoch),
            saved("e0002-s000064", CheckpointReason::Interval),
            epoch(2, 64, 50.0, true),
            saved("e0002-s000064-2", CheckpointReason::Epoch),
            epoch(3, 96, 45.0, false),
            saved("e0003-s000096", CheckpointReason::Epoch),
            saved("e0004-s000100", CheckpointReason::End),
        ];
        for (at, event) in (1..).zip(events) {
            state.apply(&Record { time_ms: at * 1000, event });
        }
        for name in ["e0002-s000064", "e0002-s000064-2", "e0004-s000100", ".unfinished-x", ".removed-e0001-s000032"] {
            fs::create_dir_all(run.checkpoints().join(name)).unwrap();
            fs::write(run.checkpoints().join(name).join("model.safetensors"), [0; 1000]).unwrap();
        }
        let found = checkpoints_on_disk(&run, &state).unwrap();
        let told: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.accuracy, c.best, c.latest, c.saved_ms)).collect();
        assert_eq!(
            told,
            [
                ("e0004-s000100", None, false, true, 10_000),
                ("e0002-s000064-2", Some(50.0), true, false, 7000),
                ("e0002-s000064", Some(50.0), false, false, 5000),
            ]
        );
        assert!(found.iter().all(|checkpoint| checkpoint.bytes == 1000));
        // Of which the log says nothing.
        fs::create_dir(run.checkpoints().join("e0009-s000900")).unwrap();
        let newest = checkpoints_on_disk(&run, &state).unwrap().remove(0);
        assert_eq!((newest.step, newest.accuracy, newest.latest), (900, None, true));
        assert!(newest.saved_ms > 1_700_000_000_000);
    }
}
