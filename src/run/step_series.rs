//! A number for every step of a run, with the two views of it that stay cheap however long the run gets: a smoothed value
//! and a curve of bounded size.

use std::ops::Range;

/// Weight of the past in the smoothed value: it follows the last fifty or so batches.
const SMOOTHING: f64 = 0.98;
/// The curve is halved when it has this many points: more than any screen has columns.
const CURVE_POINTS: usize = 2048;
/// What was before does not show in the smoothed value: its weight is less than one part in 10¹⁷.
const REMEMBERED_STEPS: usize = 2000;

/// Such as batch losses; the one of step `n` is at index `n - 1`, NaN where the log lacks it.
#[derive(Clone, Debug, Default)]
pub struct StepSeries {
    /// Steps before those of `values` whose values were not read.
    unread: usize,
    values: Vec<f32>,
    average: MovingAverage,
    curve: Curve,
}

impl StepSeries {
    pub fn push(&mut self, value: f32) {
        self.values.push(value);
        self.average.push(value);
        self.curve.push(value);
    }

    /// Goes on to that number of steps, without the values of any of them.
    pub fn pass_over(&mut self, steps: usize) {
        if !self.values.is_empty() {
            *self = Self::default();
        }
        self.unread = steps;
    }

    /// Whether the smoothed value is that of all steps.
    pub fn is_smoothed_value_known(&self) -> bool {
        self.unread == 0 || self.values.len() >= REMEMBERED_STEPS
    }

    /// Forgets the steps after `steps`.
    pub fn truncate(&mut self, steps: usize) {
        if steps < self.len() {
            let unread = self.unread.min(steps);
            let mut values = std::mem::take(&mut self.values);
            values.truncate(steps - unread);
            *self = Self { unread, ..Self::default() };
            for value in values {
                self.push(value);
            }
        }
    }

    /// Of the steps that were read: all of them but in an outline.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Steps so far.
    pub fn len(&self) -> usize {
        self.unread + self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Mean of the finite values at these indices; `None` where there are none.
    pub fn mean(&self, steps: Range<usize>) -> Option<f64> {
        let mut sum = Sum::default();
        let end = steps.end.saturating_sub(self.unread).min(self.values.len());
        self.values[steps.start.saturating_sub(self.unread).min(end)..end].iter().for_each(|&value| sum.push(value));
        sum.mean()
    }

    /// Exponential moving average.
    pub fn smoothed(&self) -> Option<f64> {
        self.average.value()
    }

    /// The whole run as at most 2048 means of equally many steps: (number of the last step in it, mean).
    pub fn curve(&self) -> impl Iterator<Item = (f64, f64)> {
        self.curve.points()
    }
}

/// Without the pull towards zero that a plain exponential average has at its start.
#[derive(Clone, Copy, Debug, Default)]
struct MovingAverage {
    sum: f64,
    weight: f64,
}

impl MovingAverage {
    fn push(&mut self, value: f32) {
        if value.is_finite() {
            self.sum = self.sum * SMOOTHING + f64::from(value) * (1.0 - SMOOTHING);
            self.weight = self.weight * SMOOTHING + (1.0 - SMOOTHING);
        }
    }

    fn value(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    total: f64,
    count: u32,
}

impl Sum {
    fn push(&mut self, value: f32) {
        if value.is_finite() {
            self.total += f64::from(value);
            self.count += 1;
        }
    }

    fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.total / f64::from(self.count))
    }
}

#[derive(Clone, Debug)]
struct Curve {
    /// Steps to a point.
    stride: usize,
    points: Vec<Sum>,
    /// The point being filled, and the steps in it.
    open: Sum,
    open_steps: usize,
}

impl Default for Curve {
    fn default() -> Self {
        Self { stride: 1, points: Vec::new(), open: Sum::default(), open_steps: 0 }
    }
}

impl Curve {
    fn push(&mut self, value: f32) {
        self.open.push(value);
        self.open_steps += 1;
        if self.open_steps < self.stride {
            return;
        }
        self.points.push(std::mem::take(&mut self.open));
        self.open_steps = 0;
        if self.points.len() == CURVE_POINTS {
            self.points = self
                .points
                .chunks_exact(2)
                .map(|pair| Sum { total: pair[0].total + pair[1].total, count: pair[0].count + pair[1].count })
                .collect();
            self.stride *= 2;
        }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let steps = move |index: usize| ((index + 1) * self.stride) as f64;
        self.points.iter().enumerate().filter_map(move |(index, sum)| Some((steps(index), sum.mean()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: impl IntoIterator<Item = f32>) -> StepSeries {
        let mut series = StepSeries::default();
        values.into_iter().for_each(|value| series.push(value));
        series
    }

    #[test]
    fn the_smoothed_value_starts_at_the_first_and_ignores_gaps() {
        assert_eq!(StepSeries::default().smoothed(), None);
        assert!((series([2.5]).smoothed().unwrap() - 2.5).abs() < 1e-9);
        let smoothed = series([2.0, f32::NAN, 1.0]).smoothed().unwrap();
        assert!((smoothed - (2.0 * 0.98 + 1.0) / 1.98).abs() < 1e-9, "{smoothed}");
    }

    #[test]
    fn the_curve_stays_bounded_and_keeps_the_mean() {
        let series = series((0..1_000_000).map(|step| (step % 4) as f32));
        let points: Vec<_> = series.curve().collect();
        assert!((CURVE_POINTS / 2..CURVE_POINTS).contains(&points.len()), "{}", points.len());
        assert!(points.iter().all(|&(_, mean)| (mean - 1.5).abs() < 1e-9));
        assert!(points.last().unwrap().0 > 999_000.0);
    }

    #[test]
    fn what_was_not_read_is_forgotten_after_a_while() {
        let values = |steps: Range<usize>| steps.map(|step| (step % 7) as f32);
        let mut outline = series(values(0..10));
        outline.pass_over(8000);
        values(8000..9999).for_each(|value| outline.push(value));
        assert!(!outline.is_smoothed_value_known());
        values(9999..10_000).for_each(|value| outline.push(value));
        assert!(outline.is_smoothed_value_known());
        let all = series(values(0..10_000));
        assert_eq!((outline.len(), outline.mean(9000..9700)), (all.len(), all.mean(9000..9700)));
        let (known, expected) = (outline.smoothed().unwrap(), all.smoothed().unwrap());
        assert!((known - expected).abs() < 1e-12, "{known} {expected}");
        outline.truncate(9000);
        assert_eq!((outline.len(), outline.values().len()), (9000, 1000));
        outline.truncate(7000);
        assert_eq!((outline.len(), outline.values(), outline.smoothed()), (7000, &[][..], None));
    }

    #[test]
    fn truncating_equals_never_having_pushed() {
        let mut long = series((0..5000).map(|step| step as f32));
        long.truncate(3000);
        let short = series((0..3000).map(|step| step as f32));
        assert_eq!(long.values(), short.values());
        assert_eq!(long.smoothed(), short.smoothed());
        assert!(long.curve().eq(short.curve()));
        long.truncate(4000);
        assert_eq!(long.len(), 3000);
    }
}
