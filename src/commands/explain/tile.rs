//! A titled picture, to be printed in rows of cells or written as PNG.

use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};

use super::cells::{self, Palette};
use crate::data::SIDE;
use crate::explain::Map;
use crate::explain::colour::{enlarged, overlay, picture, viridis_picture};

/// Columns between two pictures.
const GAP: usize = 2;

pub struct Tile {
    /// Of the layer, if it shows one.
    pub channel: Option<usize>,
    pub title: String,
    /// Of a PNG, without the extension.
    pub file: String,
    /// The planes of the picture that is explained.
    pub picture: Vec<u8>,
    pub drawing: Drawing,
}

pub enum Drawing {
    Picture,
    /// In viridis.
    Map(Map),
    /// In jet, over the picture.
    Heat(Map),
    /// The same, with the pixel at these coordinates white: it is the one that looks.
    HeatOfPixel(Map, (usize, usize)),
}

impl Tile {
    /// With `scale` pixels for each of the picture's, in both directions.
    pub fn draw(&self, scale: u32) -> RgbImage {
        let picture = || enlarged(&picture(&self.picture), scale);
        match &self.drawing {
            Drawing::Picture => picture(),
            Drawing::Map(map) => viridis_picture(map, SIDE as u32 * scale),
            Drawing::Heat(heat) => overlay(&picture(), heat),
            Drawing::HeatOfPixel(heat, (x, y)) => {
                let mut drawn = overlay(&picture(), heat);
                let (left, top) = (*x as u32 * scale, *y as u32 * scale);
                for (x, y) in (top..top + scale).flat_map(|y| (left..left + scale).map(move |x| (x, y))) {
                    drawn.put_pixel(x, y, Rgb([255; 3]));
                }
                drawn
            }
        }
    }
}

/// Each under its title, as many beside each other as fit.
pub fn lines(tiles: &[Tile], columns: usize, palette: Palette) -> Vec<String> {
    let side = SIDE.min(columns);
    let beside = ((columns + GAP) / (side + GAP)).max(1);
    let mut lines = vec![];
    for row in tiles.chunks(beside) {
        let titles: Vec<String> = row.iter().map(|tile| format!("{:side$.side$}", tile.title)).collect();
        lines.push(titles.join(&" ".repeat(GAP)).trim_end().to_owned());
        let drawn: Vec<Vec<String>> =
            row.iter().map(|tile| cells::lines(&fitted(tile.draw(1), side), palette)).collect();
        let height = drawn.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let parts: Vec<&str> = drawn.iter().map(|tile| tile[line].as_str()).collect();
            lines.push(parts.join(&" ".repeat(GAP)));
        }
    }
    lines
}

/// In a terminal narrower than the picture.
fn fitted(picture: RgbImage, side: usize) -> RgbImage {
    if side == SIDE { picture } else { resize(&picture, side as u32, side as u32, FilterType::Triangle) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(drawing: Drawing) -> Tile {
        Tile { channel: None, title: "a title".into(), file: "x".into(), picture: vec![200; 3 * SIDE * SIDE], drawing }
    }

    #[test]
    fn as_many_beside_each_other_as_fit() {
        let tiles: Vec<Tile> = (0..3).map(|_| tile(Drawing::Picture)).collect();
        let count = |columns| lines(&tiles, columns, Palette::Shades).len();
        let rows = 1 + SIDE / 2;
        assert_eq!([200, 100, 66, 65, 32].map(count), [rows, rows, 2 * rows, 3 * rows, 3 * rows]);
        let narrow = lines(&tiles, 9, Palette::Shades);
        assert!(narrow.len() == 3 * (1 + 5) && narrow.iter().all(|line| line.chars().count() <= 9), "{narrow:?}");
    }

    #[test]
    fn the_pixel_that_looks_is_white() {
        let drawn = tile(Drawing::HeatOfPixel(Map::new(2, vec![0.0, 1.0, 2.0, 3.0]), (5, 31))).draw(3);
        let white = drawn.enumerate_pixels().filter(|(.., pixel)| pixel.0 == [255; 3]).map(|(x, y, _)| (x, y));
        let expected: Vec<(u32, u32)> = (93..96).flat_map(|y| (15..18).map(move |x| (x, y))).collect();
        assert_eq!(white.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_drawing_has_the_scaled_size() {
        let map = || Map::new(2, vec![0.0, 1.0, 2.0, 3.0]);
        let of_pixel = Drawing::HeatOfPixel(map(), (31, 31));
        for drawing in [Drawing::Picture, Drawing::Map(map()), Drawing::Heat(map()), of_pixel] {
            assert_eq!(tile(drawing).draw(3).dimensions(), (96, 96));
        }
    }
}
