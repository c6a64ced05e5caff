//! A style for each meaning.

use std::fmt;

use ratatui::style::{Color, Modifier, Style};

use super::colours::{Colours, DARK, Ink, LIGHT, SERIES};
use super::depth::Depth;
use crate::run::event::Severity;
use crate::run::step_time::Part;

/// How the screen is coloured: for a dark or a light background, in as many colours as the terminal has, or in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Dark(Depth),
    Light(Depth),
    Plain,
}

impl fmt::Display for Theme {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Theme::Dark(depth) => write!(formatter, "dark, in {depth}"),
            Theme::Light(depth) => write!(formatter, "light, in {depth}"),
            Theme::Plain => formatter.write_str("plain, without colours"),
        }
    }
}

/// How one of several series is told from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesStyle {
    pub style: Style,
    /// One column wide.
    pub marker: &'static str,
}

/// After so many, colours and markers begin again.
pub const SERIES_STYLES: usize = SERIES;

const MARKERS: [&str; SERIES] = ["●", "■", "▲", "◆", "+", "×", "○", "□", "△", "◇"];

impl Theme {
    fn colours(self) -> Option<(&'static Colours, Depth)> {
        match self {
            Theme::Dark(depth) => Some((&DARK, depth)),
            Theme::Light(depth) => Some((&LIGHT, depth)),
            Theme::Plain => None,
        }
    }

    fn ink(self, choose: impl FnOnce(&Colours) -> Ink) -> Style {
        match self.colours() {
            Some((colours, depth)) => Style::new().fg(choose(colours).at(depth)),
            None => Style::new(),
        }
    }

    pub fn train(self) -> Style {
        self.ink(|colours| colours.series[0])
    }

    /// Many training values at once: the same colour, subdued.
    pub fn bars(self) -> Style {
        match self {
            Theme::Dark(_) | Theme::Light(_) => self.ink(|colours| colours.bars),
            Theme::Plain => Style::new().add_modifier(Modifier::DIM),
        }
    }

    pub fn test(self) -> Style {
        self.ink(|colours| colours.series[1])
    }

    /// The n-th of several series, from 0: colours that people with any of the common kinds of colour blindness tell apart
    /// (after Okabe and Ito), and markers for everybody else. The first is that of training, the second that of testing.
    pub fn series(self, n: usize) -> SeriesStyle {
        let n = n % SERIES;
        SeriesStyle { style: self.ink(|colours| colours.series[n]), marker: MARKERS[n] }
    }

    pub fn best(self) -> Style {
        self.ink(|colours| colours.best)
    }

    pub fn alarm(self) -> Style {
        self.ink(|colours| colours.alarm).add_modifier(Modifier::BOLD)
    }

    pub fn warning(self) -> Style {
        self.ink(|colours| colours.warning)
    }

    /// Asked for, not a fact yet.
    pub fn pending(self) -> Style {
        self.ink(|colours| colours.pending).add_modifier(Modifier::ITALIC)
    }

    /// Frames, labels, units: what the eye should pass over.
    pub fn faint(self) -> Style {
        match self {
            Theme::Dark(_) | Theme::Light(_) => self.ink(|colours| colours.faint),
            Theme::Plain => Style::new().add_modifier(Modifier::DIM),
        }
    }

    pub fn part(self, part: Part) -> Style {
        match part {
            Part::Data => self.test(),
            Part::Forward => self.train(),
            Part::Backward => self.ink(|colours| colours.backward),
            Part::Exchange => self.warning(),
            Part::Optimizer => self.ink(|colours| colours.pending),
            Part::Other => self.faint(),
        }
    }

    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub fn severity(self, severity: Severity) -> Style {
        match severity {
            Severity::Info => Style::new(),
            Severity::Good => self.best(),
            Severity::Alarm => self.alarm(),
        }
    }

    /// The terminal's own colour, where a widget takes a colour and no style.
    pub fn colour(style: Style) -> Color {
        style.fg.unwrap_or(Color::Reset)
    }
}

#[cfg(test)]
mod tests {
    use super::super::contrast::{colour_blind_distance, contrast, rgb};
    use super::*;

    const DEPTHS: [Depth; 3] = [Depth::TrueColour, Depth::Colours256, Depth::Colours16];
    const BLACK: [u8; 3] = [0; 3];
    const WHITE: [u8; 3] = [255; 3];
    /// One Dark's and Solarized Light's: backgrounds that leave less room than black and white.
    const GREY: [u8; 3] = [0x28, 0x2c, 0x34];
    const CREAM: [u8; 3] = [0xfd, 0xf6, 0xe3];

    fn texts(theme: Theme) -> Vec<(&'static str, Style)> {
        let mut texts = vec![
            ("best", theme.best()),
            ("alarm", theme.alarm()),
            ("warning", theme.warning()),
            ("pending", theme.pending()),
            ("faint", theme.faint()),
            ("backward", theme.part(Part::Backward)),
        ];
        texts.extend((0..SERIES).map(|n| ("series", theme.series(n).style)));
        texts
    }

    /// Below which WCAG 2.1 calls text illegible for some.
    const LEGIBLE: f64 = 4.5;
    /// The same for graphics.
    const VISIBLE: f64 = 3.0;

    #[test]
    fn every_text_is_legible() {
        for (theme, grounds) in [(Theme::Dark as fn(Depth) -> Theme, [BLACK, GREY]), (Theme::Light, [WHITE, CREAM])] {
            for depth in DEPTHS {
                for &ground in grounds.iter().take(if depth == Depth::Colours16 { 1 } else { 2 }) {
                    for (name, style) in texts(theme(depth)) {
                        let found = contrast(rgb(Theme::colour(style)), ground);
                        // Of the sixteen, which terminals show in colours of their own, the greys are two.
                        let least = if depth == Depth::Colours16 && name == "faint" { 4.0 } else { LEGIBLE };
                        assert!(found >= least, "{name} {style:?} on {ground:?}: {found:.2}");
                    }
                    let bars = contrast(rgb(Theme::colour(theme(depth).bars())), ground);
                    assert!(bars >= VISIBLE, "bars {depth:?} on {ground:?}: {bars:.2}");
                }
            }
        }
    }

    #[test]
    fn series_are_told_apart_by_the_colour_blind() {
        for theme in [Theme::Dark, Theme::Light] {
            for (depth, least) in [(Depth::TrueColour, 0.07), (Depth::Colours256, 0.05)] {
                let colours: Vec<[u8; 3]> =
                    (0..SERIES).map(|n| rgb(Theme::colour(theme(depth).series(n).style))).collect();
                for (n, &one) in colours.iter().enumerate() {
                    for (m, &other) in colours[..n].iter().enumerate() {
                        // Training and testing.
                        let least = if (m, n) == (0, 1) { 0.17 } else { least };
                        let found = colour_blind_distance(one, other);
                        assert!(found >= least, "{:?}: {m} and {n}: {found:.3}", theme(depth));
                    }
                }
            }
        }
    }

    #[test]
    fn series_have_markers_of_one_column_each_its_own() {
        for n in 0..SERIES_STYLES {
            let series = Theme::Plain.series(n);
            assert_eq!(ratatui::text::Span::raw(series.marker).width(), 1);
            assert!((0..n).all(|other| Theme::Plain.series(other).marker != series.marker));
            assert_eq!(series.style, Style::new());
        }
        assert_eq!(Theme::Plain.series(SERIES_STYLES), Theme::Plain.series(0));
    }

    #[test]
    fn fewer_colours_are_those_that_the_terminal_has() {
        for (n, text) in texts(Theme::Light(Depth::Colours16)) {
            assert!(!matches!(text.fg, Some(Color::Rgb(..) | Color::Indexed(_))), "{n}: {text:?}");
        }
        for (n, text) in texts(Theme::Light(Depth::Colours256)) {
            assert!(matches!(text.fg, Some(Color::Indexed(16..))), "{n}: {text:?}");
        }
    }
}
