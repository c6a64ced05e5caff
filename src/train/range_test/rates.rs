//! The learning rates of a range test.

use thiserror::Error;

use crate::config::{LEARNING_RATES, OptimizerKind, check_learning_rate};

/// Learning rates from the first to the last, each the one before times the same factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    first: f64,
    last: f64,
    steps: u64,
}

/// What is wrong with the ends of a range, for people.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct BadRange(String);

/// The range that is tested for a kind of optimizer where none is asked for: some decades around the learning rates that are
/// usual for it.
pub fn usual_range(kind: OptimizerKind) -> (f64, f64) {
    match kind {
        OptimizerKind::Adam | OptimizerKind::AdamW => (1e-6, 1.0),
        OptimizerKind::Sgd => (1e-5, 10.0),
        OptimizerKind::Muon => (1e-4, 10.0),
    }
}

impl Rates {
    /// `from` and `to` where they are given, and the ends of `usual` where not; `steps` is above 1.
    ///
    /// # Errors
    /// An end is no learning rate of a configuration, or the first is not below the last.
    pub fn new(from: Option<f64>, to: Option<f64>, usual: (f64, f64), steps: u64) -> Result<Self, BadRange> {
        for (option, end) in [("--from", from), ("--to", to)] {
            if let Some(Err(complaint)) = end.map(check_learning_rate) {
                return Err(BadRange(format!("{option}: {complaint}")));
            }
        }
        let (first, last) = (from.unwrap_or(usual.0), to.unwrap_or(usual.1));
        if first < last {
            return Ok(Self { first, last, steps });
        }
        Err(BadRange(match to {
            Some(_) => format!("--to {last}: must be above --from {first}, to {}", LEARNING_RATES.end()),
            None => format!("--from {first}: must be below --to {last}; give a higher --to"),
        }))
    }

    pub fn first(self) -> f64 {
        self.first
    }

    pub fn last(self) -> f64 {
        self.last
    }

    pub fn steps(self) -> u64 {
        self.steps
    }

    /// Of a step, from 1.
    pub fn at(self, step: u64) -> f64 {
        if step >= self.steps {
            return self.last;
        }
        let share = step.saturating_sub(1) as f64 / (self.steps - 1) as f64;
        self.first * (self.last / self.first).powf(share)
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    #[test]
    fn rates_are_evenly_spaced_on_a_logarithmic_scale_and_end_exactly() {
        let rates = Rates::new(Some(1e-5), Some(0.3), (0.0, 0.0), 101).unwrap();
        assert_eq!((rates.at(1), rates.at(101)), (1e-5, 0.3));
        let factor = (0.3_f64 / 1e-5).powf(0.01);
        for step in 1..=100 {
            assert!((rates.at(step + 1) / rates.at(step) / factor - 1.0).abs() < 1e-12, "{step}");
        }
    }

    #[test]
    fn usual_ranges_are_ranges() {
        for &kind in OptimizerKind::VARIANTS {
            let (first, last) = usual_range(kind);
            assert_eq!(Rates::new(Some(first), Some(last), (0.0, 0.0), 2), Rates::new(None, None, (first, last), 2));
            Rates::new(Some(first), Some(last), (0.0, 0.0), 2).unwrap();
        }
    }

    #[test]
    fn a_bad_range_is_one_line_that_says_what_is_allowed() {
        let complaint = |from, to| Rates::new(from, to, (1e-6, 1.0), 10).unwrap_err().to_string();
        assert_eq!(complaint(Some(0.0), None), "--from: learning rate 0: must be a number from 1e-12 to 10");
        assert_eq!(complaint(None, Some(11.0)), "--to: learning rate 11: must be a number from 1e-12 to 10");
        assert_eq!(complaint(Some(f64::NAN), None), "--from: learning rate NaN: must be a number from 1e-12 to 10");
        assert_eq!(complaint(Some(0.1), Some(0.1)), "--to 0.1: must be above --from 0.1, to 10");
        assert_eq!(complaint(None, Some(1e-7)), "--to 0.0000001: must be above --from 0.000001, to 10");
        assert_eq!(complaint(Some(2.0), None), "--from 2: must be below --to 1; give a higher --to");
    }
}
