//! The curves of a chart, with the looks that each metric has everywhere.

use std::ops::Range;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::format;
use crate::run::metric::Metric;
use crate::run::series::{Smoothing, XAxis};
use crate::tui::app::App;
use crate::tui::chart::{Curve, Stroke};

/// A metric as the dashboard draws it. Of the batches behind the epochs of a loss chart, see [`faint_batches`].
pub fn curve(app: &App, metric: Metric, axis: XAxis, view: &Range<f64>, columns: usize, smoothing: Smoothing) -> Curve {
    let theme = app.ui.theme;
    let series = app.run.series(metric);
    let smoothing = if metric == Metric::LearningRate { Smoothing::OFF } else { smoothing };
    let mut curve = Curve::of(&series, axis, view, columns, smoothing);
    let (name, style) = match metric {
        Metric::TrainLoss | Metric::TrainAccuracy => ("train", theme.train()),
        Metric::TestLoss | Metric::TestAccuracy => (app.run.judged_by().abbreviation(), theme.test()),
        Metric::BatchLoss => ("batch", theme.train()),
        _ => (metric.title(), theme.train()),
    };
    if matches!(metric, Metric::TestLoss | Metric::TestAccuracy) {
        (curve.stroke, curve.marker) = (Stroke::Dashed, Some("•"));
    }
    if matches!(metric, Metric::TrainLoss | Metric::TrainAccuracy) {
        curve.points.extend(open_epoch(app, metric, axis).filter(|point| point.0 <= view.end));
    }
    curve.named(name, style, theme.faint())
}

/// Batch losses that lie behind others and must not bury them.
pub fn faint_batches(app: &App, axis: XAxis, view: &Range<f64>, columns: usize) -> Curve {
    let style = app.ui.theme.faint();
    let batches = curve(app, Metric::BatchLoss, axis, view, columns, Smoothing::OFF);
    Curve { stroke: Stroke::Dotted, spread: Vec::new(), ..batches }.named("batch", style, style)
}

/// The value so far of the epoch under way, once an eighth of it is done.
fn open_epoch(app: &App, metric: Metric, axis: XAxis) -> impl Iterator<Item = (f64, f64)> {
    let so_far = match metric {
        Metric::TrainLoss => app.run.open_epoch_loss(),
        _ => app.run.open_epoch.train_accuracy(),
    };
    let steps_per_epoch = app.run.started.as_ref().map_or(0, |started| started.steps_per_epoch);
    let is_telling = app.has_open_epoch() && app.run.steps_in_epoch() as f64 >= steps_per_epoch as f64 / 8.0;
    let last = app.run.series(Metric::BatchLoss).last().filter(|_| is_telling);
    last.zip(so_far).map(|(point, so_far)| (point.x(axis), so_far)).into_iter()
}

/// The names of the curves with their latest values in so many columns each, as far as there is room: first the values go, then the names of those
/// that lie behind.
pub fn legend(curves: &[Curve], figure_width: usize, width: usize) -> Line<'static> {
    let entries = |figures: usize, names: usize| {
        let mut line = Line::default();
        for (place, curve) in curves.iter().rev().take(names).rev().enumerate() {
            let gap = if place == 0 { "" } else { "  " };
            let symbol = curve.marker.unwrap_or(curve.stroke.sample());
            line.push_span(Span::styled(format!("{gap}{symbol} {}", curve.name), curve.style));
            if let Some(latest) = curve.latest().filter(|_| place + figures >= curves.len().min(names)) {
                line.push_span(Span::styled(format!(" {}", format::compact(latest, figure_width)), Style::new()));
            }
        }
        line
    };
    let shortened = (0..=curves.len()).rev().map(|figures| entries(figures, curves.len()));
    let fewer = (0..curves.len()).rev().map(|names| entries(0, names));
    shortened.chain(fewer).find(|line| line.width() <= width).unwrap_or_default()
}
