//! The help: every key, from the table, and what the marks mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::overlay;
use crate::tui::app::App;
use crate::tui::keys::{self, Binding, Screen};

const KEYS_WIDTH: usize = 11;

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    let theme = app.ui.theme;
    let mut lines: Vec<Line> = keys::bindings(Screen::Dashboard)
        .map(|binding| {
            Line::from(vec![
                Span::styled(format!("{:<KEYS_WIDTH$}  ", names(binding)), theme.strong()),
                Span::raw(binding.help),
            ])
        })
        .collect();
    lines.push(Line::from(vec![
        Span::styled(format!("{:<KEYS_WIDTH$}  ", "★ ▲▼ !"), theme.strong()),
        Span::raw("the best epoch; learning rate raised, lowered; an alarm"),
    ]));
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16;
    let inner = overlay(app, screen, width, lines.len() as u16, "Keys", frame);
    frame.render_widget(Paragraph::new(lines), inner);
}

fn names(binding: &Binding) -> String {
    let names: Vec<String> = binding.keys.iter().map(ToString::to_string).collect();
    names.join(" ")
}
