//! Whether a run's trainer lives is never a guess: it holds a lock on the run for as long as it does.
//!
//! Where the file system has no flock, host, process and start time in `control` decide, and only on their own host.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::{Duration, Instant};

use fs4::TryLockError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::control::{Control, host, process_lives, start_ticks};
use super::dir::RunDir;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// A trainer is at it, on this host.
    Live,
    Dead,
    /// A trainer is at it on another host, or was and cannot be asked from here.
    Elsewhere {
        host: String,
    },
}

/// What the lock file says of the process that holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub host: String,
    pub pid: u32,
    /// As in [`Control`].
    start_ticks: Option<u64>,
}

impl Holder {
    fn own() -> Self {
        let pid = std::process::id();
        Self { host: host(), pid, start_ticks: start_ticks(pid) }
    }

    /// Who holds the run's lock. None while that is not written yet: what is found may be left from a dead one.
    pub fn read(dir: &RunDir) -> Option<Self> {
        let holder: Self = serde_json::from_slice(&std::fs::read(dir.lock()).ok()?).ok()?;
        (holder.host != host() || process_lives(holder.pid, holder.start_ticks)).then_some(holder)
    }

    /// As [`Holder::read`], of a lock that is held: its holder writes its name a moment after it has the lock.
    pub fn of_held(dir: &RunDir) -> Option<Self> {
        let patience = Instant::now() + PATIENCE;
        loop {
            match Self::read(dir) {
                None if Instant::now() < patience => std::thread::sleep(Duration::from_millis(10)),
                holder => return holder,
            }
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "process {} on {}", self.pid, self.host)
    }
}

#[derive(Debug, Error)]
pub enum LockError {
    #[error("run {run} has a live trainer{}; to watch it: taper attach {run}", .holder.as_ref().map_or(String::new(), |holder| format!(", {holder}")))]
    Live { run: String, holder: Option<Holder> },
    #[error("the trainer of run {run} is on host {host}; if it is not running there any more, remove {control}")]
    Elsewhere { run: String, host: String, control: String },
    #[error(
        "{path}: {source}; a run is trained only where it can be written to: make {dir} writable, or copy it elsewhere and \
         resume the copy"
    )]
    NotWritable { path: String, source: io::Error, dir: String },
    #[error("{path}: {source}")]
    Io { path: String, source: io::Error },
}

/// With what passes in a moment.
const PATIENCE: Duration = Duration::from_millis(500);

/// Held by the trainer of a run; released when dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being started holds a copy of the file until it executes. Where
        // there is no flock there is nothing to unlock.
        let _ = fs4::FileExt::unlock(&self.file);
    }
}

impl RunLock {
    /// Takes the run, unless a trainer has it.
    pub fn acquire(dir: &RunDir) -> Result<Self, LockError> {
        let file = open(dir)?;
        // Whoever asks for the liveness holds a shared lock for a moment.
        let patience = Instant::now() + PATIENCE;
        let refusal = loop {
            match fs4::FileExt::try_lock(&file) {
                Ok(()) => return Ok(Self::named(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => break held(dir),
                Err(TryLockError::Error(error)) if lacks_flock(&error) => break by_control(dir),
                Err(TryLockError::Error(source)) => return Err(io_error(dir, source)),
            }
        };
        match refusal {
            Liveness::Dead => Ok(Self::named(file)),
            Liveness::Live => Err(LockError::Live { run: dir.name(), holder: Holder::of_held(dir) }),
            Liveness::Elsewhere { host } => {
                Err(LockError::Elsewhere { run: dir.name(), host, control: dir.control().display().to_string() })
            }
        }
    }

    /// Says in the file who has the lock: for people, the lock itself is what counts.
    fn named(mut file: File) -> Self {
        let name = serde_json::to_vec(&Holder::own()).map_err(io::Error::from);
        if let Err(error) = name.and_then(|name| file.set_len(0).and_then(|()| file.write_all(&name))) {
            tracing::warn!("lock: {error}");
        }
        Self { file }
    }
}

/// Whether a trainer could take the run, apart from one that has it: says in advance what [`RunLock::acquire`] would.
pub fn check_writable(dir: &RunDir) -> Result<(), LockError> {
    open(dir).map(drop)
}

fn open(dir: &RunDir) -> Result<File, LockError> {
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(dir.lock());
    opened.map_err(|source| io_error(dir, source))
}

fn io_error(dir: &RunDir, source: io::Error) -> LockError {
    let path = dir.lock().display().to_string();
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            LockError::NotWritable { path, source, dir: dir.path().display().to_string() }
        }
        _ => LockError::Io { path, source },
    }
}

/// Whether the run has a live trainer.
pub fn liveness(dir: &RunDir) -> Liveness {
    // Without a lock file no trainer ever started.
    let Ok(file) = File::open(dir.lock()) else { return Liveness::Dead };
    match fs4::FileExt::try_lock_shared(&file) {
        Ok(()) => Liveness::Dead,
        Err(TryLockError::WouldBlock) => held(dir),
        Err(TryLockError::Error(_)) => by_control(dir),
    }
}

/// Whether the file system under `dir` has the lock that liveness rests on.
pub fn has_flock(dir: &std::path::Path) -> io::Result<bool> {
    let file = tempfile::tempfile_in(dir)?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => Ok(true),
        Err(TryLockError::Error(error)) if lacks_flock(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The lock is held: by a trainer here, or on the host that `control` names.
fn held(dir: &RunDir) -> Liveness {
    match Control::read(dir) {
        Some(control) if !control.is_on_this_host() => Liveness::Elsewhere { host: control.host },
        _ => Liveness::Live,
    }
}

/// There is no lock to ask.
fn by_control(dir: &RunDir) -> Liveness {
    match Control::read(dir) {
        None => Liveness::Dead,
        Some(control) if !control.is_on_this_host() => Liveness::Elsewhere { host: control.host },
        Some(control) if control.process_lives() => Liveness::Live,
        Some(_) => Liveness::Dead,
    }
}

fn lacks_flock(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let known = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP, Errno::NOLCK, Errno::INVAL];
    error.raw_os_error().is_some_and(|code| known.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        (dir, run)
    }

    #[test]
    fn a_run_is_live_exactly_as_long_as_its_lock_is_held() {
        let (_dir, run) = run();
        assert_eq!(liveness(&run), Liveness::Dead);
        let lock = RunLock::acquire(&run).unwrap();
        assert_eq!(liveness(&run), Liveness::Live);
        let error = RunLock::acquire(&run).unwrap_err().to_string();
        let holder = format!("has a live trainer, process {} on {}; to watch it", std::process::id(), host());
        assert!(error.contains(&holder), "{error}");
        drop(lock);
        assert_eq!(liveness(&run), Liveness::Dead);
        RunLock::acquire(&run).unwrap();
    }

    #[test]
    fn a_lock_file_that_a_dead_process_left_or_that_is_damaged_names_nobody() {
        let (_dir, run) = run();
        let own = Holder::own();
        let recycled = Holder { start_ticks: own.start_ticks.map(|ticks| ticks + 1), ..own.clone() };
        std::fs::write(run.lock(), serde_json::to_vec(&recycled).unwrap()).unwrap();
        assert_eq!(Holder::read(&run), recycled.start_ticks.is_none().then_some(recycled));
        std::fs::write(run.lock(), "{\"host\"").unwrap();
        assert_eq!((Holder::read(&run), liveness(&run)), (None, Liveness::Dead));
        let _lock = RunLock::acquire(&run).unwrap();
        assert_eq!(Holder::read(&run), Some(own));
    }

    #[test]
    fn asking_does_not_keep_a_trainer_from_its_lock() {
        let (_dir, run) = run();
        drop(RunLock::acquire(&run).unwrap());
        let file = File::open(run.lock()).unwrap();
        fs4::FileExt::try_lock_shared(&file).unwrap();
        let asker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(file);
        });
        RunLock::acquire(&run).unwrap();
        asker.join().unwrap();
    }

    #[test]
    fn a_trainer_on_another_host_is_named() {
        let (_dir, run) = run();
        let _lock = RunLock::acquire(&run).unwrap();
        Control { host: "node7".into(), ..Control::own("/x".into()) }.write(&run).unwrap();
        assert_eq!(liveness(&run), Liveness::Elsewhere { host: "node7".into() });
        let error = RunLock::acquire(&run).unwrap_err().to_string();
        assert!(error.contains("on host node7") && error.contains("remove "), "{error}");
    }

    #[test]
    fn without_flock_the_process_decides_on_its_own_host_only() {
        let (_dir, run) = run();
        assert_eq!(by_control(&run), Liveness::Dead);
        let own = Control::own("/x".into());
        own.write(&run).unwrap();
        assert_eq!(by_control(&run), Liveness::Live);
        Control { start_ticks: Some(1), ..own.clone() }.write(&run).unwrap();
        assert_eq!(by_control(&run), Liveness::Dead);
        Control { host: "node7".into(), ..own }.write(&run).unwrap();
        assert_eq!(by_control(&run), Liveness::Elsewhere { host: "node7".into() });
    }
}
