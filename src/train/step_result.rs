//! What the loop tells of a step: to the log, to the alarms, to the sums of an epoch.

use crate::run::step_time::StepTime;

/// What one optimizer step did.
pub struct StepResult {
    pub epoch: u64,
    pub step: u64,
    pub loss: f32,
    pub gradient_norm: f32,
    pub correct: u64,
    pub samples: u64,
    pub time: StepTime,
    /// Duration of the whole step.
    pub train_secs: f64,
    /// The learning rate of the step, where the schedule moves it each step.
    pub moving_learning_rate: Option<f64>,
    /// What each rank computed, without waiting for others; empty of one process.
    pub rank_secs: Vec<f32>,
}
