//! Loss and accuracy over epochs. Train is a line, test are dots (two lines would hide each other: a cell shows one), single
//! batches are faint points; learning-rate changes are marked along the top.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType};

use super::panel;
use crate::run::event::EpochDone;
use crate::tui::app::App;
use crate::tui::layout::{Areas, Density};

type Points = Vec<(f64, f64)>;

pub fn render_loss(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let steps_per_epoch = steps_per_epoch(app);
    let batches: Points = app.run.losses.curve().map(|(step, loss)| (step / steps_per_epoch, loss)).collect();
    let train = over_epochs(app, |epoch| epoch.train_loss, app.run.open_epoch_loss());
    let test = over_epochs(app, |epoch| epoch.test_loss, None);
    let legend = legend(app, &train, &test, |loss| format!("{loss:.4}"));
    let inner = panel(app, areas, areas.loss, None, "Loss", legend, frame);
    // The first batches tower above all others and would flatten the rest.
    let ordinary = quantile(&batches, 0.98);
    let batches_seen = batches.iter().filter(|point| point.1 <= ordinary);
    let Some(y) = Scale::around(train.iter().chain(&test).chain(batches_seen), 2) else { return };
    let changes = learning_rate_marks(app, y.high());
    let [raised, lowered] = &changes;
    let datasets = vec![
        line(&batches, theme.faint()).graph_type(GraphType::Scatter),
        line(&train, theme.train()),
        dots(&test, '•', theme.test()),
        dots(raised, '▲', theme.pending()),
        dots(lowered, '▼', theme.pending()),
    ];
    chart(app, inner, datasets, &y, frame);
}

pub fn render_accuracy(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let train = over_epochs(app, |epoch| epoch.train_accuracy, app.run.open_epoch.train_accuracy());
    let test = over_epochs(app, |epoch| epoch.test_accuracy, None);
    let best: Points = app.run.best().map(|best| (end_of(app, best), best.test_accuracy)).into_iter().collect();
    let legend = legend(app, &train, &test, |accuracy| format!("{accuracy:.2}"));
    let title = if areas.density == Density::Compact { "Acc %" } else { "Accuracy %" };
    let inner = panel(app, areas, areas.accuracy, None, title, legend, frame);
    let Some(y) = Scale::around(train.iter().chain(&test), 0) else { return };
    let datasets = vec![line(&train, theme.train()), dots(&test, '•', theme.test()), dots(&best, '★', theme.best())];
    chart(app, inner, datasets, &y, frame);
}

fn steps_per_epoch(app: &App) -> f64 {
    app.run.started.as_ref().map_or(1.0, |started| started.steps_per_epoch.max(1) as f64)
}

/// Where an epoch ended, in epochs.
fn end_of(app: &App, epoch: &EpochDone) -> f64 {
    epoch.step as f64 / steps_per_epoch(app)
}

/// A value for each epoch at its end, and the value so far of the one that is under way.
fn over_epochs(app: &App, value: impl Fn(&EpochDone) -> f64, so_far: Option<f64>) -> Points {
    let mut points: Points = app.run.epochs.iter().map(|epoch| (end_of(app, epoch), value(epoch))).collect();
    if let (true, Some(so_far)) = (app.has_open_epoch(), so_far) {
        points.push((app.run.step as f64 / steps_per_epoch(app), so_far));
    }
    points.retain(|point| point.1.is_finite());
    points
}

/// Raised and lowered, as points along the height `y`.
fn learning_rate_marks(app: &App, y: f64) -> [Points; 2] {
    let at = |raised: bool| {
        let changes = app.run.learning_rate_changes.iter().filter(move |change| (change.to > change.from) == raised);
        changes.map(|change| (change.step as f64 / steps_per_epoch(app), y)).collect()
    };
    [at(true), at(false)]
}

fn legend(app: &App, train: &Points, test: &Points, format: impl Fn(f64) -> String) -> Line<'static> {
    let theme = app.ui.theme;
    let latest = |points: &Points| points.last().map_or(String::new(), |point| format!(" {}", format(point.1)));
    Line::from(vec![
        Span::styled("─ train", theme.train()),
        Span::raw(latest(train)),
        Span::raw("  "),
        Span::styled("• test", theme.test()),
        Span::raw(latest(test)),
    ])
}

fn line<'a>(points: &'a Points, style: Style) -> Dataset<'a> {
    Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style).data(points)
}

fn dots<'a>(points: &'a Points, dot: char, style: Style) -> Dataset<'a> {
    Dataset::default().marker(Marker::Custom(dot)).graph_type(GraphType::Scatter).style(style).data(points)
}

fn chart(app: &App, area: Rect, datasets: Vec<Dataset>, y: &Scale, frame: &mut Frame) {
    let theme = app.ui.theme;
    // Even, so that the middle label is a whole epoch. ratatui puts no other label where it belongs.
    let epochs = (app.run.step as f64 / steps_per_epoch(app)).ceil().max(1.0) as u64;
    let x_labels = if epochs == 1 { vec![0, 1] } else { vec![0, epochs.div_ceil(2), epochs.next_multiple_of(2)] };
    let x_max = x_labels.iter().max().copied().unwrap_or(1) as f64;
    let x_labels: Vec<String> = x_labels.iter().map(u64::to_string).collect();
    let every = if area.height >= 9 { 1 } else { 2 };
    let y_labels: Vec<String> = (0..=Scale::PARTS).step_by(every).map(|part| y.label(part)).collect();
    let axis = |bounds, labels: Vec<String>| {
        Axis::default()
            .style(theme.faint())
            .bounds(bounds)
            .labels(labels.into_iter().map(|label| Line::styled(label, theme.faint())))
    };
    let chart = Chart::new(datasets)
        .x_axis(axis([0.0, x_max], x_labels))
        .y_axis(axis([y.low, y.high()], y_labels))
        .legend_position(None);
    frame.render_widget(chart, area);
}

/// A range with round ends, in four round steps: it does not move with every point.
struct Scale {
    low: f64,
    step: f64,
    decimals: usize,
}

impl Scale {
    const PARTS: usize = 4;
    const STEPS: [f64; 10] = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];

    /// The closest around `points`, with labels of `decimals` at least.
    fn around<'a>(points: impl Iterator<Item = &'a (f64, f64)>, decimals: usize) -> Option<Self> {
        let (low, high) =
            points.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| (low.min(point.1), high.max(point.1)));
        if low > high {
            return None;
        }
        // A flat line gets some room, ten times what the labels can tell.
        let span = (high - low).max(10f64.powi(1 - decimals as i32));
        let magnitude = 10f64.powf((span / Self::PARTS as f64).log10().floor());
        let candidates = [magnitude, magnitude * 10.0].into_iter().flat_map(|unit| Self::STEPS.map(|step| step * unit));
        candidates
            .map(|step| {
                let decimals =
                    (decimals..6).find(|&decimals| is_whole(step * 10f64.powi(decimals as i32))).unwrap_or(6);
                Self { low: (low / step).floor() * step, step, decimals }
            })
            .find(|scale| scale.high() >= high)
    }

    fn high(&self) -> f64 {
        self.low + self.step * Self::PARTS as f64
    }

    fn label(&self, part: usize) -> String {
        format!("{:>5.*}", self.decimals, self.low + self.step * part as f64)
    }
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < 1e-6
}

/// The value that the share `q` of the points does not exceed.
fn quantile(points: &Points, q: f64) -> f64 {
    let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
    if values.is_empty() {
        return f64::INFINITY;
    }
    let index = ((values.len() - 1) as f64 * q) as usize;
    *values.select_nth_unstable_by(index, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_hold_their_points() {
        let points = [(0.0, 0.93), (1.0, 2.31)];
        let scale = Scale::around(points.iter(), 2).unwrap();
        assert_eq!([0, 2, 4].map(|part| scale.label(part)), [" 0.80", " 1.60", " 2.40"]);
        let scale = Scale::around([(0.0, 20.3), (1.0, 74.2)].iter(), 0).unwrap();
        assert_eq!([0, 2, 4].map(|part| scale.label(part)), ["   15", "   45", "   75"]);
        let flat = Scale::around([(0.0, 42.0)].iter(), 0).unwrap();
        assert!(flat.low <= 42.0 && flat.high() >= 42.0 && flat.high() - flat.low <= 20.0);
        assert!(Scale::around([].iter(), 0).is_none());
    }

    #[test]
    fn quantiles_leave_the_towering_points_out() {
        let points: Points = (0..100).map(|index| (0.0, f64::from(index))).collect();
        assert_eq!(quantile(&points, 0.98), 97.0);
        assert_eq!(quantile(&Vec::new(), 0.98), f64::INFINITY);
    }
}
