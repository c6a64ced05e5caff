//! Images as lines of text with control sequences.

use std::fmt::Write;

use image::RgbImage;

use crate::terminal_image::half_blocks::{Cell, Colour, Palette, rows};

/// A line for every two rows of pixels. The colours end with the line.
pub fn lines(image: &RgbImage, palette: Palette) -> Vec<String> {
    rows(image, palette).map(line).collect()
}

/// A colour is set where it changes.
fn line(cells: impl Iterator<Item = Cell>) -> String {
    let mut line = String::new();
    let mut last = None;
    for cell in cells {
        match cell {
            Cell::Shade(char) => line.push(char),
            Cell::Halves { top, bottom } => {
                let (last_top, last_bottom) = last.unzip();
                let changed = [(38, top, last_top), (48, bottom, last_bottom)]
                    .into_iter()
                    .filter(|&(_, now, last)| Some(now) != last)
                    .map(|(layer, now, _)| match now {
                        Colour::Rgb([r, g, b]) => format!("{layer};2;{r};{g};{b}"),
                        Colour::Indexed(number) => format!("{layer};5;{number}"),
                    })
                    .collect::<Vec<_>>();
                if !changed.is_empty() {
                    write!(line, "\u{1b}[{}m", changed.join(";")).expect("a string takes everything");
                }
                line.push('▀');
                last = Some((top, bottom));
            }
        }
    }
    if last.is_some() {
        line.push_str("\u{1b}[0m");
    }
    line
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn a_colour_is_set_where_it_changes() {
        let image = RgbImage::from_fn(3, 2, |x, y| Rgb([if x == 2 { 9 } else { 1 }, y as u8, 0]));
        let colours = lines(&image, Palette::TrueColour);
        assert_eq!(colours, ["\u{1b}[38;2;1;0;0;48;2;1;1;0m▀▀\u{1b}[38;2;9;0;0;48;2;9;1;0m▀\u{1b}[0m"]);
        assert_eq!(lines(&RgbImage::new(4, 3), Palette::Colours256), ["\u{1b}[38;5;16;48;5;16m▀▀▀▀\u{1b}[0m"; 2]);
    }

    #[test]
    fn without_colours_there_are_no_control_sequences() {
        assert_eq!(lines(&RgbImage::new(4, 2), Palette::Shades), ["    "]);
    }
}
