//! All keys of the page in view, from the table, and how to get more images.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::parts::{key_help_lines, scrolled_help};
use crate::tui::app::App;
use crate::tui::app::screens::Screen;
use crate::tui::key_table::merged;
use crate::tui::keys::{self, Binding, Steering};

pub fn render(app: &App, screen: Rect, frame: &mut Frame) {
    scrolled_help(app.ui.theme, &lines(app, screen), app.ui.first_help_line, screen, frame);
}

pub fn lines(app: &App, screen: Rect) -> Vec<Line<'static>> {
    let steering = app.steering();
    let names = |binding: &Binding| binding.key_names(app.ui.inspector.layers());
    let (offered, not_offered): (Vec<_>, Vec<_>) =
        keys::bindings(app.ui.screens.page()).partition(|binding| binding.is_offered(steering));
    let mut rows = merged(offered.iter().map(|binding| (names(binding).join(" "), binding.help_in(steering))));
    let not_offered: Vec<String> = not_offered.iter().map(|binding| names(binding).swap_remove(0)).collect();
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
