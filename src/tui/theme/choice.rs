//! Which theme a terminal gets, and why.

use clap::ValueEnum;

use super::depth::Depth;
use super::styles::Theme;
use crate::terminal_image::half_blocks::Palette;

/// How the colours are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ThemeChoice {
    /// By the terminal's background
    #[default]
    Auto,
    /// For a light background
    Light,
    /// For a dark background
    Dark,
    /// No colours
    Plain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub theme: Theme,
    /// For people.
    pub why: String,
}

impl ThemeChoice {
    /// Whether the terminal's background decides. With `NO_COLOR` (<https://no-color.org>) nobody needs to know.
    pub fn asks(self, variable: &impl Fn(&str) -> Option<String>) -> bool {
        self == Self::Auto && variable("NO_COLOR").is_none()
    }

    /// `background` as the terminal says it, red, green, blue. Where it does not, `COLORFGBG` may: rxvt, Konsole and others set
    /// it. A light terminal says either more often than a dark one, so that dark is the better guess.
    /// `palette` is that of images.
    pub fn choose(
        self,
        background: Option<[u8; 3]>,
        palette: Palette,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Chosen {
        let depth = Depth::of(palette, variable);
        let chosen = |theme, why: &str| Chosen { theme, why: why.to_owned() };
        match self {
            Self::Light => return chosen(Theme::Light(depth), "as asked"),
            Self::Dark => return chosen(Theme::Dark(depth), "as asked"),
            Self::Plain => return chosen(Theme::Plain, "as asked"),
            Self::Auto if variable("NO_COLOR").is_some() => return chosen(Theme::Plain, "NO_COLOR is set"),
            Self::Auto => {}
        }
        let of_ground = |is_light| if is_light { Theme::Light(depth) } else { Theme::Dark(depth) };
        if let Some(rgb @ [red, green, blue]) = background {
            let why = format!("the terminal's background is #{red:02x}{green:02x}{blue:02x}");
            return Chosen { theme: of_ground(is_light(rgb)), why };
        }
        let named = variable("COLORFGBG");
        match named.as_deref().and_then(|value| value.rsplit(';').next()?.parse::<u8>().ok()) {
            // Of the sixteen: greys, and the bright ones.
            Some(number @ 0..16) => chosen(of_ground(number == 7 || number > 8), "by COLORFGBG"),
            _ => {
                let why = "the terminal does not say its background; on a light one: --theme light";
                chosen(Theme::Dark(depth), why)
            }
        }
    }
}

/// Black has more contrast on it than white.
fn is_light(rgb: [u8; 3]) -> bool {
    luminance(rgb) > 0.179
}

/// Relative luminance, from 0 to 1 (WCAG 2.1).
pub(super) fn luminance(rgb: [u8; 3]) -> f64 {
    let linear = rgb.map(|value| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: (&str, &str) = ("COLORTERM", "truecolor");

    fn theme(choice: ThemeChoice, background: Option<[u8; 3]>, variables: &[(&str, &str)]) -> Theme {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        choice.choose(background, Palette::of(&variable, None), &variable).theme
    }

    const LIGHT: Theme = Theme::Light(Depth::TrueColour);
    const DARK: Theme = Theme::Dark(Depth::TrueColour);

    #[test]
    fn the_background_decides() {
        let auto = |rgb| theme(ThemeChoice::Auto, Some(rgb), &[FULL, ("COLORFGBG", "0;15")]);
        assert_eq!([[255; 3], [0xfd, 0xf6, 0xe3], [0x80; 3]].map(auto), [LIGHT; 3]);
        assert_eq!([[0; 3], [0x00, 0x2b, 0x36], [0x28, 0x2c, 0x34], [0, 0, 255]].map(auto), [DARK; 4]);
    }

    #[test]
    fn a_mute_terminal_may_have_said_it_in_the_environment() {
        let auto = |value| theme(ThemeChoice::Auto, None, &[FULL, ("COLORFGBG", value)]);
        assert_eq!(["0;15", "0;default;15", "0;7", "4;11"].map(auto), [LIGHT; 4]);
        assert_eq!(["15;0", "7;8", "12;4", "0;default", "0;99", "x"].map(auto), [DARK; 6]);
        assert_eq!(theme(ThemeChoice::Auto, None, &[FULL]), DARK);
    }

    #[test]
    fn what_is_asked_for_is_done() {
        let white = Some([255; 3]);
        assert_eq!(theme(ThemeChoice::Dark, white, &[FULL]), DARK);
        assert_eq!(theme(ThemeChoice::Light, None, &[FULL, ("NO_COLOR", "1")]), LIGHT);
        assert_eq!(theme(ThemeChoice::Plain, white, &[FULL]), Theme::Plain);
        assert_eq!(theme(ThemeChoice::Auto, white, &[FULL, ("NO_COLOR", "1")]), Theme::Plain);
        let variable = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        assert!(!ThemeChoice::Auto.asks(&variable) && ThemeChoice::Auto.asks(&|_| None));
        assert!(!ThemeChoice::Light.asks(&|_| None));
    }
}
