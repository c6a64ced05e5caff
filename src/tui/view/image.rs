//! Images in a frame: cells where they are drawn by characters, else room for them.

use std::sync::Arc;

use image::RgbImage;
use image::imageops::{FilterType, resize};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::Line;

use crate::terminal_image::half_blocks::{Cell, Colour, rows};
use crate::terminal_image::{ImageBackend, Placed};
use crate::tui::app::App;
use crate::tui::inspector::Tile;
use crate::tui::layout::grid::Slot;

/// Draws an image over all of `area`, or leaves room for it in `placed`.
pub fn place(app: &App, image: &Arc<RgbImage>, area: Rect, frame: &mut Frame, placed: &mut Vec<Placed>) {
    match app.ui.backend {
        ImageBackend::Nothing => {}
        ImageBackend::Protocol(_) => placed.push(Placed { area, image: image.clone() }),
        ImageBackend::Cells(palette) => {
            let (width, height) = (u32::from(area.width), 2 * u32::from(area.height));
            let fitted = resize(&**image, width, height, FilterType::Triangle);
            for (row, y) in rows(&fitted, palette).zip(area.y..) {
                for (cell, x) in row.zip(area.x..) {
                    let Some(target) = frame.buffer_mut().cell_mut((x, y)) else { continue };
                    match cell {
                        Cell::Halves { top, bottom } => target.set_char('▀').set_fg(colour(top)).set_bg(colour(bottom)),
                        Cell::Shade(char) => target.set_char(char),
                    };
                }
            }
        }
    }
}

fn colour(colour: Colour) -> Color {
    match colour {
        Colour::Rgb([r, g, b]) => Color::Rgb(r, g, b),
        Colour::Indexed(number) => Color::Indexed(number),
    }
}

/// Draws a tile into its slot.
pub fn tile(app: &App, tile: &Tile, slot: Slot, style: Style, frame: &mut Frame, placed: &mut Vec<Placed>) {
    frame.render_widget(Line::styled(shortened(&tile.caption, slot.caption.width.into()), style), slot.caption);
    place(app, &tile.image, fitted(&tile.image, slot.image), frame, placed);
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
