//! The keys, from the table.

use ratatui::Frame;
use ratatui::text::{Line, Span};

use super::row;
use crate::tui::app::App;
use crate::tui::keys;
use crate::tui::layout::Areas;

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let mut spans = vec![Span::raw(" ")];
    for binding in keys::bindings(app.ui.screen).filter(|binding| !binding.label.is_empty()) {
        if spans.len() > 1 {
            spans.push(Span::raw("  "));
        }
        spans.push(Span::styled(binding.keys[0].to_string(), theme.strong()));
        spans.push(Span::styled(format!(" {}", binding.label), theme.faint()));
    }
    row(areas.footer, Line::from(spans), Line::default(), frame);
}
