//! Loss and accuracy over epochs. Test is the line with dots, single batches are faint points; the best epoch, changes of
//! the learning rate and alarms have marks.
//!
//! On ratatui's canvas, because its chart draws each series over the one before: lines that share a cell would hide each
//! other.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::{self, Canvas, Context};

use super::panel::{Panel, panel};
use crate::run::event::{EpochDone, Severity};
use crate::run::metric::Metric;
use crate::run::series::XAxis;
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::layout::{Areas, Density, PanelName, Places, Region, SCALE_WIDTH, place};

/// The fewest columns between two dots of a line.
const DOT_SPACING: f64 = 3.0;

const PLACES: Places = [place(Region::Charts, Constraint::Fill(1)); 3];

pub static LOSS: Panel =
    Panel { name: PanelName("loss"), places: PLACES, is_shown: |_| true, scrolling: None, render: render_loss };

pub static ACCURACY: Panel =
    Panel { name: PanelName("accuracy"), places: PLACES, is_shown: |_| true, scrolling: None, render: render_accuracy };

type Points = Vec<(f64, f64)>;

#[derive(Default)]
struct Series {
    batches: Points,
    train: Points,
    test: Points,
    best: Points,
    /// Learning-rate changes, in epochs.
    raised: Vec<f64>,
    lowered: Vec<f64>,
    /// In epochs.
    alarms: Vec<(f64, Severity)>,
}

fn render_loss(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let steps_per_epoch = steps_per_epoch(app);
    let changes = |raised: bool| {
        let changes = app.run.learning_rate_changes.iter().filter(move |change| (change.to > change.from) == raised);
        changes.map(|change| change.step as f64 / steps_per_epoch).collect()
    };
    let losses = app.run.series(Metric::BatchLoss);
    let range = losses.extent(XAxis::Epoch).map_or(0.0..1.0, |(start, end)| start..end);
    let batches = losses.envelope(XAxis::Epoch, range, 2048);
    let series = Series {
        batches: batches.into_iter().map(|bucket| (bucket.x, bucket.mean)).collect(),
        train: over_epochs(app, |epoch| epoch.train_loss, app.run.open_epoch_loss()),
        test: over_epochs(app, |epoch| epoch.test_loss, None),
        best: Points::new(),
        raised: changes(true),
        lowered: changes(false),
        alarms: alarms(app),
    };
    let legend = legend(app, &series, 4);
    let inner = panel(app, areas, area, None, "Loss", legend, frame);
    // The first batches tower above all others and would flatten the rest.
    let ordinary = quantile(&series.batches, 0.98);
    let batches_seen = series.batches.iter().filter(|point| point.1 <= ordinary);
    if let Some(scale) = Scale::around(series.train.iter().chain(&series.test).chain(batches_seen), 2) {
        plot(app, inner, &series, &scale, frame);
    }
}

fn render_accuracy(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let series = Series {
        train: over_epochs(app, |epoch| epoch.train_accuracy, app.run.open_epoch.train_accuracy()),
        test: over_epochs(app, |epoch| epoch.test_accuracy, None),
        best: app.run.best().map(|best| (end_of(app, best), best.test_accuracy)).into_iter().collect(),
        alarms: alarms(app),
        ..Series::default()
    };
    let title = if areas.density == Density::Compact { "Acc %" } else { "Accuracy %" };
    let inner = panel(app, areas, area, None, title, legend(app, &series, 2), frame);
    match Scale::around(series.train.iter().chain(&series.test), 0) {
        Some(scale) => plot(app, inner, &series, &scale, frame),
        None => {
            let middle = inner.centered_vertically(Constraint::Length(1));
            frame.render_widget(Line::styled("no epoch yet", app.ui.theme.faint()).centered(), middle);
        }
    }
}

fn steps_per_epoch(app: &App) -> f64 {
    app.run.started.as_ref().map_or(1.0, |started| started.steps_per_epoch.max(1) as f64)
}

/// Alarms at steps that still count, by epoch.
fn alarms(app: &App) -> Vec<(f64, Severity)> {
    let alarms = app.run.alarms.iter().filter(|alarm| alarm.step <= app.run.step);
    alarms.map(|alarm| (alarm.step as f64 / steps_per_epoch(app), alarm.kind.severity())).collect()
}

/// The end of an epoch on the axis, in epochs.
fn end_of(app: &App, epoch: &EpochDone) -> f64 {
    epoch.step as f64 / steps_per_epoch(app)
}

/// A value for each epoch at its end, and the value so far of the open epoch once an eighth of it is done.
fn over_epochs(app: &App, value: impl Fn(&EpochDone) -> f64, so_far: Option<f64>) -> Points {
    let mut points: Points = app.run.epochs.iter().map(|epoch| (end_of(app, epoch), value(epoch))).collect();
    let steps_per_epoch = steps_per_epoch(app);
    let telling = app.has_open_epoch() && app.run.steps_in_epoch() as f64 >= steps_per_epoch / 8.0;
    if let (true, Some(so_far)) = (telling, so_far) {
        points.push((app.run.step as f64 / steps_per_epoch, so_far));
    }
    points.retain(|point| point.1.is_finite());
    points
}

fn legend(app: &App, series: &Series, decimals: usize) -> Line<'static> {
    let theme = app.ui.theme;
    let latest = |points: &Points| points.last().map_or(String::new(), |point| format!(" {:.decimals$}", point.1));
    Line::from(vec![
        Span::styled("─ train", theme.train()),
        Span::raw(latest(&series.train)),
        Span::styled(format!("  • {}", app.run.judged_by().abbreviation()), theme.test()),
        Span::raw(latest(&series.test)),
    ])
}

/// The series with a scale at the left and epochs below.
fn plot(app: &App, area: Rect, series: &Series, scale: &Scale, frame: &mut Frame) {
    let theme = app.ui.theme;
    let [upper, epochs] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let columns = Layout::horizontal([Constraint::Length(SCALE_WIDTH), Constraint::Fill(1)]);
    let ([labels, graph], [_, epochs]) = (columns.areas(upper), columns.areas(epochs));

    let every = if labels.height >= 9 { 1 } else { 2 };
    for part in (0..=Scale::PARTS).step_by(every) {
        let from_top = 1.0 - part as f64 / Scale::PARTS as f64;
        let line = Rect { y: labels.y + cell(from_top, labels.height, 4), height: 1, ..labels };
        frame.render_widget(Line::styled(scale.label(part), theme.faint()), line);
    }
    // Even, so that the middle is a whole epoch.
    let last = match (app.run.step as f64 / steps_per_epoch(app)).ceil() as u64 {
        0 | 1 => 1,
        epochs => epochs.checked_next_multiple_of(2).unwrap_or(epochs),
    };
    frame.render_widget(Line::styled("0", theme.faint()), epochs);
    if last > 1 {
        frame.render_widget(Line::styled((last / 2).to_string(), theme.faint()).centered(), epochs);
    }
    frame.render_widget(Line::styled(last.to_string(), theme.faint()).right_aligned(), epochs);

    let dot_every = (DOT_SPACING * last as f64 / f64::from(graph.width)).ceil().max(1.0) as usize;
    let canvas = Canvas::default()
        .marker(Marker::Braille)
        .x_bounds([0.0, last as f64])
        .y_bounds([scale.low, scale.high()])
        .paint(|context| {
            context.draw(&canvas::Points { coords: &series.batches, color: colour(theme.faint()) });
            // A cell of a line hides the points behind it, or they would take its colour and thicken it.
            context.layer();
            draw_line(context, &series.train, theme.train());
            draw_line(context, &series.test, theme.test());
        });
    frame.render_widget(canvas, graph);

    // The canvas's own `print` rounds otherwise than its lines: a mark would float beside its line.
    let mut mark = |x: f64, y: f64, symbol: &str, style: Style| {
        let column = graph.x + cell(x / last as f64, graph.width, 2);
        let row = graph.y + cell((scale.high() - y) / (scale.high() - scale.low), graph.height, 4);
        if let Some(cell) = frame.buffer_mut().cell_mut((column, row)) {
            cell.set_symbol(symbol).set_style(style);
        }
    };
    // From the latest backwards, so that it always has one.
    for &(x, y) in series.test.iter().rev().step_by(dot_every) {
        mark(x, y, "•", theme.test());
    }
    for &(x, y) in &series.best {
        mark(x, y, "★", theme.best());
    }
    for &(x, severity) in &series.alarms {
        let style = if severity == Severity::Alarm { theme.alarm() } else { theme.pending() };
        mark(x, scale.low, "!", style);
    }
    for &x in &series.raised {
        mark(x, scale.high(), "▲", theme.pending());
    }
    for &x in &series.lowered {
        mark(x, scale.high(), "▼", theme.pending());
    }
}

/// Which of `cells` cells the canvas draws in at `share` of the axis, with `dots` dots to a cell.
fn cell(share: f64, cells: u16, dots: u16) -> u16 {
    let last_dot = cells.saturating_mul(dots).saturating_sub(1);
    (share.clamp(0.0, 1.0) * f64::from(last_dot)).round() as u16 / dots
}

fn draw_line(context: &mut Context, points: &Points, style: Style) {
    let color = colour(style);
    for pair in points.windows(2) {
        context.draw(&canvas::Line { x1: pair[0].0, y1: pair[0].1, x2: pair[1].0, y2: pair[1].1, color });
    }
    // A line of one point is a point.
    context.draw(&canvas::Points { coords: points, color });
}

/// A canvas knows no styles, only colours.
fn colour(style: Style) -> Color {
    style.fg.unwrap_or(Color::Reset)
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
