//! Figures as files, and beside each other in rows of cells.

use image::imageops::{FilterType, resize};

use super::ansi;
use crate::render::colour_bar::VALUE_WIDTH;
use crate::render::colour_map::ColourMode;
use crate::render::figures::class_name;
use crate::render::{Content, Drawing, Figure, Method, Planes};
use crate::terminal_image::half_blocks::{Palette, Symbols};

/// Columns between two images.
pub const GAP: usize = 2;
/// Columns of a colour bar: a gap, the bar, and its values.
const BAR_WIDTH: usize = 3 + VALUE_WIDTH;

/// The name of a PNG of the figure, without the extension.
pub fn file_name(figure: &Figure, layer: &str, classes: &[String]) -> String {
    match figure.content {
        Content::Image => "image".into(),
        Content::Channel(channel) => {
            let kind = if matches!(figure.drawing, Drawing::Map(_)) { "map" } else { "heat-map" };
            format!("{layer}-{kind}-{channel:03}")
        }
        Content::Evidence(method, class) => {
            let method = match method {
                Method::GradCam => "gradcam",
                Method::GradCamPlusPlus => "gradcam++",
            };
            // A name with a slash would be a folder.
            format!("{layer}-{method}-{}", class_name(classes, class).replace('/', "_"))
        }
        Content::SpatialAttention => format!("{layer}-attention-places"),
        Content::AttentionOf((x, y)) => format!("{layer}-attention-{x}-{y}"),
    }
}

/// Figures beside each other, as many as fit.
pub struct Row<'a> {
    pub figures: &'a [Figure<'a>],
    /// Columns of each image.
    pub width: usize,
    has_bars: bool,
}

/// In so many columns. A map has its colour bar right of it, unless there is no room even for one of them.
pub fn rows<'a>(figures: &'a [Figure<'a>], planes: &Planes, columns: usize, mode: ColourMode) -> Vec<Row<'a>> {
    let width = planes.width.min(columns);
    let has_bars = width + BAR_WIDTH <= columns;
    let mut rows: Vec<Row> = vec![];
    let (mut first, mut used) = (0, 0);
    for (number, figure) in figures.iter().enumerate() {
        let needs = width + if has_bars { bar_width(figure, mode) } else { 0 };
        if number > first && used + GAP + needs > columns {
            rows.push(Row { figures: &figures[first..number], width, has_bars });
            (first, used) = (number, 0);
        }
        used += needs + if number > first { GAP } else { 0 };
    }
    rows.push(Row { figures: &figures[first..], width, has_bars });
    rows
}

fn bar_width(figure: &Figure, mode: ColourMode) -> usize {
    if figure.drawing.colour_bar(mode).is_some() { BAR_WIDTH } else { 0 }
}

impl Row<'_> {
    /// The columns beside an image.
    pub fn beside_width(&self, figure: &Figure, mode: ColourMode) -> usize {
        if self.has_bars { bar_width(figure, mode) } else { 0 }
    }

    /// The captions, with the range of values where there is no bar.
    pub fn captions(&self, mode: ColourMode) -> String {
        let caption = |figure: &Figure| {
            let width = self.width + self.beside_width(figure, mode);
            let bar = figure.drawing.colour_bar(mode).filter(|_| !self.has_bars);
            let with_range = bar.map(|bar| format!("{}  {}", figure.caption, bar.range()));
            let text = with_range.filter(|text| text.chars().count() <= width);
            format!("{:width$.width$}", text.as_ref().unwrap_or(&figure.caption))
        };
        let captions: Vec<String> = self.figures.iter().map(caption).collect();
        captions.join(&" ".repeat(GAP)).trim_end().to_owned()
    }

    /// The colour bar of a figure and its values, a line for each row of cells; none where it has no bar.
    pub fn beside(&self, figure: &Figure, height: usize, palette: Palette, symbols: Symbols) -> Vec<String> {
        let bar = figure.drawing.colour_bar(palette.colour_mode()).filter(|_| self.has_bars);
        let Some(bar) = bar else { return vec![] };
        let values = bar.values(height);
        let value = |row| values.iter().find(|value| value.0 == row).map_or("", |(_, text)| text);
        let strip = ansi::lines(&bar.image(1, 2 * height as u32), palette, symbols);
        strip.iter().enumerate().map(|(row, strip)| format!(" {strip} {:VALUE_WIDTH$}", value(row))).collect()
    }
}

/// Each under its caption, as many beside each other as fit.
pub fn lines(figures: &[Figure], planes: &Planes, columns: usize, palette: Palette, symbols: Symbols) -> Vec<String> {
    let mode = palette.colour_mode();
    let mut lines = vec![];
    for row in rows(figures, planes, columns, mode) {
        let width = row.width as u32;
        lines.push(row.captions(mode));
        let drawn = |figure: &Figure| {
            let image = figure.drawing.draw(planes, 1, mode);
            let height = (image.height() * width).div_ceil(image.width()).max(1);
            let is_fitting = image.width() == width;
            let image = if is_fitting { image } else { resize(&image, width, height, FilterType::Triangle) };
            let lines = ansi::lines(&image, palette, symbols);
            let beside = row.beside(figure, lines.len(), palette, symbols);
            let beside = beside.into_iter().chain(std::iter::repeat(String::new()));
            lines.into_iter().zip(beside).map(|(line, beside)| line + &beside).collect::<Vec<_>>()
        };
        let drawn: Vec<Vec<String>> = row.figures.iter().map(drawn).collect();
        let height = drawn.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let parts: Vec<&str> = drawn.iter().map(|lines| lines[line].as_str()).collect();
            lines.push(parts.join(&" ".repeat(GAP)).trim_end().to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Map;

    fn figure(drawing: Drawing) -> Figure {
        Figure { content: Content::Image, caption: "a caption".into(), drawing }
    }

    #[test]
    fn as_many_beside_each_other_as_fit() {
        let figures = vec![figure(Drawing::Image); 3];
        let planes = Planes { width: 32, height: 24, bytes: vec![200; 32 * 24] };
        let count = |columns| lines(&figures, &planes, columns, Palette::Shades, Symbols::Unicode).len();
        let rows = 1 + 12;
        assert_eq!([200, 100, 66, 65, 32].map(count), [rows, rows, 2 * rows, 3 * rows, 3 * rows]);
        let narrow = lines(&figures, &planes, 8, Palette::Shades, Symbols::Unicode);
        assert!(narrow.len() == 3 * (1 + 3) && narrow.iter().all(|line| line.chars().count() <= 8), "{narrow:?}");
    }

    #[test]
    fn a_map_has_a_colour_bar_with_its_values_or_says_them() {
        let map = Map::new(2, vec![0.25, 1.0, 2.0, 3.0]);
        let figures = [figure(Drawing::Image), figure(Drawing::Heat(&map))];
        let planes = Planes { width: 32, height: 32, bytes: vec![200; 32 * 32] };
        let shown = lines(&figures, &planes, 80, Palette::Shades, Symbols::Unicode);
        assert_eq!(shown.len(), 1 + 16, "beside each other on a terminal of 80 columns");
        let right = |line: &str| line.chars().skip(32 + GAP + 32).collect::<String>();
        assert_eq!(
            (right(&shown[1]), right(&shown[2]), right(&shown[16])),
            (" █ 3".into(), " █".into(), "   0.25".into())
        );
        let narrow = lines(&figures, &planes, 40, Palette::Shades, Symbols::Unicode);
        assert!(narrow[17] == "a caption  0.25 to 3" && narrow.len() == 2 * (1 + 16), "{narrow:?}");
        assert!(narrow.iter().all(|line| line.chars().count() <= 40), "{narrow:?}");
        let coloured = lines(&figures, &planes, 80, Palette::TrueColour, Symbols::Unicode);
        assert!(coloured[1].ends_with("▀\u{1b}[0m 3"), "{:?}", coloured[1]);
    }
}
