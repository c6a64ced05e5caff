//! Draws images over a frame, and takes them away again.

use std::io::{self, Write, stdout};
use std::sync::atomic::{AtomicBool, Ordering};

use color_quant::NeuQuant;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, RgbImage};
use ratatui::buffer::{Buffer, CellDiffOption};
use ratatui::crossterm::cursor::{MoveDown, MoveUp};
use ratatui::crossterm::execute;
use ratatui::layout::{Rect, Size};
use viuer::ViuError;

use super::Protocol;

/// viuer sizes sixel images as if a cell were so large.
const VIUER_CELL: Size = Size { width: 6, height: 12 };
/// xterm draws no more of a sixel image, and viuer makes none wider.
const SIXEL_WIDTH: u32 = 1000;
/// Sixel terminals have as many colours; with more, viuer dithers.
const SIXEL_COLOURS: usize = 256;

/// Images may be on the screen. Those of kitty's protocol stay there until they are deleted; Konsole keeps those of any
/// protocol, whatever is written over them, and deletes them likewise.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// An image and the cells that it fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub area: Rect,
    pub image: RgbImage,
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

    /// After the frame is drawn. `cell` is the size of a character in pixels, where the terminal tells. Gives what viuer has
    /// against an image, if anything.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn paint(&mut self, placed: Vec<Placed>, cell: Option<Size>) -> io::Result<Option<String>> {
        if placed == self.shown {
            return Ok(None);
        }
        forget()?;
        let mut fault = None;
        for Placed { area, image } in &placed {
            DRAWN.store(true, Ordering::SeqCst);
            match print(self.protocol, image, area.as_size(), Corner::OfScreen { x: area.x, y: area.y }, cell) {
                Ok(()) => {}
                Err(ViuError::Io(error)) => return Err(error),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        self.shown = placed;
        Ok(fault)
    }

    /// The screen has been given to others since.
    pub fn reset(&mut self) {
        self.shown.clear();
    }
}

/// Where the upper left corner of an image goes.
#[derive(Clone, Copy, Debug)]
enum Corner {
    OfScreen {
        x: u16,
        y: u16,
    },
    /// In the line of the cursor.
    InLine {
        x: u16,
    },
}

/// Draws images of so many cells beside each other, `gap` columns apart, from the line of the cursor on, and leaves it
/// under them.
///
/// # Errors
/// The terminal is gone, or viuer cannot draw.
pub fn print_row(protocol: Protocol, images: &[RgbImage], size: Size, gap: u16, cell: Option<Size>) -> io::Result<()> {
    let mut out = stdout().lock();
    // Room first: what scrolls while an image is drawn takes the cursor's place with it.
    for _ in 0..size.height {
        writeln!(out)?;
    }
    execute!(out, MoveUp(size.height))?;
    drop(out);
    for (image, number) in images.iter().zip(0..) {
        let corner = Corner::InLine { x: number * (size.width + gap) };
        print(protocol, image, size, corner, cell).map_err(io::Error::other)?;
    }
    execute!(stdout(), MoveDown(size.height))
}

fn print(protocol: Protocol, image: &RgbImage, size: Size, corner: Corner, cell: Option<Size>) -> Result<(), ViuError> {
    let (mut width, mut height) = (u32::from(size.width), u32::from(size.height));
    let mut scaled = None;
    if protocol == Protocol::Sixel {
        let cell = cell.unwrap_or(VIUER_CELL);
        width = (width * u32::from(cell.width) / u32::from(VIUER_CELL.width)).max(1);
        height = (height * u32::from(cell.height) / u32::from(VIUER_CELL.height)).max(1);
        scaled = Some(for_sixel(image, width, height));
    }
    let (absolute_offset, x, y) = match corner {
        Corner::OfScreen { x, y } => (true, x, y as i16),
        Corner::InLine { x } => (false, x, 0),
    };
    let config = viuer::Config {
        transparent: true,
        absolute_offset,
        x,
        y,
        restore_cursor: true,
        width: Some(width),
        height: Some(height),
        use_kitty: protocol == Protocol::Kitty,
        use_iterm: protocol == Protocol::Iterm2,
        use_sixel: protocol == Protocol::Sixel,
        ..viuer::Config::default()
    };
    let image = DynamicImage::ImageRgb8(scaled.unwrap_or_else(|| image.clone()));
    viuer::print(&image, &config).map(|_| ())
}

/// Deletes the images that would outlive the dashboard.
///
/// # Errors
/// The terminal is gone.
pub fn forget() -> io::Result<()> {
    if DRAWN.swap(false, Ordering::SeqCst) {
        // All that are visible, with their data, and without a reply. A terminal that does not know this ignores it, as it
        // did the question.
        let mut out = stdout().lock();
        out.write_all(b"\x1b_Ga=d,d=A,q=2\x1b\\")?;
        out.flush()?;
    }
    Ok(())
}

/// At the size that viuer gives an image of so many of its cells, so that it does not blur it, and in few colours.
fn for_sixel(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (width, height) = (width * u32::from(VIUER_CELL.width), height * u32::from(VIUER_CELL.height));
    resize(&posterised(image), width.min(SIXEL_WIDTH), height, FilterType::Nearest)
}

/// In as many colours as there are, the nearest of those that the image needs most (Dekker 1994).
fn posterised(image: &RgbImage) -> RgbImage {
    /// Every pixel is looked at.
    const SAMPLE: i32 = 1;
    if colours(image) <= SIXEL_COLOURS {
        return image.clone();
    }
    let mut rgba = DynamicImage::ImageRgb8(image.clone()).to_rgba8();
    let quantiser = NeuQuant::new(SAMPLE, SIXEL_COLOURS, &rgba);
    rgba.pixels_mut().for_each(|pixel| quantiser.map_pixel(&mut pixel.0));
    DynamicImage::ImageRgba8(rgba).to_rgb8()
}

fn colours(image: &RgbImage) -> usize {
    let mut all: Vec<[u8; 3]> = image.pixels().map(|pixel| pixel.0).collect();
    all.sort_unstable();
    all.dedup();
    all.len()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn placed(x: u16, grey: u8) -> Placed {
        Placed { area: Rect::new(x, 1, 4, 2), image: RgbImage::from_pixel(32, 32, Rgb([grey; 3])) }
    }

    fn cells_with(buffer: &Buffer, option: CellDiffOption) -> Vec<u16> {
        (0..buffer.area.width).filter(|&x| buffer[(x, 1)].diff_option == option).collect()
    }

    fn skipped(buffer: &Buffer) -> Vec<u16> {
        cells_with(buffer, CellDiffOption::Skip)
    }

    #[test]
    fn ratatui_leaves_the_cells_under_a_image_that_is_shown() {
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
    fn the_cells_that_a_image_leaves_are_drawn_though_they_were_empty_before_it() {
        let screen = Rect::new(0, 0, 20, 5);
        let mut painter = Painter::new(Protocol::Iterm2);
        let (mut before, mut after) = (Buffer::empty(screen), Buffer::empty(screen));
        painter.reserve(&[placed(2, 0)], &mut before);
        painter.shown = vec![placed(2, 0)];
        painter.reserve(&[placed(4, 0)], &mut after);
        assert_eq!(cells_with(&after, CellDiffOption::AlwaysUpdate), [2, 3, 4, 5, 6, 7]);
        let drawn: Vec<u16> = before.diff(&after).into_iter().filter(|(_, y, _)| *y == 1).map(|(x, ..)| x).collect();
        assert_eq!(drawn, [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_sixel_image_has_whole_pixels_and_no_more_colours_than_the_terminal() {
        let image = RgbImage::from_fn(32, 32, |x, y| Rgb([(x * 8) as u8, (y * 8) as u8, (x * y / 4) as u8]));
        let scaled = for_sixel(&image, 16, 8);
        assert_eq!(scaled.dimensions(), (96, 96));
        assert!(colours(&scaled) <= SIXEL_COLOURS && colours(&scaled) > 64, "{}", colours(&scaled));
        assert_eq!(scaled.get_pixel(0, 0), scaled.get_pixel(2, 2));
        assert_eq!(for_sixel(&image, 500, 1).width(), SIXEL_WIDTH);
        let few = RgbImage::from_fn(32, 32, |x, _| Rgb([x as u8; 3]));
        assert_eq!(for_sixel(&few, 16, 8).get_pixel(95, 0), &Rgb([31; 3]), "few colours stay as they are");
    }
}
