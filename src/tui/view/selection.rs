//! The row of a panel that is chosen, and where it is.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Modifier, Style};

use super::panel::{Panel, Rows};
use crate::tui::app::App;
use crate::tui::layout::Areas;

/// The number of the row at that place of the panel, which has that area.
pub fn row_at(app: &App, areas: &Areas, panel: &Panel, area: Rect, at: Position) -> Option<usize> {
    let (rows, scrolling) = (panel.rows.as_ref()?, panel.scrolling.as_ref()?);
    let rows_area = (rows.area)(areas, area);
    let visible = app.scroll(panel.name).visible((scrolling.len)(app), (scrolling.page)(areas, area));
    let index = visible.start + usize::from(at.y.checked_sub(rows_area.y)?);
    (rows_area.contains(at) && visible.contains(&index)).then_some(index)
}

/// The number of the row that is chosen, if it is in this panel.
pub fn chosen_row(app: &App, panel: &Panel) -> Option<usize> {
    let chosen = app.ui.chosen_row.as_ref().filter(|chosen| chosen.panel == panel.name)?;
    let (Rows { key, .. }, scrolling) = (panel.rows.as_ref()?, panel.scrolling.as_ref()?);
    // Most are near the end.
    (0..(scrolling.len)(app)).rev().find(|&index| key(app, index).as_ref() == Some(&chosen.key))
}

/// Marks it, after the panel is drawn.
pub fn render(app: &App, areas: &Areas, panel: &Panel, area: Rect, frame: &mut Frame) {
    let (Some(index), Some(rows), Some(scrolling)) = (chosen_row(app, panel), &panel.rows, &panel.scrolling) else {
        return;
    };
    let rows_area = (rows.area)(areas, area);
    let visible = app.scroll(panel.name).visible((scrolling.len)(app), (scrolling.page)(areas, area));
    if visible.contains(&index) {
        let row = Rect { y: rows_area.y + (index - visible.start) as u16, height: 1, ..rows_area };
        frame.buffer_mut().set_style(row, Style::new().add_modifier(Modifier::REVERSED));
    }
}
