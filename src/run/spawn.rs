//! Starts the trainer of a run as a process of its own, which outlives the one that started it.
//!
//! The program executes itself anew; a process that holds threads, tokio or CUDA is never forked. Until the child has
//! begun to train, its stdout is a pipe on which it says in one JSON line that it is ready, or why not.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tracing_subscriber::EnvFilter;

use super::dir::{RunDir, RunsDir};
use super::signals::{Asked, CalledOff, Listening, Signals, exit_code};
use crate::config::Config;

/// The hidden command of the trainer process.
pub const TRAINER_COMMAND: &str = "__train";

/// The hidden command of a trainer in the foreground, which makes its run itself, of the configuration in
/// [`CONFIG_VARIABLE`].
pub const FOREGROUND_COMMAND: &str = "__train-here";
pub const CONFIG_VARIABLE: &str = "TAPER_CONFIG_OF_NEW_RUN";

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
    let mut command = Command::new(std::env::current_exe()?);
    let mut args = std::env::args_os();
    // As it was called: so it tells command lines to copy.
    if let Some(program) = args.next() {
        command.arg0(program);
    }
    command.args(args);
    execute_with_threads(command, threads)
}

/// As [`restart_with_threads`], but as the trainer of a run that is yet to be made, in the foreground: what its configuration
/// was read from may be gone. A run that was made before would be left behind by a signal that comes while the program
/// executes itself.
pub fn restart_as_trainer(runs: &RunsDir, name: Option<&str>, config: &Config) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut runs_dir = OsString::from("--runs-dir=");
    runs_dir.push(runs.path());
    command.arg(runs_dir).arg(FOREGROUND_COMMAND).args(name.map(|name| format!("--name={name}")));
    command.env(CONFIG_VARIABLE, config.to_toml());
    execute_with_threads(command, config.run.threads)
}

fn execute_with_threads(mut command: Command, threads: usize) -> io::Result<()> {
    let environment = compute_environment(threads);
    if environment.iter().all(|(variable, value)| std::env::var(variable).is_ok_and(|present| present == *value)) {
        return Ok(());
    }
    Err(command.envs(environment).exec())
}

/// Starts the run's trainer on that number of compute threads, and waits until it trains. `sets`: values of `--set` over the
/// run's configuration. A signal meanwhile is passed on, so that it calls the start off; a later one ends the trainer at once.
pub fn spawn(dir: &RunDir, threads: usize, sets: &[String], listening: Listening) -> Result<(), SpawnError> {
    let mut child = start(dir, threads, sets)?;
    let Listening { runtime, mut signals } = listening;
    let said = child
        .stdout
        .take()
        .map_or(Ok(String::new()), |stdout| runtime.block_on(first_line(&child, stdout.into(), &mut signals)));
    let line = match said {
        Ok(line) => line,
        Err(error) => {
            // What it would do, nobody would hear of.
            child.kill()?;
            child.wait()?;
            return Err(error.into());
        }
    };
    let called_off = |signal| {
        let called_off = CalledOff::new(dir, signal);
        SpawnError::Failed { message: called_off.to_string(), exit_code: called_off.exit_code() }
    };
    match (serde_json::from_str(&line), signals.first()) {
        (Ok(FirstLine::Ready), None) => {
            // Reaps the child, should it end before us.
            let _ = std::thread::Builder::new().spawn(move || child.wait());
            Ok(())
        }
        (Ok(FirstLine::Ready), Some(signal)) => {
            Err(SpawnError::Failed { message: called_off_late(dir), exit_code: exit_code(signal) })
        }
        (Ok(FirstLine::Failed { message, exit_code }), _) => {
            child.wait()?;
            Err(SpawnError::Failed { message, exit_code })
        }
        (Err(_), _) => match (child.wait()?, signals.first()) {
            (_, Some(signal)) => Err(called_off(signal)),
            (status, None) => match ending_signal(status) {
                Some(signal) => Err(called_off(signal)),
                None => {
                    let log = dir.trainer_log().display().to_string();
                    Err(SpawnError::Died { status: status.to_string(), log })
                }
            },
        },
    }
}

fn called_off_late(dir: &RunDir) -> String {
    format!("run {} had just begun to train when it was interrupted: it saves and ends", dir.name())
}

/// SIGINT or SIGTERM, if that ended the process: before it listened.
fn ending_signal(status: ExitStatus) -> Option<Signal> {
    [Signal::INT, Signal::TERM].into_iter().find(|signal| status.signal() == Some(signal.as_raw()))
}

/// What the trainer says first, or nothing if it ends.
async fn first_line(child: &Child, stdout: OwnedFd, signals: &mut Signals) -> io::Result<String> {
    let mut stdout = BufReader::new(pipe::Receiver::from_owned_fd(stdout)?);
    let mut line = String::new();
    let reading = stdout.read_line(&mut line);
    tokio::pin!(reading);
    loop {
        let asked = tokio::select! {
            read = &mut reading => {
                read?;
                return Ok(line);
            }
            asked = signals.next() => asked,
        };
        let pass_on = match asked {
            Asked::ToEnd(signal) => signal,
            Asked::AtOnce(_) => Signal::KILL,
        };
        // Fails when it has ended, of which the pipe tells.
        let _ = kill_process(Pid::from_child(child), pass_on);
    }
}

fn start(dir: &RunDir, threads: usize, sets: &[String]) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(TRAINER_COMMAND)
        .arg(dir.path())
        .args(sets.iter().flat_map(|set| ["--set", set]))
        .envs(compute_environment(threads))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(open_log(dir)?)
        .spawn()
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
