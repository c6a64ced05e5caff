//! PyTorch's `OneCycleLR` in two phases (Smith and Topin 2018): up to the peak, and down far below where it began.

use std::f64::consts::PI;

use crate::config::{Anneal, ScheduleConfig};

#[derive(Clone, Debug)]
pub struct OneCycle {
    anneal: Anneal,
    first: f64,
    peak: f64,
    last: f64,
    /// Where the peak is, counting steps from 0; it need not fall on one, and may lie before the first.
    peak_at: f64,
    /// The last step of the run, counted from 0.
    last_at: u64,
}

impl OneCycle {
    /// With its peak of `peak`, over the `total_steps` of a run.
    pub fn new(config: &ScheduleConfig, peak: f64, total_steps: u64) -> Self {
        let first = peak / config.div_factor;
        Self {
            anneal: config.anneal,
            first,
            peak,
            last: first / config.final_div_factor,
            peak_at: config.peak_fraction * total_steps as f64 - 1.0,
            last_at: total_steps.saturating_sub(1),
        }
    }

    /// The rate of `step`, from 1. Beyond the last it stays.
    pub fn at(&self, step: u64) -> f64 {
        let at = step.saturating_sub(1).min(self.last_at) as f64;
        if at < self.peak_at {
            return self.between(self.first, self.peak, at / self.peak_at);
        }
        match self.last_at as f64 - self.peak_at {
            // The last step is the peak.
            0.0 => self.peak,
            // Where little is left, the rounding of a line may pass its end.
            fall => self.between(self.peak, self.last, (at - self.peak_at) / fall).max(self.last),
        }
    }

    /// In PyTorch's order of operations.
    fn between(&self, from: f64, to: f64, share: f64) -> f64 {
        match self.anneal {
            Anneal::Cos => to + (from - to) / 2.0 * ((PI * share).cos() + 1.0),
            Anneal::Linear => (to - from) * share + from,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_any_length_has_a_rate_above_zero() {
        for anneal in [Anneal::Cos, Anneal::Linear] {
            for peak_fraction in [0.0, 0.3, 0.5, 1.0] {
                let config =
                    ScheduleConfig { anneal, peak_fraction, final_div_factor: 1e9, ..ScheduleConfig::default() };
                for total_steps in [1, 2, 3, 10, 1_000_000_000_000] {
                    let one_cycle = OneCycle::new(&config, 1e-12, total_steps);
                    for step in [1, 2, total_steps / 2 + 1, total_steps] {
                        let rate = one_cycle.at(step);
                        assert!(rate > 0.0 && rate <= 1e-12, "{config:?}, {step} of {total_steps}: {rate}");
                    }
                    assert_eq!(one_cycle.at(total_steps + 1), one_cycle.at(total_steps));
                }
            }
        }
    }
}
