//! Images as half-block cells: one character shows two pixels, one above the other.

use image::{Rgb, RgbImage};

use crate::render::colour_map::ColourMode;

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
    /// most 256 colours, whatever `COLORTERM` says.
    pub fn of(variable: &impl Fn(&str) -> Option<String>) -> Self {
        if variable("NO_COLOR").is_some() || variable("TERM").as_deref() == Some("dumb") {
            return Self::Shades;
        }
        match variable("COLORTERM").as_deref() {
            Some("truecolor" | "24bit") if variable("STY").is_none() => Self::TrueColour,
            _ => Self::Colours256,
        }
    }

    /// The nearest of its colours; `None` where it has none.
    pub fn colour(self, pixel: Rgb<u8>) -> Option<Colour> {
        match self {
            Self::TrueColour => Some(Colour::Rgb(pixel.0)),
            Self::Colours256 => Some(nearest_of_256(pixel)),
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
    Shade(char),
}

impl Cell {
    fn of([top, bottom]: [Rgb<u8>; 2], palette: Palette) -> Self {
        match (palette.colour(top), palette.colour(bottom)) {
            (Some(top), Some(bottom)) => Self::Halves { top, bottom },
            _ => Self::Shade(shade([top, bottom])),
        }
    }
}

/// A row of cells for every two rows of pixels; of an odd number the last row is shown twice.
pub fn rows(image: &RgbImage, palette: Palette) -> impl Iterator<Item = impl Iterator<Item = Cell>> {
    (0..image.height()).step_by(2).map(move |y| {
        let below = (y + 1).min(image.height() - 1);
        (0..image.width()).map(move |x| Cell::of([*image.get_pixel(x, y), *image.get_pixel(x, below)], palette))
    })
}

/// The nearest colour of xterm's cube and greys.
fn nearest_of_256(Rgb(pixel): Rgb<u8>) -> Colour {
    const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    let apart = |a: [u8; 3]| a.iter().zip(pixel).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum::<u32>();
    let nearest_level =
        |value: u8| (0u8..6).min_by_key(|&level| LEVELS[usize::from(level)].abs_diff(value)).unwrap_or(0);
    let cube = pixel.map(nearest_level);
    let of_cube = cube.map(|level| LEVELS[usize::from(level)]);
    let mean = (pixel.iter().map(|&value| u32::from(value)).sum::<u32>() / 3) as u8;
    // Greys are 8, 18, … 238.
    let grey = (mean.saturating_sub(3) / 10).min(23);
    Colour::Indexed(if apart([8 + 10 * grey; 3]) < apart(of_cube) {
        232 + grey
    } else {
        16 + 36 * cube[0] + 6 * cube[1] + cube[2]
    })
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
    fn the_nearest_of_256_colours() {
        let cases =
            [([0, 0, 0], 16), ([255, 255, 255], 231), ([255, 0, 0], 196), ([8, 8, 8], 232), ([120, 120, 120], 243)];
        for (pixel, number) in cases {
            assert_eq!(nearest_of_256(Rgb(pixel)), Colour::Indexed(number), "{pixel:?}");
        }
    }

    #[test]
    fn two_pixels_are_one_cell() {
        let ramp = RgbImage::from_fn(5, 3, |x, _| Rgb([(x * 60 + 10) as u8; 3]));
        let shades: Vec<String> = rows(&ramp, Palette::Shades)
            .map(|row| row.map(|cell| if let Cell::Shade(char) = cell { char } else { '?' }).collect())
            .collect();
        assert_eq!(shades, [" ░▒▓█"; 2]);
        let image = RgbImage::from_fn(1, 2, |_, y| Rgb([y as u8; 3]));
        let halves: Vec<Cell> = rows(&image, Palette::TrueColour).flatten().collect();
        assert_eq!(halves, [Cell::Halves { top: Colour::Rgb([0; 3]), bottom: Colour::Rgb([1; 3]) }]);
    }
}
