//! The learning rate: what it began as, every change with its step and its reason, and what was asked for; a curve where the
//! schedule moves it each step.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};

use super::charts::{draw, marks};
use super::curves::curve;
use super::panel::{Panel, Scrolling, note_width, panel};
use super::parts::{position, row};
use crate::format;
use crate::run::describe;
use crate::run::metric::Metric;
use crate::run::series::{Smoothing, XAxis};
use crate::run::state::LearningRateChange;
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::chart;
use crate::tui::chart_page::{ChartKind, ChartPage};
use crate::tui::layout::{Areas, Density, PanelName, Region, place};

pub static PANEL: Panel = Panel {
    name: PanelName("learning rate"),
    places: [
        place(Region::Tables, Constraint::Max(28)),
        place(Region::Tables, Constraint::Fill(5)),
        place(Region::Tables, Constraint::Fill(2)),
    ],
    is_shown: |_| true,
    scrolling: Some(Scrolling { len, page, across: false }),
    chart: Some(|_| ChartKind::LEARNING_RATE),
    rows: None,
    render,
};

/// The rate that the run began with comes first. The trainer may be another program, and tell of none.
fn len(app: &App) -> usize {
    if is_untold(app) { 0 } else { app.run.learning_rate_changes.len() + 1 }
}

fn is_untold(app: &App) -> bool {
    app.run.other_trainer().is_some() && app.run.learning_rate.is_none()
}

fn page(areas: &Areas, area: Rect) -> usize {
    areas.inner(area).height.into()
}

fn render(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let theme = app.ui.theme;
    let len = len(app);
    let visible = app.scroll(PANEL.name).visible(len, page(areas, area));
    let mut note = Vec::new();
    if areas.density != Density::Compact
        && let Some(position) = position(&visible, len)
    {
        note.push(Span::styled(format!("{position}  "), theme.faint()));
    }
    let title = if areas.density == Density::Compact { "5 LR" } else { "5 Learning Rate" };
    let present = app.run.learning_rate.map(format::learning_rate).unwrap_or_default();
    let wanted = app.ui.pending.learning_rate;
    let wanted = wanted.map(|wanted| format!(" → {}…", format::learning_rate(wanted))).unwrap_or_default();
    // What is wanted matters more than what is.
    if wanted.is_empty() || present.len() + wanted.chars().count() <= note_width(area, title) {
        note.push(Span::styled(present, theme.strong()));
    }
    note.push(Span::styled(wanted, theme.pending()));
    let inner = panel(app, areas, area, Some(PANEL.name), title, Line::from(note), frame);
    if app.run.started.is_none() {
        return;
    }
    if is_untold(app) {
        return frame.render_widget(Line::styled("its trainer tells none", theme.faint()), inner);
    }
    if app.run.learning_rate_moves() {
        return curve_of_schedule(app, inner, frame);
    }
    for (index, line) in visible.zip(inner.rows()) {
        let change = index.checked_sub(1).map(|index| &app.run.learning_rate_changes[index]);
        row(line, change_line(app, areas.density, change), Line::default(), frame);
    }
}

fn curve_of_schedule(app: &App, area: Rect, frame: &mut Frame) {
    let view = ChartPage { kind: ChartKind::LEARNING_RATE, ..ChartPage::default() }.visible(&app.run);
    let curves = [curve(app, Metric::LearningRate, XAxis::Epoch, &view, chart::columns(area), Smoothing::OFF)];
    draw(app, area, &curves, &marks(app, ChartKind::LEARNING_RATE, XAxis::Epoch), view, frame);
}

/// A change, or without one the rate that the run began with.
fn change_line(app: &App, density: Density, change: Option<&LearningRateChange>) -> Line<'static> {
    let theme = app.ui.theme;
    let (step, to) = match change {
        Some(change) => (change.step, Some(change.to)),
        None => (0, app.run.first_learning_rate),
    };
    let (glyph, why) = match change {
        None => ("·", "start"),
        Some(change) => {
            (if change.to > change.from { "▲" } else { "▼" }, describe::learning_rate_reason(change.reason))
        }
    };
    let to = to.map_or(String::new(), format::learning_rate);
    let step = if density == Density::Compact { step.to_string() } else { format::count(step) };
    let gap = if density == Density::Compact { "" } else { " " };
    let mut spans = match (density, change) {
        (Density::Compact, _) => vec![Span::styled(format!("{step:>5} "), theme.faint())],
        (_, Some(change)) => vec![
            Span::styled("step ", theme.faint()),
            Span::raw(format!("{step:>9}")),
            Span::styled(format!("  epoch {:>3}  ", change.epoch), theme.faint()),
        ],
        (_, None) => vec![
            Span::styled("step ", theme.faint()),
            Span::raw(format!("{step:>9}")),
            Span::styled("             ", theme.faint()),
        ],
    };
    spans.extend([
        Span::styled(format!("{glyph} "), theme.pending()),
        Span::raw(format!("{to:<7}{gap} ")),
        Span::styled(why, theme.faint()),
    ]);
    Line::from(spans)
}
