//! `taper pause`, `checkpoint`, `probe`, `rollback`, `skip-batch`, `stop` and `set-lr`: commands to a live trainer.

use anyhow::{Result, bail};

use super::select::named_or_live;
use super::shell::say;
use crate::cli::SetLrArgs;
use crate::commands::failure::UsageError;
use crate::config::check_learning_rate;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::Command;
use crate::run::socket::{Reply, SendError, send};

/// Sends a command and says what came of it.
pub fn command(runs: &RunsDir, name: Option<&str>, command: Command) -> Result<u8> {
    let run = named_or_live(runs, name)?;
    give(&run, command)
}

/// Sends a command to that run.
pub fn give(run: &RunDir, command: Command) -> Result<u8> {
    match (send(run, command), command) {
        (Ok(Reply::Done { message }), _) => say(format!("{}: {message}", run.name()))?,
        (Ok(Reply::Error { message }), _) => bail!("{}: {message}", run.name()),
        // To stop twice is to stop once.
        (Err(SendError::NotLive { run }), Command::Stop) => say(format!("{run}: it has no live trainer"))?,
        (Err(error), _) => return Err(error.into()),
    }
    Ok(0)
}

pub fn set_learning_rate(runs: &RunsDir, args: &SetLrArgs) -> Result<u8> {
    let learning_rate = args.learning_rate;
    check_learning_rate(learning_rate).map_err(UsageError)?;
    command(runs, args.run.as_deref(), Command::SetLearningRate { learning_rate })
}
