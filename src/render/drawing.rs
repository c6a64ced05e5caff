//! What is drawn of an image that is explained.

use image::{Rgb, RgbImage};

use super::colour_bar::ColourBar;
use super::colour_map::{ColourMode, ColourScale, enlarged, image, overlay, viridis_image};
use super::explanation::Planes;
use super::map::Map;

#[derive(Clone, Copy, Debug)]
pub enum Drawing<'a> {
    Image,
    /// In viridis.
    Map(&'a Map),
    /// In jet, over the image.
    Heat(&'a Map),
    /// The same, with the pixel at this column and row white: the heat is what it attends to.
    HeatOfPixel(&'a Map, (usize, usize)),
}

impl<'a> Drawing<'a> {
    /// The numbers that are drawn, if it is more than the image.
    pub fn map(&self) -> Option<&'a Map> {
        match self {
            Drawing::Image => None,
            Drawing::Map(map) | Drawing::Heat(map) | Drawing::HeatOfPixel(map, _) => Some(map),
        }
    }

    /// What its colours stand for, if it is more than the image. A map whose values are all equal has none to tell apart.
    pub fn colour_bar(&self, colour_mode: ColourMode) -> Option<ColourBar> {
        let scale = match self {
            Drawing::Image => return None,
            Drawing::Map(_) => ColourScale::Viridis,
            Drawing::Heat(_) | Drawing::HeatOfPixel(..) => ColourScale::of_heat(colour_mode),
        };
        let (low, high) = self.map()?.range();
        (low < high).then_some(ColourBar { low, high, scale })
    }

    /// As large as the image, with `scale` pixels for each of its own in both directions.
    pub fn draw(&self, planes: &Planes, scale: u32, colour_mode: ColourMode) -> RgbImage {
        let image = || enlarged(&image(planes), scale);
        match self {
            Drawing::Image => image(),
            Drawing::Map(map) => viridis_image(map, planes.width as u32 * scale, planes.height as u32 * scale),
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
    use super::super::luminance::luminance;
    use super::*;

    /// In colour, wider than high.
    fn planes(value: u8) -> Planes {
        Planes { width: 40, height: 32, bytes: vec![value; 3 * 40 * 32] }
    }

    #[test]
    fn the_pixel_that_attends_is_white() {
        let heat = Map::new(2, vec![0.0, 1.0, 2.0, 3.0]);
        let drawn = Drawing::HeatOfPixel(&heat, (35, 31)).draw(&planes(200), 3, ColourMode::Colours);
        let white = drawn.enumerate_pixels().filter(|(.., pixel)| pixel.0 == [255; 3]).map(|(x, y, _)| (x, y));
        let expected: Vec<(u32, u32)> = (93..96).flat_map(|y| (105..108).map(move |x| (x, y))).collect();
        assert_eq!(white.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn without_colours_the_hottest_position_is_the_brightest() {
        let heat = Map::new(2, vec![0.0, 0.3, 0.6, 1.0]);
        let brightness = |colour_mode, x, y| {
            let drawn = Drawing::Heat(&heat).draw(&planes(100), 1, colour_mode);
            luminance(*drawn.get_pixel(x, y))
        };
        let positions = [(0, 0), (39, 0), (0, 31), (39, 31)];
        let greys = positions.map(|(x, y)| brightness(ColourMode::Greys, x, y));
        assert!(greys.is_sorted() && greys[0] > 0 && greys[3] > 200_000, "{greys:?}");
        assert!(
            !positions.map(|(x, y)| brightness(ColourMode::Colours, x, y)).is_sorted(),
            "jet is no scale of brightness"
        );
    }

    #[test]
    fn a_map_has_a_colour_bar_of_its_own_values() {
        let map = Map::new(2, vec![-1.0, 0.5, 1.0, 3.0]);
        let bar =
            |drawing: Drawing, colour_mode| drawing.colour_bar(colour_mode).map(|bar| (bar.low, bar.high, bar.scale));
        let colours = ColourMode::Colours;
        assert_eq!(bar(Drawing::Image, colours), None);
        assert_eq!(bar(Drawing::Map(&map), colours), Some((-1.0, 3.0, ColourScale::Viridis)));
        assert_eq!(bar(Drawing::Heat(&map), colours), Some((-1.0, 3.0, ColourScale::Jet)));
        assert_eq!(bar(Drawing::Heat(&map), ColourMode::Greys), Some((-1.0, 3.0, ColourScale::Grey)));
        assert_eq!(bar(Drawing::Map(&Map::new(1, vec![2.0; 4])), colours), None);
    }

    #[test]
    fn every_drawing_has_the_scaled_size_of_the_image() {
        let map = Map::new(2, vec![0.0, 1.0, 2.0, 3.0]);
        let grey = Planes { width: 28, height: 14, bytes: vec![200; 28 * 14] };
        for drawing in [Drawing::Image, Drawing::Map(&map), Drawing::Heat(&map), Drawing::HeatOfPixel(&map, (27, 13))] {
            assert_eq!(drawing.draw(&planes(200), 3, ColourMode::Colours).dimensions(), (120, 96));
            assert_eq!(drawing.draw(&grey, 2, ColourMode::Colours).dimensions(), (56, 28));
        }
    }
}
