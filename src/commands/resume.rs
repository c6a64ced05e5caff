//! `taper resume`: a paused run goes on; a stopped or dead one restarts from its latest checkpoint.

use anyhow::{Context, Result};

use super::select::named_or_live;
use super::shell::Shell;
use super::steer;
use super::train::{in_foreground, listen};
use super::watch::{self, Watch};
use crate::cli::ResumeArgs;
use crate::commands::failure::UsageError;
use crate::config::{Config, Override};
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::{Command, Outcome};
use crate::run::lock::check_writable;
use crate::run::replay::outline;
use crate::run::spawn;
use crate::run::state::Phase;

pub fn resume(runs: &RunsDir, args: &ResumeArgs) -> Result<u8> {
    let run = named_or_live(runs, args.run.as_deref())?;
    let shell = Shell::new(runs);
    let mut changes = Override::parse_all(&args.set)?;
    changes.extend(args.epochs.as_ref().map(|epochs| Override::option("--epochs", "train.epochs", epochs)));
    changes.extend(args.max_steps.as_ref().map(|steps| Override::option("--max-steps", "train.max_steps", steps)));

    if steer::is_live(&run)? {
        if !changes.is_empty() {
            let stop = shell.line_for("stop", &run);
            let message = format!("run {} is live; to change it, stop it first: {stop}", run.name());
            return Err(UsageError(message).into());
        }
        return steer::give(&run, Command::Resume);
    }

    let config = Config::load(Some(&run.config()), &changes)?;
    let watch = Watch::of(&args.watching);
    if watch == Watch::Foreground {
        spawn::restart_with_threads(config.run.threads).context("cannot restart with the threads of the run")?;
    }
    check_that_something_is_left(&run, &config, &shell)?;
    check_writable(&run)?;
    if watch == Watch::Foreground {
        watch::explain_plain_lines(&args.watching)?;
    }
    // The trainer writes the configuration, once it has found that the run may go on with it.
    match watch {
        Watch::Foreground => in_foreground(runs, &run, config, listen()?),
        how => {
            let sets: Vec<String> = changes.iter().map(Override::to_assignment).collect();
            spawn::spawn(&run, config.run.threads, &sets, listen()?)?;
            watch::watch(runs, &run, how, args.watching.drawing.images)
        }
    }
}

fn check_that_something_is_left(run: &RunDir, config: &Config, shell: &Shell) -> Result<(), anyhow::Error> {
    let state = outline(run)?;
    let Some(started) = state.started.as_ref() else { return Ok(()) };
    let total_steps = config.train.total_steps(started.steps_per_epoch);
    let is_completed = state.phase == Phase::Ended(Outcome::Completed);
    let further = shell.line_for("resume", run);
    let (name, step) = (run.name(), state.step);
    if step > total_steps || (is_completed && step == total_steps) {
        let ended_by_steps = total_steps < config.train.epochs.saturating_mul(started.steps_per_epoch);
        let option = if ended_by_steps { "--max-steps" } else { "--epochs" };
        let done = if step > total_steps {
            format!("{step} steps, more than the {total_steps} of its configuration")
        } else {
            format!("its {total_steps} steps")
        };
        let message = format!("run {name} has done {done}; to extend it: {further} {option} N");
        return Err(UsageError(message).into());
    }
    let patience = config.train.early_stop;
    let epochs = state.epochs.last().map_or(0, |last| last.epoch);
    let since_best = epochs.saturating_sub(state.best().map_or(0, |best| best.epoch));
    if is_completed && patience > 0 && since_best >= patience {
        let message = format!(
            "run {name} ended early at step {step}: no epoch of the last {since_best} was the best, and train.early_stop is \
             {patience}; to go on all the same: {further} --set train.early_stop=0"
        );
        return Err(UsageError(message).into());
    }
    Ok(())
}
