//! Images as cells: one character shows two pixels, one above the other, as half blocks or by how much it inks.

use std::borrow::Cow;

use image::{Rgb, RgbImage};

use super::dither::dithered;
use crate::render::colour_map::ColourMode;
use crate::render::luminance::{BRIGHTEST, luminance};

/// The colours that a terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    TrueColour,
    /// xterm's 256: a cube of 6 x 6 x 6, and greys.
    Colours256,
    /// No colours: brightness as shaded characters.
    Shades,
}

impl Palette {
    /// From environment variables. `NO_COLOR` (<https://no-color.org>) and a dumb terminal get shades; screen passes on at
    /// most 256 colours, whatever `COLORTERM` says. tmux knows of its terminals whether they have 24-bit colour, if it was
    /// asked: `has_rgb`.
    pub fn of(variable: &impl Fn(&str) -> Option<String>, has_rgb: Option<bool>) -> Self {
        if variable("NO_COLOR").is_some() || variable("TERM").as_deref() == Some("dumb") {
            return Self::Shades;
        }
        let says_so = || matches!(variable("COLORTERM").as_deref(), Some("truecolor" | "24bit"));
        if variable("STY").is_none() && has_rgb.unwrap_or_else(says_so) { Self::TrueColour } else { Self::Colours256 }
    }

    /// The nearest of its colours; `None` where it has none.
    pub fn colour(self, pixel: Rgb<u8>) -> Option<Colour> {
        match self {
            Self::TrueColour => Some(Colour::Rgb(pixel.0)),
            Self::Colours256 => Some(Colour::Indexed(nearest_of_256(pixel.0))),
            Self::Shades => None,
        }
    }

    /// The colours that an image for this palette should be made of.
    pub fn colour_mode(self) -> ColourMode {
        match self {
            Self::TrueColour | Self::Colours256 => ColourMode::Colours,
            Self::Shades => ColourMode::Greys,
        }
    }
}

/// The characters that a terminal shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symbols {
    #[default]
    Unicode,
    Ascii,
}

impl Symbols {
    /// `is_utf8`: what the terminal takes bytes beyond ASCII for, where that was asked.
    pub fn of(is_utf8: Option<bool>) -> Self {
        if is_utf8 == Some(false) { Self::Ascii } else { Self::Unicode }
    }

    /// From the darkest to the brightest, for light text on a dark ground.
    fn shades(self) -> &'static [char] {
        match self {
            Self::Unicode => &[' ', '░', '▒', '▓', '█'],
            Self::Ascii => &[' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Rgb([u8; 3]),
    /// Of xterm's 256.
    Indexed(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `▀`, in the colour of the upper pixel on that of the lower.
    Halves { top: Colour, bottom: Colour },
    /// A character, as bright as both of them.
    Shade { char: char, ink: Option<Ink> },
}

/// What a shade is drawn in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ink {
    pub colour: Colour,
    /// Black, whatever the terminal's own is.
    pub ground: Colour,
}

impl Cell {
    fn of(pair: [Rgb<u8>; 2], palette: Palette, symbols: Symbols) -> Self {
        match (symbols, pair.map(|pixel| palette.colour(pixel))) {
            (Symbols::Unicode, [Some(top), Some(bottom)]) => Self::Halves { top, bottom },
            _ => {
                let colours = (palette.colour(mean(pair)), palette.colour(Rgb([0; 3])));
                let ink = if let (Some(colour), Some(ground)) = colours { Some(Ink { colour, ground }) } else { None };
                Self::Shade { char: shade(pair, symbols.shades()), ink }
            }
        }
    }
}

fn mean([one, other]: [Rgb<u8>; 2]) -> Rgb<u8> {
    Rgb(std::array::from_fn(|channel| one[channel].midpoint(other[channel])))
}

/// A row of cells for every two rows of pixels; of an odd number the last row is shown twice. 256 colours are dithered.
pub fn rows(image: &RgbImage, palette: Palette, symbols: Symbols) -> impl Iterator<Item = impl Iterator<Item = Cell>> {
    let image = match palette {
        Palette::Colours256 if symbols == Symbols::Unicode => {
            Cow::Owned(dithered(image, |pixel| value_of_256(nearest_of_256(pixel))))
        }
        Palette::TrueColour => Cow::Owned(coarser(image)),
        Palette::Colours256 | Palette::Shades => Cow::Borrowed(image),
    };
    let cell = |x: u32, y: u32| {
        let below = (y + 1).min(image.height() - 1);
        Cell::of([*image.get_pixel(x, y), *image.get_pixel(x, below)], palette, symbols)
    };
    let rows = (0..image.height()).step_by(2);
    let cells: Vec<Vec<Cell>> = rows.map(|y| (0..image.width()).map(|x| cell(x, y)).collect()).collect();
    cells.into_iter().map(Vec::into_iter)
}

/// In 64 levels of each channel. Nobody sees that, and more neighbours have the same colour, which is sent once.
fn coarser(image: &RgbImage) -> RgbImage {
    let mut coarser = image.clone();
    for Rgb(pixel) in coarser.pixels_mut() {
        *pixel = pixel.map(|value| value & !0b11 | value >> 6);
    }
    coarser
}

/// The levels of xterm's cube.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The nearest colour of xterm's cube and greys.
pub fn nearest_of_256(pixel: [u8; 3]) -> u8 {
    let apart = |number: u8| {
        let differences = value_of_256(number).into_iter().zip(pixel).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2));
        differences.sum::<u32>()
    };
    let nearest_level =
        |value: u8| (0u8..6).min_by_key(|&level| LEVELS[usize::from(level)].abs_diff(value)).unwrap_or(0);
    let [r, g, b] = pixel.map(nearest_level);
    let of_cube = 16 + 36 * r + 6 * g + b;
    let mean = (pixel.iter().map(|&value| u32::from(value)).sum::<u32>() / 3) as u8;
    let grey = 232 + (mean.saturating_sub(3) / 10).min(23);
    if apart(grey) < apart(of_cube) { grey } else { of_cube }
}

/// What xterm shows for a number of its cube, from 16 on, or of its greys.
fn value_of_256(number: u8) -> [u8; 3] {
    match number.checked_sub(232) {
        // 8, 18, … 238.
        Some(grey) => [8 + 10 * grey; 3],
        None => [36, 6, 1].map(|place| LEVELS[usize::from(number.saturating_sub(16) / place % 6)]),
    }
}

/// By the luminance of both pixels.
fn shade(pair: [Rgb<u8>; 2], shades: &[char]) -> char {
    let of_both = luminance(pair[0]) + luminance(pair[1]);
    shades[(of_both * shades.len() as u32 / (2 * BRIGHTEST + 1)) as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn palette(variables: &[(&str, &str)]) -> Palette {
        let known =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Palette::of(&known, None)
    }

    #[test]
    fn the_environment_chooses() {
        assert_eq!(palette(&[("COLORTERM", "truecolor"), ("TERM", "xterm-256color")]), Palette::TrueColour);
        assert_eq!(palette(&[("TERM", "xterm-256color")]), Palette::Colours256);
        assert_eq!(palette(&[("COLORTERM", "24bit"), ("STY", "1.screen")]), Palette::Colours256);
        assert_eq!(palette(&[("COLORTERM", "truecolor"), ("NO_COLOR", "1")]), Palette::Shades);
        assert_eq!(palette(&[("TERM", "dumb")]), Palette::Shades);
        let says_so = |name: &str| (name == "COLORTERM").then(|| "truecolor".to_owned());
        assert_eq!(Palette::of(&says_so, Some(false)), Palette::Colours256, "tmux knows better");
        assert_eq!(Palette::of(&|_: &str| None, Some(true)), Palette::TrueColour);
    }

    #[test]
    fn the_nearest_of_256_colours() {
        let cases =
            [([0, 0, 0], 16), ([255, 255, 255], 231), ([255, 0, 0], 196), ([8, 8, 8], 232), ([120, 120, 120], 243)];
        for (pixel, number) in cases {
            assert_eq!(nearest_of_256(pixel), number, "{pixel:?}");
        }
        for number in 16..=255 {
            assert_eq!(value_of_256(nearest_of_256(value_of_256(number))), value_of_256(number));
        }
    }

    #[test]
    fn a_grey_ramp_has_no_bands() {
        let ramp = RgbImage::from_fn(64, 16, |x, _| Rgb([(100 + x / 2) as u8; 3]));
        let cells: Vec<Cell> = rows(&ramp, Palette::Colours256, Symbols::Unicode).flatten().collect();
        let is_equal = |x: usize| (1..8).all(|y| cells[64 * y + x] == cells[x]);
        let banded = (0..64).filter(|&x| is_equal(x)).count();
        assert!(banded < 32, "{banded} of 64 columns are of one colour");
    }

    #[test]
    fn two_pixels_are_one_cell() {
        let ramp = RgbImage::from_fn(5, 3, |x, _| Rgb([(x * 60 + 10) as u8; 3]));
        let shades = |ramp: &RgbImage, symbols: Symbols| -> Vec<String> {
            let char = |cell| if let Cell::Shade { char, ink: None } = cell { char } else { '?' };
            rows(ramp, Palette::Shades, symbols).map(|row| row.map(char).collect()).collect()
        };
        assert_eq!(shades(&ramp, Symbols::Unicode), [" ░▒▓█"; 2]);
        let finer = RgbImage::from_fn(10, 2, |x, _| Rgb([(x * 28) as u8; 3]));
        assert_eq!(shades(&finer, Symbols::Ascii), [" .:-=+*#%@"]);
        let image = RgbImage::from_fn(1, 2, |_, y| Rgb([255 * y as u8; 3]));
        let halves: Vec<Cell> = rows(&image, Palette::TrueColour, Symbols::Unicode).flatten().collect();
        assert_eq!(halves, [Cell::Halves { top: Colour::Rgb([0; 3]), bottom: Colour::Rgb([255; 3]) }]);
    }

    #[test]
    fn neighbours_that_look_alike_are_alike() {
        let image = RgbImage::from_fn(3, 2, |x, _| Rgb([100 + x as u8, 200, 3]));
        let cells: Vec<Cell> = rows(&image, Palette::TrueColour, Symbols::Unicode).flatten().collect();
        let colour = Colour::Rgb([101, 203, 0]);
        assert_eq!(cells, [Cell::Halves { top: colour, bottom: colour }; 3]);
    }

    #[test]
    fn without_half_blocks_a_cell_has_the_mean_of_both_colours() {
        let image = RgbImage::from_fn(1, 2, |_, y| Rgb([if y == 0 { 203 } else { 97 }, 0, 0]));
        let cells = |palette| rows(&image, palette, Symbols::Ascii).flatten().collect::<Vec<_>>();
        let ink = |colour, ground| Some(Ink { colour, ground });
        let (red, black) = (Colour::Rgb([150, 0, 0]), Colour::Rgb([0; 3]));
        assert_eq!(cells(Palette::TrueColour), [Cell::Shade { char: '.', ink: ink(red, black) }]);
        let (red, black) = (Colour::Indexed(nearest_of_256([150, 0, 0])), Colour::Indexed(16));
        assert_eq!(cells(Palette::Colours256), [Cell::Shade { char: '.', ink: ink(red, black) }]);
    }
}
