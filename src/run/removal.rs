//! Deletes runs. A run is taken from its trainers by its lock and out of sight by its name first: whatever ends the removal in
//! the middle, what is left looks like no run, and is known by its name.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::dir::{RunDir, RunsDir};
use super::held_dir::HeldRunDir;
use super::lock::{LockError, RunLock};
use crate::durable;

/// Begins the name of the folder of a run that is being removed.
const REMOVED: &str = ".removed-";

#[derive(Debug, Error)]
pub enum RemoveError {
    #[error(transparent)]
    Locked(#[from] LockError),
    #[error(
        "{0} is a symbolic link, which is not followed: name the run that it leads to, and remove the link with rm"
    )]
    Link(String),
    #[error("run {0} was renamed, moved or removed meanwhile")]
    Moved(String),
    #[error("cannot delete {path}: {source}")]
    Io { path: String, source: io::Error },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RemoveError {
    let path = path.display().to_string();
    |source| RemoveError::Io { path, source }
}

/// A run that is to be deleted, whatever has its name by then.
#[derive(Debug)]
pub struct Doomed {
    run: HeldRunDir,
    /// Room on the disk that it takes up.
    bytes: u64,
}

impl Doomed {
    /// # Errors
    /// It is a symbolic link, or its folder cannot be read.
    pub fn new(run: &RunDir) -> Result<Self, RemoveError> {
        let path = run.path();
        if fs::symlink_metadata(path).map_err(io_error(path))?.is_symlink() {
            return Err(RemoveError::Link(path.display().to_string()));
        }
        let bytes = disk_bytes(path, &mut HashSet::new()).map_err(io_error(path))?;
        Ok(Self { run: HeldRunDir::hold(run).map_err(io_error(path))?, bytes })
    }

    pub fn run(&self) -> &RunDir {
        &self.run
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Deletes the run, unless `changed` says that it is not the one any more that was looked at; that is asked under its
    /// lock. Returns whether it was deleted.
    ///
    /// # Errors
    /// It has a trainer or may have one, it was renamed, or not all of it can be deleted: what is left is out of sight.
    pub fn remove(mut self, changed: impl FnOnce(&RunDir) -> bool) -> Result<bool, RemoveError> {
        let name = self.run.name();
        let follow = |run: &mut HeldRunDir| match run.follow() {
            Ok(false) => Ok(()),
            Ok(true) | Err(_) => Err(RemoveError::Moved(name.clone())),
        };
        follow(&mut self.run)?;
        let _lock = RunLock::acquire(&self.run)?;
        follow(&mut self.run)?;
        if changed(&self.run) {
            return Ok(false);
        }
        let aside = set_aside(&self.run)?;
        fs::remove_dir_all(&aside).map_err(io_error(&aside))?;
        Ok(true)
    }
}

/// Gives the folder of the run a name that is none of a run.
fn set_aside(run: &RunDir) -> Result<PathBuf, RemoveError> {
    let folder = run.path().parent().unwrap_or(Path::new("."));
    let is_taken =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists);
    for number in 1.. {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let aside = folder.join(format!("{REMOVED}{}{suffix}", run.name()));
        match fs::rename(run.path(), &aside) {
            // What an interrupted removal left.
            Err(error) if is_taken(&error) && number < 1000 => {}
            renamed => {
                let renamed = renamed.and_then(|()| durable::sync_folder(folder));
                return renamed.map(|()| aside).map_err(io_error(run.path()));
            }
        }
    }
    unreachable!("the last name returns")
}

/// Deletes what removals that were interrupted left in the folder of runs; returns the names of these runs.
///
/// # Errors
/// It cannot be deleted.
pub fn finish_interrupted(runs: &RunsDir) -> Result<Vec<String>, RemoveError> {
    let entries = match fs::read_dir(runs.path()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(io_error(runs.path())(error)),
    };
    let mut finished = vec![];
    for entry in entries {
        let entry = entry.map_err(io_error(runs.path()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(run) = name.strip_prefix(REMOVED).filter(|_| entry.file_type().is_ok_and(|kind| kind.is_dir())) else {
            continue;
        };
        let aside = RunDir::at(entry.path());
        match RunLock::acquire(&aside) {
            Ok(_lock) => fs::remove_dir_all(aside.path()).map_err(io_error(aside.path()))?,
            // Another removal is at it, or was.
            Err(LockError::Live { .. }) => continue,
            Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        }
        finished.push(run.to_owned());
    }
    finished.sort();
    Ok(finished)
}

/// Room that a file or a folder with all in it takes up, each file once. Symbolic links are not followed.
fn disk_bytes(path: &Path, counted: &mut HashSet<(u64, u64)>) -> io::Result<u64> {
    const BLOCK: u64 = 512;
    let metadata = fs::symlink_metadata(path)?;
    if metadata.nlink() > 1 && !metadata.is_dir() && !counted.insert((metadata.dev(), metadata.ino())) {
        return Ok(0);
    }
    let mut bytes = metadata.blocks() * BLOCK;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += disk_bytes(&entry?.path(), counted)?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn runs() -> (tempfile::TempDir, RunsDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let runs = RunsDir::at(dir.path().join("runs"));
        let run = runs.create(Some("a"), &Config::default()).unwrap();
        fs::create_dir(run.checkpoints()).unwrap();
        fs::write(run.checkpoints().join("x"), [7; 100_000]).unwrap();
        (dir, runs, run)
    }

    fn names(runs: &RunsDir) -> Vec<String> {
        let entries = fs::read_dir(runs.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_run_goes_with_all_in_it_and_no_link_is_followed() {
        let (dir, runs, run) = runs();
        let kept = dir.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), [7; 1_000_000]).unwrap();
        std::os::unix::fs::symlink(&kept, run.path().join("link")).unwrap();
        fs::hard_link(run.checkpoints().join("x"), run.path().join("same")).unwrap();
        let doomed = Doomed::new(&run).unwrap();
        assert!((100_000..200_000).contains(&doomed.bytes()), "{}", doomed.bytes());
        assert!(doomed.remove(|_| false).unwrap());
        assert_eq!(names(&runs), Vec::<String>::new());
        assert_eq!(fs::read(kept.join("file")).unwrap().len(), 1_000_000);

        let other = runs.create(Some("b"), &Config::default()).unwrap();
        std::os::unix::fs::symlink(other.path(), runs.path().join("link")).unwrap();
        assert!(matches!(Doomed::new(&runs.open("link").unwrap()), Err(RemoveError::Link(_))));
    }

    #[test]
    fn a_run_that_is_held_changed_or_renamed_stays() {
        let (_dir, runs, run) = runs();
        let lock = RunLock::acquire(&run).unwrap();
        assert!(matches!(
            Doomed::new(&run).unwrap().remove(|_| false),
            Err(RemoveError::Locked(LockError::Live { .. }))
        ));
        drop(lock);
        assert!(!Doomed::new(&run).unwrap().remove(|_| true).unwrap());
        let doomed = Doomed::new(&run).unwrap();
        run.rename("b").unwrap();
        runs.create(Some("a"), &Config::default()).unwrap();
        assert!(matches!(doomed.remove(|_| false), Err(RemoveError::Moved(name)) if name == "a"));
        assert_eq!(runs.list().unwrap().len(), 2);
    }

    #[test]
    fn what_an_interrupted_removal_left_is_no_run_and_is_finished() {
        let (_dir, runs, run) = runs();
        let aside = set_aside(&run).unwrap();
        assert_eq!(names(&runs), [".removed-a"]);
        assert!(runs.list().unwrap().is_empty() && runs.open(".removed-a").is_err());
        // Once more under the same name.
        let again = runs.create(Some("a"), &Config::default()).unwrap();
        assert_eq!(set_aside(&again).unwrap(), runs.path().join(".removed-a-2"));
        // One is being removed just now.
        let lock = RunLock::acquire(&RunDir::at(&aside)).unwrap();
        assert_eq!(finish_interrupted(&runs).unwrap(), ["a-2"]);
        drop(lock);
        assert_eq!(finish_interrupted(&runs).unwrap(), ["a"]);
        assert_eq!(names(&runs), Vec::<String>::new());
    }
}
