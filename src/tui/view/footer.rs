//! The keys, from the table.

use ratatui::Frame;

use super::parts::key_line;
use crate::tui::app::App;
use crate::tui::keys;
use crate::tui::layout::Areas;

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let labels = keys::bindings(app.ui.screens.top())
        .filter(|binding| !binding.label.is_empty() && app.offers(binding.action))
        .map(|binding| (binding.key_names(app.ui.inspector.layers()).swap_remove(0), binding.label));
    key_line(app.ui.theme, labels.collect(), areas.footer, frame);
}
