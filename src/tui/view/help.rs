//! The help: every key, from the table, and what the marks mean.

use ratatui::Frame;
use ratatui::layout::Rect;

use super::parts::key_help;
use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::keys;

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
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
    key_help(app.ui.theme, rows, &app.ui.image_advice, screen, frame);
}
