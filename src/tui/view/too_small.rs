//! A terminal without room for the dashboard.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use crate::tui::app::App;
use crate::tui::layout::SMALLEST;

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    let lines = vec![
        Line::styled(format!("taper needs {}×{}", SMALLEST.width, SMALLEST.height), app.ui.theme.strong()),
        Line::raw(format!("this terminal has {}×{}", screen.width, screen.height)),
        Line::styled("q leaves; training goes on", app.ui.theme.faint()),
    ];
    let area = screen.centered_vertically(Constraint::Length(3));
    frame.render_widget(Paragraph::new(lines).centered().wrap(Wrap { trim: true }), area);
}
