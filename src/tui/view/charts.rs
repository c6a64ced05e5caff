//! Loss and accuracy over epochs. Test is the dashed line with dots, the batches a dotted one behind; the best epoch, changes
//! of the learning rate and alarms have marks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;

use super::curves::{curve, faint_batches, legend};
use super::panel::{Panel, note_width, panel};
use crate::run::event::Severity;
use crate::run::metric::Metric;
use crate::run::series::{Smoothing, XAxis};
use crate::run::state::RunState;
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::chart::{self, Axis, Chart, Curve, Mark, MarkPlace, ScaleKind, Window};
use crate::tui::chart_page::{ChartKind, ChartPage};
use crate::tui::layout::{Areas, Density, PanelName, Places, Region, place};

const PLACES: Places = [place(Region::Charts, Constraint::Fill(1)); 3];

pub static LOSS: Panel = Panel {
    name: PanelName("loss"),
    places: PLACES,
    is_shown: |_| true,
    scrolling: None,
    chart: Some(|_| ChartKind::Loss),
    rows: None,
    render: render_loss,
};

pub static ACCURACY: Panel = Panel {
    name: PanelName("accuracy"),
    places: PLACES,
    is_shown: |_| true,
    scrolling: None,
    chart: Some(|_| ChartKind::Accuracy),
    rows: None,
    render: render_accuracy,
};

fn render_loss(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let (view, columns) = (whole(app, ChartKind::Loss), chart::columns(areas.inner(area)));
    let line = |metric| curve(app, metric, XAxis::Epoch, &view, columns, Smoothing::OFF);
    let curves = [faint_batches(app, XAxis::Epoch, &view, columns), line(Metric::TrainLoss), line(Metric::TestLoss)];
    let note = legend(&curves, 6, note_width(area, "1 Loss"));
    let inner = panel(app, areas, area, Some(LOSS.name), "1 Loss", note, frame);
    draw(app, inner, &curves, &marks(app, ChartKind::Loss, XAxis::Epoch), view, frame);
}

fn render_accuracy(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let (view, columns) = (whole(app, ChartKind::Accuracy), chart::columns(areas.inner(area)));
    let curves = [Metric::TrainAccuracy, Metric::TestAccuracy]
        .map(|metric| curve(app, metric, XAxis::Epoch, &view, columns, Smoothing::OFF));
    let title = if areas.density == Density::Compact { "2 Acc %" } else { "2 Accuracy %" };
    let note = legend(&curves, 5, note_width(area, title));
    let inner = panel(app, areas, area, Some(ACCURACY.name), title, note, frame);
    if curves.iter().all(|curve| curve.points.is_empty()) {
        let middle = inner.centered_vertically(Constraint::Length(1));
        let why = if app.run.epochs.is_empty() { "No epoch yet." } else { "Its trainer tells none." };
        frame.render_widget(Line::styled(why, app.ui.theme.faint()).centered(), middle);
    } else {
        draw(app, inner, &curves, &marks(app, ChartKind::Accuracy, XAxis::Epoch), view, frame);
    }
}

/// Both charts have the same axis, which ends where the run is, as nearly as can be seen.
fn whole(app: &App, kind: ChartKind) -> std::ops::Range<f64> {
    let loss = ChartPage { kind: ChartKind::Loss, ..ChartPage::default() }.extent(&app.run);
    let own = ChartPage { kind, ..ChartPage::default() }.extent(&app.run);
    Window::Whole.view(&(0.0..loss.end.max(own.end)))
}

/// Curves over epochs, on a linear scale.
pub fn draw(app: &App, area: Rect, curves: &[Curve], marks: &[Mark], view: std::ops::Range<f64>, frame: &mut Frame) {
    let theme = app.ui.theme;
    let chart = Chart {
        curves,
        marks,
        axis: Axis::Run(XAxis::Epoch),
        x: view,
        scale: ScaleKind::Linear,
        cursor: None,
        axis_style: theme.faint(),
        beyond_style: theme.alarm(),
    };
    chart.render(area, frame.buffer_mut());
}

/// Where a step is on an axis.
pub fn x_of(run: &RunState, step: u64, axis: XAxis) -> f64 {
    match axis {
        XAxis::Step => step as f64,
        XAxis::Epoch => step as f64 / run.started.as_ref().map_or(1.0, |started| started.steps_per_epoch.max(1) as f64),
        XAxis::Time => run.clock().at(step).elapsed_secs,
    }
}

/// The best epoch, changes of the learning rate and alarms.
pub fn marks(app: &App, kind: ChartKind, axis: XAxis) -> Vec<Mark> {
    let theme = app.ui.theme;
    let x_of = |step: u64| x_of(&app.run, step, axis);
    let mut marks = Vec::new();
    if kind == ChartKind::Accuracy {
        let best = app.run.series(Metric::TestAccuracy);
        let best = app.run.best().and_then(|epoch| best.points().find(|point| point.step == epoch.step));
        marks.extend(best.map(|best| Mark {
            x: best.x(axis),
            y: MarkPlace::At(best.value),
            symbol: "★",
            style: theme.best(),
        }));
    } else {
        marks.extend(app.run.learning_rate_changes.iter().map(|change| Mark {
            x: x_of(change.step),
            y: MarkPlace::Top,
            symbol: if change.to > change.from { "▲" } else { "▼" },
            style: theme.pending(),
        }));
    }
    // Of steps that still count.
    marks.extend(app.run.alarms.iter().filter(|alarm| alarm.step <= app.run.step).map(|alarm| Mark {
        x: x_of(alarm.step),
        y: MarkPlace::Bottom,
        symbol: "!",
        style: if alarm.kind.severity() == Severity::Alarm { theme.alarm() } else { theme.pending() },
    }));
    marks
}
