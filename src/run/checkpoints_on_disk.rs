//! The checkpoints that a run's directory holds: their names, sizes, and which is the best. Their weights are not read.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::Deserialize;

use super::dir::RunDir;
use crate::ordinary_file;

const STATE: &str = "state.json";

/// A folder of `checkpoints/` under the name of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointOnDisk {
    pub name: String,
    pub epoch: u64,
    pub step: u64,
    /// Of all its files.
    pub bytes: u64,
    /// When it was put in place, in milliseconds since the Unix epoch.
    pub saved_ms: Option<u64>,
    /// By `train.best`, as the latest that can be read says.
    pub is_best: bool,
    pub is_latest: bool,
    /// What is wrong with its state; whether the weights are whole is not looked at.
    pub fault: Option<String>,
}

/// What of a `state.json` is looked at.
#[derive(Deserialize)]
struct State {
    best: Option<Best>,
}

#[derive(Deserialize)]
struct Best {
    checkpoint: String,
}

/// The checkpoints, the oldest first; none where there is no folder of them yet.
///
/// # Errors
/// The folder cannot be read.
pub fn checkpoints_on_disk(run: &RunDir) -> io::Result<Vec<CheckpointOnDisk>> {
    let folder = run.checkpoints();
    let mut found: Vec<(CheckpointOnDisk, Option<State>)> = vec![];
    for name in names(&folder)?.into_iter().rev() {
        // One that is gone meanwhile was removed.
        found.extend(read(&folder.join(&name), name)?);
    }
    let best = found.iter().rev().find_map(|(_, state)| state.as_ref());
    let best = best.and_then(|state| state.best.as_ref()).map(|best| best.checkpoint.clone());
    let mut checkpoints: Vec<CheckpointOnDisk> = found.into_iter().map(|(checkpoint, _)| checkpoint).collect();
    if let Some(latest) = checkpoints.last_mut() {
        latest.is_latest = true;
    }
    for checkpoint in &mut checkpoints {
        checkpoint.is_best = best.as_ref() == Some(&checkpoint.name);
    }
    Ok(checkpoints)
}

/// `None`: it is gone.
fn read(path: &Path, name: String) -> io::Result<Option<(CheckpointOnDisk, Option<State>)>> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let folder = match path.metadata() {
        Err(error) if is_gone(&error) => return Ok(None),
        folder => folder?,
    };
    let mut bytes = 0;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        bytes += entry.metadata().map_or(0, |file| file.len());
    }
    let state = ordinary_file::read(&path.join(STATE))
        .map_err(|error| error.to_string())
        .and_then(|json| serde_json::from_slice::<State>(&json).map_err(|error| error.to_string()));
    let (state, fault) = match state {
        Ok(state) => (Some(state), None),
        Err(error) => (None, Some(format!("{STATE}: {error}"))),
    };
    let saved = folder.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let (epoch, step) = parse_name(&name).map_or((0, 0), |(epoch, step, _)| (epoch, step));
    let checkpoint = CheckpointOnDisk {
        name,
        epoch,
        step,
        bytes,
        saved_ms: saved.map(|since| since.as_millis() as u64),
        is_best: false,
        is_latest: false,
        fault,
    };
    Ok(Some((checkpoint, state)))
}

/// The names of the checkpoints in a folder, the latest first; none where there is no folder.
///
/// # Errors
/// The folder cannot be read.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn save(run: &RunDir, name: &str, state: &str) {
        let folder = run.checkpoints().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("model.safetensors"), [0; 100]).unwrap();
        fs::write(folder.join(STATE), state).unwrap();
    }

    #[test]
    fn what_is_there_is_listed_with_the_best_and_the_latest() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::at(root.path());
        assert_eq!(checkpoints_on_disk(&run).unwrap(), []);
        save(&run, "e0001-s000032", r#"{"step": 32, "best": null}"#);
        save(&run, "e0010-s000320", r#"{"best": {"checkpoint": "e0001-s000032", "epoch": 1}}"#);
        save(&run, "e0010-s000320-2", "damaged");
        fs::create_dir(run.checkpoints().join(".unfinished-x")).unwrap();
        let found = checkpoints_on_disk(&run).unwrap();
        let told: Vec<_> =
            found.iter().map(|found| (found.name.as_str(), found.step, found.is_best, found.is_latest)).collect();
        assert_eq!(
            told,
            [
                ("e0001-s000032", 32, true, false),
                ("e0010-s000320", 320, false, false),
                ("e0010-s000320-2", 320, false, true)
            ]
        );
        assert_eq!((found[0].epoch, found[0].bytes, &found[0].fault), (1, 126, &None));
        assert!(found[2].fault.as_ref().is_some_and(|fault| fault.starts_with("state.json: ")), "{:?}", found[2]);
        fs::remove_dir_all(run.checkpoints().join("e0001-s000032")).unwrap();
        assert!(checkpoints_on_disk(&run).unwrap().iter().all(|found| !found.is_best));
    }

    #[test]
    fn names_are_in_the_order_in_which_they_were_given() {
        assert_eq!(parse_name("e0012-s009384-2"), Some((12, 9384, 2)));
        for name in ["e1", "e1-sx", "x0001-s000001", ".removed-e0001-s000001", "e0001-s000001-"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
