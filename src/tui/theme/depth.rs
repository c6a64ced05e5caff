//! How many colours a terminal has.

use std::fmt;

use ratatui::style::Color;

use crate::terminal_image::half_blocks::{Palette, nearest_of_256};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    TrueColour,
    /// xterm's 256: a cube of 6 x 6 x 6, and greys. The sixteen before them have no colours of their own.
    Colours256,
    Colours16,
}

impl Depth {
    /// `palette` is that of images. With `NO_COLOR` they are of shades, and environment variables tell.
    pub fn of(palette: Palette, variable: &impl Fn(&str) -> Option<String>) -> Self {
        let term = variable("TERM").unwrap_or_default();
        match (palette, variable("COLORTERM").as_deref()) {
            (Palette::TrueColour, _) => Self::TrueColour,
            (Palette::Shades, Some("truecolor" | "24bit")) if variable("STY").is_none() => Self::TrueColour,
            _ if ["256color", "direct", "kitty"].iter().any(|part| term.contains(part)) => Self::Colours256,
            _ => Self::Colours16,
        }
    }

    /// The nearest to `rgb` that there is; `own` of the terminal's own sixteen, which nobody knows.
    pub fn colour(self, rgb: [u8; 3], own: Color) -> Color {
        match self {
            Self::TrueColour => Color::Rgb(rgb[0], rgb[1], rgb[2]),
            Self::Colours256 => Color::Indexed(nearest_of_256(rgb)),
            Self::Colours16 => own,
        }
    }
}

impl fmt::Display for Depth {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::TrueColour => "true colour",
            Self::Colours256 => "256 colours",
            Self::Colours16 => "16 colours",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_how_many() {
        let depth = |variables: &[(&str, &str)]| {
            let of =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Depth::of(Palette::of(&of, None), &of)
        };
        assert_eq!(depth(&[("COLORTERM", "truecolor")]), Depth::TrueColour);
        assert_eq!(depth(&[("COLORTERM", "24bit"), ("STY", "1.a"), ("TERM", "screen-256color")]), Depth::Colours256);
        assert_eq!(depth(&[("TERM", "xterm-kitty")]), Depth::Colours256);
        assert_eq!(depth(&[("TERM", "xterm")]), Depth::Colours16);
        assert_eq!(depth(&[("COLORTERM", "truecolor"), ("NO_COLOR", "1")]), Depth::TrueColour);
        assert_eq!(depth(&[]), Depth::Colours16);
    }
}
