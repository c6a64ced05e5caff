//! Run directories: the files of one, and the directory that holds them all.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfs;
use thiserror::Error;

use crate::config::Config;
use crate::durable;
use crate::ordinary_file;
use crate::suggest::nearest;

/// Where the runs lie, unless that is said.
pub const DEFAULT_RUNS_DIR: &str = "runs";

/// A run's directory, `runs/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name: the last part of its path.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// What the beginning of a long log amounts to.
    pub fn events_index(&self) -> PathBuf {
        self.path.join("events.index")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub fn probes(&self) -> PathBuf {
        self.path.join("probes")
    }

    /// The address of the trainer.
    pub fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    pub fn trainer_log(&self) -> PathBuf {
        self.path.join("trainer.log")
    }

    /// Locked by the live trainer.
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// Whether there is a run: one of taper's begins with a configuration, one of another program with a log.
    ///
    /// # Errors
    /// That cannot be told.
    fn is_there(&self) -> io::Result<bool> {
        Ok(ordinary_file::is_there(&self.config())? || ordinary_file::is_there(&self.events())?)
    }

    /// Free space on the run's file system.
    pub fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.path)
    }

    /// # Errors
    /// The file system has no room for the checkpoints, of so many bytes each, that the configuration keeps.
    pub fn check_space(&self, config: &Config, checkpoint_bytes: u64) -> Result<(), CreateError> {
        let path = self.path.parent().unwrap_or(&self.path).display().to_string();
        match self.free_bytes() {
            Ok(free) => compare_space(path, free, bytes_needed(config, checkpoint_bytes)),
            Err(source) => Err(CreateError::Io { path, source }),
        }
    }

    /// Writes the configuration durably. The caller holds the run's lock, or has just made its directory.
    pub fn write_config(&self, config: &Config) -> io::Result<()> {
        durable::replace(&self.config(), config.to_toml_with_checksum().as_bytes())
    }

    /// Removes the unfinished files of a killed trainer. The caller holds the run's lock.
    pub fn remove_unfinished(&self) -> io::Result<()> {
        durable::remove_unfinished(&self.path)?;
        match durable::remove_unfinished(&self.probes()) {
            // A file in its place is told when a probe is to be saved.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
            removed => removed,
        }
    }

    /// Returns when the names in the directory would survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        durable::sync_folder(&self.path)
    }

    /// Gives the run another name in its folder of runs.
    ///
    /// # Errors
    /// The name is taken or cannot be one, or the run is a symbolic link.
    pub fn rename(&self, name: &str) -> Result<Self, RenameError> {
        check_name(name).map_err(|reason| RenameError::Name(name.to_owned(), reason))?;
        let io = |source| RenameError::Io { path: self.path.display().to_string(), source };
        if std::fs::symlink_metadata(&self.path).map_err(io)?.is_symlink() {
            return Err(RenameError::Link(self.path.display().to_string()));
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let renamed = folder.join(name);
        // An empty folder keeps the name for us: it is all that a renaming can replace.
        match std::fs::create_dir(&renamed) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RenameError::Exists(renamed.display().to_string()));
            }
            made => made.map_err(io)?,
        }
        if let Err(error) = std::fs::rename(&self.path, &renamed) {
            // Fails where it is empty no more.
            let _ = std::fs::remove_dir(&renamed);
            return Err(io(error));
        }
        durable::sync_folder(folder).map_err(io)?;
        Ok(Self::at(renamed))
    }

    /// Removes the directory of a run that never trained; a run with checkpoints or events is left alone.
    pub fn discard_untrained(&self) -> io::Result<()> {
        let is_absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        // What cannot be looked at may be there.
        let saved = match std::fs::read_dir(self.checkpoints()) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) => !is_absent(&error),
        };
        let logged = match std::fs::metadata(self.events()) {
            Ok(events) => events.len() > 0,
            Err(error) => !is_absent(&error),
        };
        if saved || logged {
            return Ok(());
        }
        // The thread of a start that was called off may add a file meanwhile.
        const TRIES: usize = 10;
        for _ in 1..TRIES {
            match std::fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                // Somebody else did.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                removed => return removed,
            }
        }
        std::fs::remove_dir_all(&self.path)
    }
}

/// The directory that holds the runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsDir {
    path: PathBuf,
}

#[derive(Debug, Error)]
pub enum CreateError {
    #[error("run name {0:?}: {1}")]
    Name(String, &'static str),
    #[error("{0} exists: choose another name")]
    Exists(String),
    #[error(
        "runs directory {path}: {free} free, and a run of this model needs {needed} for its checkpoints; \
         make room or choose another with --runs-dir"
    )]
    Full { path: String, free: String, needed: String },
    #[error("runs directory {path}: {source}; choose another with --runs-dir")]
    Io { path: String, source: io::Error },
}

#[derive(Debug, Error)]
pub enum RenameError {
    #[error("run name {0:?}: {1}")]
    Name(String, &'static str),
    #[error("{0} exists: choose another name")]
    Exists(String),
    #[error("{0} is a symbolic link: rename the folder that it leads to, or the link with mv")]
    Link(String),
    #[error("cannot rename {path}: {source}")]
    Io { path: String, source: io::Error },
}

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("there is no run {name} in {runs}{hint}")]
    Unknown { name: String, runs: String, hint: String },
    #[error("{0} is not a run: it has neither config.toml nor events.jsonl")]
    NotARun(String),
    #[error("run {run}: {path}: {source}; ask its owner for the right to read it")]
    Denied { run: String, path: String, source: io::Error },
    #[error("runs directory {path}: {source}")]
    Io { path: String, source: io::Error },
}

impl RunsDir {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory of a new run, with its configuration in it. Without a name it is called after the time.
    pub fn create(&self, name: Option<&str>, config: &Config) -> Result<RunDir, CreateError> {
        if let Some(name) = name {
            check_name(name).map_err(|reason| CreateError::Name(name.to_owned(), reason))?;
        }
        let io = |source| CreateError::Io { path: self.path.display().to_string(), source };
        std::fs::create_dir_all(&self.path).map_err(io)?;
        let runs = std::path::absolute(&self.path).map_err(io)?;

        let run = match name {
            Some(name) => match std::fs::create_dir(runs.join(name)) {
                Ok(()) => RunDir::at(runs.join(name)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(CreateError::Exists(name.to_owned()));
                }
                Err(error) => return Err(io(error)),
            },
            None => create_named_by_time(&runs, config.model.short_name()).map_err(io)?,
        };
        if let Err(error) = run.write_config(config).and_then(|()| durable::sync_folder(&runs)) {
            // It is ours, and holds nothing.
            let _ = std::fs::remove_dir_all(run.path());
            return Err(io(error));
        }
        Ok(run)
    }

    /// The run called `name`, or at that path if it has a slash.
    pub fn open(&self, name: &str) -> Result<RunDir, OpenError> {
        let by_path = name.contains('/');
        let path = if by_path { PathBuf::from(name) } else { self.path.join(name) };
        let run = RunDir::at(std::path::absolute(&path).unwrap_or(path));
        if check_name(&run.name()).is_ok() {
            match run.is_there() {
                Ok(true) => return Ok(run),
                Ok(false) => {}
                Err(source) => {
                    let path = run.config().display().to_string();
                    return Err(OpenError::Denied { run: name.to_owned(), path, source });
                }
            }
        }
        if by_path && run.path().is_dir() {
            return Err(OpenError::NotARun(name.to_owned()));
        }
        let known: Vec<String> = self.list()?.iter().map(RunDir::name).collect();
        let close = nearest(name, known.iter().map(String::as_str));
        let hint = match (close.as_slice(), known.len()) {
            ([], 0) => "; no run was started there yet".to_owned(),
            ([], _) => "; taper runs lists them".to_owned(),
            (close, _) => format!("; did you mean {}?", close[..close.len().min(3)].join(" or ")),
        };
        Err(OpenError::Unknown { name: name.to_owned(), runs: self.path.display().to_string(), hint })
    }

    /// Every run, by name; what nobody may look into counts as one.
    pub fn list(&self) -> Result<Vec<RunDir>, OpenError> {
        let io = |source| OpenError::Io { path: self.path.display().to_string(), source };
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let path = entry.map_err(io)?.path();
            let run = RunDir::at(std::path::absolute(&path).unwrap_or(path));
            if check_name(&run.name()).is_ok() && run.is_there().unwrap_or(true) {
                runs.push(run);
            }
        }
        runs.sort_by_key(RunDir::name);
        Ok(runs)
    }
}

/// A name is one part of a path, and can be typed and printed without surprises.
fn check_name(name: &str) -> Result<(), &'static str> {
    const MAX_BYTES: usize = 100;
    if name.is_empty() {
        Err("a name has at least one character")
    } else if name.len() > MAX_BYTES {
        Err("a name has at most 100 bytes")
    } else if name.starts_with(['.', '-']) {
        Err("a name does not begin with a dot or a dash")
    } else if name.contains('/') {
        Err("a name has no slash; --runs-dir says where runs lie")
    } else if name.chars().any(char::is_control) {
        Err("a name has no control characters")
    } else if name.trim() != name {
        Err("a name does not begin or end with a space")
    } else {
        Ok(())
    }
}

/// Space free to users without privileges.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    Ok(available_bytes(&rustix::fs::statvfs(path)?))
}

pub(super) fn available_bytes(disk: &StatVfs) -> u64 {
    disk.f_bavail.saturating_mul(disk.f_frsize)
}

/// Such as `20261124-175203-cnn`; of two in one second the later gets `-2`.
fn create_named_by_time(runs: &Path, model: &str) -> io::Result<RunDir> {
    let stem = format!("{}-{model}", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"));
    for number in 1.. {
        let path = runs.join(if number == 1 { stem.clone() } else { format!("{stem}-{number}") });
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {}
            created => return created.map(|()| RunDir::at(path)),
        }
    }
    unreachable!("the last name returns")
}

/// Disk space below which a run would soon fail: the checkpoints that are kept and the one being written, and a little
/// for the log.
fn bytes_needed(config: &Config, checkpoint_bytes: u64) -> u64 {
    const LOG_BYTES: u64 = 16 << 20;
    (config.checkpoint.keep_last as u64 + 2) * checkpoint_bytes + LOG_BYTES
}

fn compare_space(path: String, free: u64, needed: u64) -> Result<(), CreateError> {
    if free >= needed {
        return Ok(());
    }
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    Err(CreateError::Full { path, free: mebibytes(free), needed: mebibytes(needed) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> (tempfile::TempDir, RunsDir) {
        let dir = tempfile::tempdir().unwrap();
        let runs = RunsDir::at(dir.path().join("runs"));
        (dir, runs)
    }

    #[test]
    fn a_new_run_overwrites_nothing() {
        let (_dir, runs) = runs();
        let run = runs.create(Some("first"), &Config::default()).unwrap();
        assert_eq!(Config::load(Some(&run.config()), &[]).unwrap().train, Config::default().train);
        let again = runs.create(Some("first"), &Config::default()).unwrap_err();
        assert_eq!(again.to_string(), "first exists: choose another name");
        assert_eq!(runs.open("first").unwrap(), run);
        assert_eq!(runs.open(run.path().to_str().unwrap()).unwrap(), run);
    }

    #[test]
    fn a_run_is_renamed_and_nothing_is_replaced() {
        let (_dir, runs) = runs();
        let run = runs.create(Some("first"), &Config::default()).unwrap();
        let other = runs.create(Some("other"), &Config::default()).unwrap();
        std::fs::create_dir(runs.path().join("empty")).unwrap();
        for taken in ["first", "other", "empty"] {
            assert!(matches!(run.rename(taken), Err(RenameError::Exists(_))), "{taken}");
        }
        for name in ["", "a/b", "..", "-x", ".hidden"] {
            assert!(matches!(run.rename(name), Err(RenameError::Name(..))), "{name:?}");
        }
        let renamed = run.rename("second").unwrap();
        assert_eq!(runs.list().unwrap(), [other.clone(), renamed.clone()]);
        assert_eq!((renamed.name(), run.path().exists()), ("second".to_owned(), false));
        std::os::unix::fs::symlink(other.path(), runs.path().join("link")).unwrap();
        assert!(matches!(runs.open("link").unwrap().rename("third"), Err(RenameError::Link(_))));
        assert!(matches!(run.rename("third"), Err(RenameError::Io { .. })), "it is not there any more");
        assert!(!runs.path().join("third").exists());
    }

    #[test]
    fn a_directory_that_is_no_run_is_left_alone() {
        let (_dir, runs) = runs();
        std::fs::create_dir_all(runs.path().join("mine")).unwrap();
        assert!(matches!(runs.create(Some("mine"), &Config::default()), Err(CreateError::Exists(_))));
        assert!(matches!(runs.open("mine"), Err(OpenError::Unknown { .. })));
        let path = format!("{}/mine", runs.path().display());
        assert!(matches!(runs.open(&path), Err(OpenError::NotARun(_))));
        assert_eq!(runs.list().unwrap(), []);
    }

    #[test]
    fn runs_named_by_time_are_unique() {
        let (_dir, runs) = runs();
        for _ in 0..5 {
            let name = runs.create(None, &Config::default()).unwrap().name();
            assert!(name.contains("-cnn") && name.starts_with("20"), "{name}");
        }
        assert_eq!(runs.list().unwrap().len(), 5);
    }

    #[test]
    fn names_that_would_surprise_are_refused() {
        let (_dir, runs) = runs();
        let long = "x".repeat(101);
        for name in ["", "a/b", "..", ".hidden", "-x", "a\nb", "a\u{7f}", " a", "a ", &long] {
            let error = runs.create(Some(name), &Config::default()).unwrap_err();
            assert!(matches!(error, CreateError::Name(..)), "{name:?}: {error}");
        }
        assert!(!runs.path().exists(), "refused before anything is made");
        runs.create(Some("größe 2"), &Config::default()).unwrap();
    }

    #[test]
    fn an_unknown_run_is_answered_with_the_nearest() {
        let (_dir, runs) = runs();
        assert!(runs.open("x").unwrap_err().to_string().ends_with("no run was started there yet"));
        runs.create(Some("baseline"), &Config::default()).unwrap();
        assert!(runs.open("basline").unwrap_err().to_string().ends_with("did you mean baseline?"));
        assert!(runs.open("zzz").unwrap_err().to_string().ends_with("taper runs lists them"));
        assert!(matches!(runs.open("").unwrap_err(), OpenError::Unknown { .. }));
    }

    #[test]
    fn a_full_disk_is_told_before_training() {
        let needed = bytes_needed(&Config::default(), 13 << 20);
        assert_eq!(needed, (4 * 13 + 16) << 20);
        let error = compare_space("runs".into(), 1 << 20, needed).unwrap_err().to_string();
        let expected = "runs directory runs: 1.0 MiB free, and a run of this model needs 68.0 MiB for its checkpoints";
        assert!(error.starts_with(expected), "{error}");
        compare_space("runs".into(), needed, needed).unwrap();
        let (_dir, runs) = runs();
        let run = runs.create(None, &Config::default()).unwrap();
        run.check_space(&Config::default(), 1).unwrap();
        assert!(matches!(run.check_space(&Config::default(), 1 << 60), Err(CreateError::Full { .. })));
    }

    #[test]
    fn a_runs_directory_that_cannot_be_made() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = RunsDir::at(file.path().join("runs")).create(None, &Config::default()).unwrap_err();
        assert!(error.to_string().ends_with("choose another with --runs-dir"), "{error}");
        assert!(RunsDir::at(file.path()).list().is_err());
    }

    #[test]
    fn unfinished_files_are_removed() {
        let (_dir, runs) = runs();
        let run = runs.create(Some("a"), &Config::default()).unwrap();
        run.remove_unfinished().unwrap();
        std::fs::create_dir(run.probes()).unwrap();
        let unfinished = [run.path(), &run.probes()].map(|folder| folder.join(".unfinished-x"));
        unfinished.iter().for_each(|path| std::fs::write(path, "").unwrap());
        run.remove_unfinished().unwrap();
        assert!(!unfinished.iter().any(|path| path.exists()) && run.config().exists());
    }

    #[test]
    fn only_a_run_that_never_began_is_discarded() {
        let (_dir, runs) = runs();
        let run = runs.create(Some("a"), &Config::default()).unwrap();
        std::fs::write(run.trainer_log(), "said something").unwrap();
        run.discard_untrained().unwrap();
        assert!(!run.path().exists());
        let run = runs.create(Some("b"), &Config::default()).unwrap();
        std::fs::create_dir_all(run.checkpoints().join("e0001-s000001")).unwrap();
        run.discard_untrained().unwrap();
        assert!(run.path().exists());
    }
}
