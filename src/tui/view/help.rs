//! The help: every key, from the table, and what the marks mean.

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
    let mut rows: Vec<(String, &str)> = vec![];
    let mut not_offered: Vec<String> = vec![];
    for binding in keys::bindings(app.ui.screens.page()) {
        if !app.offers(binding.action) {
            not_offered.extend(binding.key_names(app.ui.inspector.layers()).into_iter().take(1));
            continue;
        }
        let names = binding.key_names(app.ui.inspector.layers()).join(" ");
        match rows.last_mut() {
            Some((keys, _)) if binding.help.is_empty() => *keys = format!("{keys} {names}"),
            _ => rows.push((names, binding.help)),
        }
    }
    if !not_offered.is_empty() {
        rows.push((not_offered.join(" "), "not offered by this run's trainer"));
    }
    if app.ui.screens.page() == Screen::Dashboard {
        rows.push(("★ ▲▼ !".to_owned(), "the best epoch; learning rate raised, lowered; alarm"));
    }
    let keys_width = rows.iter().map(|(keys, _)| Line::raw(keys).width()).max().unwrap_or(0);
    let mut lines: Vec<Line> = rows
        .into_iter()
        .map(|(keys, help)| {
            let keys = format!("{keys:<keys_width$}  ");
            Line::from(vec![Span::styled(keys, theme.strong()), Span::raw(help)])
        })
        .collect();
    // Within the border and the padding.
    let text_width = usize::from(screen.width.saturating_sub(6)).max(1);
    for advice in &app.ui.image_advice {
        lines.push(Line::default());
        lines.extend(
            textwrap::wrap(&format!("For {advice}"), text_width).into_iter().map(|line| Line::raw(line.into_owned())),
        );
    }
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16;
    let inner = overlay(app, screen, width, lines.len() as u16, "Keys", frame);
    frame.render_widget(Paragraph::new(lines), inner);
}
