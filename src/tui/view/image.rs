//! Images in a frame: cells where they are drawn by characters, else room for them.

use std::cmp::Reverse;

use image::RgbImage;
use image::imageops::{FilterType, resize};
use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::style::{Color, Style};
use ratatui::text::Line;

use crate::terminal_image::cells::{Cell, Colour, rows};
use crate::terminal_image::{ImageBackend, Placed};
use crate::tui::app::App;
use crate::tui::inspector::Tile;

/// Where the terminal does not tell: most fonts have cells of about this shape.
const USUAL_CELL: Size = Size { width: 1, height: 2 };
/// Columns between two images.
const GAP: u16 = 2;
/// Fewer columns show nothing.
const NARROWEST: u16 = 4;

/// Where a tile goes: a line, and under it a square image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub caption: Rect,
    pub image: Rect,
}

/// Square images with captions, as large as fit, in the order of reading.
pub fn slots(area: Rect, count: usize, cell: Option<Size>) -> Vec<Slot> {
    let cell = cell.unwrap_or(USUAL_CELL);
    let arrangement = |columns: u16| {
        let rows = (count as u16).div_ceil(columns);
        let width = (area.width + GAP).checked_div(columns)?.checked_sub(GAP)?;
        let height = area.height.checked_div(rows)?.checked_sub(1)?;
        let by_width = u32::from(width) * u32::from(cell.width) / u32::from(cell.height);
        let height = height.min(by_width as u16);
        let width = u32::from(height) * u32::from(cell.height) / u32::from(cell.width);
        Some((columns, rows, Size { width: width as u16, height }))
    };
    // Of equally large ones that with the fewest gaps.
    let by_merit =
        |&(columns, rows, size): &(u16, u16, Size)| (size.height, Reverse(columns * rows - count as u16), columns);
    let best = (1..=count as u16).filter_map(arrangement).max_by_key(by_merit);
    let Some((columns, rows, size)) = best.filter(|(.., size)| size.width >= NARROWEST && size.height > 0) else {
        return vec![];
    };
    // In the middle, and no further apart than the captions like.
    let used = columns * (size.width + GAP) - GAP;
    let left = area.x + (area.width - used) / 2;
    let top = area.y + (area.height - rows * (size.height + 1)) / 2;
    (0..count as u16)
        .map(|number| {
            let x = left + number % columns * (size.width + GAP);
            let y = top + number / columns * (size.height + 1);
            Slot {
                caption: Rect { x, y, width: size.width, height: 1 },
                image: Rect { x, y: y + 1, width: size.width, height: size.height },
            }
        })
        .collect()
}

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

    fn sizes(width: u16, height: u16, count: usize) -> Vec<(u16, u16)> {
        let area = Rect::new(3, 5, width, height);
        let slots = slots(area, count, None);
        for slot in &slots {
            assert_eq!(slot.image.intersection(area), slot.image);
            assert_eq!(slot.caption.bottom(), slot.image.y);
        }
        slots.iter().map(|slot| (slot.image.width, slot.image.height)).collect()
    }

    #[test]
    fn images_are_square_and_as_large_as_fit() {
        assert_eq!(sizes(54, 27, 2), [(26, 13); 2]);
        assert_eq!(sizes(54, 27, 1), [(52, 26)]);
        assert_eq!(sizes(54, 27, 10), [(12, 6); 10]);
        assert_eq!(sizes(200, 20, 3), [(38, 19); 3]);
        assert!(sizes(10, 1, 2).is_empty() && sizes(0, 0, 4).is_empty() && sizes(9, 9, 0).is_empty());
    }

    #[test]
    fn no_more_gaps_than_need_be() {
        let columns = |count| {
            let slots = slots(Rect::new(0, 0, 80, 40), count, None);
            slots.iter().filter(|slot| slot.image.y == slots[0].image.y).count()
        };
        assert_eq!([2, 4, 5, 6].map(columns), [2, 2, 3, 3]);
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
            ("nothing speaks for automobile", 24, "nothing spea… automobile"),
            ("speaks for automobile", 12, "speaks for …"),
            ("image", 4, "ima…"),
            ("image", 0, "…"),
        ] {
            assert_eq!(shortened(caption, width), shown);
        }
    }

    #[test]
    fn cells_of_another_shape_keep_them_square() {
        let slot = slots(Rect::new(0, 0, 80, 20), 1, Some(Size::new(8, 20)))[0];
        assert_eq!((slot.image.width, slot.image.height), (47, 19));
    }
}
