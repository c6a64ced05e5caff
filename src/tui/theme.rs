//! Colours, all in one place. None carries a meaning alone: markers, glyphs and words say it as well.

use ratatui::style::{Color, Modifier, Style};

use crate::run::event::Severity;
use crate::run::step_time::Part;

/// The terminal's own sixteen colours, which follow its light or dark scheme, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Colour,
    Plain,
}

/// How one of several series is told from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesStyle {
    pub style: Style,
    /// One column wide.
    pub marker: &'static str,
}

/// After so many, colours and markers begin again.
pub const SERIES_STYLES: usize = MARKERS.len();

const MARKERS: [&str; 10] = ["●", "■", "▲", "◆", "+", "×", "○", "□", "△", "◇"];
const SERIES: [Color; SERIES_STYLES] = [
    Color::Cyan,
    Color::Yellow,
    Color::Green,
    Color::LightMagenta,
    Color::LightYellow,
    Color::LightRed,
    Color::LightBlue,
    Color::Gray,
    Color::LightCyan,
    Color::LightGreen,
];

impl Theme {
    /// From `NO_COLOR` (<https://no-color.org>).
    pub fn from_env() -> Self {
        if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) { Theme::Plain } else { Theme::Colour }
    }

    fn colour(self, colour: Color) -> Style {
        match self {
            Theme::Colour => Style::new().fg(colour),
            Theme::Plain => Style::new(),
        }
    }

    pub fn train(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// Many training values at once: the same colour, dimmed.
    pub fn bars(self) -> Style {
        self.train().add_modifier(Modifier::DIM)
    }

    pub fn test(self) -> Style {
        self.colour(Color::Yellow)
    }

    /// The n-th of several series, from 0.
    pub fn series(self, n: usize) -> SeriesStyle {
        let n = n % SERIES_STYLES;
        SeriesStyle { style: self.colour(SERIES[n]), marker: MARKERS[n] }
    }

    pub fn best(self) -> Style {
        self.colour(Color::Green)
    }

    pub fn alarm(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub fn warning(self) -> Style {
        self.colour(Color::Yellow)
    }

    /// Asked for, not a fact yet.
    pub fn pending(self) -> Style {
        self.colour(Color::Magenta).add_modifier(Modifier::ITALIC)
    }

    /// Frames, labels, units: what the eye should pass over.
    pub fn faint(self) -> Style {
        match self {
            Theme::Colour => Style::new().fg(Color::DarkGray),
            Theme::Plain => Style::new().add_modifier(Modifier::DIM),
        }
    }

    pub fn part(self, part: Part) -> Style {
        match part {
            Part::Data => self.colour(Color::Yellow),
            Part::Forward => self.colour(Color::Cyan),
            Part::Backward => self.colour(Color::Blue),
            Part::Optimizer => self.colour(Color::Magenta),
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
}
