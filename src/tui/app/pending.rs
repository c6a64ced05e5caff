//! What was asked of the trainer and is not a fact yet.

use crate::run::event::Command;
use crate::run::state::{Phase, RunState};

/// Intents; only the log makes facts of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pending {
    pub pause: Option<PauseIntent>,
    pub checkpoint: bool,
    pub probe: bool,
    pub stop: bool,
    pub learning_rate: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseIntent {
    Pause,
    Resume,
}

impl Pending {
    /// Notes that `command` is on its way.
    pub fn sent(&mut self, command: Command) {
        match command {
            Command::Pause => self.pause = Some(PauseIntent::Pause),
            Command::Resume => self.pause = Some(PauseIntent::Resume),
            Command::Checkpoint => self.checkpoint = true,
            Command::Probe => self.probe = true,
            Command::Stop => self.stop = true,
            Command::SetLearningRate { learning_rate } => self.learning_rate = Some(learning_rate),
            Command::Rollback | Command::SkipBatch => {}
        }
    }

    /// Forgets what was refused, and what the log does not tell. A command given later stays pending.
    pub fn answered(&mut self, command: Command, refused: bool) {
        match command {
            Command::Checkpoint => self.checkpoint = false,
            Command::Probe => self.probe = false,
            Command::Pause if refused && self.pause == Some(PauseIntent::Pause) => self.pause = None,
            Command::Resume if refused && self.pause == Some(PauseIntent::Resume) => self.pause = None,
            Command::Stop if refused => self.stop = false,
            Command::SetLearningRate { learning_rate } if refused && self.learning_rate == Some(learning_rate) => {
                self.learning_rate = None;
            }
            Command::Pause
            | Command::Resume
            | Command::Stop
            | Command::SetLearningRate { .. }
            | Command::Rollback
            | Command::SkipBatch => {}
        }
    }

    /// Forgets intents that have become facts of `run`.
    pub fn settle(&mut self, run: &RunState) {
        let fact = if run.phase == Phase::Paused { PauseIntent::Pause } else { PauseIntent::Resume };
        if self.pause == Some(fact) {
            self.pause = None;
        }
        if let (Some(wanted), Some(actual)) = (self.learning_rate, run.learning_rate)
            && (wanted - actual).abs() <= 1e-9 * actual.abs()
        {
            self.learning_rate = None;
        }
    }
}
