//! Images as sixel terminals take them: of whole pixels, and in few colours.

use color_quant::NeuQuant;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, RgbImage};
use ratatui::layout::Size;

/// viuer sizes sixel images as if a cell were so large.
const VIUER_CELL: Size = Size { width: 6, height: 12 };
/// xterm draws no more of a sixel image, and viuer makes none wider.
const SIXEL_WIDTH: u32 = 1000;
/// Sixel terminals have as many colours; with more, viuer dithers.
const SIXEL_COLOURS: usize = 256;

/// The image as viuer should print it over `size` cells, and the columns and rows to ask viuer for, in cells of its own
/// size. `cell` is the size of the terminal's, in pixels, where it reports it.
pub fn prepare(image: &RgbImage, size: Size, cell: Option<Size>) -> (RgbImage, u32, u32) {
    let cell = cell.unwrap_or(VIUER_CELL);
    let width = (u32::from(size.width) * u32::from(cell.width) / u32::from(VIUER_CELL.width)).max(1);
    let height = (u32::from(size.height) * u32::from(cell.height) / u32::from(VIUER_CELL.height)).max(1);
    (scaled(image, width, height), width, height)
}

/// At the size that viuer gives an image of so many of its cells, so that it does not blur it, and in few colours.
fn scaled(image: &RgbImage, width: u32, height: u32) -> RgbImage {
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

    #[test]
    fn pixels_stay_whole_and_colours_few() {
        let image = RgbImage::from_fn(32, 32, |x, y| Rgb([(x * 8) as u8, (y * 8) as u8, (x * y / 4) as u8]));
        let large = scaled(&image, 16, 8);
        assert_eq!(large.dimensions(), (96, 96));
        assert!(colours(&large) <= SIXEL_COLOURS && colours(&large) > 64, "{}", colours(&large));
        assert_eq!(large.get_pixel(0, 0), large.get_pixel(2, 2));
        assert_eq!(scaled(&image, 500, 1).width(), SIXEL_WIDTH);
        let few = RgbImage::from_fn(32, 32, |x, _| Rgb([x as u8; 3]));
        assert_eq!(scaled(&few, 16, 8).get_pixel(95, 0), &Rgb([31; 3]), "few colours stay as they are");
    }
}
