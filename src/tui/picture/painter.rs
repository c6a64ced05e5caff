//! Draws pictures over a frame, and takes them away again.

use std::io::{self, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use color_quant::NeuQuant;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, RgbImage};
use ratatui::buffer::{Buffer, CellDiffOption};
use ratatui::layout::{Rect, Size};

use super::Protocol;

/// viuer sizes sixel pictures as if a cell were so large.
const VIUER_CELL: Size = Size { width: 6, height: 12 };
/// xterm draws no more of a sixel picture, and viuer makes none wider.
const SIXEL_WIDTH: u32 = 1000;
/// Sixel terminals have as many colours; with more, viuer dithers.
const SIXEL_COLOURS: usize = 256;

/// Pictures of kitty's protocol may be on the screen: they stay there until they are deleted.
static KITTY_DRAWN: AtomicBool = AtomicBool::new(false);

/// A picture and the cells that it fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub area: Rect,
    pub picture: RgbImage,
}

/// Knows what is on the screen besides cells.
#[derive(Debug)]
pub struct Painter {
    protocol: Protocol,
    shown: Vec<Placed>,
    /// For which it is shown.
    screen: Rect,
}

impl Painter {
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, shown: vec![], screen: Rect::ZERO }
    }

    /// Before the frame is drawn: keeps ratatui from the cells under pictures that are shown. Those under new ones are
    /// drawn once more, empty; those that are released are drawn anew, which erases a sixel picture.
    pub fn reserve(&mut self, placed: &[Placed], buffer: &mut Buffer) {
        if buffer.area != self.screen {
            // ratatui has cleared the screen, and with it the pictures.
            self.screen = buffer.area;
            self.shown.clear();
        }
        for new in placed {
            let area = new.area.intersection(buffer.area);
            let is_shown = self.shown.iter().any(|shown| shown.area == new.area);
            for position in area.positions() {
                buffer[position].reset();
                if is_shown {
                    buffer[position].set_diff_option(CellDiffOption::Skip);
                }
            }
        }
    }

    /// After the frame is drawn. `cell` is the size of a character in pixels, where the terminal tells.
    ///
    /// # Errors
    /// The terminal is gone, or viuer cannot draw.
    pub fn paint(&mut self, placed: Vec<Placed>, cell: Option<Size>) -> io::Result<()> {
        if placed == self.shown {
            return Ok(());
        }
        forget()?;
        for new in &placed {
            self.draw(new, cell).map_err(io::Error::other)?;
        }
        self.shown = placed;
        Ok(())
    }

    /// The screen has been given to others since.
    pub fn reset(&mut self) {
        self.shown.clear();
    }

    fn draw(&self, placed: &Placed, cell: Option<Size>) -> Result<(), viuer::ViuError> {
        let Placed { area, picture } = placed;
        let (mut width, mut height) = (u32::from(area.width), u32::from(area.height));
        let mut scaled = None;
        if self.protocol == Protocol::Sixel {
            let cell = cell.unwrap_or(VIUER_CELL);
            width = (width * u32::from(cell.width) / u32::from(VIUER_CELL.width)).max(1);
            height = (height * u32::from(cell.height) / u32::from(VIUER_CELL.height)).max(1);
            scaled = Some(for_sixel(picture, width, height));
        }
        if self.protocol == Protocol::Kitty {
            KITTY_DRAWN.store(true, Ordering::SeqCst);
        }
        let config = viuer::Config {
            transparent: true,
            absolute_offset: true,
            x: area.x,
            y: area.y as i16,
            restore_cursor: true,
            width: Some(width),
            height: Some(height),
            use_kitty: self.protocol == Protocol::Kitty,
            use_iterm: self.protocol == Protocol::Iterm2,
            use_sixel: self.protocol == Protocol::Sixel,
            ..viuer::Config::default()
        };
        let picture = DynamicImage::ImageRgb8(scaled.unwrap_or_else(|| picture.clone()));
        viuer::print(&picture, &config).map(|_| ())
    }
}

/// Deletes the pictures that would outlive the dashboard.
///
/// # Errors
/// The terminal is gone.
pub fn forget() -> io::Result<()> {
    if KITTY_DRAWN.swap(false, Ordering::SeqCst) {
        // All that are visible, with their data, and without a reply.
        let mut out = stdout().lock();
        out.write_all(b"\x1b_Ga=d,d=A,q=2\x1b\\")?;
        out.flush()?;
    }
    Ok(())
}

/// At the size that viuer gives a picture of so many of its cells, so that it does not blur it, and in few colours.
fn for_sixel(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (width, height) = (width * u32::from(VIUER_CELL.width), height * u32::from(VIUER_CELL.height));
    resize(&posterised(picture), width.min(SIXEL_WIDTH), height, FilterType::Nearest)
}

/// In as many colours as there are, the nearest of those that the picture needs most (Dekker 1994).
fn posterised(picture: &RgbImage) -> RgbImage {
    /// Every pixel is looked at.
    const SAMPLE: i32 = 1;
    if colours(picture) <= SIXEL_COLOURS {
        return picture.clone();
    }
    let mut rgba = DynamicImage::ImageRgb8(picture.clone()).to_rgba8();
    let quantiser = NeuQuant::new(SAMPLE, SIXEL_COLOURS, &rgba);
    rgba.pixels_mut().for_each(|pixel| quantiser.map_pixel(&mut pixel.0));
    DynamicImage::ImageRgba8(rgba).to_rgb8()
}

fn colours(picture: &RgbImage) -> usize {
    let mut all: Vec<[u8; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
    all.sort_unstable();
    all.dedup();
    all.len()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn placed(x: u16, grey: u8) -> Placed {
        Placed { area: Rect::new(x, 1, 4, 2), picture: RgbImage::from_pixel(32, 32, Rgb([grey; 3])) }
    }

    fn skipped(buffer: &Buffer) -> Vec<u16> {
        (0..buffer.area.width).filter(|&x| buffer[(x, 1)].diff_option == CellDiffOption::Skip).collect()
    }

    #[test]
    fn ratatui_leaves_the_cells_under_a_picture_that_is_shown() {
        let screen = Rect::new(0, 0, 20, 5);
        let mut painter = Painter::new(Protocol::Sixel);
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
    fn a_sixel_picture_has_whole_pixels_and_no_more_colours_than_the_terminal() {
        let picture = RgbImage::from_fn(32, 32, |x, y| Rgb([(x * 8) as u8, (y * 8) as u8, (x * y / 4) as u8]));
        let scaled = for_sixel(&picture, 16, 8);
        assert_eq!(scaled.dimensions(), (96, 96));
        assert!(colours(&scaled) <= SIXEL_COLOURS && colours(&scaled) > 64, "{}", colours(&scaled));
        assert_eq!(scaled.get_pixel(0, 0), scaled.get_pixel(2, 2));
        assert_eq!(for_sixel(&picture, 500, 1).width(), SIXEL_WIDTH);
        let few = RgbImage::from_fn(32, 32, |x, _| Rgb([x as u8; 3]));
        assert_eq!(for_sixel(&few, 16, 8).get_pixel(95, 0), &Rgb([31; 3]), "few colours stay as they are");
    }
}
