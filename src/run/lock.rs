//! Whether a run's trainer lives: it holds a lock on the run for as long as it does.
//!
//! Where the file system has no flock, host, process and start time in `control` decide, and only on their own host. Of a run
//! that another program trains without such a lock, its log says what there is to ask.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::control_file::TrainerAddress;
use super::dir::RunDir;
use super::other_trainer::OtherTrainer;
use super::process::Process;
use super::replay::has_ended;
use crate::held_folder::is_same;
use crate::ordinary_file;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// A trainer on this host has it.
    Live,
    Dead,
    /// A trainer on another host has it, or had it and cannot be asked from here.
    Elsewhere {
        host: String,
    },
    /// Neither the lock nor the address may be read.
    Unknown {
        why: String,
    },
}

/// The process that holds the run's lock, by the lock file. `None` until it has written its name there: what is found may be
/// left from a dead one.
pub fn holder(dir: &RunDir) -> Option<Process> {
    let holder: Process = serde_json::from_slice(&ordinary_file::read(&dir.lock()).ok()?).ok()?;
    (!holder.is_on_this_host() || holder.is_alive()).then_some(holder)
}

/// As [`holder`], of a lock that is held: its holder writes its name a moment after it has the lock.
pub fn holder_of_held(dir: &RunDir) -> Option<Process> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match holder(dir) {
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            holder => return holder,
        }
    }
}

#[derive(Debug, Error)]
pub enum LockError {
    #[error("run {run} has a live trainer{}; to watch it: taper attach {run}", .holder.as_ref().map_or(String::new(), |holder| format!(", {holder}")))]
    Live { run: String, holder: Option<Process> },
    #[error("run {run} is trained by {trainer}: taper shows it, and leaves it alone")]
    OtherTrainer { run: String, trainer: String },
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

/// How long a state that passes in a moment is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Held by the trainer of a run; released when dropped, or when the process ends.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that is just being started holds a copy of the file until it executes. Where
        // there is no flock there is nothing to unlock.
        let _ = self.file.unlock();
    }
}

impl RunLock {
    /// Takes the run, unless a trainer has it.
    pub fn acquire(dir: &RunDir) -> Result<Self, LockError> {
        if let Some(trainer) = OtherTrainer::of(dir) {
            return Err(LockError::OtherTrainer { run: dir.name(), trainer: trainer.name });
        }
        let mut file = open(dir)?;
        // Asking for the liveness holds a shared lock for a moment.
        let deadline = Instant::now() + PATIENCE;
        let refusal = loop {
            match file.try_lock() {
                // The run was removed by whoever had the lock: its lock is none, whatever has its name by now.
                Ok(()) if !is_at(&file, &dir.lock()) && Instant::now() < deadline => file = open(dir)?,
                Ok(()) => return Ok(Self::named(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => break held(dir),
                Err(TryLockError::Error(error)) if lacks_flock(&error) => break by_address(dir),
                Err(TryLockError::Error(source)) => return Err(io_error(dir, source)),
            }
        };
        match refusal {
            Liveness::Dead => Ok(Self::named(file)),
            Liveness::Live => Err(LockError::Live { run: dir.name(), holder: holder_of_held(dir) }),
            Liveness::Unknown { why } => Err(io_error(dir, io::Error::other(why))),
            Liveness::Elsewhere { host } => {
                Err(LockError::Elsewhere { run: dir.name(), host, control: dir.control().display().to_string() })
            }
        }
    }

    /// Writes the holder into the file, for messages; only the lock itself decides.
    fn named(mut file: File) -> Self {
        let name = serde_json::to_vec(&Process::own()).map_err(io::Error::from);
        if let Err(error) = name.and_then(|name| file.set_len(0).and_then(|()| file.write_all(&name))) {
            tracing::warn!("lock: {error}");
        }
        Self { file }
    }
}

/// Checks in advance that [`RunLock::acquire`] can open the lock file.
pub fn check_writable(dir: &RunDir) -> Result<(), LockError> {
    open(dir).map(drop)
}

fn open(dir: &RunDir) -> Result<File, LockError> {
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(dir.lock());
    opened.map_err(|source| io_error(dir, source))
}

fn is_at(file: &File, path: &Path) -> bool {
    file.metadata().is_ok_and(|own| path.metadata().is_ok_and(|found| is_same(&found, &own)))
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
    let file = match ordinary_file::open(&dir.lock()) {
        Ok(file) => file,
        // Without a lock file no trainer of ours ever started.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return of_other_trainer(dir),
        Err(error) => return without_lock(dir, &error),
    };
    match file.try_lock_shared() {
        Ok(()) => Liveness::Dead,
        Err(TryLockError::WouldBlock) => held(dir),
        Err(TryLockError::Error(_)) => by_address(dir),
    }
}

/// Whether the file system under `dir` has the lock that liveness rests on.
pub fn has_flock(dir: &Path) -> io::Result<bool> {
    let file = tempfile::tempfile_in(dir)?;
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::Error(error)) if lacks_flock(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The lock is held: by a trainer here, or on the host that `control` names.
fn held(dir: &RunDir) -> Liveness {
    match TrainerAddress::read(dir) {
        Some(TrainerAddress { process, .. }) if !process.is_on_this_host() => {
            Liveness::Elsewhere { host: process.host }
        }
        _ => Liveness::Live,
    }
}

/// The lock cannot be asked: a trainer that is found lives, but one that is not may be hidden as well.
fn without_lock(dir: &RunDir, error: &io::Error) -> Liveness {
    match TrainerAddress::look(dir) {
        Ok(Some(_)) => by_address(dir),
        Ok(None) | Err(_) => Liveness::Unknown {
            why: format!("{}: {error}: whether a trainer has it cannot be told", dir.lock().display()),
        },
    }
}

/// Of a run without a lock: another program's.
fn of_other_trainer(dir: &RunDir) -> Liveness {
    match OtherTrainer::of(dir) {
        // The process may outlive the run that it has ended.
        Some(trainer) if trainer.is_at_work(dir) && !has_ended(dir).unwrap_or(false) => match trainer.elsewhere() {
            Some(host) => Liveness::Elsewhere { host: host.to_owned() },
            None => Liveness::Live,
        },
        _ => Liveness::Dead,
    }
}

/// There is no lock to ask.
fn by_address(dir: &RunDir) -> Liveness {
    match TrainerAddress::read(dir) {
        None => Liveness::Dead,
        Some(TrainerAddress { process, .. }) if !process.is_on_this_host() => {
            Liveness::Elsewhere { host: process.host }
        }
        Some(TrainerAddress { process, .. }) if process.is_alive() => Liveness::Live,
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

    fn address(process: Process) -> TrainerAddress {
        TrainerAddress { socket: "/x".into(), process }
    }

    #[test]
    fn a_run_is_live_while_its_lock_is_held() {
        let (_dir, run) = run();
        assert_eq!(liveness(&run), Liveness::Dead);
        let lock = RunLock::acquire(&run).unwrap();
        assert_eq!(liveness(&run), Liveness::Live);
        let error = RunLock::acquire(&run).unwrap_err().to_string();
        let own = Process::own();
        let holder = format!("has a live trainer, process {} on {}; to watch it", std::process::id(), own.host);
        assert!(error.contains(&holder), "{error}");
        drop(lock);
        assert_eq!(liveness(&run), Liveness::Dead);
        RunLock::acquire(&run).unwrap();
    }

    #[test]
    fn a_stale_or_damaged_lock_file_names_nobody() {
        let (_dir, run) = run();
        let own = Process::own();
        let dead = Process { pid: u32::MAX, ..own.clone() };
        std::fs::write(run.lock(), serde_json::to_vec(&dead).unwrap()).unwrap();
        assert_eq!(holder(&run), None);
        std::fs::write(run.lock(), "{\"host\"").unwrap();
        assert_eq!((holder(&run), liveness(&run)), (None, Liveness::Dead));
        let _lock = RunLock::acquire(&run).unwrap();
        assert_eq!(holder(&run), Some(own));
    }

    #[test]
    fn asking_does_not_block_a_trainer() {
        let (_dir, run) = run();
        drop(RunLock::acquire(&run).unwrap());
        let file = File::open(run.lock()).unwrap();
        file.try_lock_shared().unwrap();
        let asker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(file);
        });
        RunLock::acquire(&run).unwrap();
        asker.join().unwrap();
    }

    #[test]
    fn the_lock_of_a_run_that_is_removed_meanwhile_is_none() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::at(root.path().join("run"));
        let wait = || {
            std::fs::create_dir(run.path()).unwrap();
            let lock = RunLock::acquire(&run).unwrap();
            let waiting = run.clone();
            let waiter = std::thread::spawn(move || RunLock::acquire(&waiting));
            std::thread::sleep(Duration::from_millis(50));
            std::fs::remove_dir_all(run.path()).unwrap();
            (lock, waiter)
        };
        let (lock, waiter) = wait();
        drop(lock);
        assert!(matches!(waiter.join().unwrap(), Err(LockError::Io { .. })));
        assert!(!run.path().exists());
        // Another has its name and a trainer.
        let (lock, waiter) = wait();
        std::fs::create_dir(run.path()).unwrap();
        let other = RunLock::acquire(&run).unwrap();
        drop(lock);
        assert!(matches!(waiter.join().unwrap(), Err(LockError::Live { .. })));
        drop(other);
    }

    #[test]
    fn a_trainer_on_another_host_is_named() {
        let (_dir, run) = run();
        let _lock = RunLock::acquire(&run).unwrap();
        address(Process { host: "node7".into(), ..Process::own() }).write(&run).unwrap();
        assert_eq!(liveness(&run), Liveness::Elsewhere { host: "node7".into() });
        let error = RunLock::acquire(&run).unwrap_err().to_string();
        assert!(error.contains("on host node7") && error.contains("remove "), "{error}");
    }

    #[test]
    fn without_flock_the_process_decides_on_its_own_host() {
        let (_dir, run) = run();
        assert_eq!(by_address(&run), Liveness::Dead);
        let own = Process::own();
        address(own.clone()).write(&run).unwrap();
        assert_eq!(by_address(&run), Liveness::Live);
        address(Process { start_ticks: Some(1), ..own.clone() }).write(&run).unwrap();
        assert_eq!(by_address(&run), Liveness::Dead);
        address(Process { host: "node7".into(), ..own }).write(&run).unwrap();
        assert_eq!(by_address(&run), Liveness::Elsewhere { host: "node7".into() });
    }
}
