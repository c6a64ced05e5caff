//! Images as lines of text with control sequences.

use std::fmt::Write;

use image::RgbImage;

use crate::terminal_image::half_blocks::{Cell, Colour, Ink, Palette, Symbols, rows};

/// A line for every two rows of pixels. The colours end with the line.
pub fn lines(image: &RgbImage, palette: Palette, symbols: Symbols) -> Vec<String> {
    rows(image, palette, symbols).map(line).collect()
}

/// A colour is set where it changes.
fn line(cells: impl Iterator<Item = Cell>) -> String {
    let mut line = String::new();
    let mut last = None;
    for cell in cells {
        let (char, colours) = match cell {
            Cell::Shade { char, ink } => (char, ink.map(|Ink { colour, ground }| (colour, ground))),
            Cell::Halves { top, bottom } => ('▀', Some((top, bottom))),
        };
        if let Some((front, behind)) = colours {
            let (last_front, last_behind) = last.unzip();
            let changed = [(38, front, last_front), (48, behind, last_behind)]
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
            last = colours;
        }
        line.push(char);
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
        let image = RgbImage::from_fn(3, 2, |x, y| Rgb([if x == 2 { 12 } else { 4 }, 8 * y as u8, 0]));
        let colours = lines(&image, Palette::TrueColour, Symbols::Unicode);
        assert_eq!(colours, ["\u{1b}[38;2;4;0;0;48;2;4;8;0m▀▀\u{1b}[38;2;12;0;0;48;2;12;8;0m▀\u{1b}[0m"]);
        assert_eq!(
            lines(&RgbImage::new(4, 3), Palette::Colours256, Symbols::Unicode),
            ["\u{1b}[38;5;16;48;5;16m▀▀▀▀\u{1b}[0m"; 2]
        );
        let ascii = lines(&image, Palette::TrueColour, Symbols::Ascii);
        assert_eq!(ascii, ["\u{1b}[38;2;4;4;0;48;2;0;0;0m  \u{1b}[38;2;12;4;0m \u{1b}[0m"]);
    }

    #[test]
    fn without_colours_there_are_no_control_sequences() {
        assert_eq!(lines(&RgbImage::new(4, 2), Palette::Shades, Symbols::Unicode), ["    "]);
    }
}
