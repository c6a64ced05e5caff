//! `taper resume`: a paused run goes on; a stopped or dead one restarts from its latest checkpoint.

use anyhow::{Context, Result};

use super::select::named_or_live;
use super::shell::Shell;
use super::steer;
use super::train::in_foreground;
use super::watch::{self, Watch};
use crate::cli::ResumeArgs;
use crate::commands::failure::UsageError;
use crate::config::{Config, Override};
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::{Command, Outcome};
use crate::run::lock::{Liveness, RunLock, check_writable, liveness};
use crate::run::replay::replay;
use crate::run::spawn;
use crate::run::state::Phase;

pub fn resume(runs: &RunsDir, args: &ResumeArgs) -> Result<u8> {
    let run = named_or_live(runs, args.run.as_deref())?;
    let extension: Vec<Override> = [
        args.epochs.as_ref().map(|epochs| Override::option("--epochs", "train.epochs", epochs)),
        args.max_steps.as_ref().map(|steps| Override::option("--max-steps", "train.max_steps", steps)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let shell = Shell::new(runs);

    if liveness(&run) != Liveness::Dead {
        if !extension.is_empty() {
            let stop = shell.line_for("stop", &run);
            let message = format!("run {} is live; to extend it, stop it first: {stop}", run.name());
            return Err(UsageError(message).into());
        }
        return steer::give(&run, Command::Resume);
    }

    let config = Config::load(Some(&run.config()), &extension)?;
    let watch = Watch::of(&args.watching);
    if watch == Watch::Foreground {
        spawn::restart_with_threads(config.run.threads).context("cannot restart with the threads of the run")?;
    }
    check_that_something_is_left(&run, &config, &shell)?;
    check_writable(&run)?;
    if !extension.is_empty() {
        // Of two at once, the later must not change the file under the trainer of the earlier.
        let _lock = RunLock::acquire(&run)?;
        run.write_config(&config).with_context(|| run.config().display().to_string())?;
    }
    match watch {
        Watch::Foreground => in_foreground(&run, config),
        how => {
            spawn::spawn(&run, config.run.threads)?;
            watch::watch(runs, &run, how, args.watching.drawing.images)
        }
    }
}

fn check_that_something_is_left(run: &RunDir, config: &Config, shell: &Shell) -> Result<(), anyhow::Error> {
    let state = replay(run)?;
    let Some(started) = state.started.as_ref() else { return Ok(()) };
    let total_steps = config.train.total_steps(started.steps_per_epoch);
    let is_complete = state.phase == Phase::Ended(Outcome::Completed) && state.step >= total_steps;
    if state.step <= total_steps && !is_complete {
        return Ok(());
    }
    let ended_by_steps = total_steps < config.train.epochs.saturating_mul(started.steps_per_epoch);
    let option = if ended_by_steps { "--max-steps" } else { "--epochs" };
    let further = shell.line_for("resume", run);
    let message = format!("run {} has done its {total_steps} steps; to extend it: {further} {option} N", run.name());
    Err(UsageError(message).into())
}
