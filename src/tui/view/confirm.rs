//! "Stop the run?"

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::parts::overlay;
use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::keys;

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    let theme = app.ui.theme;
    let mut choices = Vec::new();
    for binding in keys::bindings(Screen::ConfirmStop) {
        if !choices.is_empty() {
            choices.push(Span::raw("    "));
        }
        choices.push(Span::styled(binding.keys[0].to_string(), theme.strong()));
        choices.push(Span::raw(format!(" {}", binding.label)));
    }
    let lines = vec![
        Line::raw("The trainer saves a checkpoint and ends."),
        Line::styled(format!("Go on with it later: taper resume {}", app.name), theme.faint()),
        Line::default(),
        Line::from(choices),
    ];
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16;
    let inner = overlay(app, screen, width, lines.len() as u16, "Stop the run?", frame);
    frame.render_widget(Paragraph::new(lines), inner);
}
