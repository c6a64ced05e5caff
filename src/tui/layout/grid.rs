//! Square images with captions in a grid, as large as fit.

use std::cmp::Reverse;

use ratatui::layout::{Rect, Size};

/// The shape of a cell in most fonts, for terminals that do not report it.
const USUAL_CELL: Size = Size { width: 1, height: 2 };
/// Columns between two images.
const GAP: u16 = 2;
/// Fewer columns show nothing.
const NARROWEST: u16 = 4;

/// Where a tile goes: a caption of one line, and under it a square image with something beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub caption: Rect,
    pub image: Rect,
    /// As high as the image, right of it.
    pub beside: Rect,
}

/// The slots of `count` tiles in reading order; none where they would be too small. Each has so many columns `beside` its
/// image. `cell` is the size of a character in pixels, where the terminal reports it.
pub fn slots(area: Rect, count: usize, beside: u16, cell: Option<Size>) -> Vec<Slot> {
    let cell = cell.unwrap_or(USUAL_CELL);
    let arrangement = |columns: u16| {
        let rows = (count as u16).div_ceil(columns);
        let width = (area.width + GAP).checked_div(columns)?.checked_sub(GAP + beside)?;
        let height = area.height.checked_div(rows)?.checked_sub(1)?;
        let by_width = u32::from(width) * u32::from(cell.width) / u32::from(cell.height);
        let height = height.min(by_width as u16);
        let width = u32::from(height) * u32::from(cell.height) / u32::from(cell.width);
        Some((columns, rows, Size { width: width as u16, height }))
    };
    // Of arrangements with equally large images, the one with the fewest empty slots.
    let by_merit =
        |&(columns, rows, size): &(u16, u16, Size)| (size.height, Reverse(columns * rows - count as u16), columns);
    let best = (1..=count as u16).filter_map(arrangement).max_by_key(by_merit);
    let Some((columns, rows, size)) = best.filter(|(.., size)| size.width >= NARROWEST && size.height > 0) else {
        return vec![];
    };
    let each = size.width + beside + GAP;
    let used = columns * each - GAP;
    let left = area.x + (area.width - used) / 2;
    let top = area.y + (area.height - rows * (size.height + 1)) / 2;
    (0..count as u16)
        .map(|number| {
            let x = left + number % columns * each;
            let y = top + number / columns * (size.height + 1);
            Slot {
                caption: Rect { x, y, width: size.width + beside, height: 1 },
                image: Rect { x, y: y + 1, width: size.width, height: size.height },
                beside: Rect { x: x + size.width, y: y + 1, width: beside, height: size.height },
            }
        })
        .collect()
}

/// How many of the slots share the first row; at least 1.
pub fn columns(slots: &[Slot]) -> usize {
    slots.iter().take_while(|slot| slot.image.y == slots[0].image.y).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(width: u16, height: u16, count: usize) -> Vec<(u16, u16)> {
        let area = Rect::new(3, 5, width, height);
        let slots = slots(area, count, 0, None);
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
    fn there_is_room_beside_each_image() {
        let area = Rect::new(3, 5, 54, 27);
        let slots = slots(area, 2, 9, None);
        assert_eq!((slots[0].image.width, slots[0].image.height), (24, 12));
        for slot in slots {
            assert_eq!(slot.beside, Rect { x: slot.image.right(), width: 9, ..slot.image });
            assert_eq!((slot.beside.intersection(area), slot.caption.width), (slot.beside, 33));
        }
    }

    #[test]
    fn the_fewest_slots_stay_empty() {
        let columns = |count| columns(&slots(Rect::new(0, 0, 80, 40), count, 0, None));
        assert_eq!([2, 4, 5, 6].map(columns), [2, 2, 3, 3]);
    }

    #[test]
    fn images_stay_square_in_cells_of_another_shape() {
        let slot = slots(Rect::new(0, 0, 80, 20), 1, 0, Some(Size::new(8, 20)))[0];
        assert_eq!((slot.image.width, slot.image.height), (47, 19));
    }
}
