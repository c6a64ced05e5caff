//! The events as lines of text; a message of the dashboard itself takes the last line.

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};

use super::panel::{Panel, Rows, Scrolling, panel};
use super::parts::{position, row};
use crate::format;
use crate::run::describe::Note;
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::chart_page::ChartKind;
use crate::tui::layout::{Areas, Density, PanelName, Region, Scroll, place};

pub static PANEL: Panel = Panel {
    name: PanelName("events"),
    places: [place(Region::Bottom, Constraint::Fill(1)); 3],
    is_shown: |_| true,
    scrolling: Some(Scrolling { len, page, across: false }),
    chart: None,
    rows: Some(Rows { area: rows, key, moment }),
    render,
};

fn len(app: &App) -> usize {
    app.run.notes.len() + usize::from(app.trainer_died())
}

fn page(areas: &Areas, area: Rect) -> usize {
    rows(areas, area).height.into()
}

fn rows(areas: &Areas, area: Rect) -> Rect {
    // The one line of a compact screen has no rule above it.
    if areas.density == Density::Compact { area } else { areas.inner(area) }
}

fn note_at(app: &App, index: usize) -> Option<Cow<'_, Note>> {
    match app.run.notes.get(index) {
        Some(note) => Some(Cow::Borrowed(note)),
        None if index == app.run.notes.len() => app.death_note().map(Cow::Owned),
        None => None,
    }
}

fn key(app: &App, index: usize) -> Option<String> {
    note_at(app, index).map(|note| format!("{} {}", note.time_ms, note.text))
}

fn moment(app: &App, index: usize) -> Option<(ChartKind, u64)> {
    Some((ChartKind::Loss, app.run.clock().step_by(note_at(app, index)?.time_ms)))
}

fn render(app: &App, areas: &Areas, area: Rect, frame: &mut Frame, _placed: &mut Vec<Placed>) {
    let theme = app.ui.theme;
    let len = len(app);
    let visible = app.scroll(PANEL.name).visible(len, page(areas, area));
    let mut note = vec![];
    if let Some(position) = position(&visible, len) {
        note.push(Span::styled(position, theme.faint()));
    }
    if app.scroll(PANEL.name) != Scroll::Latest {
        // What is in view stays as it is, and must not be taken for the latest.
        note.push(Span::styled(format!("  {} newer, End", len - visible.end), theme.warning()));
    }
    let inner = if areas.density == Density::Compact {
        Rect { x: area.x + 1, width: area.width - 1, ..area }
    } else {
        panel(app, areas, area, Some(PANEL.name), "Events", Line::from(note.clone()), frame)
    };
    let focused = areas.density == Density::Compact && app.ui.focus == PANEL.name;
    let is_scrolled = areas.density == Density::Compact && app.scroll(PANEL.name) != Scroll::Latest;
    let right = if is_scrolled { Line::from(note) } else { Line::default() };
    let death = app.death_note();
    let shown = app.run.notes.iter().chain(&death).skip(visible.start).take(visible.len());
    for (note_line, line) in shown.zip(inner.rows()) {
        let mark = if focused { "▸ " } else { "" };
        row(line, event_line(app, mark, note_line), right.clone(), frame);
    }
    if let Some(line) = inner.rows().next_back() {
        render_message(app, line, frame);
    }
}

/// Draws the message of the dashboard, if there is one, over `line`.
pub fn render_message(app: &App, line: Rect, frame: &mut Frame) {
    if let Some(message) = &app.ui.message {
        frame.render_widget(ratatui::widgets::Clear, line);
        let text = Span::styled(format!("› {}", message.text), app.ui.theme.severity(message.severity));
        row(line, Line::from(vec![text]), Line::default(), frame);
    }
}

fn event_line(app: &App, mark: &'static str, note: &Note) -> Line<'static> {
    let theme = app.ui.theme;
    let time = format::time_of_day(note.time_ms, &app.ui.zone);
    Line::from(vec![
        Span::styled(mark, theme.strong()),
        Span::styled(format!("{time}  "), theme.faint()),
        Span::styled(note.text.clone(), theme.severity(note.severity)),
    ])
}
