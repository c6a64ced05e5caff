//! The user's factor on the learning rate of the schedule.

use serde::{Deserialize, Serialize};

/// A quotient: the rate that was asked for, over that of the schedule at the time. One float would not do, because of two
/// factors beside each other one may give a rate below the wanted one and the next a rate above it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserFactor {
    wanted: f64,
    scheduled: f64,
}

impl UserFactor {
    /// The factor that makes `wanted` of the rate `scheduled`, to the bit. Both are above 0.
    pub fn reaching(wanted: f64, scheduled: f64) -> Self {
        Self { wanted, scheduled }
    }

    /// The rate `scheduled` times the factor.
    pub fn of(self, scheduled: f64) -> f64 {
        self.wanted * (scheduled / self.scheduled)
    }

    pub fn is_one(&self) -> bool {
        self.wanted == self.scheduled
    }
}

impl Default for UserFactor {
    /// One: the rate is the schedule's.
    fn default() -> Self {
        Self { wanted: 1.0, scheduled: 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_reached_to_the_bit() {
        let mut rates: Vec<f64> = vec![1e-12, 1e-3, 0.1 + 0.2, 10.0];
        rates.extend((1..200).map(|n| 1e-3 / f64::from(n)));
        for &scheduled in &rates {
            assert_eq!(UserFactor::default().of(scheduled), scheduled);
            for &wanted in &rates {
                let factor = UserFactor::reaching(wanted, scheduled);
                assert_eq!(factor.of(scheduled), wanted, "{scheduled}");
                assert_eq!(factor.of(scheduled / 2.0), wanted / 2.0, "a halved rate stays exact");
            }
        }
    }
}
