//! A linear warm-up, then a line down to the least learning rate, as PyTorch's `LinearLR` over the steps of the run.

use crate::config::ScheduleConfig;

#[derive(Clone, Debug)]
pub struct Linear {
    peak: f64,
    least: f64,
    warmup_steps: u64,
    total_steps: u64,
}

impl Linear {
    /// From `peak` down, over the `total_steps` of a run.
    pub fn new(config: &ScheduleConfig, peak: f64, total_steps: u64) -> Self {
        Self { peak, least: config.min_learning_rate, warmup_steps: config.warmup_steps, total_steps }
    }

    /// The rate of `step`, from 1: above zero also at the last. Beyond it the rate stays.
    pub fn at(&self, step: u64) -> f64 {
        let done = step.min(self.total_steps).saturating_sub(1);
        if done < self.warmup_steps {
            return self.peak * ((done + 1) as f64 / self.warmup_steps as f64);
        }
        let left = (self.total_steps.max(1) - done) as f64 / (self.total_steps.max(1) - self.warmup_steps) as f64;
        self.least + (self.peak - self.least) * left
    }
}
