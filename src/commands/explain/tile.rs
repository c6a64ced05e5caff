//! A titled image, to be printed in rows of cells or written as PNG.

use image::RgbImage;
use image::imageops::{FilterType, resize};

use super::ansi;
use crate::data::SIDE;
use crate::render::Drawing;
use crate::render::colour_map::ColourMode;
use crate::terminal_image::cells::Palette;

/// Columns between two images.
pub const GAP: usize = 2;

pub struct Tile {
    /// Of the layer, if it shows one.
    pub channel: Option<usize>,
    pub title: String,
    /// Of a PNG, without the extension.
    pub file: String,
    /// The planes of the image that is explained.
    pub image: Vec<u8>,
    pub drawing: Drawing,
}

impl Tile {
    /// With `scale` pixels for each of the image's, in both directions.
    pub fn draw(&self, scale: u32, colour_mode: ColourMode) -> RgbImage {
        self.drawing.draw(&self.image, scale, colour_mode)
    }
}

/// Each under its title, as many beside each other as fit.
pub fn lines(tiles: &[Tile], columns: usize, palette: Palette) -> Vec<String> {
    let side = SIDE.min(columns);
    let mut lines = vec![];
    for row in tiles.chunks(beside(columns)) {
        lines.push(titles(row, side));
        let drawn: Vec<Vec<String>> =
            row.iter().map(|tile| ansi::lines(&fitted(tile.draw(1, palette.colour_mode()), side), palette)).collect();
        let height = drawn.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let parts: Vec<&str> = drawn.iter().map(|tile| tile[line].as_str()).collect();
            lines.push(parts.join(&" ".repeat(GAP)));
        }
    }
    lines
}

/// How many images fit beside each other.
pub fn beside(columns: usize) -> usize {
    ((columns + GAP) / (SIDE.min(columns) + GAP)).max(1)
}

/// The titles of images beside each other.
pub fn titles(row: &[Tile], side: usize) -> String {
    let titles: Vec<String> = row.iter().map(|tile| format!("{:side$.side$}", tile.title)).collect();
    titles.join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// In a terminal narrower than the image.
fn fitted(image: RgbImage, side: usize) -> RgbImage {
    if side == SIDE { image } else { resize(&image, side as u32, side as u32, FilterType::Triangle) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile() -> Tile {
        let image = vec![200; 3 * SIDE * SIDE];
        Tile { channel: None, title: "a title".into(), file: "x".into(), image, drawing: Drawing::Image }
    }

    #[test]
    fn as_many_beside_each_other_as_fit() {
        let tiles: Vec<Tile> = (0..3).map(|_| tile()).collect();
        let count = |columns| lines(&tiles, columns, Palette::Shades).len();
        let rows = 1 + SIDE / 2;
        assert_eq!([200, 100, 66, 65, 32].map(count), [rows, rows, 2 * rows, 3 * rows, 3 * rows]);
        let narrow = lines(&tiles, 9, Palette::Shades);
        assert!(narrow.len() == 3 * (1 + 5) && narrow.iter().all(|line| line.chars().count() <= 9), "{narrow:?}");
    }
}
