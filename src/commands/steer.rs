//! `taper pause`, `checkpoint`, `probe`, `rollback`, `skip-batch`, `stop` and `set-lr`: commands to a live trainer.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::remaining::resume_line;
use super::select::named_or_live;
use super::shell::{Shell, say};
use crate::cli::SetLrArgs;
use crate::commands::failure::UsageError;
use crate::config::check_learning_rate;
use crate::run::control_file::TrainerAddress;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::Command;
use crate::run::lock::{Liveness, liveness};
use crate::run::replay::has_ended;
use crate::run::socket::{Reply, SendError, send};

/// Sends a command and says what came of it.
pub fn command(runs: &RunsDir, name: Option<&str>, command: Command) -> Result<u8> {
    let run = named_or_live(runs, name)?;
    give(runs, &run, command)
}

/// Sends a command to that run.
pub fn give(runs: &RunsDir, run: &RunDir, command: Command) -> Result<u8> {
    let sent = send(run, command);
    if let Err(error @ SendError::NotOffered { .. }) = sent {
        return Err(error.into());
    }
    if !matches!(sent, Ok(Reply::Done { .. })) && !is_live(run)? {
        // It ended meanwhile.
        return not_live(runs, run, command);
    }
    match sent {
        Ok(Reply::Done { message }) => say(format!("{}: {message}", run.name()))?,
        Ok(Reply::Error { message }) => bail!("{}: {message}", run.name()),
        Err(error) => return Err(error.into()),
    }
    Ok(0)
}

fn not_live(runs: &RunsDir, run: &RunDir, command: Command) -> Result<u8> {
    let name = run.name();
    match command {
        // To stop twice is to stop once.
        Command::Stop => say(format!("{name}: it has no live trainer")).map(|()| 0),
        _ => {
            let resume = resume_line(&Shell::new(runs), run);
            Err(UsageError(format!("run {name} has no live trainer; to go on with it: {resume}")).into())
        }
    }
}

/// How long a trainer may take to begin, or to be gone when it has ended its run.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the run has a trainer that takes commands. One that is starting is waited for until it takes them, and one that
/// has ended the run until it is gone.
pub fn is_live(run: &RunDir) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let is_ready = match liveness(run) {
            Liveness::Dead => return Ok(false),
            Liveness::Elsewhere { .. } => true,
            Liveness::Unknown { why } => return Err(SendError::Denied { run: run.name(), reason: why }.into()),
            Liveness::Live => TrainerAddress::read(run).is_some() && !has_ended(run)?,
        };
        if is_ready || Instant::now() >= deadline {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn set_learning_rate(runs: &RunsDir, args: &SetLrArgs) -> Result<u8> {
    let learning_rate = args.learning_rate;
    check_learning_rate(learning_rate).map_err(UsageError)?;
    command(runs, args.run.as_deref(), Command::SetLearningRate { learning_rate })
}
