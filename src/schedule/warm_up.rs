//! A linear warm-up to the peak, and a way down from there to the least learning rate.

use crate::config::ScheduleConfig;

#[derive(Clone, Debug)]
pub struct WarmUp {
    peak: f64,
    least: f64,
    warmup_steps: u64,
    total_steps: u64,
}

impl WarmUp {
    /// To `peak`, and down over the rest of the `total_steps` of a run.
    pub fn new(config: &ScheduleConfig, peak: f64, total_steps: u64) -> Self {
        Self { peak, least: config.min_learning_rate, warmup_steps: config.warmup_steps, total_steps }
    }

    /// The rate of `step`, from 1: above zero also at the last. Beyond it the rate stays. `height` is that of the way down,
    /// from 1 to 0, by the share of it that is left.
    pub fn at(&self, step: u64, height: impl Fn(f64) -> f64) -> f64 {
        let done = step.min(self.total_steps).saturating_sub(1);
        if done < self.warmup_steps {
            return self.peak * ((done + 1) as f64 / self.warmup_steps as f64);
        }
        let left = (self.total_steps.max(1) - done) as f64 / (self.total_steps.max(1) - self.warmup_steps) as f64;
        self.least + (self.peak - self.least) * height(left)
    }
}
