//! A metric over a run, as charts, comparisons and exports look at it.

use std::ops::Range;

use super::event::EpochDone;
use super::metric::Metric;
use super::smoothing::Average;
pub use super::smoothing::Smoothing;
use super::spread::Spread;
use super::state::RunState;
use super::step_clock::{Entry, Moment, StepClock};
use super::step_series::StepSeries;

/// A value, and when it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Optimizer steps taken by then.
    pub step: u64,
    /// The same in epochs: 1.5 is the middle of the second.
    pub epoch: f64,
    /// Time spent on the run by then, pauses excluded; 0 where the log was read in outline.
    pub elapsed_secs: f64,
    /// Unix; 0 where the log was read in outline.
    pub time_ms: u64,
    pub value: f64,
}

/// What the points of a series are laid out along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum XAxis {
    Step,
    #[default]
    Epoch,
    /// Seconds spent on the run, pauses excluded.
    Time,
}

impl XAxis {
    /// After the last the first again.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Epoch => Self::Step,
            Self::Step => Self::Time,
            Self::Time => Self::Epoch,
        }
    }
}

impl Point {
    pub fn x(&self, axis: XAxis) -> f64 {
        match axis {
            XAxis::Step => self.step as f64,
            XAxis::Epoch => self.epoch,
            XAxis::Time => self.elapsed_secs,
        }
    }
}

/// The values in one column of a chart, of which there is one at least.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The middle of the values that are in it.
    pub x: f64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub count: u64,
}

/// Of one metric of one run. Points lie in the order of time, and so of every [`XAxis`].
#[derive(Clone, Debug)]
pub struct Series<'a> {
    values: Values<'a>,
    clock: &'a StepClock,
    /// At least 1.
    steps_per_epoch: f64,
}

#[derive(Clone, Debug)]
enum Values<'a> {
    /// One for each step.
    Steps(&'a StepSeries),
    /// One for each entry of the clock.
    Clock(fn(&Entry) -> Option<f64>),
    /// One for each epoch.
    Epochs(&'a [EpochDone], fn(&EpochDone) -> f64),
    Points(Vec<Point>),
}

impl RunState {
    /// All values of a metric so far: none where the run's log does not tell it.
    pub fn series(&self, metric: Metric) -> Series<'_> {
        let clock = self.clock();
        let values = match metric {
            Metric::BatchLoss => Values::Steps(&self.losses),
            Metric::GradientNorm => Values::Steps(&self.gradient_norms),
            Metric::LearningRate => Values::Clock(|entry| entry.learning_rate),
            Metric::StepTime => Values::Clock(Entry::step_millis),
            Metric::Throughput => Values::Clock(Entry::images_per_sec),
            Metric::TrainLoss => Values::Epochs(&self.epochs, |epoch| epoch.train_loss),
            Metric::TestLoss => Values::Epochs(&self.epochs, |epoch| epoch.test_loss),
            Metric::TrainAccuracy => Values::Epochs(&self.epochs, |epoch| epoch.train_accuracy),
            Metric::TestAccuracy => Values::Epochs(&self.epochs, |epoch| epoch.test_accuracy),
            Metric::System(metric) => {
                let points = self.system.points(metric).into_iter().map(|(elapsed_secs, value)| {
                    let step = clock.step_at(elapsed_secs);
                    let time_ms = clock.at(step).time_ms;
                    Point { step, epoch: self.in_epochs(step), elapsed_secs, time_ms, value }
                });
                Values::Points(points.collect())
            }
        };
        Series { values, clock, steps_per_epoch: self.steps_per_epoch() }
    }

    /// How many epochs so many steps are.
    pub fn in_epochs(&self, step: u64) -> f64 {
        step as f64 / self.steps_per_epoch()
    }

    /// At least 1.
    fn steps_per_epoch(&self) -> f64 {
        self.started.as_ref().map_or(1.0, |started| started.steps_per_epoch.max(1) as f64)
    }
}

impl Series<'_> {
    /// The points that have a finite value, oldest first.
    pub fn points(&self) -> impl DoubleEndedIterator<Item = Point> {
        (0..self.len()).map(|index| self.point(index)).filter(|point| point.value.is_finite())
    }

    /// Steps, epochs or samples so far, those without a finite value among them.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Steps(steps) => steps.values().len(),
            Values::Clock(_) => self.clock.entries().len(),
            Values::Epochs(epochs, _) => epochs.len(),
            Values::Points(points) => points.len(),
        }
    }

    /// Whether it has no finite value.
    pub fn is_empty(&self) -> bool {
        self.spread(0..self.len()).count == 0
    }

    pub fn last(&self) -> Option<Point> {
        self.points().next_back()
    }

    /// Where it begins and ends, values that are not finite aside.
    pub fn extent(&self, axis: XAxis) -> Option<(f64, f64)> {
        let mut points = self.points();
        let first = points.next()?;
        let last = points.next_back().unwrap_or(first);
        Some((first.x(axis), last.x(axis)))
    }

    /// The part of it within `range`, ends included, in at most so many columns of equal width: those that have values.
    pub fn envelope(&self, axis: XAxis, range: Range<f64>, columns: usize) -> Vec<Bucket> {
        let bounds = self.bounds(axis, &range, columns);
        let buckets = bounds.windows(2).filter(|pair| pair[0] < pair[1]).filter_map(|pair| {
            let spread = self.spread(pair[0]..pair[1]);
            let x = (self.x(pair[0], axis) + self.x(pair[1] - 1, axis)) / 2.0;
            let Spread { min, max, count, .. } = spread;
            Some(Bucket { x, min, max, mean: spread.mean()?, count })
        });
        buckets.collect()
    }

    /// A smoothed curve through the part of it within `range`, ends included: a point (x, average) for each of the columns
    /// that have values.
    pub fn smoothed(&self, axis: XAxis, range: Range<f64>, columns: usize, smoothing: Smoothing) -> Vec<(f64, f64)> {
        let mut bounds = self.bounds(axis, &range, columns);
        // A log that contradicts itself has points that lie in no order.
        let in_view = bounds.last().zip(bounds.first()).map_or(0, |(end, start)| end.saturating_sub(*start));
        if in_view / columns.max(1) > smoothing.memory() {
            // Between columns of so many values each the curve is a straight line anyway.
            bounds = self.bounds(axis, &range, columns.div_ceil(2));
        }
        let mut smoothed = Vec::new();
        let mut average: Option<Average> = None;
        let mut next = 0;
        for pair in bounds.windows(2).filter(|pair| pair[0] < pair[1]) {
            // What lies further back does not show: so a column costs no more than the memory, however wide it is.
            let start = (pair[1] - 1).saturating_sub(smoothing.memory());
            if average.is_none() || start > next {
                next = start;
                average = Some(Average::new(smoothing, (start..self.len()).map(|index| self.value(index))));
            }
            let Some(average) = &mut average else { continue };
            for index in next..pair[1] {
                average.push(self.value(index));
            }
            next = pair[1];
            if let Some(value) = average.value() {
                smoothed.push((self.x(pair[1] - 1, axis), value));
            }
        }
        smoothed
    }

    /// The point with a finite value that is nearest to there.
    pub fn nearest(&self, axis: XAxis, x: f64) -> Option<Point> {
        let index = self.first_at(axis, |here| here >= x);
        let finite = |index: usize| Some(self.point(index)).filter(|point| point.value.is_finite());
        let before = (0..index).rev().find_map(finite);
        let after = (index..self.len()).find_map(finite);
        match (before, after) {
            (Some(before), Some(after)) if x - before.x(axis) < after.x(axis) - x => Some(before),
            (before, after) => after.or(before),
        }
    }

    /// The last finite point before `range`, and the first after it.
    pub fn beside(&self, axis: XAxis, range: &Range<f64>) -> (Option<Point>, Option<Point>) {
        let finite = |index: usize| Some(self.point(index)).filter(|point| point.value.is_finite());
        let before = (0..self.first_at(axis, |x| x >= range.start)).rev().find_map(finite);
        let after = (self.first_at(axis, |x| x > range.end)..self.len()).find_map(finite);
        (before, after)
    }

    /// The first index in each column, and the end of the last.
    fn bounds(&self, axis: XAxis, range: &Range<f64>, columns: usize) -> Vec<usize> {
        let width = (range.end - range.start) / columns.max(1) as f64;
        let mut bounds: Vec<usize> = (0..columns)
            .map(|column| {
                let edge = range.start + width * column as f64;
                self.first_at(axis, |x| x >= edge)
            })
            .collect();
        bounds.push(self.first_at(axis, |x| x > range.end));
        bounds
    }

    /// The first index of which that holds; it holds of all later ones.
    fn first_at(&self, axis: XAxis, holds: impl Fn(f64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if holds(self.x(middle, axis)) { high = middle } else { low = middle + 1 }
        }
        low
    }

    fn step(&self, index: usize) -> u64 {
        match &self.values {
            Values::Steps(steps) => (steps.unread() + index + 1) as u64,
            Values::Clock(_) => self.clock.entries()[index].last_step,
            Values::Epochs(epochs, _) => epochs[index].step,
            Values::Points(points) => points[index].step,
        }
    }

    fn value(&self, index: usize) -> f64 {
        match &self.values {
            Values::Steps(steps) => steps.values()[index].into(),
            Values::Clock(value) => value(&self.clock.entries()[index]).unwrap_or(f64::NAN),
            Values::Epochs(epochs, value) => value(&epochs[index]),
            Values::Points(points) => points[index].value,
        }
    }

    fn x(&self, index: usize, axis: XAxis) -> f64 {
        match (&self.values, axis) {
            (Values::Points(points), _) => points[index].x(axis),
            (Values::Clock(_), XAxis::Time) => self.clock.entries()[index].elapsed_secs,
            (Values::Steps(_) | Values::Epochs(..), XAxis::Time) => self.moment(index).elapsed_secs,
            (_, XAxis::Step) => self.step(index) as f64,
            (_, XAxis::Epoch) => self.step(index) as f64 / self.steps_per_epoch,
        }
    }

    fn moment(&self, index: usize) -> Moment {
        let moment = self.clock.at(self.step(index));
        let Values::Epochs(epochs, _) = &self.values else { return moment };
        // The steps of the epoch were followed by its evaluation.
        let evaluation_secs = epochs[index].evaluation_secs;
        Moment {
            elapsed_secs: moment.elapsed_secs + evaluation_secs,
            time_ms: moment.time_ms.saturating_add((1e3 * evaluation_secs) as u64),
        }
    }

    fn point(&self, index: usize) -> Point {
        if let Values::Points(points) = &self.values {
            return points[index];
        }
        let step = self.step(index);
        let moment = self.moment(index);
        Point {
            step,
            epoch: step as f64 / self.steps_per_epoch,
            elapsed_secs: moment.elapsed_secs,
            time_ms: moment.time_ms,
            value: self.value(index),
        }
    }

    fn spread(&self, range: Range<usize>) -> Spread {
        match &self.values {
            Values::Steps(steps) => {
                let before = steps.unread();
                steps.spread(before + range.start..before + range.end)
            }
            _ => Spread::of(range.map(|index| self.value(index))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::run::event::{Event, Record, RunStarted, StepsDone};
    use crate::run::system_sample::{Metric as SystemMetric, SystemSample};
    use crate::testing::property;

    /// Ten steps an epoch, a step each half second, five to a line, with a learning rate that falls.
    fn run(losses: &[f32]) -> RunState {
        let mut state = RunState::default();
        let mut tell = |time_ms, event| state.apply(&Record { time_ms, event });
        let started = RunStarted { steps_per_epoch: 10, continued_from: None, ..RunStarted::example() };
        tell(1000, Event::RunStarted(Box::new(started)));
        for (line, losses) in losses.chunks(5).enumerate() {
            let done = 5 * line as u64 + losses.len() as u64;
            let steps = StepsDone {
                epoch: (5 * line as u64 + 1).div_ceil(10),
                first_step: 5 * line as u64 + 1,
                losses: losses.to_vec(),
                samples: 64 * losses.len() as u64,
                train_secs: 0.5 * losses.len() as f64,
                learning_rate: Some(1.0 / done as f64),
                ..StepsDone::example()
            };
            tell(1000 + 500 * done, Event::StepsDone(steps));
        }
        state
    }

    fn epoch(epoch: u64, test_loss: f64) -> Event {
        Event::EpochDone(EpochDone {
            epoch,
            step: 10 * epoch,
            test_loss,
            elapsed_secs: 7.0,
            evaluation_secs: 2.0,
            ..EpochDone::example()
        })
    }

    proptest! {
        #![proptest_config(property(200))]

        #[test]
        fn an_envelope_is_as_if_looked_at_point_by_point(
            losses in prop::collection::vec(prop_oneof![9 => (-50..50_i32).prop_map(|loss| loss as f32), 1 => Just(f32::NAN)], 0..300),
            axis in prop_oneof![Just(XAxis::Step), Just(XAxis::Epoch), Just(XAxis::Time)],
            shares in (-0.2..1.2_f64, -0.2..1.2_f64),
            columns in 1..50_usize,
        ) {
            let state = run(&losses);
            let series = state.series(Metric::BatchLoss);
            let end = match axis { XAxis::Step => 1.0, XAxis::Epoch => 0.1, XAxis::Time => 0.5 } * losses.len() as f64;
            let range = end * shares.0.min(shares.1)..end * shares.0.max(shares.1);
            let width = (range.end - range.start) / columns as f64;
            let mut expected = vec![Spread::default(); columns];
            for point in series.points().filter(|point| (range.start..=range.end).contains(&point.x(axis))) {
                // The edges themselves, or rounding would put a point on one into another column.
                let column = (0..columns).rfind(|&column| range.start + width * column as f64 <= point.x(axis)).unwrap();
                expected[column].push(point.value);
            }
            let expected: Vec<Spread> = expected.into_iter().filter(|spread| spread.count > 0).collect();
            let envelope = series.envelope(axis, range, columns);
            let spreads: Vec<Spread> = envelope
                .iter()
                .map(|bucket| Spread { min: bucket.min, max: bucket.max, sum: bucket.mean * bucket.count as f64, count: bucket.count })
                .collect();
            prop_assert_eq!(spreads.len(), expected.len());
            for (got, expected) in spreads.iter().zip(&expected) {
                prop_assert_eq!((got.min, got.max, got.count), (expected.min, expected.max, expected.count));
                prop_assert!((got.sum - expected.sum).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_step_has_its_time_and_its_part_of_an_epoch() {
        let state = run(&[4.0, 3.0, 2.0, 1.0, 0.5, 0.25, 0.125]);
        let series = state.series(Metric::BatchLoss);
        let third = Point { step: 3, epoch: 0.3, elapsed_secs: 1.5, time_ms: 2500, value: 2.0 };
        assert_eq!((series.points().nth(2), series.len()), (Some(third), 7));
        assert_eq!(series.nearest(XAxis::Time, 1.6), Some(third));
        assert_eq!(series.nearest(XAxis::Epoch, -3.0).unwrap().step, 1);
        assert_eq!(series.nearest(XAxis::Step, 99.0), series.last());
        assert_eq!(series.extent(XAxis::Epoch), Some((0.1, 0.7)));
        assert!(
            state.series(Metric::GradientNorm).is_empty()
                && state.series(Metric::GradientNorm).extent(XAxis::Step).is_none()
        );
    }

    #[test]
    fn rates_and_speeds_are_of_the_lines_of_the_log() {
        let state = run(&[1.0; 20]);
        let values = |metric| state.series(metric).points().map(|point| (point.step, point.value)).collect::<Vec<_>>();
        assert_eq!(values(Metric::LearningRate), [(5, 0.2), (10, 0.1), (15, 1.0 / 15.0), (20, 0.05)]);
        assert_eq!(values(Metric::StepTime)[1..3], [(10, 500.0), (15, 500.0)]);
        assert_eq!(values(Metric::Throughput)[0], (5, 128.0));
    }

    #[test]
    fn epochs_end_after_their_evaluation_and_samples_lie_between_steps() {
        let mut state = run(&[1.0; 10]);
        state.apply(&Record { time_ms: 8000, event: epoch(1, 0.9) });
        let sample = SystemSample { cpu_percent: Some(40.0), ..SystemSample::default() };
        state.apply(&Record { time_ms: 9000, event: Event::SystemSampled { step: 10, sample: Box::new(sample) } });
        let loss = Point { step: 10, epoch: 1.0, elapsed_secs: 7.0, time_ms: 8000, value: 0.9 };
        assert_eq!(state.series(Metric::TestLoss).points().collect::<Vec<_>>(), [loss]);
        let cpu = state.series(Metric::System(SystemMetric::Cpu)).last().unwrap();
        assert_eq!((cpu.step, cpu.elapsed_secs, cpu.value), (10, 8.0, 40.0));
    }

    #[test]
    fn a_restart_takes_back_what_came_after_its_checkpoint() {
        let mut state = run(&[1.0; 40]);
        let started = RunStarted { steps_per_epoch: 10, continued_from: Some(12), ..RunStarted::example() };
        state.apply(&Record { time_ms: 90_000, event: Event::RunStarted(Box::new(started)) });
        for metric in [Metric::BatchLoss, Metric::LearningRate, Metric::StepTime] {
            let last = state.series(metric).last().unwrap();
            assert_eq!((last.step, last.elapsed_secs), (12, 6.0), "{metric}");
        }
    }

    #[test]
    fn smoothing_in_columns_is_that_of_every_step() {
        let losses: Vec<f32> =
            (0..20_000).map(|step| 2.0 + (step as f32 * 2.399).sin() / (1.0 + step as f32 / 1e4)).collect();
        let state = run(&losses);
        let series = state.series(Metric::BatchLoss);
        let smoothing = Smoothing::new(0.98);
        let all = smoothing.smooth(&losses.iter().map(|&loss| f64::from(loss)).collect::<Vec<_>>());
        for (range, columns) in [(0.0..20_000.0, 10), (5000.0..6000.0, 400), (0.0..100.0, 100)] {
            let smoothed = series.smoothed(XAxis::Step, range, columns, smoothing);
            assert!(smoothed.len() <= columns && !smoothed.is_empty());
            for (x, value) in smoothed {
                assert!((value - all[x as usize - 1]).abs() < 1e-3, "{x}: {value} {}", all[x as usize - 1]);
            }
        }
    }
}
