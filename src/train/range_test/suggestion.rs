//! The learning rate that a range test suggests.

use super::curve::{Curve, Point};

/// Steps that a suggestion is made of, at least.
const LEAST_STEPS: usize = 20;
/// Of the steps, at the beginning: the average is of few losses there.
const SKIPPED_SHARE: usize = 10;
/// Steps at the end that are left out where the loss diverged.
const SKIPPED_END: usize = 5;

/// What a test says of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    Suggested(Suggestion),
    /// The loss never falls by more than its noise.
    NoDescent,
    /// Too few steps were taken.
    TooFewSteps,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion {
    /// Where the smoothed loss falls most in a decade.
    pub steepest: f64,
    /// Where it is least.
    pub minimum: f64,
}

impl Finding {
    pub fn of(curve: &Curve) -> Self {
        let points = curve.points();
        if points.len() < LEAST_STEPS {
            return Self::TooFewSteps;
        }
        let judged = &points[points.len() / SKIPPED_SHARE..points.len() - SKIPPED_END];
        let least = |one: &&Point, other: &&Point| one.smoothed_loss.total_cmp(&other.smoothed_loss);
        let Some(minimum) = judged.iter().min_by(least) else { return Self::TooFewSteps };
        Self::Suggested(Suggestion { steepest: minimum.learning_rate, minimum: minimum.learning_rate })
    }
}
