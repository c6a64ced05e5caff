//! All keys of the page in view, from the table, and how to get more images.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::parts::{key_help_lines, scrolled_help};
use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::keys::{self, Steering};

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    scrolled_help(app.ui.theme, &lines(app, screen), app.ui.first_help_line, screen, frame);
}

pub fn lines(app: &App, screen: Rect) -> Vec<Line<'static>> {
    let steering = app.steering();
    let mut rows: Vec<(String, &str)> = vec![];
    let mut not_offered: Vec<String> = vec![];
    for binding in keys::bindings(app.ui.screens.page()) {
        let names = binding.key_names(app.ui.inspector.layers());
        if !binding.is_offered(steering) {
            not_offered.extend(names.into_iter().take(1));
            continue;
        }
        let names = names.join(" ");
        match rows.last_mut() {
            Some((keys, _)) if binding.help.is_empty() => *keys = format!("{keys} {names}"),
            _ => rows.push((names, binding.help_in(steering))),
        }
    }
    if steering == Steering::OtherTrainer && !not_offered.is_empty() {
        rows.push((not_offered.join(" "), "not offered by this run's trainer"));
    }
    if app.ui.screens.page() == Screen::Dashboard {
        rows.push(("★ ▲▼ !".to_owned(), "the best epoch; learning rate raised, lowered; alarm"));
    }
    let refusal = app.refusal().filter(|_| steering.needs_resume()).map(|why| why.text);
    let advice = app.ui.image_advice.iter().map(|advice| format!("For {advice}"));
    let remarks: Vec<String> = refusal.into_iter().chain(advice).collect();
    key_help_lines(app.ui.theme, rows, &remarks, screen)
}
