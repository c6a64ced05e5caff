//! A linear warm-up, then a line down to the least learning rate, as PyTorch's `LinearLR` over the steps of the run.

use super::warm_up::WarmUp;
use crate::config::ScheduleConfig;

#[derive(Clone, Debug)]
pub struct Linear(WarmUp);

impl Linear {
    /// From `peak` down, over the `total_steps` of a run.
    pub fn new(config: &ScheduleConfig, peak: f64, total_steps: u64) -> Self {
        Self(WarmUp::new(config, peak, total_steps))
    }

    /// As [`WarmUp::at`].
    pub fn at(&self, step: u64) -> f64 {
        self.0.at(step, |left| left)
    }
}
