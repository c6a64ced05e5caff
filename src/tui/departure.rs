//! How the terminal was given back.

use crate::run::event::Outcome;
use crate::run::held_dir::HeldRunDir;

/// How a session ended, and the run that was looked at last, if any was.
#[derive(Debug)]
pub struct Left {
    pub departure: Departure,
    pub last_watched: Option<HeldRunDir>,
}

/// How the dashboard was left, and how the run was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// By key or SIGINT, from a run that has not ended.
    Detached(Standing),
    /// By key, after the run had ended.
    RunEnded { outcome: Outcome, message: String },
    /// By key, after the trainer had died.
    TrainerGone,
    /// The terminal is gone: there is nobody to print for.
    HungUp,
    /// By SIGTERM.
    Terminated,
}

/// How a run stands that is left before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    GoesOn,
    /// It was told to pause.
    Pausing,
    Paused,
    /// It is paused until it is told how to go on.
    Diverged,
    /// It was told to save and end.
    Stopping,
}
