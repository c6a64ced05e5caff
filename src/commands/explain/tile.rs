//! Figures as files, and beside each other in rows of cells.

use image::imageops::{FilterType, resize};

use super::ansi;
use crate::render::figures::class_name;
use crate::render::{Content, Figure, Method, Planes};
use crate::terminal_image::half_blocks::{Palette, Symbols};

/// Columns between two images.
pub const GAP: usize = 2;

/// The name of a PNG of the figure, without the extension.
pub fn file_name(figure: &Figure, view: &str, layer: &str, classes: &[String]) -> String {
    match figure.content {
        Content::Image => "image".into(),
        Content::Channel(channel) => format!("{layer}-{view}-{channel:03}"),
        Content::Evidence(method, class) => {
            let method = match method {
                Method::GradCam => "gradcam",
                Method::GradCamPlusPlus => "gradcam++",
            };
            // A name with a slash would be a folder.
            format!("{layer}-{method}-{}", class_name(classes, class).replace('/', "_"))
        }
        Content::SpatialAttention => format!("{layer}-{view}-places"),
        Content::AttentionOf((x, y)) => format!("{layer}-{view}-{x}-{y}"),
    }
}

/// Each under its caption, as many beside each other as fit.
pub fn lines(figures: &[Figure], planes: &Planes, columns: usize, palette: Palette, symbols: Symbols) -> Vec<String> {
    let width = planes.width.min(columns);
    let mut lines = vec![];
    for row in figures.chunks(beside(planes, columns)) {
        lines.push(captions(row, width));
        let drawn: Vec<Vec<String>> = row
            .iter()
            .map(|figure| {
                let image = figure.drawing.draw(planes, 1, palette.colour_mode());
                let height = (image.height() * width as u32).div_ceil(image.width()).max(1);
                let is_fitting = image.width() == width as u32;
                let image = if is_fitting { image } else { resize(&image, width as u32, height, FilterType::Triangle) };
                ansi::lines(&image, palette, symbols)
            })
            .collect();
        let height = drawn.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let parts: Vec<&str> = drawn.iter().map(|lines| lines[line].as_str()).collect();
            lines.push(parts.join(&" ".repeat(GAP)));
        }
    }
    lines
}

/// How many images fit beside each other.
pub fn beside(planes: &Planes, columns: usize) -> usize {
    ((columns + GAP) / (planes.width.min(columns) + GAP)).max(1)
}

/// The captions of images beside each other.
pub fn captions(row: &[Figure], width: usize) -> String {
    let captions: Vec<String> = row.iter().map(|figure| format!("{:width$.width$}", figure.caption)).collect();
    captions.join(&" ".repeat(GAP)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Drawing;

    #[test]
    fn as_many_beside_each_other_as_fit() {
        let figure = Figure { content: Content::Image, caption: "a caption".into(), drawing: Drawing::Image };
        let figures = vec![figure; 3];
        let planes = Planes { width: 32, height: 24, bytes: vec![200; 32 * 24] };
        let count = |columns| lines(&figures, &planes, columns, Palette::Shades, Symbols::Unicode).len();
        let rows = 1 + 12;
        assert_eq!([200, 100, 66, 65, 32].map(count), [rows, rows, 2 * rows, 3 * rows, 3 * rows]);
        let narrow = lines(&figures, &planes, 8, Palette::Shades, Symbols::Unicode);
        assert!(narrow.len() == 3 * (1 + 3) && narrow.iter().all(|line| line.chars().count() <= 8), "{narrow:?}");
    }
}
