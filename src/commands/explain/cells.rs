//! Pictures as half-block cells: one character shows two pixels, one above the other.

use std::env;
use std::fmt::Write;

use image::{Rgb, RgbImage};

/// The colours that are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    TrueColour,
    /// xterm's 256: a cube of 6 x 6 x 6, and greys.
    Colours256,
    /// None: brightness as shaded characters.
    Shades,
}

impl Palette {
    /// Of this process's environment.
    pub fn from_env() -> Self {
        let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self::of(&text)
    }

    /// `NO_COLOR` (<https://no-color.org>) and a dumb terminal get shades; screen passes on no more than 256 colours,
    /// whatever `COLORTERM` says.
    fn of(variable: &impl Fn(&str) -> Option<String>) -> Self {
        if variable("NO_COLOR").is_some() || variable("TERM").as_deref() == Some("dumb") {
            return Self::Shades;
        }
        match variable("COLORTERM").as_deref() {
            Some("truecolor" | "24bit") if variable("STY").is_none() => Self::TrueColour,
            _ => Self::Colours256,
        }
    }
}

/// A line for every two rows of pixels; of an odd number the last row is shown twice. The colours end with the line.
pub fn lines(picture: &RgbImage, palette: Palette) -> Vec<String> {
    let bottom = |y: u32| (y + 1).min(picture.height() - 1);
    let rows = (0..picture.height()).step_by(2);
    let pairs =
        |y: u32| (0..picture.width()).map(move |x| [*picture.get_pixel(x, y), *picture.get_pixel(x, bottom(y))]);
    rows.map(|y| match palette {
        Palette::Shades => pairs(y).map(shade).collect(),
        Palette::TrueColour => coloured(pairs(y), |Rgb([r, g, b])| format!("2;{r};{g};{b}")),
        Palette::Colours256 => coloured(pairs(y), |pixel| format!("5;{}", nearest_of_256(pixel))),
    })
    .collect()
}

/// `select` gives what follows 38; or 48; in the control sequence. A colour is set where it changes.
fn coloured(pairs: impl Iterator<Item = [Rgb<u8>; 2]>, select: impl Fn(Rgb<u8>) -> String) -> String {
    let mut line = String::new();
    let (mut last_top, mut last_bottom) = (String::new(), String::new());
    for [top, bottom] in pairs {
        let (top, bottom) = (select(top), select(bottom));
        let changed = [(38, &top, &last_top), (48, &bottom, &last_bottom)]
            .into_iter()
            .filter(|(_, now, last)| now != last)
            .map(|(layer, now, _)| format!("{layer};{now}"))
            .collect::<Vec<_>>();
        if !changed.is_empty() {
            write!(line, "\u{1b}[{}m", changed.join(";")).expect("a string takes everything");
        }
        line.push('▀');
        (last_top, last_bottom) = (top, bottom);
    }
    line.push_str("\u{1b}[0m");
    line
}

/// The nearest colour of xterm's cube and greys, by its number.
fn nearest_of_256(Rgb(pixel): Rgb<u8>) -> u8 {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let apart = |a: [u8; 3]| a.iter().zip(pixel).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
    let nearest_level =
        |value: u8| (0u8..6).min_by_key(|&level| LEVELS[usize::from(level)].abs_diff(value)).unwrap_or(0);
    let cube = pixel.map(nearest_level);
    let of_cube = cube.map(|level| LEVELS[usize::from(level)]);
    let mean = (pixel.iter().map(|&value| u32::from(value)).sum::<u32>() / 3) as u8;
    // Greys are 8, 18, … 238.
    let grey = (mean.saturating_sub(3) / 10).min(23);
    if apart([8 + 10 * grey; 3]) < apart(of_cube) { 232 + grey } else { 16 + 36 * cube[0] + 6 * cube[1] + cube[2] }
}

/// By the luminance (ITU-R BT.601) of both pixels, for light text on a dark ground.
fn shade(pair: [Rgb<u8>; 2]) -> char {
    const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
    let luminance = |Rgb([r, g, b]): Rgb<u8>| 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b);
    let of_both = luminance(pair[0]) + luminance(pair[1]);
    SHADES[(of_both * SHADES.len() as u32 / (2 * 255_000 + 1)) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn palette(variables: &[(&str, &str)]) -> Palette {
        let known =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Palette::of(&known)
    }

    #[test]
    fn the_environment_chooses() {
        assert_eq!(palette(&[("COLORTERM", "truecolor"), ("TERM", "xterm-256color")]), Palette::TrueColour);
        assert_eq!(palette(&[("TERM", "xterm-256color")]), Palette::Colours256);
        assert_eq!(palette(&[("COLORTERM", "24bit"), ("STY", "1.screen")]), Palette::Colours256);
        assert_eq!(palette(&[("COLORTERM", "truecolor"), ("NO_COLOR", "1")]), Palette::Shades);
        assert_eq!(palette(&[("TERM", "dumb")]), Palette::Shades);
    }

    #[test]
    fn two_pixels_are_one_cell_and_a_colour_is_set_where_it_changes() {
        let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([if x == 2 { 9 } else { 1 }, y as u8, 0]));
        let colours = lines(&picture, Palette::TrueColour);
        assert_eq!(colours, ["\u{1b}[38;2;1;0;0;48;2;1;1;0m▀▀\u{1b}[38;2;9;0;0;48;2;9;1;0m▀\u{1b}[0m"]);
        assert_eq!(lines(&RgbImage::new(4, 3), Palette::Colours256), ["\u{1b}[38;5;16;48;5;16m▀▀▀▀\u{1b}[0m"; 2]);
    }

    #[test]
    fn the_nearest_of_256_colours() {
        let cases =
            [([0, 0, 0], 16), ([255, 255, 255], 231), ([255, 0, 0], 196), ([8, 8, 8], 232), ([120, 120, 120], 243)];
        for (pixel, number) in cases {
            assert_eq!(nearest_of_256(Rgb(pixel)), number, "{pixel:?}");
        }
    }

    #[test]
    fn without_colours_brightness_is_shown() {
        let ramp = RgbImage::from_fn(5, 2, |x, _| Rgb([(x * 60 + 10) as u8; 3]));
        assert_eq!(lines(&ramp, Palette::Shades), [" ░▒▓█"]);
    }
}
