//! The gallery of mistakes: the most confident wrong test images after an epoch.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use super::image::tile;
use super::inspector::{IMAGES_ARE_OFF, classes_line, no_probe_line, not_loaded};
use super::panel::panel;
use crate::terminal_image::{ImageBackend, Placed};
use crate::tui::app::App;
use crate::tui::layout::Areas;
use crate::tui::layout::grid::{Slot, slots};

pub fn render(app: &App, areas: &Areas, frame: &mut Frame, placed: &mut Vec<Placed>) {
    let theme = app.ui.theme;
    let inspector = &app.ui.inspector;
    let title = match inspector.probe() {
        Some(probe) => format!("The most confident mistakes of epoch {}", probe.epoch),
        None => "The most confident mistakes".to_owned(),
    };
    let gallery = inspector.gallery();
    let note = match gallery.len() {
        0 => Line::default(),
        count => Line::styled(format!("{} of {count}", inspector.chosen_mistake.min(count - 1) + 1), theme.faint()),
    };
    let inner = panel(app, areas, areas.page(), None, &title, note, frame);
    if let Some(why) = why_not(app) {
        return frame.render_widget(Paragraph::new(Line::styled(why, theme.faint())).wrap(Wrap { trim: true }), inner);
    }
    let chosen = inspector.chosen_mistake.min(gallery.len() - 1);
    if let Some(probe) = inspector.probe() {
        frame.render_widget(classes_line(app, &probe.mistakes[chosen]), Rect { height: 1, ..inner });
    }
    for (number, (mistake, slot)) in gallery.iter().zip(arranged(app, inner)).enumerate() {
        let is_chosen = number == chosen;
        let mut mistake = mistake.clone();
        if is_chosen {
            mistake.caption.insert(0, '▸');
        }
        tile(app, &mistake, slot, if is_chosen { theme.strong() } else { theme.faint() }, frame, placed);
    }
}

/// The slots of the gallery, under a line about the chosen mistake; `area` is without the frame.
pub fn arranged(app: &App, area: Rect) -> Vec<Slot> {
    let area = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    slots(area, app.ui.inspector.gallery().len(), app.ui.cell)
}

fn why_not(app: &App) -> Option<String> {
    if app.ui.backend == ImageBackend::Nothing {
        return Some(IMAGES_ARE_OFF.to_owned());
    }
    if app.last_with_mistakes(&app.run.probes).is_none() {
        let yet = "No epoch has a probe yet: the mistakes come with the first.";
        return Some(no_probe_line(app, "probe of an epoch", yet));
    }
    let has_none = || app.ui.inspector.gallery().is_empty();
    not_loaded(app).or_else(|| has_none().then(|| "No mistakes are known here.".to_owned()))
}
