//! A terminal, or a part of it, without room for what should be there.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect, Size};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use crate::tui::app::App;

/// Says in `area` that `what` needs a terminal of `needed`, and what there is to do.
pub fn render(app: &App, what: &str, needed: Size, advice: &str, area: Rect, frame: &mut Frame) {
    let present = app.ui.size;
    let lines = vec![
        Line::styled(format!("{what} needs {}×{}", needed.width, needed.height), app.ui.theme.strong()),
        Line::raw(format!("this terminal has {}×{}", present.width, present.height)),
        Line::styled(advice, app.ui.theme.faint()),
    ];
    let area = area.centered_vertically(Constraint::Length(3));
    frame.render_widget(Paragraph::new(lines).centered().wrap(Wrap { trim: true }), area);
}
