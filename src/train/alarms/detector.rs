//! What a detector of an alarm is shown, and how it answers.

use serde_json::Value;

use super::super::step_result::StepResult;
use crate::config::Config;
use crate::run::event::{EpochDone, RankStarted};
use crate::run::held_dir::HeldRunDir;
use crate::run::log::Room;

/// What detectors are made for.
pub struct Settings<'a> {
    pub config: &'a Config,
    pub dir: &'a HeldRunDir,
    pub checkpoint_bytes: u64,
    /// Empty of one process.
    pub ranks: &'a [RankStarted],
}

pub struct EpochResult<'a> {
    pub done: &'a EpochDone,
    /// Channels of each block, from 0, that were active nowhere in the epoch's evaluation.
    pub dead_channels: &'a [Vec<usize>],
    /// The schedule's, without the user's factor.
    pub next_learning_rate: f64,
}

/// Is shown every step and epoch. Returns a message when the alarm is to be raised.
pub trait Detector: Send {
    /// `room`: of the log.
    fn after_step(&mut self, _step: &StepResult, _room: Room) -> Option<String> {
        None
    }

    fn after_epoch(&mut self, _epoch: &EpochResult) -> Option<String> {
        None
    }

    /// What it counts over epochs, if it does: saved with each checkpoint.
    fn counters(&self) -> Option<Value> {
        None
    }

    /// Takes what [`Detector::counters`] gave.
    fn restore(&mut self, _counters: &Value) -> serde_json::Result<()> {
        Ok(())
    }
}
