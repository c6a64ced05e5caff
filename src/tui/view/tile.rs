//! Tiles: an image under its caption, and the colour bar of what it shows.

use image::RgbImage;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::colour_bar;
use super::image::place;
use crate::terminal_image::Placed;
use crate::tui::app::App;
use crate::tui::inspector::Tile;
use crate::tui::layout::grid::{Slot, slots};

/// Draws a tile into its slot, with its colour bar where there is room for it.
pub fn tile(app: &App, tile: &Tile, slot: Slot, style: Style, frame: &mut Frame, placed: &mut Vec<Placed>) {
    let area = fitted(&tile.image, slot.image);
    let width = usize::from(slot.caption.width);
    let has_room = slot.beside.width >= colour_bar::WIDTH;
    // Else the caption says what it can of the values.
    let range = tile.bar.filter(|_| !has_room).map(|bar| format!("{}  {}", tile.caption, bar.range()));
    let caption = range.filter(|text| text.chars().count() <= width);
    let caption = caption.unwrap_or_else(|| shortened(&tile.caption, width));
    frame.render_widget(Line::styled(caption, style), slot.caption);
    place(app, &tile.image, area, frame, placed);
    if let Some(bar) = tile.bar.as_ref().filter(|_| has_room) {
        let beside = Rect { x: area.right(), y: area.y, width: colour_bar::WIDTH, height: area.height };
        colour_bar::render(app, bar, beside, frame);
    }
}

/// The slots of tiles: with columns for colour bars where there are some, and the images stay nearly as large.
pub fn slots_with_bars(app: &App, tiles: &[Tile], area: Rect) -> Vec<Slot> {
    let arranged = |beside| slots(area, tiles.len(), beside, app.ui.cell);
    let without = arranged(0);
    if tiles.iter().all(|tile| tile.bar.is_none()) {
        return without;
    }
    let with = arranged(colour_bar::WIDTH);
    let height = |slots: &[Slot]| slots.first().map_or(0, |slot| slot.image.height);
    if height(&with) >= 3 && 4 * height(&with) >= 3 * height(&without) { with } else { without }
}

/// The middle of a square area, of the shape of the image.
fn fitted(image: &RgbImage, area: Rect) -> Rect {
    let (width, height) = image.dimensions();
    let longest = width.max(height).max(1);
    let part = |cells: u16, side: u32| ((u32::from(cells) * side + longest / 2) / longest).max(1) as u16;
    let (columns, rows) = (part(area.width, width), part(area.height, height));
    Rect {
        x: area.x + area.width.saturating_sub(columns) / 2,
        y: area.y + area.height.saturating_sub(rows) / 2,
        width: columns,
        height: rows,
    }
}

/// In so many columns: without what is in parentheses, or with less of what comes before the last word. That tells one tile
/// from another: a class, the number of a channel, a share.
fn shortened(caption: &str, width: usize) -> String {
    const LEAST_BEFORE: usize = 2;
    let length = |text: &str| text.chars().count();
    let start = |text: &str, width: usize| text.chars().take(width).collect::<String>();
    if length(caption) <= width {
        return caption.to_owned();
    }
    let caption = caption.split(" (").next().unwrap_or(caption);
    if length(caption) <= width {
        return caption.to_owned();
    }
    match caption.rsplit_once(' ') {
        Some((before, last)) if length(last) + 2 + LEAST_BEFORE <= width => {
            format!("{}… {last}", start(before, width - length(last) - 2).trim_end())
        }
        _ => format!("{}…", start(caption, width.saturating_sub(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_keeps_its_shape_in_a_square_slot() {
        let area = Rect::new(4, 2, 20, 10);
        let of = |width, height| fitted(&RgbImage::new(width, height), area);
        assert_eq!(of(32, 32), area);
        assert_eq!(of(64, 32), Rect::new(4, 4, 20, 5));
        assert_eq!(of(16, 32), Rect::new(9, 2, 10, 10));
    }

    #[test]
    fn a_caption_that_is_cut_keeps_what_tells_it_from_another() {
        for (caption, width, shown) in [
            ("airplane 76%", 12, "airplane 76%"),
            ("airplane 76%", 10, "airpl… 76%"),
            ("▸airplane 76%", 10, "▸airp… 76%"),
            ("channel 104", 10, "chann… 104"),
            ("channel 3 (all equal)", 12, "channel 3"),
            ("channel 104 (all equal)", 10, "chann… 104"),
            ("no evidence for automobile", 24, "no evidence… automobile"),
            ("no evidence for cat (Grad-CAM is zero everywhere)", 20, "no evidence for cat"),
            ("evidence for automobile", 12, "evidence fo…"),
            ("image", 4, "ima…"),
            ("image", 0, "…"),
        ] {
            assert_eq!(shortened(caption, width), shown);
        }
    }
}
