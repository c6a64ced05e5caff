//! How a run is watched from the shell, and what is printed afterwards.

use std::path::PathBuf;

use anyhow::Result;

use super::remaining::resume_line;
use super::shell::{Shell, say};
use crate::cli::{DashboardArgs, Drawing, Watching};
use crate::commands::failure::FAILURE;
use crate::format;
use crate::ranks::launch::Launch;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::{EpochDone, Outcome};
use crate::run::held_dir::HeldRunDir;
use crate::run::lock::liveness;
use crate::run::other_trainer::OtherTrainer;
use crate::run::replay::outline;
use crate::run::state::{Phase, RunState};
use crate::terminal_kind::TerminalKind;
use crate::tui::{self, Departure, Place, Session, Standing};

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
    /// As asked for; without a terminal that can hold a dashboard, in the foreground, as what an MPI launcher has started.
    pub fn of(watching: &Watching) -> Self {
        if Launch::detect().is_some() {
            Self::Foreground
        } else if watching.detach {
            Self::Detached
        } else if watching.no_tui || !has_screen() {
            Self::Foreground
        } else {
            Self::Dashboard
        }
    }
}

/// Whether there is a terminal that can hold a dashboard.
pub fn has_screen() -> bool {
    TerminalKind::detect() == TerminalKind::Screen
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
pub fn watch(runs: &RunsDir, run: &RunDir, how: Watch, args: DashboardArgs) -> Result<u8> {
    match how {
        Watch::Dashboard => dashboard(runs, run, args),
        Watch::Foreground | Watch::Detached => {
            print_how_to_return(runs, run, Standing::GoesOn)?;
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
        Departure::HungUp => Ok(0),
        Departure::Terminated => Ok(143),
        Departure::Detached(standing) => tell(left.last_watched, |run| {
            print_how_to_return(runs, run, standing)?;
            Ok(0)
        }),
        Departure::RunEnded { outcome, .. } => tell(left.last_watched, |run| {
            print_result(runs, run)?;
            Ok(if outcome == Outcome::Failed { FAILURE } else { 0 })
        }),
        Departure::TrainerGone => tell(left.last_watched, |run| {
            print_trainer_gone(runs, run)?;
            Ok(FAILURE)
        }),
    }
}

/// Tells of the run that was looked at last, if one was, where it is now. Returns the exit code.
fn tell(last_watched: Option<HeldRunDir>, print: impl FnOnce(&RunDir) -> Result<u8>) -> Result<u8> {
    let Some(mut run) = last_watched else { return Ok(0) };
    if let Err(gone) = run.follow() {
        say(format!("{gone}: nothing of run {} is left", run.name()))?;
        return Ok(FAILURE);
    }
    print(&run)
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
    // Another program takes no commands.
    let can_steer = OtherTrainer::of(run).is_none();
    let commands: Vec<_> = commands.iter().filter(|(_, command)| can_steer || *command == "attach").collect();
    let width = commands.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    commands
        .into_iter()
        .try_for_each(|(what, command)| say(format!("  {what:width$}  {}", shell.line_for(command, run))))
}

const WATCH: (&str, &str) = ("to watch it:", "attach");
const STOP: (&str, &str) = ("to stop it:", "stop");
const RESUME: (&str, &str) = ("to resume it:", "resume");

/// Prints that the trainer is gone without an end in the log.
pub fn print_trainer_gone(runs: &RunsDir, run: &RunDir) -> Result<()> {
    let (name, log) = (run.name(), run.trainer_log());
    if let Some(trainer) = OtherTrainer::of(run) {
        return say(format!("{} does not run any more, and has not ended run {name}.", trainer.name));
    }
    say(format!("The trainer of run {name} exited unexpectedly; its log is {}", log.display()))?;
    say(format!("To go on from the latest checkpoint:  {}", Shell::new(runs).line_for("resume", run)))
}

/// Prints how a run ended, its best result and that checkpoint, and how to go on with one that has not done all it was to.
pub fn print_result(runs: &RunsDir, run: &RunDir) -> Result<()> {
    let state = outline(run)?;
    let end = state.end_message.as_deref().unwrap_or("its log has no end");
    say(format!("Run {}: {} at step {}, {end}", run.name(), state.phase, state.step))?;
    if let Some(best) = state.best() {
        let EpochDone { epoch, judged_by, test_accuracy, test_time_augmentation, test_loss, .. } = best;
        let augmentation = test_time_augmentation.suffix();
        let epochs = state.epoch;
        let (accuracy, loss) = (format::decimal(*test_accuracy, 2), format::decimal(*test_loss, 4));
        say(format!(
            "  best epoch {epoch} of {epochs}: {judged_by} accuracy {accuracy} %, {judged_by} loss {loss}{augmentation}"
        ))?;
        if let Some(path) = checkpoint_of(run, &state, best.step) {
            say(format!("  checkpoint {}", path.display()))?;
        }
    } else if let Some(path) = checkpoint_of(run, &state, state.step) {
        say(format!("  checkpoint {}", path.display()))?;
    }
    let has_more = matches!(state.phase, Phase::Ended(outcome) if outcome != Outcome::Completed);
    if has_more && OtherTrainer::of(run).is_none() {
        say(format!("  to go on:  {}", resume_line(&Shell::new(runs), run)))?;
    }
    Ok(())
}

/// The checkpoint saved at that step, if it is still there.
fn checkpoint_of(run: &RunDir, state: &RunState, step: u64) -> Option<PathBuf> {
    let at_step = state.checkpoints.iter().rev().filter(|checkpoint| checkpoint.saved.step == step);
    at_step.map(|checkpoint| run.checkpoints().join(&checkpoint.saved.name)).find(|path| path.is_dir())
}
