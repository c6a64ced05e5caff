//! The keys, from the table.

use ratatui::Frame;
use ratatui::text::Line;

use super::parts::key_line;
use crate::tui::app::App;
use crate::tui::keys;
use crate::tui::layout::Areas;

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let steering = app.steering();
    let labels = keys::bindings(app.ui.screens.top())
        .filter(|binding| !binding.label.is_empty() && binding.is_offered(steering))
        .map(|binding| (binding.key_names(app.ui.inspector.layers()).swap_remove(0), binding.label_in(steering)));
    let rest = key_line(theme, labels.collect(), areas.footer, frame);
    let resume = Line::styled(format!("{} ", app.resume_command()), theme.faint());
    if steering.needs_resume() && resume.width() <= usize::from(rest.width) {
        frame.render_widget(resume.right_aligned(), rest);
    }
}
