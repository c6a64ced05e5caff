//! A linear warm-up, then half a cosine down to the least learning rate (Loshchilov and Hutter 2017, section 3, without
//! restarts).

use std::f64::consts::FRAC_PI_2;

use super::warm_up::WarmUp;
use crate::config::ScheduleConfig;

#[derive(Clone, Debug)]
pub struct Cosine(WarmUp);

impl Cosine {
    /// From `peak` down, over the `total_steps` of a run.
    pub fn new(config: &ScheduleConfig, peak: f64, total_steps: u64) -> Self {
        Self(WarmUp::new(config, peak, total_steps))
    }

    /// As [`WarmUp::at`].
    pub fn at(&self, step: u64) -> f64 {
        // (1 + cos(π (1 - left))) / 2, which would cancel where little is left.
        self.0.at(step, |left| (FRAC_PI_2 * left).sin().powi(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(min_learning_rate: f64, warmup_steps: u64, total_steps: u64) -> Vec<f64> {
        let config = ScheduleConfig { min_learning_rate, warmup_steps, ..ScheduleConfig::default() };
        let cosine = Cosine::new(&config, 1.0, total_steps);
        (1..=total_steps).map(|step| cosine.at(step)).collect()
    }

    fn assert_close(ours: &[f64], expected: &[f64]) {
        assert_eq!(ours.len(), expected.len());
        for (step, (ours, expected)) in (1..).zip(ours.iter().zip(expected)) {
            assert!((ours - expected).abs() < 1e-12, "step {step}: {ours}, expected {expected}");
        }
    }

    /// ```python
    /// s = torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=8, eta_min=0.1)
    /// for _ in range(8): print(o.param_groups[0]["lr"]); o.step(); s.step()
    /// ```
    #[test]
    fn equals_pytorch() {
        let expected = [
            1.0,
            0.965_745_789_630_079_1,
            0.868_198_051_533_946_4,
            0.722_207_544_564_290_4,
            0.55,
            0.377_792_455_435_709_6,
            0.231_801_948_466_053_65,
            0.134_254_210_369_920_97,
        ];
        assert_close(&rates(0.1, 0, 8), &expected);
    }

    #[test]
    fn the_warm_up_rises_to_the_peak_and_the_cosine_falls_from_there() {
        let rates = rates(0.0, 4, 12);
        assert_close(&rates[..5], &[0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!(rates[4..].is_sorted_by(|a, b| a > b));
        assert_close(&rates[8..9], &[0.5]);
    }

    #[test]
    fn no_rate_is_zero_and_the_last_one_stays() {
        let config = ScheduleConfig { warmup_steps: 3, ..ScheduleConfig::default() };
        for total_steps in [1, 3, 4, 1_000_000_000_000] {
            let cosine = Cosine::new(&config, 1e-12, total_steps);
            assert!(cosine.at(total_steps) > 0.0, "{total_steps}");
            assert_eq!(cosine.at(total_steps + 1), cosine.at(total_steps));
        }
    }
}
