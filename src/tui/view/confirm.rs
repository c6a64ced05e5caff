//! "Stop the run?"

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::parts::{choices, overlay};
use crate::tui::app::App;
use crate::tui::app::screens::Screen;

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    let theme = app.ui.theme;
    let lines = vec![
        Line::raw("It saves a checkpoint and ends."),
        Line::styled(format!("Go on with it later: taper resume {}", app.name), theme.faint()),
        Line::default(),
        choices(app, Screen::ConfirmStop),
    ];
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16;
    let inner = overlay(app, screen, width, lines.len() as u16, "Stop the run?", frame);
    frame.render_widget(Paragraph::new(lines), inner);
}
