//! Whether a run has anything left to train, and the command line that trains it further.

use super::shell::Shell;
use crate::config::Config;
use crate::run::dir::RunDir;
use crate::run::event::Outcome;
use crate::run::replay::outline;
use crate::run::state::{Phase, RunState};

/// Why `taper resume` would have nothing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NothingLeft {
    /// It is at its end, or further than asked for.
    Done { done: u64, asked: u64, limit: Limit },
    /// By `train.early_stop`.
    StoppedEarly { step: u64, since_best: u64, patience: u64 },
}

/// What a run ends by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Epochs,
    Steps,
}

impl NothingLeft {
    /// None: something is left of what `config` says.
    pub(super) fn of(state: &RunState, config: &Config) -> Option<Self> {
        let started = state.started.as_ref()?;
        let (step, total_steps) = (state.step, config.train.total_steps(started.steps_per_epoch));
        let is_completed = state.phase == Phase::Ended(Outcome::Completed);
        if step > total_steps || (is_completed && step == total_steps) {
            let by_steps = total_steps < config.train.epochs.saturating_mul(started.steps_per_epoch);
            let (done, asked, limit) = if by_steps {
                (step, total_steps, Limit::Steps)
            } else {
                (step.div_ceil(started.steps_per_epoch.max(1)), config.train.epochs, Limit::Epochs)
            };
            return Some(Self::Done { done, asked, limit });
        }
        let patience = config.train.early_stop;
        let epochs = state.epochs.last().map_or(0, |last| last.epoch);
        let since_best = epochs.saturating_sub(state.best().map_or(0, |best| best.epoch));
        (is_completed && patience > 0 && since_best >= patience).then_some(Self::StoppedEarly {
            step,
            since_best,
            patience,
        })
    }

    /// The option with which `taper resume` has something to do.
    pub(super) fn option(&self) -> String {
        match self {
            Self::Done { done, limit: Limit::Epochs, .. } => format!("--epochs {}", done.saturating_mul(2)),
            Self::Done { done, limit: Limit::Steps, .. } => format!("--max-steps {}", done.saturating_mul(2)),
            Self::StoppedEarly { .. } => "--set train.early_stop=0".to_owned(),
        }
    }

    /// For people. `resume`: the command line without its option.
    pub(super) fn message(&self, run: &str, resume: &str) -> String {
        let further = format!("{resume} {}", self.option());
        match self {
            Self::Done { done, asked, limit } => {
                let unit = match limit {
                    Limit::Epochs => "epoch",
                    Limit::Steps => "step",
                };
                if done > asked {
                    format!("run {run} is at {unit} {done}, and {asked} lies behind that; to extend it: {further}")
                } else {
                    let unit = if *done == 1 { unit.to_owned() } else { format!("{unit}s") };
                    format!("run {run} has done its {done} {unit}; to extend it: {further}")
                }
            }
            Self::StoppedEarly { step, since_best, patience } => format!(
                "run {run} ended early at step {step}: no epoch of the last {since_best} was the best, and train.early_stop \
                 is {patience}; to go on all the same: {further}"
            ),
        }
    }
}

/// The command line that trains the run further: with another limit where it has reached its own.
pub(super) fn resume_line(shell: &Shell, run: &RunDir) -> String {
    let resume = shell.line_for("resume", run);
    let nothing_left = || NothingLeft::of(&outline(run).ok()?, &Config::load(Some(&run.config()), &[]).ok()?);
    match nothing_left() {
        Some(nothing_left) => format!("{resume} {}", nothing_left.option()),
        None => resume,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{Event, Record, RunStarted};

    /// Of 50 epochs of 32 steps, at that step.
    fn at(step: u64, outcome: Outcome) -> RunState {
        let mut state = RunState::default();
        let started = Event::RunStarted(Box::new(RunStarted { continued_from: None, ..RunStarted::example() }));
        let ended = Event::RunEnded { step, outcome, message: String::new() };
        for event in [started, ended] {
            state.apply(&Record { time_ms: 1, event });
        }
        state
    }

    fn of(step: u64, outcome: Outcome, epochs: u64, max_steps: Option<u64>) -> Option<String> {
        let mut config = Config::default();
        (config.train.epochs, config.train.max_steps) = (epochs, max_steps);
        NothingLeft::of(&at(step, outcome), &config).map(|left| left.message("wide", "taper resume wide"))
    }

    #[test]
    fn what_has_steps_left_goes_on() {
        assert_eq!(of(22 * 32, Outcome::Stopped, 50, None), None);
        assert_eq!(of(22 * 32, Outcome::Completed, 50, None), None);
        // Killed between its last step and its evaluation.
        assert_eq!(of(50 * 32, Outcome::Interrupted, 50, None), None);
    }

    #[test]
    fn a_run_at_its_end_is_told_with_a_command_that_works() {
        assert_eq!(
            of(22 * 32, Outcome::Completed, 22, None).unwrap(),
            "run wide has done its 22 epochs; to extend it: taper resume wide --epochs 44"
        );
        assert_eq!(
            of(1, Outcome::Completed, 50, Some(1)).unwrap(),
            "run wide has done its 1 step; to extend it: taper resume wide --max-steps 2"
        );
    }

    #[test]
    fn an_epoch_that_lies_behind_is_told_as_that() {
        for outcome in [Outcome::Completed, Outcome::Stopped] {
            assert_eq!(
                of(22 * 32, outcome, 17, None).unwrap(),
                "run wide is at epoch 22, and 17 lies behind that; to extend it: taper resume wide --epochs 44"
            );
        }
        assert_eq!(
            of(700, Outcome::Stopped, 50, Some(699)).unwrap(),
            "run wide is at step 700, and 699 lies behind that; to extend it: taper resume wide --max-steps 1400"
        );
    }
}
