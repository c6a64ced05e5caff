//! The colour bar beside a map: what its colours stand for.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::image::draw_cells;
use crate::format;
use crate::render::ColourBar;
use crate::tui::app::App;

/// Columns of a value.
const VALUE_WIDTH: u16 = 6;
/// A gap, the bar, and its values.
pub const WIDTH: u16 = 3 + VALUE_WIDTH;
/// Rows from which on the middle has its value, too.
const ROWS_WITH_MIDDLE: u16 = 5;

/// `area` is as wide as [`WIDTH`], and as high as the map.
pub fn render(app: &App, bar: &ColourBar, area: Rect, frame: &mut Frame) {
    let strip = Rect { x: area.x + 1, width: 1, ..area };
    draw_cells(app, &bar.image(1, 2 * u32::from(strip.height)), app.ui.palette(), strip, frame);
    let mut values = vec![(area.y, bar.high), (area.bottom().saturating_sub(1), bar.low)];
    // Where there is a row in the middle.
    if area.height >= ROWS_WITH_MIDDLE && area.height % 2 == 1 {
        values.push((area.y + area.height / 2, bar.low + (bar.high - bar.low) / 2.0));
    }
    for (y, value) in values {
        let text = Line::styled(value_text(value), app.ui.theme.faint());
        frame.render_widget(text, Rect { x: area.x + 3, y, width: VALUE_WIDTH, height: 1 });
    }
}

/// `0 to 0.98`, where there is no room for a bar.
pub fn range(bar: &ColourBar) -> String {
    format!("{} to {}", value_text(bar.low), value_text(bar.high))
}

/// Without zeros that say nothing.
fn value_text(value: f32) -> String {
    let text = format::compact(f64::from(value), VALUE_WIDTH.into());
    match text.contains('.') && text.ends_with('0') && !text.contains('e') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short() {
        let cases = [(0.0, "0"), (1.0, "1"), (0.55, "0.55"), (-0.125, "-0.125"), (100.0, "100"), (3.1e-9, "3.1e-9")];
        for (value, text) in cases {
            assert_eq!(value_text(value), text);
        }
    }
}
