//! Starts the trainer of a run as a process of its own, which outlives the one that started it.
//!
//! The program executes itself anew; a process that holds threads, tokio or CUDA is never forked. Until the child has
//! begun to train, its stdout is a pipe on which it says in one JSON line that it is ready, or why not.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing_subscriber::EnvFilter;

use super::dir::RunDir;

/// The hidden command of the trainer process.
pub const TRAINER_COMMAND: &str = "__train";

/// candle and rayon take the number of compute threads from here, and candle from nowhere else.
pub const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// How many turns an idle candle thread spins before it sleeps. By default it spins long enough to take a core from busy
/// threads.
const SPIN_VARIABLE: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";

/// glibc's allocator gives memory back to the system at the end of each step, which zeroes it page by page for the next;
/// with these it keeps blocks up to 32 MiB, the most that it can. Other C libraries do not look here.
const ALLOCATOR_VARIABLE: &str = "GLIBC_TUNABLES";
const ALLOCATOR_TUNABLES: &str = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=1073741824";

/// The environment of a process that computes. Settings of spinning and memory that are there already stay.
fn compute_environment(threads: usize) -> [(&'static str, String); 3] {
    let present = |variable: &str| std::env::var(variable).ok().filter(|value| !value.is_empty());
    let tunables = match present(ALLOCATOR_VARIABLE) {
        None => ALLOCATOR_TUNABLES.to_owned(),
        Some(tunables) if tunables.contains("glibc.malloc.") => tunables,
        Some(tunables) => format!("{tunables}:{ALLOCATOR_TUNABLES}"),
    };
    [
        (THREADS_VARIABLE, threads.to_string()),
        (SPIN_VARIABLE, present(SPIN_VARIABLE).unwrap_or_else(|| "1".to_owned())),
        (ALLOCATOR_VARIABLE, tunables),
    ]
}

#[derive(Debug, Error)]
pub enum SpawnError {
    /// As the trainer says it.
    #[error("{message}")]
    Failed { message: String, exit_code: u8 },
    #[error("the trainer ended before it began to train ({status}); {log} may tell why")]
    Died { status: String, log: String },
    #[error("cannot start a trainer: {0}")]
    Io(#[from] io::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "trainer", rename_all = "snake_case")]
enum FirstLine {
    Ready,
    Failed { message: String, exit_code: u8 },
}

/// Gives this process the environment of a trainer with that number of compute threads, by executing the same command line
/// again unless it has it already. Call it before anything that must not be done twice.
pub fn restart_with_threads(threads: usize) -> io::Result<()> {
    execute_with_threads(threads, std::env::args_os().skip(1))
}

/// As [`restart_with_threads`], but as the trainer of a new run, in the foreground: what its configuration was read from may
/// be gone.
pub fn restart_as_trainer(dir: &RunDir, threads: usize) -> io::Result<()> {
    let args = [TRAINER_COMMAND.as_ref(), "--foreground".as_ref(), dir.path().as_os_str()];
    execute_with_threads(threads, args.map(OsStr::to_owned))
}

fn execute_with_threads(threads: usize, args: impl IntoIterator<Item = OsString>) -> io::Result<()> {
    let environment = compute_environment(threads);
    if environment.iter().all(|(variable, value)| std::env::var(variable).is_ok_and(|present| present == *value)) {
        return Ok(());
    }
    Err(Command::new(std::env::current_exe()?).args(args).envs(environment).exec())
}

/// Starts the run's trainer on that number of compute threads, and waits until it trains. `sets`: values of `--set` over the
/// run's configuration.
pub fn spawn(dir: &RunDir, threads: usize, sets: &[String]) -> Result<(), SpawnError> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(TRAINER_COMMAND)
        .arg(dir.path())
        .args(sets.iter().flat_map(|set| ["--set", set]))
        .envs(compute_environment(threads))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(open_log(dir)?)
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    match serde_json::from_str(&line) {
        Ok(FirstLine::Ready) => {
            // Reaps the child, should it end before us: a zombie would pass for a live process.
            std::thread::spawn(move || child.wait());
            Ok(())
        }
        Ok(FirstLine::Failed { message, exit_code }) => {
            child.wait()?;
            Err(SpawnError::Failed { message, exit_code })
        }
        Err(_) => {
            let status = child.wait()?.to_string();
            Err(SpawnError::Died { status, log: dir.trainer_log().display().to_string() })
        }
    }
}

/// The child's side: the process that started it waits for its first line.
#[derive(Debug)]
pub struct Handshake {
    log: File,
}

impl Handshake {
    /// Leaves the session of the terminal, so that its end does not end the child. The child calls this first.
    pub fn detach(dir: &RunDir) -> io::Result<Self> {
        // Fails only for the leader of a process group, who then has left already.
        let _ = rustix::process::setsid();
        Ok(Self { log: open_log(dir)? })
    }

    /// Training begins; stdout is the trainer's log from here on.
    pub fn ready(self) {
        self.say(&FirstLine::Ready);
    }

    pub fn failed(self, message: String, exit_code: u8) {
        self.say(&FirstLine::Failed { message, exit_code });
    }

    /// The process that started us may be gone by now, which is no error.
    fn say(self, line: &FirstLine) {
        let _ = serde_json::to_writer(io::stdout(), line);
        let _ = io::stdout().write_all(b"\n").and_then(|()| io::stdout().flush());
        let _ = rustix::stdio::dup2_stdout(&self.log);
    }
}

/// Sends what the program traces to the run's `trainer.log`; `TAPER_LOG` filters it.
pub fn trace_to_log(dir: &RunDir) -> io::Result<()> {
    let filter = EnvFilter::try_from_env("TAPER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // An error means that there is a subscriber already: it stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        // The log's disk may be full: an error that is printed to stderr, the same file, would panic.
        .log_internal_errors(false)
        .with_writer(Mutex::new(open_log(dir)?))
        .try_init();
    Ok(())
}

fn open_log(dir: &RunDir) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(dir.trainer_log())
}
