//! The help: every key, from the table, and what the marks mean.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::parts::{overlay, position};
use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::keys;
use crate::tui::layout::Scroll;

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    let lines = lines(app);
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16;
    let visible = Scroll::From(app.ui.first_help_line).visible(lines.len(), page(screen));
    let title = match position(&visible, lines.len()) {
        Some(position) => format!("Keys, {position}"),
        None => "Keys".to_owned(),
    };
    let inner = overlay(app, screen, width, lines.len() as u16, &title, frame);
    frame.render_widget(Paragraph::new(lines[visible].to_vec()), inner);
}

/// Lines of the help that fit on a screen.
pub fn page(screen: Rect) -> usize {
    screen.height.saturating_sub(2).into()
}

pub fn lines(app: &App) -> Vec<Line<'static>> {
    let theme = app.ui.theme;
    let mut rows: Vec<(String, &str)> = vec![];
    let steering = app.steering();
    for binding in keys::bindings(app.ui.screens.page()).filter(|binding| binding.is_offered(steering)) {
        let names = binding.key_names(app.ui.inspector.layers()).join(" ");
        match rows.last_mut() {
            Some((keys, _)) if binding.help.is_empty() => *keys = format!("{keys} {names}"),
            _ => rows.push((names, binding.help_in(steering))),
        }
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
    if let Some(why) = app.refusal() {
        lines.push(Line::styled(why.text, theme.faint()));
    }
    lines
}
