//! The loss over the learning rate, and when it has diverged.

/// Of the past, in the smoothed loss.
const WEIGHT: f64 = 0.9;
/// The test ends where the smoothed loss is more than so many times its least, as in fastai and PyTorch Lightning.
const DIVERGED: f64 = 4.0;

/// A step of the test.
#[derive(Clone, Copy, Debug, PartialEq)]
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
#[derive(Clone, Debug, Default)]
pub struct Curve {
    points: Vec<Point>,
    /// With the pull to zero.
    average: f64,
    /// The weights of all losses in `average`.
    total: f64,
}

impl Curve {
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Takes the loss, which is finite, of the next step.
    pub fn push(&mut self, learning_rate: f64, loss: f64) {
        self.average = WEIGHT * self.average + (1.0 - WEIGHT) * loss;
        self.total = WEIGHT * self.total + (1.0 - WEIGHT);
        let (step, smoothed_loss) = (self.points.len() as u64 + 1, self.average / self.total);
        self.points.push(Point { step, learning_rate, loss, smoothed_loss });
    }

    /// Whether the last smoothed loss is far above the least.
    pub fn has_diverged(&self) -> bool {
        let least = self.points.iter().map(|point| point.smoothed_loss).fold(f64::INFINITY, f64::min);
        self.points.last().is_some_and(|last| last.smoothed_loss > DIVERGED * least)
    }
}
