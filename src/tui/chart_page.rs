//! Which chart fills the screen, and what part of it is in view.

use std::ops::Range;

use super::chart::{ScaleKind, Window, next_smoothing};
use crate::run::metric::Metric;
use crate::run::series::{Smoothing, XAxis};
use crate::run::state::RunState;
use crate::run::system_sample::Metric as SystemMetric;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChartKind {
    #[default]
    Loss,
    Accuracy,
    Of(Metric),
}

impl ChartKind {
    /// The first nine have their place as a number.
    pub const ALL: [Self; 12] = [
        Self::Loss,
        Self::Accuracy,
        Self::BATCH_LOSS,
        Self::GRADIENT_NORM,
        Self::LEARNING_RATE,
        Self::Of(Metric::Throughput),
        Self::Of(Metric::StepTime),
        Self::Of(Metric::System(SystemMetric::Memory)),
        Self::Of(Metric::System(SystemMetric::CardUtilisation)),
        Self::CPU,
        Self::Of(Metric::System(SystemMetric::CardMemory)),
        Self::Of(Metric::System(SystemMetric::CardPower)),
    ];
    pub const BATCH_LOSS: Self = Self::Of(Metric::BatchLoss);
    pub const GRADIENT_NORM: Self = Self::Of(Metric::GradientNorm);
    pub const LEARNING_RATE: Self = Self::Of(Metric::LearningRate);
    pub const CPU: Self = Self::Of(Metric::System(SystemMetric::Cpu));

    /// Those drawn later lie over those before.
    pub fn metrics(self) -> Vec<Metric> {
        match self {
            Self::Loss => vec![Metric::BatchLoss, Metric::TrainLoss, Metric::TestLoss],
            Self::Accuracy => vec![Metric::TrainAccuracy, Metric::TestAccuracy],
            Self::Of(metric) => vec![metric],
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Loss => "Loss",
            Self::Accuracy => "Accuracy",
            Self::Of(metric) => metric.title(),
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::Loss => "",
            Self::Accuracy => "%",
            Self::Of(metric) => metric.unit(),
        }
    }

    /// The key that opens it, where one does.
    pub fn digit(self) -> Option<usize> {
        Self::ALL.iter().position(|&chart| chart == self).map(|index| index + 1).filter(|&digit| digit <= 9)
    }

    pub fn has_data(self, run: &RunState) -> bool {
        self.metrics().into_iter().any(|metric| !run.series(metric).is_empty())
    }
}

#[derive(Clone, Debug, Default)]
pub struct ChartPage {
    pub kind: ChartKind,
    pub axis: XAxis,
    pub scale: ScaleKind,
    pub smoothing: Smoothing,
    pub window: Window,
    /// A place on the axis.
    pub cursor: Option<f64>,
}

impl ChartPage {
    /// Another chart of the same part of the run.
    pub fn show(&mut self, kind: ChartKind) {
        self.kind = kind;
    }

    /// The `by`-th chart after this one of those that have data.
    pub fn step(&mut self, by: isize, run: &RunState) {
        let charts: Vec<ChartKind> =
            ChartKind::ALL.into_iter().filter(|chart| *chart == self.kind || chart.has_data(run)).collect();
        let present = charts.iter().position(|&chart| chart == self.kind).unwrap_or(0);
        self.kind = charts[(present as isize + by).rem_euclid(charts.len() as isize) as usize];
    }

    /// All that there is to see: from the beginning of the run, unless its log lacks that, to the newest point of any chart
    /// with the same axis.
    pub fn extent(&self, run: &RunState) -> Range<f64> {
        let extents = self.kind.metrics().into_iter().filter_map(|metric| run.series(metric).extent(self.axis));
        let end = extents.map(|extent| extent.1).fold(0.0, f64::max);
        let least = match self.axis {
            XAxis::Step | XAxis::Time => 1.0,
            XAxis::Epoch => 1e-3,
        };
        0.0..end.max(least)
    }

    /// The part in view.
    pub fn visible(&self, run: &RunState) -> Range<f64> {
        self.window.view(&self.extent(run))
    }

    pub fn follows(&self) -> bool {
        self.window.follows()
    }

    /// Closer where `times` is positive; the place `around` stays where it is, without one in view the newest or the middle.
    pub fn zoom(&mut self, times: i32, around: Option<f64>, run: &RunState) {
        let (extent, view) = (self.extent(run), self.visible(run));
        let around = around.or(self.cursor).filter(|around| view.contains(around) || *around == view.end);
        self.window = self.window.zoomed(times, around, &extent);
    }

    /// By a share of the view, later where it is positive.
    pub fn pan(&mut self, share: f64, run: &RunState) {
        self.window = self.window.panned(share, &self.extent(run));
    }

    pub fn go_to_start(&mut self, run: &RunState) {
        self.window = self.window.at_start(&self.extent(run));
    }

    /// Follows the newest again, and reads nothing off.
    pub fn follow(&mut self, run: &RunState) {
        self.window = self.window.at_newest(&self.extent(run));
        self.cursor = None;
    }

    pub fn show_whole(&mut self) {
        self.window = Window::Whole;
    }

    /// By columns of the screen, of which the view has so many; the view comes along. It appears at the newest.
    pub fn move_cursor(&mut self, by: i32, columns: u16, run: &RunState) {
        let (window, cursor) = self.window.with_cursor_moved(self.cursor, by, columns, &self.extent(run));
        (self.window, self.cursor) = (window, Some(cursor));
    }

    /// Reads off what is at that place of the axis; the view comes along.
    pub fn read_at(&mut self, x: f64, run: &RunState) {
        self.window = self.window.showing(x, &self.extent(run));
        self.cursor = Some(x);
    }

    /// The same part of the run by another measure.
    pub fn next_axis(&mut self, run: &RunState) {
        let before = self.axis;
        self.axis = before.next();
        let densest =
            self.kind.metrics().into_iter().map(|metric| run.series(metric)).max_by_key(|series| series.len());
        let translated = |x: f64| densest.as_ref()?.nearest(before, x).map(|point| point.x(self.axis));
        self.cursor = self.cursor.and_then(translated);
        self.window = match &self.window {
            Window::Fixed(range) => match (translated(range.start), translated(range.end)) {
                (Some(start), Some(end)) if start < end => Window::Fixed(start..end),
                _ => Window::Whole,
            },
            Window::Newest { .. } | Window::Whole => Window::Whole,
        };
    }

    pub fn next_scale(&mut self) {
        self.scale = self.scale.other();
    }

    pub fn next_smoothing(&mut self) {
        self.smoothing = next_smoothing(self.smoothing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{Event, Record, RunStarted, StepsDone};

    /// Ten steps an epoch, a second each.
    fn run(steps: u64) -> RunState {
        let mut state = RunState::default();
        add_steps(&mut state, 0);
        let started = RunStarted { steps_per_epoch: 10, ..RunStarted::example() };
        state.apply(&Record { time_ms: 1000, event: Event::RunStarted(Box::new(started)) });
        add_steps(&mut state, steps);
        state
    }

    fn add_steps(state: &mut RunState, count: u64) {
        let before = state.losses.len() as u64;
        for step in before + 1..=before + count {
            let steps = StepsDone { epoch: step.div_ceil(10), first_step: step, ..StepsDone::example() };
            state.apply(&Record { time_ms: 1000 + 1000 * step, event: Event::StepsDone(steps) });
        }
    }

    fn page() -> ChartPage {
        ChartPage { kind: ChartKind::BATCH_LOSS, axis: XAxis::Step, ..ChartPage::default() }
    }

    #[test]
    fn the_newest_is_followed_until_the_view_is_moved() {
        let mut state = run(100);
        let mut page = page();
        assert_eq!(page.visible(&state), 0.0..100.0);
        page.zoom(1, None, &state);
        assert_eq!((page.visible(&state), page.follows()), (40.0..100.0, true));
        add_steps(&mut state, 10);
        assert_eq!(page.visible(&state), 50.0..110.0);
        page.pan(-0.5, &state);
        assert_eq!((page.visible(&state), page.follows()), (20.0..80.0, false));
        add_steps(&mut state, 10);
        assert_eq!(page.visible(&state), 20.0..80.0);
        page.pan(5.0, &state);
        assert_eq!((page.visible(&state), page.follows()), (60.0..120.0, true));
        page.go_to_start(&state);
        assert_eq!(page.visible(&state), 0.0..60.0);
        page.follow(&state);
        assert!(page.follows());
        page.show_whole();
        assert_eq!(page.visible(&state), 0.0..120.0);
    }

    #[test]
    fn zooming_keeps_the_place_under_the_pointer() {
        let state = run(100);
        let mut page = page();
        page.zoom(2, Some(25.0), &state);
        let view = page.visible(&state);
        assert!(
            (view.end - view.start - 36.0).abs() < 1e-9 && ((25.0 - view.start) / 36.0 - 0.25).abs() < 1e-9,
            "{view:?}"
        );
        page.zoom(-2, Some(25.0), &state);
        assert_eq!(page.window, Window::Whole);
        for _ in 0..200 {
            page.zoom(1, Some(25.0), &state);
        }
        let view = page.visible(&state);
        assert!(view.end > view.start && view.contains(&25.0), "{view:?}");
    }

    #[test]
    fn the_cursor_takes_the_view_along() {
        let state = run(100);
        let mut page = page();
        page.zoom(1, None, &state);
        page.move_cursor(-1, 60, &state);
        assert_eq!(page.cursor, Some(100.0));
        for _ in 0..70 {
            page.move_cursor(-1, 60, &state);
        }
        assert_eq!(page.cursor, Some(30.0));
        assert_eq!(page.visible(&state), 30.0..90.0);
        page.next_axis(&state);
        assert_eq!((page.axis, page.cursor, page.visible(&state)), (XAxis::Time, Some(30.0), 30.0..90.0));
        page.next_axis(&state);
        assert_eq!((page.axis, page.cursor, page.visible(&state)), (XAxis::Epoch, Some(3.0), 3.0..9.0));
    }

    #[test]
    fn charts_without_data_are_passed_over() {
        let state = run(3);
        let mut page = ChartPage::default();
        let round: Vec<&str> = (0..6)
            .map(|_| {
                page.step(1, &state);
                page.kind.title()
            })
            .collect();
        assert_eq!(round, ["Batch Loss", "Learning Rate", "Throughput", "Step Time", "Loss", "Batch Loss"]);
        assert_eq!((ChartKind::Loss.digit(), ChartKind::CPU.digit()), (Some(1), None));
    }
}
