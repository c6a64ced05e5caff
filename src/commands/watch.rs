//! How a run is watched from the shell, and what is printed afterwards.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::shell::{Shell, say};
use crate::cli::Watching;
use crate::commands::failure::FAILURE;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::{EpochDone, Outcome};
use crate::run::held_dir::HeldRunDir;
use crate::run::lock::liveness;
use crate::run::replay::outline;
use crate::run::state::{Phase, RunState};
use crate::terminal_image::Images;
use crate::terminal_kind::TerminalKind;
use crate::tui::{self, Attachment, Departure, Standing};

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
        } else if watching.no_tui || TerminalKind::detect() != TerminalKind::Screen {
            Self::Foreground
        } else {
            Self::Dashboard
        }
    }
}

/// Says why a terminal shows plain lines, where they were not asked for.
pub fn explain_plain_lines(watching: &Watching) -> Result<()> {
    match TerminalKind::detect() {
        TerminalKind::Lines(why) if !watching.no_tui && !watching.detach => {
            say(format!("{why}: plain lines instead of the dashboard; Ctrl-C saves a checkpoint and ends the training"))
        }
        _ => Ok(()),
    }
}

/// Watches a run whose trainer has a process of its own.
pub fn watch(runs: &RunsDir, run: &RunDir, how: Watch, images: Images) -> Result<u8> {
    match how {
        Watch::Dashboard => dashboard(runs, run, images),
        Watch::Foreground | Watch::Detached => {
            print_how_to_return(runs, run, Standing::GoesOn)?;
            Ok(0)
        }
    }
}

/// Shows the dashboard until it is left, then prints how the run stands.
pub fn dashboard(runs: &RunsDir, run: &RunDir, images: Images) -> Result<u8> {
    let mut run = HeldRunDir::hold(run).with_context(|| run.path().display().to_string())?;
    let departure = tui::run(Attachment { run: run.clone(), images, liveness })?;
    if let Err(gone) = run.follow() {
        say(format!("{gone}: nothing of run {} is left", run.name()))?;
        return Ok(FAILURE);
    }
    let run = &*run;
    match departure {
        Departure::Detached(standing) => {
            print_how_to_return(runs, run, standing)?;
            Ok(0)
        }
        Departure::RunEnded { outcome, .. } => {
            print_result(runs, run)?;
            Ok(if outcome == Outcome::Failed { FAILURE } else { 0 })
        }
        Departure::TrainerGone => {
            print_trainer_gone(runs, run)?;
            Ok(FAILURE)
        }
        // Nobody is left to read anything.
        Departure::HungUp => Ok(0),
        Departure::Terminated => Ok(143),
    }
}

/// Prints how the run stands that is left, and what to do about it.
pub fn print_how_to_return(runs: &RunsDir, run: &RunDir, standing: Standing) -> Result<()> {
    let (name, shell) = (run.name(), Shell::new(runs));
    let (told, commands): (_, &[(&str, &str)]) = match standing {
        Standing::GoesOn => (format!("Run {name} goes on training without you."), &[WATCH, STOP]),
        Standing::Pausing => (format!("Run {name} pauses after the step it is in."), &[RESUME, WATCH, STOP]),
        Standing::Paused => (format!("Run {name} stays paused."), &[RESUME, WATCH, STOP]),
        Standing::Diverged => (
            format!("Run {name} has diverged and stays paused."),
            &[
                ("to go back to its last good checkpoint, with half the learning rate:", "rollback"),
                ("to go on with the next batch:", "skip-batch"),
                WATCH,
                STOP,
            ],
        ),
        Standing::Stopping => {
            (format!("Run {name} saves a checkpoint and ends."), &[("to see how it ended:", "attach")])
        }
    };
    say(told)?;
    let width = commands.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    commands.iter().try_for_each(|(what, command)| say(format!("  {what:width$}  {}", shell.line_for(command, run))))
}

const WATCH: (&str, &str) = ("to watch it:", "attach");
const STOP: (&str, &str) = ("to stop it:", "stop");
const RESUME: (&str, &str) = ("to resume it:", "resume");

/// Prints that the trainer is gone without an end in the log.
pub fn print_trainer_gone(runs: &RunsDir, run: &RunDir) -> Result<()> {
    let (name, log) = (run.name(), run.trainer_log());
    say(format!("The trainer of run {name} exited unexpectedly; its log is {}", log.display()))?;
    say(format!("To go on from the latest checkpoint:  {}", Shell::new(runs).line_for("resume", run)))
}

/// Prints how a run ended, its best result and that checkpoint, and how to go on with one that has not done all it was to.
pub fn print_result(runs: &RunsDir, run: &RunDir) -> Result<()> {
    let state = outline(run)?;
    let end = state.end_message.as_deref().unwrap_or("its log has no end");
    say(format!("Run {}: {} at step {}, {end}", run.name(), state.phase, state.step))?;
    if let Some(best) = state.best() {
        let EpochDone { epoch, judged_by, test_accuracy, test_loss, .. } = best;
        let epochs = state.epoch;
        say(format!(
            "  best epoch {epoch} of {epochs}: {judged_by} accuracy {test_accuracy:.2} %, {judged_by} loss {test_loss:.4}"
        ))?;
        if let Some(path) = checkpoint_of(run, &state, best.step) {
            say(format!("  checkpoint {}", path.display()))?;
        }
    } else if let Some(path) = checkpoint_of(run, &state, state.step) {
        say(format!("  checkpoint {}", path.display()))?;
    }
    if matches!(state.phase, Phase::Ended(outcome) if outcome != Outcome::Completed) {
        say(format!("  to go on:  {}", Shell::new(runs).line_for("resume", run)))?;
    }
    Ok(())
}

/// The checkpoint saved at that step, if it is still there.
fn checkpoint_of(run: &RunDir, state: &RunState, step: u64) -> Option<PathBuf> {
    let at_step = state.checkpoints.iter().rev().filter(|checkpoint| checkpoint.saved.step == step);
    at_step.map(|checkpoint| run.checkpoints().join(&checkpoint.saved.name)).find(|path| path.is_dir())
}
