//! The screen, one panel a file. Every `render` takes (app, areas, frame) and draws what `App` says, no more.

mod alarms;
mod batch_loss;
mod charts;
mod checkpoints;
mod classes;
mod confirm;
mod epochs;
mod events;
mod footer;
mod header;
mod help;
mod image;
mod inspector;
mod learning_rate;
mod mistakes;
mod notices;
mod step_time;
mod too_small;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Borders, Clear, Padding};

use super::app::App;
use super::keys::Screen;
use super::layout::{Areas, Density, Panel};
use crate::terminal_image::Placed;
pub use mistakes::columns as gallery_columns;

/// Draws the dashboard; gives the images that the terminal is to draw, for which it has left room.
pub fn render(app: &App, frame: &mut Frame) -> Vec<Placed> {
    let screen = frame.area();
    let mut placed = vec![];
    let Some(areas) = app.areas(screen) else {
        too_small::render(app, screen, frame);
        return placed;
    };
    header::render(app, &areas, frame);
    notices::render(app, &areas, frame);
    if areas.density < Density::Wide {
        step_time::render(app, &areas, frame);
    }
    match app.ui.page() {
        Screen::Inspector => inspector::render_in(app, &areas, areas.page(), frame, &mut placed),
        Screen::Mistakes => mistakes::render(app, &areas, frame, &mut placed),
        Screen::Classes => classes::render(app, &areas, frame),
        Screen::Dashboard | Screen::Help | Screen::Alarms | Screen::Diverged | Screen::ConfirmStop => {
            render_dashboard(app, &areas, frame, &mut placed);
        }
    }
    footer::render(app, &areas, frame);
    match app.ui.screen {
        Screen::Dashboard | Screen::Diverged => {}
        Screen::Alarms => alarms::render(app, screen, frame),
        Screen::Inspector | Screen::Mistakes | Screen::Classes => events::render_message(app, areas.message(), frame),
        Screen::Help => help::render(app, screen, frame),
        Screen::ConfirmStop => confirm::render(app, screen, frame),
    }
    if app.ui.screen != app.ui.page() {
        // They would lie over what lies over the page.
        placed.clear();
    }
    placed
}

fn render_dashboard(app: &App, areas: &Areas, frame: &mut Frame, placed: &mut Vec<Placed>) {
    if areas.density == Density::Wide {
        step_time::render(app, areas, frame);
    }
    batch_loss::render(app, areas, frame);
    charts::render_loss(app, areas, frame);
    charts::render_accuracy(app, areas, frame);
    inspector::render(app, areas, frame, placed);
    epochs::render(app, areas, frame);
    learning_rate::render(app, areas, frame);
    checkpoints::render(app, areas, frame);
    events::render(app, areas, frame);
}

/// Draws the frame of a panel (a rule above it where room is scarce) and gives what is inspector.
fn panel(
    app: &App,
    areas: &Areas,
    area: Rect,
    focusable: Option<Panel>,
    title: &str,
    note: Line,
    frame: &mut Frame,
) -> Rect {
    let theme = app.ui.theme;
    let focused = focusable == Some(app.ui.focus) && app.ui.screen == Screen::Dashboard;
    let border = if focused { theme.strong() } else { theme.faint() };
    let mut left = Vec::new();
    if areas.density == Density::Compact {
        left.push(Span::styled("─", border));
    }
    left.push(Span::styled(format!("{}{title} ", if focused { "▸ " } else { " " }), theme.strong()));
    let mut right = if note.width() == 0 { Vec::new() } else { note.spans };
    if !right.is_empty() {
        right.insert(0, Span::raw(" "));
        right.push(Span::raw(" "));
    }
    if areas.density == Density::Compact {
        right.push(Span::styled("─", border));
    }
    let block = Block::new()
        .borders(if areas.density == Density::Compact { Borders::TOP } else { Borders::ALL })
        .border_type(BorderType::Rounded)
        .border_style(border)
        // Or the titles would inherit the faintness of the frame.
        .title_style(Style::reset())
        .title_top(Line::from(left))
        .title_top(Line::from(right).alignment(Alignment::Right));
    frame.render_widget(block, area);
    areas.inner(area)
}

/// A frame over the middle of the screen; gives what is inspector.
fn overlay(app: &App, screen: Rect, width: u16, height: u16, title: &str, frame: &mut Frame) -> Rect {
    let area = screen.centered(
        Constraint::Length((width + 6).min(screen.width)),
        Constraint::Length((height + 4).min(screen.height)),
    );
    let theme = app.ui.theme;
    let padding = u16::from(height + 4 <= screen.height);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .padding(Padding::new(2, 2, padding, padding))
        .title_top(Line::styled(format!(" {title} "), theme.strong()));
    let inner = block.inner(area);
    frame.render_widget(Clear, area);
    frame.render_widget(block, area);
    inner
}

/// One line: `left`, cut where it meets `right`.
fn row(area: Rect, left: Line, right: Line, frame: &mut Frame) {
    let right_width = (right.width() as u16).min(area.width);
    let gap = if right_width == 0 { 0 } else { 2 };
    let left_area = Rect { width: area.width.saturating_sub(right_width + gap), ..area };
    frame.render_widget(left, left_area);
    frame.render_widget(right.alignment(Alignment::Right), area);
}

/// `8–13 of 40`, where not all of it is seen.
fn position(visible: &std::ops::Range<usize>, len: usize) -> Option<String> {
    (visible.len() < len).then(|| format!("{}–{} of {len}", visible.start + 1, visible.end))
}
