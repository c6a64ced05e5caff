//! The loss over the learning rate, and when it has diverged.

use serde::Serialize;

/// The smoothed loss is an average over the last steps, about this part of all: so it lags by as many decades whatever their
/// number, and weighs the past by 0.98, as fastai and PyTorch Lightning do, in a test of 200.
const AVERAGED_SHARE: f64 = 0.25;
/// The test ends where the smoothed loss is more than so many times its least, as in fastai and PyTorch Lightning.
pub const DIVERGED: f64 = 4.0;

/// A step of the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// From 1.
    pub step: u64,
    /// That it was taken with.
    pub learning_rate: f64,
    /// Mean over its batch, before the step.
    pub loss: f64,
    /// Exponential moving average of the losses up to here, without the pull to zero that a plain one has at its start.
    pub smoothed_loss: f64,
}

/// What a test has measured so far.
#[derive(Clone, Debug)]
pub struct Curve {
    points: Vec<Point>,
    /// Of the past, in the average.
    weight: f64,
    /// With the pull to zero.
    average: f64,
    /// The weights of all losses in `average`.
    total: f64,
}

impl Curve {
    /// Of a test of so many steps, before the first.
    pub fn of(steps: u64) -> Self {
        let averaged = (AVERAGED_SHARE * steps as f64).max(1.0);
        Self { points: vec![], weight: 1.0 - 1.0 / averaged, average: 0.0, total: 0.0 }
    }

    /// Of the past, in the smoothed loss.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Takes the loss, which is finite, of the next step.
    pub fn push(&mut self, learning_rate: f64, loss: f64) {
        self.average = self.weight * self.average + (1.0 - self.weight) * loss;
        self.total = self.weight * self.total + (1.0 - self.weight);
        let (step, smoothed_loss) = (self.points.len() as u64 + 1, self.average / self.total);
        self.points.push(Point { step, learning_rate, loss, smoothed_loss });
    }

    /// Whether the last smoothed loss is far above the least.
    pub fn has_diverged(&self) -> bool {
        let least = self.points.iter().map(|point| point.smoothed_loss).fold(f64::INFINITY, f64::min);
        self.points.last().is_some_and(|last| last.smoothed_loss > DIVERGED * least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That averages over ten steps.
    fn curve(losses: &[f64]) -> Curve {
        let mut curve = Curve::of(40);
        losses.iter().for_each(|&loss| curve.push(1e-3, loss));
        curve
    }

    #[test]
    fn the_average_is_not_pulled_to_zero() {
        let smoothed: Vec<f64> = curve(&[2.0, 1.0, 4.0]).points().iter().map(|point| point.smoothed_loss).collect();
        // By weights 1; 0.9, 1; 0.81, 0.9, 1.
        let expected = [2.0, (0.9 * 2.0 + 1.0) / 1.9, (0.81 * 2.0 + 0.9 * 1.0 + 4.0) / 2.71];
        for (smoothed, expected) in smoothed.iter().zip(expected) {
            assert!((smoothed - expected).abs() < 1e-12, "{smoothed}, expected {expected}");
        }
    }

    #[test]
    fn the_usual_number_of_steps_has_the_usual_weight() {
        assert_eq!([200, 100, 20, 1].map(|steps| Curve::of(steps).weight()), [0.98, 0.96, 0.8, 0.0]);
    }

    #[test]
    fn it_has_diverged_where_it_is_far_above_its_least() {
        assert!(!curve(&[]).has_diverged());
        assert!(!curve(&[2.0; 50]).has_diverged());
        assert!(!curve(&[&[2.0; 50][..], &[7.9; 200]].concat()).has_diverged());
        assert!(curve(&[&[2.0; 50][..], &[8.1; 200]].concat()).has_diverged());
        assert!(!curve(&[&[2.0; 50][..], &[8.1]].concat()).has_diverged(), "one step is a spike");
    }
}
