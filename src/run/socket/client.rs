//! The other end of the control socket: sends one command and waits for its answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::super::control_file::TrainerAddress;
use super::super::dir::RunDir;
use super::super::event::Command;
use super::super::lock::{Liveness, holder_of_held, liveness};
use super::super::other_trainer::OtherTrainer;
use super::super::process::Process;
use super::protocol::{Line, MAX_LINE_BYTES, PROTOCOL_VERSION, Reply};

/// A command is answered when it is done, and a slow machine may first have to end a step or an evaluation.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// Between two looks at a trainer that has not answered yet.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Error)]
pub enum SendError {
    #[error("run {run} has no live trainer; to go on with it: taper resume {run}")]
    NotLive { run: String },
    #[error("run {run} is trained by {trainer}, which takes no commands from taper")]
    NotOffered { run: String, trainer: String },
    #[error("the trainer of run {run} is on host {host}, and can be commanded only from there")]
    Elsewhere { run: String, host: String },
    #[error("the trainer of run {run} cannot be reached at {socket}: {source}; to save and end it: kill -TERM {pid}")]
    Unreachable { run: String, socket: String, source: io::Error, pid: u32 },
    #[error("the trainer of run {run} found no place for a control socket; to save and end it: kill -TERM {pid}")]
    NoSocket { run: String, pid: u32 },
    #[error("the trainer of run {run} did not answer: {reason}")]
    NoAnswer { run: String, reason: String },
    #[error("the trainer of run {run} cannot be reached: {reason}; only its owner commands a run")]
    Denied { run: String, reason: String },
    /// It may carry out the command when it is continued.
    #[error("the trainer of run {run} is stopped, by SIGSTOP or Ctrl-Z; to let it go on: kill -CONT {pid}")]
    Stopped { run: String, pid: u32 },
}

/// Sends one command to the run's trainer and waits until it is carried out or refused.
pub fn send(dir: &RunDir, command: Command) -> Result<Reply, SendError> {
    let run = dir.name();
    if let Some(trainer) = OtherTrainer::of(dir) {
        return Err(SendError::NotOffered { run, trainer: trainer.name });
    }
    let address = match (liveness(dir), TrainerAddress::look(dir)) {
        (Liveness::Unknown { why }, _) => return Err(SendError::Denied { run, reason: why }),
        (Liveness::Live, Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            let reason = format!("{}: {error}", dir.control().display());
            return Err(SendError::Denied { run, reason });
        }
        (Liveness::Dead, _) => return Err(SendError::NotLive { run }),
        (Liveness::Elsewhere { host }, _) => return Err(SendError::Elsewhere { run, host }),
        (Liveness::Live, Ok(Some(address))) => address,
        (Liveness::Live, Ok(None) | Err(_)) => {
            let who = holder_of_held(dir).map_or("it".to_owned(), |holder| holder.to_string());
            return Err(SendError::NoAnswer { run, reason: format!("{who} is starting or ending; try again") });
        }
    };
    if address.socket.as_os_str().is_empty() {
        return Err(SendError::NoSocket { run, pid: address.process.pid });
    }
    let stopped = || SendError::Stopped { run: dir.name(), pid: address.process.pid };
    if address.process.is_stopped() {
        return Err(stopped());
    }
    let mut stream = UnixStream::connect(&address.socket).map_err(|source| {
        let (run, socket) = (run.clone(), address.socket.display().to_string());
        match source.kind() {
            io::ErrorKind::PermissionDenied => SendError::Denied { run, reason: format!("{socket}: {source}") },
            _ => SendError::Unreachable { run, socket, source, pid: address.process.pid },
        }
    })?;
    let reply = exchange(&mut stream, command, &address.process).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("nothing came for {} s; it may still carry out the command", ANSWER_TIME.as_secs())
            }
            _ => error.to_string(),
        };
        SendError::NoAnswer { run, reason }
    })?;
    reply.ok_or_else(stopped)
}

/// None: the trainer was stopped before it answered.
fn exchange(stream: &mut UnixStream, command: Command, trainer: &Process) -> io::Result<Option<Reply>> {
    let deadline = Instant::now() + ANSWER_TIME;
    stream.set_read_timeout(Some(LOOK_INTERVAL))?;
    stream.set_write_timeout(Some(ANSWER_TIME))?;
    let mut line = serde_json::to_vec(&Line { version: PROTOCOL_VERSION, command })?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    let mut reader = BufReader::new(stream).take(MAX_LINE_BYTES as u64);
    while let Err(error) = reader.read_until(b'\n', &mut answer) {
        let is_silent = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if !is_silent || Instant::now() >= deadline {
            return Err(error);
        }
        if trainer.is_stopped() {
            return Ok(None);
        }
    }
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(Some(serde_json::from_slice(&answer)?))
}
