//! The cells of a frame under images that are drawn over it.

use ratatui::buffer::{Buffer, CellDiffOption};
use ratatui::layout::Rect;

use super::placed::Placed;

/// Knows what is on the screen besides cells.
#[derive(Debug, Default)]
pub struct Reserved {
    pub shown: Vec<Placed>,
    /// The screen for which `shown` holds.
    pub screen: Rect,
}

impl Reserved {
    /// Before the frame is drawn: keeps ratatui from the cells under images that are shown. Those under new ones are
    /// drawn once more, empty; those that are released are drawn anew, whatever was there before the image, which erases
    /// it where it lies in the cells.
    pub fn reserve(&mut self, placed: &[Placed], buffer: &mut Buffer) {
        if buffer.area != self.screen {
            // ratatui has cleared the screen, and with it the images.
            self.screen = buffer.area;
            self.shown.clear();
        }
        let areas = |placed: &[Placed]| placed.iter().map(|placed| placed.area).collect::<Vec<_>>();
        let (shown, wanted) = (areas(&self.shown), areas(placed));
        for released in shown.iter().filter(|area| !wanted.contains(area)) {
            for position in released.intersection(buffer.area).positions() {
                buffer[position].set_diff_option(CellDiffOption::AlwaysUpdate);
            }
        }
        for area in &wanted {
            let is_shown = shown.contains(area);
            let option = if is_shown { CellDiffOption::Skip } else { CellDiffOption::AlwaysUpdate };
            for position in area.intersection(buffer.area).positions() {
                buffer[position].reset();
                buffer[position].set_diff_option(option);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use image::{Rgb, RgbImage};

    use super::*;

    fn placed(x: u16, grey: u8) -> Placed {
        Placed { area: Rect::new(x, 1, 4, 2), image: Arc::new(RgbImage::from_pixel(32, 32, Rgb([grey; 3]))) }
    }

    fn cells_with(buffer: &Buffer, option: CellDiffOption) -> Vec<u16> {
        (0..buffer.area.width).filter(|&x| buffer[(x, 1)].diff_option == option).collect()
    }

    fn skipped(buffer: &Buffer) -> Vec<u16> {
        cells_with(buffer, CellDiffOption::Skip)
    }

    #[test]
    fn cells_under_an_image_are_left_alone() {
        let screen = Rect::new(0, 0, 20, 5);
        let mut reserved = Reserved::default();
        let mut buffer = Buffer::filled(screen, ratatui::buffer::Cell::new("x"));
        reserved.reserve(&[placed(2, 0)], &mut buffer);
        assert_eq!((skipped(&buffer), buffer[(2, 1)].symbol(), buffer[(1, 1)].symbol()), (vec![], " ", "x"));
        reserved.shown = vec![placed(2, 0)];
        reserved.reserve(&[placed(2, 9), placed(8, 0)], &mut buffer);
        assert_eq!(skipped(&buffer), [2, 3, 4, 5]);
        // Another size of the screen: it was cleared.
        let mut larger = Buffer::empty(Rect::new(0, 0, 30, 5));
        reserved.reserve(&[placed(2, 0)], &mut larger);
        assert!(skipped(&larger).is_empty() && reserved.shown.is_empty());
    }

    #[test]
    fn cells_that_an_image_leaves_are_drawn_anew() {
        let screen = Rect::new(0, 0, 20, 5);
        let mut reserved = Reserved::default();
        let (mut before, mut after) = (Buffer::empty(screen), Buffer::empty(screen));
        reserved.reserve(&[placed(2, 0)], &mut before);
        reserved.shown = vec![placed(2, 0)];
        reserved.reserve(&[placed(4, 0)], &mut after);
        assert_eq!(cells_with(&after, CellDiffOption::AlwaysUpdate), [2, 3, 4, 5, 6, 7]);
        let drawn: Vec<u16> = before.diff(&after).into_iter().filter(|(_, y, _)| *y == 1).map(|(x, ..)| x).collect();
        assert_eq!(drawn, [2, 3, 4, 5, 6, 7]);
    }
}
