//! A number for every step of a run, and what any stretch of them amounts to at a glance: a pyramid of their least, greatest
//! and mean, so that a million steps cost a screen no more than a thousand.

use std::ops::Range;

use super::smoothing::{Average, Smoothing};
use super::spread::Spread;

/// Values, or nodes of the level below, to a node of the pyramid.
const FAN_OUT: usize = 32;
/// It follows the last fifty or so batches.
const SMOOTHING: Smoothing = Smoothing::new(0.98);
/// What was before does not show in the smoothed value: its weight is less than one part in 10¹⁷.
const REMEMBERED_STEPS: usize = 2000;

/// Such as batch losses; the one of step `n` is at index `n - 1`, NaN where the log lacks it.
#[derive(Clone, Debug, Default)]
pub struct StepSeries {
    /// Steps before those of `values` whose values were not read.
    unread: usize,
    values: Vec<f32>,
    /// Level `n` has a node for every `FAN_OUT ^ (n + 1)` values that are complete.
    levels: Vec<Vec<Spread>>,
}

impl StepSeries {
    pub fn push(&mut self, value: f32) {
        self.values.push(value);
        let mut complete = self.values.len();
        for level in 0.. {
            if !complete.is_multiple_of(FAN_OUT) {
                break;
            }
            complete /= FAN_OUT;
            let mut node = Spread::default();
            match level {
                0 => {
                    let values = &self.values[self.values.len() - FAN_OUT..];
                    values.iter().for_each(|&value| node.push(value.into()));
                }
                _ => {
                    let below = &self.levels[level - 1];
                    below[below.len() - FAN_OUT..].iter().for_each(|below| node.add(below));
                }
            }
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(node);
        }
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
            self.unread = self.unread.min(steps);
            self.values.truncate(steps - self.unread);
            let mut complete = self.values.len();
            for level in &mut self.levels {
                complete /= FAN_OUT;
                level.truncate(complete);
            }
        }
    }

    /// Of the steps that were read: all of them but in an outline.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Steps at the beginning whose values were not read: none but in an outline.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Steps so far.
    pub fn len(&self) -> usize {
        self.unread + self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of the finite values at these indices, in a time that hardly depends on their number.
    pub fn spread(&self, steps: Range<usize>) -> Spread {
        let place = |step: usize| step.saturating_sub(self.unread).min(self.values.len());
        let (mut start, mut end) = (place(steps.start), place(steps.end));
        let mut spread = Spread::default();
        let mut add_values = |range: Range<usize>| {
            self.values[range].iter().for_each(|&value| spread.push(value.into()));
        };
        // Ends that are no whole node are added as they are, and what is between them one level further up.
        let (inner_start, inner_end) = (start.div_ceil(FAN_OUT), end / FAN_OUT);
        if inner_start >= inner_end {
            add_values(start..end.max(start));
            return spread;
        }
        add_values(start..inner_start * FAN_OUT);
        add_values(inner_end * FAN_OUT..end);
        (start, end) = (inner_start, inner_end);
        for nodes in &self.levels {
            let (inner_start, inner_end) = (start.div_ceil(FAN_OUT), end / FAN_OUT);
            if inner_start >= inner_end {
                nodes[start..end].iter().for_each(|node| spread.add(node));
                return spread;
            }
            nodes[start..inner_start * FAN_OUT].iter().for_each(|node| spread.add(node));
            nodes[inner_end * FAN_OUT..end].iter().for_each(|node| spread.add(node));
            (start, end) = (inner_start, inner_end);
        }
        spread
    }

    /// Mean of the finite values at these indices; `None` where there are none.
    pub fn mean(&self, steps: Range<usize>) -> Option<f64> {
        self.spread(steps).mean()
    }

    /// The present course: a moving average that a single spike hardly moves.
    pub fn smoothed(&self) -> Option<f64> {
        let last = &self.values[self.values.len().saturating_sub(REMEMBERED_STEPS)..];
        let values = || last.iter().map(|&value| f64::from(value));
        let mut average = Average::new(SMOOTHING, values());
        values().for_each(|value| {
            average.push(value);
        });
        average.value()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::property;

    fn series(values: impl IntoIterator<Item = f32>) -> StepSeries {
        let mut series = StepSeries::default();
        values.into_iter().for_each(|value| series.push(value));
        series
    }

    /// With gaps; sums of whole numbers are exact in any order.
    fn whole_numbers(len: Range<usize>) -> impl Strategy<Value = Vec<f32>> {
        let value = prop_oneof![9 => (-1000..1000_i32).prop_map(|value| value as f32), 1 => Just(f32::NAN)];
        prop::collection::vec(value, len)
    }

    proptest! {
        #![proptest_config(property(200))]

        #[test]
        fn any_stretch_is_as_if_looked_at_step_by_step(values in whole_numbers(0..5000), a in 0..5200_usize, b in 0..5200_usize) {
            let (start, end) = (a.min(b), a.max(b));
            let expected = Spread::of(values.iter().take(end).skip(start).map(|&value| value.into()));
            prop_assert_eq!(series(values).spread(start..end), expected);
        }

        #[test]
        fn truncating_equals_never_having_pushed(values in whole_numbers(0..5000), steps in 0..5200_usize, more in whole_numbers(0..100)) {
            let mut long = series(values.clone());
            long.truncate(steps);
            let mut short = series(values.into_iter().take(steps));
            more.into_iter().for_each(|value| [&mut long, &mut short].into_iter().for_each(|series| series.push(value)));
            prop_assert_eq!(long.len(), short.len());
            prop_assert_eq!(long.smoothed(), short.smoothed());
            let node_counts = |series: &StepSeries| series.levels.iter().map(Vec::len).filter(|&len| len > 0).collect::<Vec<_>>();
            prop_assert_eq!(node_counts(&long), node_counts(&short));
            prop_assert_eq!(long.levels.concat(), short.levels.concat());
        }
    }

    #[test]
    fn the_smoothed_value_starts_at_the_first_and_ignores_gaps() {
        assert_eq!(StepSeries::default().smoothed(), None);
        assert!((series([2.5]).smoothed().unwrap() - 2.5).abs() < 1e-9);
        let smoothed = series([2.0, f32::NAN, 1.0]).smoothed().unwrap();
        assert!((smoothed - (2.0 * 0.98 + 1.0) / 1.98).abs() < 1e-9, "{smoothed}");
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
}
