//! Draws images over a frame, and takes them away again.

use std::io;

use ratatui::buffer::{Buffer, CellDiffOption};
use ratatui::layout::{Rect, Size};
use viuer::ViuError;

use super::backend::Protocol;
use super::placed::Placed;
use super::placeholders::Placeholders;
use super::protocols::{Corner, forget, print};
use super::tmux;

/// Draws the images of a frame.
#[derive(Debug)]
pub enum Painter {
    /// As characters of the frame.
    Within(Placeholders),
    Over(OverPainter),
}

impl Painter {
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Placeholders => Self::Within(Placeholders::new(tmux::reaches_terminal)),
            Protocol::Kitty | Protocol::Iterm2 | Protocol::Sixel => Self::Over(OverPainter::new(protocol)),
        }
    }

    /// Before the frame is drawn.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn reserve(&mut self, placed: &[Placed], buffer: &mut Buffer) -> io::Result<()> {
        match self {
            Self::Within(placeholders) => placeholders.fill(placed, buffer, &mut io::stdout().lock()),
            Self::Over(painter) => {
                painter.reserve(placed, buffer);
                Ok(())
            }
        }
    }

    /// After the frame is drawn. `cell` is the size of a character in pixels, where the terminal tells. Returns why viuer
    /// could not draw an image, if so.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn paint(&mut self, placed: Vec<Placed>, cell: Option<Size>) -> io::Result<Option<String>> {
        match self {
            Self::Within(_) => Ok(None),
            Self::Over(painter) => painter.paint(placed, cell),
        }
    }

    /// The screen has been given to others since, or is another one.
    pub fn reset(&mut self) {
        match self {
            Self::Within(placeholders) => placeholders.reset(),
            Self::Over(painter) => painter.shown.clear(),
        }
    }
}

/// Knows what is on the screen besides cells.
#[derive(Debug)]
pub struct OverPainter {
    protocol: Protocol,
    shown: Vec<Placed>,
    /// The screen for which `shown` holds.
    screen: Rect,
}

impl OverPainter {
    fn new(protocol: Protocol) -> Self {
        Self { protocol, shown: vec![], screen: Rect::ZERO }
    }

    /// Before the frame is drawn: keeps ratatui from the cells under images that are shown. Those under new ones are
    /// drawn once more, empty; those that are released are drawn anew, whatever was there before the image, which erases
    /// it where it lies in the cells.
    fn reserve(&mut self, placed: &[Placed], buffer: &mut Buffer) {
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

    fn paint(&mut self, placed: Vec<Placed>, cell: Option<Size>) -> io::Result<Option<String>> {
        if placed == self.shown {
            return Ok(None);
        }
        forget()?;
        let mut fault = None;
        for Placed { area, image } in &placed {
            match print(self.protocol, image, area.as_size(), Corner::OfScreen { x: area.x, y: area.y }, cell) {
                Ok(()) => {}
                Err(ViuError::Io(error)) => return Err(error),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        self.shown = placed;
        Ok(fault)
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
        let mut painter = OverPainter::new(Protocol::Sixel);
        let mut buffer = Buffer::filled(screen, ratatui::buffer::Cell::new("x"));
        painter.reserve(&[placed(2, 0)], &mut buffer);
        assert_eq!((skipped(&buffer), buffer[(2, 1)].symbol(), buffer[(1, 1)].symbol()), (vec![], " ", "x"));
        painter.shown = vec![placed(2, 0)];
        painter.reserve(&[placed(2, 9), placed(8, 0)], &mut buffer);
        assert_eq!(skipped(&buffer), [2, 3, 4, 5]);
        // Another size of the screen: it was cleared.
        let mut larger = Buffer::empty(Rect::new(0, 0, 30, 5));
        painter.reserve(&[placed(2, 0)], &mut larger);
        assert!(skipped(&larger).is_empty() && painter.shown.is_empty());
    }

    #[test]
    fn cells_that_an_image_leaves_are_drawn_anew() {
        let screen = Rect::new(0, 0, 20, 5);
        let mut painter = OverPainter::new(Protocol::Iterm2);
        let (mut before, mut after) = (Buffer::empty(screen), Buffer::empty(screen));
        painter.reserve(&[placed(2, 0)], &mut before);
        painter.shown = vec![placed(2, 0)];
        painter.reserve(&[placed(4, 0)], &mut after);
        assert_eq!(cells_with(&after, CellDiffOption::AlwaysUpdate), [2, 3, 4, 5, 6, 7]);
        let drawn: Vec<u16> = before.diff(&after).into_iter().filter(|(_, y, _)| *y == 1).map(|(x, ..)| x).collect();
        assert_eq!(drawn, [2, 3, 4, 5, 6, 7]);
    }
}
