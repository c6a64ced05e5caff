//! The colour bar beside a map: what its colours stand for.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::image::draw_cells;
use crate::render::ColourBar;
use crate::render::colour_bar::VALUE_WIDTH;
use crate::tui::app::App;

/// A gap, the bar, and its values.
pub const WIDTH: u16 = 3 + VALUE_WIDTH as u16;

/// `area` is as wide as [`WIDTH`], and as high as the map.
pub fn render(app: &App, bar: &ColourBar, area: Rect, frame: &mut Frame) {
    let strip = Rect { x: area.x + 1, width: 1, ..area };
    draw_cells(app, &bar.image(1, 2 * u32::from(strip.height)), app.ui.palette(), strip, frame);
    for (row, value) in bar.values(area.height.into()) {
        let place = Rect { x: area.x + 3, y: area.y + row as u16, width: VALUE_WIDTH as u16, height: 1 };
        frame.render_widget(Line::styled(value, app.ui.theme.faint()), place);
    }
}
