//! The keys, from the table.

use ratatui::Frame;
use ratatui::text::{Line, Span};

use super::parts::row;
use crate::tui::app::App;
use crate::tui::keys::{self, Steering};
use crate::tui::layout::Areas;

/// Help and leave stay where not all bindings fit.
const LAST_KEPT: usize = 2;

pub fn render(app: &App, areas: &Areas, frame: &mut Frame) {
    let theme = app.ui.theme;
    let steering = app.steering();
    let mut entries: Vec<[Span; 2]> = keys::bindings(app.ui.screens.top())
        .filter(|binding| !binding.label.is_empty() && binding.is_offered(steering))
        .map(|binding| {
            let label = Span::styled(format!(" {}  ", binding.label_in(steering)), theme.faint());
            [Span::styled(binding.key_names(app.ui.inspector.layers()).swap_remove(0), theme.strong()), label]
        })
        .collect();
    let width = |entries: &[[Span; 2]]| entries.iter().flatten().map(Span::width).sum::<usize>();
    // A space before, and the two after the last that nobody sees.
    while entries.len() > LAST_KEPT && 1 + width(&entries) > usize::from(areas.footer.width) + 2 {
        entries.remove(entries.len() - LAST_KEPT - 1);
    }
    let spans = std::iter::once(Span::raw(" ")).chain(entries.into_iter().flatten());
    let keys = Line::from_iter(spans);
    let resume = Line::styled(format!("{} ", app.resume_command()), theme.faint());
    let has_room = keys.width() + resume.width() <= usize::from(areas.footer.width);
    let right = if steering == Steering::Over && has_room { resume } else { Line::default() };
    row(areas.footer, keys, right, frame);
}
