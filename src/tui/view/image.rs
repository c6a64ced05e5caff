//! Images in a frame: cells where they are drawn by characters, else room for them.

use image::RgbImage;
use image::imageops::{FilterType, resize};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::Line;

use crate::terminal_image::cells::{Cell, Colour, rows};
use crate::terminal_image::{ImageBackend, Placed};
use crate::tui::app::App;
use crate::tui::inspector::Tile;
use crate::tui::layout::grid::Slot;

/// Draws an image over all of `area`, or leaves room for it in `placed`.
pub fn place(app: &App, image: &RgbImage, area: Rect, frame: &mut Frame, placed: &mut Vec<Placed>) {
    match app.ui.backend {
        ImageBackend::Nothing => {}
        ImageBackend::Protocol(_) => placed.push(Placed { area, image: image.clone() }),
        ImageBackend::Cells(palette) => {
            let (width, height) = (u32::from(area.width), 2 * u32::from(area.height));
            let fitted = resize(image, width, height, FilterType::Triangle);
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
    place(app, &tile.image, slot.image, frame, placed);
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
    fn a_caption_that_is_cut_keeps_what_tells_it_from_another() {
        for (caption, width, shown) in [
            ("airplane 76%", 12, "airplane 76%"),
            ("airplane 76%", 10, "airpl… 76%"),
            ("▸airplane 76%", 10, "▸airp… 76%"),
            ("channel 104", 10, "chann… 104"),
            ("channel 3 (all equal)", 12, "channel 3"),
            ("channel 104 (all equal)", 10, "chann… 104"),
            ("nothing speaks for automobile", 24, "nothing spea… automobile"),
            ("speaks for automobile", 12, "speaks for …"),
            ("image", 4, "ima…"),
            ("image", 0, "…"),
        ] {
            assert_eq!(shortened(caption, width), shown);
        }
    }
}
