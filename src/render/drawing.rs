//! What is drawn of an image that is explained.

use image::{Rgb, RgbImage};

use super::Map;
use super::colour_map::{ColourMode, enlarged, image, overlay, viridis_image};
use crate::data::SIDE;

#[derive(Clone, Debug)]
pub enum Drawing {
    Image,
    /// In viridis.
    Map(Map),
    /// In jet, over the image.
    Heat(Map),
    /// The same, with the pixel at these coordinates white: it is the one that looks.
    HeatOfPixel(Map, (usize, usize)),
}

impl Drawing {
    /// Of the image with these planes R, G and B, with `scale` pixels for each of its own, in both directions.
    pub fn draw(&self, planes: &[u8], scale: u32, colour_mode: ColourMode) -> RgbImage {
        let image = || enlarged(&image(planes), scale);
        match self {
            Drawing::Image => image(),
            Drawing::Map(map) => viridis_image(map, SIDE as u32 * scale),
            Drawing::Heat(heat) => overlay(&image(), heat, colour_mode),
            Drawing::HeatOfPixel(heat, (x, y)) => {
                let mut drawn = overlay(&image(), heat, colour_mode);
                let (left, top) = (*x as u32 * scale, *y as u32 * scale);
                for (x, y) in (top..top + scale).flat_map(|y| (left..left + scale).map(move |x| (x, y))) {
                    drawn.put_pixel(x, y, Rgb([255; 3]));
                }
                drawn
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pixel_that_looks_is_white() {
        let heat = Map::new(2, vec![0.0, 1.0, 2.0, 3.0]);
        let drawn = Drawing::HeatOfPixel(heat, (5, 31)).draw(&[200; 3 * SIDE * SIDE], 3, ColourMode::Colours);
        let white = drawn.enumerate_pixels().filter(|(.., pixel)| pixel.0 == [255; 3]).map(|(x, y, _)| (x, y));
        let expected: Vec<(u32, u32)> = (93..96).flat_map(|y| (15..18).map(move |x| (x, y))).collect();
        assert_eq!(white.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn without_colours_the_hottest_place_is_the_brightest() {
        let heat = Drawing::Heat(Map::new(2, vec![0.0, 0.3, 0.6, 1.0]));
        let brightness = |colour_mode, x, y| {
            let [r, g, b] = heat.draw(&[100; 3 * SIDE * SIDE], 1, colour_mode).get_pixel(x, y).0.map(u32::from);
            299 * r + 587 * g + 114 * b
        };
        let positions = [(0, 0), (31, 0), (0, 31), (31, 31)];
        let greys = positions.map(|(x, y)| brightness(ColourMode::Greys, x, y));
        assert!(greys.is_sorted() && greys[0] > 0 && greys[3] > 200_000, "{greys:?}");
        assert!(
            !positions.map(|(x, y)| brightness(ColourMode::Colours, x, y)).is_sorted(),
            "jet is no scale of brightness"
        );
    }

    #[test]
    fn every_drawing_has_the_scaled_size() {
        let map = || Map::new(2, vec![0.0, 1.0, 2.0, 3.0]);
        let of_pixel = Drawing::HeatOfPixel(map(), (31, 31));
        for drawing in [Drawing::Image, Drawing::Map(map()), Drawing::Heat(map()), of_pixel] {
            assert_eq!(drawing.draw(&[200; 3 * SIDE * SIDE], 3, ColourMode::Colours).dimensions(), (96, 96));
        }
    }
}
