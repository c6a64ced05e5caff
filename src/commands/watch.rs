//! How a run is watched from the shell, and what is printed afterwards.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Result;

use super::shell::{Shell, say};
use crate::cli::{DashboardArgs, Drawing, Watching};
use crate::commands::failure::FAILURE;
use crate::format;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::{EpochDone, Outcome};
use crate::run::lock::liveness;
use crate::run::other_trainer::OtherTrainer;
use crate::run::replay::outline;
use crate::run::state::RunState;
use crate::tui::{self, Departure, Place, Session};

/// How a run is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// By the dashboard, on the trainer in a process of its own.
    Dashboard,
    /// By plain lines, from the trainer in this process.
    Foreground,
    /// Not at all.
    Detached,
}

impl Watch {
    /// As asked for; without a terminal that can hold a dashboard, in the foreground.
    pub fn of(watching: &Watching) -> Self {
        if watching.detach {
            Self::Detached
        } else if watching.no_tui || !has_screen() {
            Self::Foreground
        } else {
            Self::Dashboard
        }
    }
}

/// Whether there is a terminal for a dashboard and its keys.
pub fn has_screen() -> bool {
    io::stdin().is_terminal()
        && io::stdout().is_terminal()
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Watches a run whose trainer has a process of its own.
pub fn watch(runs: &RunsDir, run: &RunDir, how: Watch, args: DashboardArgs) -> Result<u8> {
    match how {
        Watch::Dashboard => dashboard(runs, run, args),
        Watch::Foreground | Watch::Detached => {
            print_how_to_return(runs, run)?;
            Ok(0)
        }
    }
}

/// Shows the dashboard until it is left, then prints how the run stands.
pub fn dashboard(runs: &RunsDir, run: &RunDir, args: DashboardArgs) -> Result<u8> {
    session(runs, Place::Run(run.clone()), args)
}

/// Shows that place and those that are gone on to, then prints how the run stands that was looked at last.
pub fn session(runs: &RunsDir, first: Place, args: DashboardArgs) -> Result<u8> {
    let DashboardArgs { drawing: Drawing { images, theme }, mouse } = args;
    let left = tui::run(Session { runs: runs.clone(), first, images, theme, mouse, liveness })?;
    match left.departure {
        // Nobody is left to read anything.
        Departure::HungUp => return Ok(0),
        Departure::Terminated => return Ok(143),
        Departure::Detached | Departure::RunEnded { .. } | Departure::TrainerGone => {}
    }
    let Some(mut run) = left.last_watched else { return Ok(0) };
    if let Err(gone) = run.follow() {
        say(format!("{gone}: nothing of run {} is left", run.name()))?;
        return Ok(FAILURE);
    }
    let run = &*run;
    match left.departure {
        Departure::RunEnded { outcome, .. } => {
            print_result(run)?;
            Ok(if outcome == Outcome::Failed { FAILURE } else { 0 })
        }
        Departure::TrainerGone => {
            if let Some(trainer) = OtherTrainer::of(run) {
                say(format!("{} does not run any more, and has not ended run {}.", trainer.name, run.name()))?;
                return Ok(FAILURE);
            }
            say(format!(
                "The trainer of run {} exited unexpectedly; its log is {}",
                run.name(),
                run.trainer_log().display()
            ))?;
            say(format!("To go on from the latest checkpoint:  {}", Shell::new(runs).line_for("resume", run)))?;
            Ok(FAILURE)
        }
        Departure::Detached | Departure::HungUp | Departure::Terminated => {
            print_how_to_return(runs, run)?;
            Ok(0)
        }
    }
}

fn print_how_to_return(runs: &RunsDir, run: &RunDir) -> Result<()> {
    let shell = Shell::new(runs);
    say(format!("Run {} goes on training without you.", run.name()))?;
    say(format!("  to watch it:  {}", shell.line_for("attach", run)))?;
    match OtherTrainer::of(run) {
        None => say(format!("  to stop it:   {}", shell.line_for("stop", run))),
        Some(_) => Ok(()),
    }
}

/// Prints how a run ended, its best result and that checkpoint.
pub fn print_result(run: &RunDir) -> Result<()> {
    let state = outline(run)?;
    let end = state.end_message.as_deref().unwrap_or("its log has no end");
    say(format!("Run {}: {} at step {}, {end}", run.name(), state.phase, state.step))?;
    if let Some(best) = state.best() {
        let EpochDone { epoch, judged_by, test_accuracy, test_loss, .. } = best;
        let epochs = state.epoch;
        let (accuracy, loss) = (format::decimal(*test_accuracy, 2), format::decimal(*test_loss, 4));
        say(format!("  best epoch {epoch} of {epochs}: {judged_by} accuracy {accuracy} %, {judged_by} loss {loss}"))?;
        if let Some(path) = checkpoint_of(run, &state, best.step) {
            say(format!("  checkpoint {}", path.display()))?;
        }
    } else if let Some(path) = checkpoint_of(run, &state, state.step) {
        say(format!("  checkpoint {}", path.display()))?;
    }
    Ok(())
}

/// The checkpoint saved at that step, if it is still there.
fn checkpoint_of(run: &RunDir, state: &RunState, step: u64) -> Option<PathBuf> {
    let at_step = state.checkpoints.iter().rev().filter(|checkpoint| checkpoint.saved.step == step);
    at_step.map(|checkpoint| run.checkpoints().join(&checkpoint.saved.name)).find(|path| path.is_dir())
}
