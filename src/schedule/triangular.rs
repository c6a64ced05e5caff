//! A line up to the peak, and one down from there: one triangle of Smith 2017, with ends of their own height.

use crate::config::ScheduleConfig;

#[derive(Clone, Debug)]
pub struct Triangular {
    first: f64,
    peak: f64,
    last: f64,
    /// Steps before the peak; it need not fall on one.
    rise: f64,
    total_steps: u64,
}

impl Triangular {
    /// With its peak of `peak` within the `total_steps` of a run. It would come to its end one step after the last.
    pub fn new(config: &ScheduleConfig, peak: f64, total_steps: u64) -> Self {
        Self {
            first: peak / config.div_factor,
            peak,
            last: config.min_learning_rate,
            rise: config.peak_fraction * total_steps as f64,
            total_steps,
        }
    }

    /// The rate of `step`, from 1: above zero also at the last. Beyond it the rate stays.
    pub fn at(&self, step: u64) -> f64 {
        let done = step.min(self.total_steps).saturating_sub(1) as f64;
        if done < self.rise {
            return self.first + (self.peak - self.first) * (done / self.rise);
        }
        let left = (self.total_steps.max(1) as f64 - done) / (self.total_steps.max(1) as f64 - self.rise);
        self.last + (self.peak - self.last) * left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_may_be_the_first_step_or_come_after_the_last() {
        let rates = |peak_fraction| -> Vec<i64> {
            let config = ScheduleConfig { peak_fraction, div_factor: 5.0, ..ScheduleConfig::default() };
            let triangular = Triangular::new(&config, 1.0, 4);
            (1..=5).map(|step| (100.0 * triangular.at(step)).round() as i64).collect()
        };
        assert_eq!(rates(0.0), [100, 75, 50, 25, 25]);
        assert_eq!(rates(1.0), [20, 40, 60, 80, 80]);
        assert_eq!(rates(0.5), [20, 60, 100, 50, 50]);
    }
}
