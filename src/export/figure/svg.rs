//! What all figures have in common.

use maud::{Markup, html};

/// Where a figure will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// On white paper, for itself.
    Paper,
    /// In a page, whose style sheet has the colours, light or dark.
    Page,
}

/// A figure, in pixels of 1/96 inch.
pub struct Svg {
    pub width: f64,
    pub height: f64,
    pub content: Markup,
}

pub const FONT_SIZE: f64 = 11.0;
pub const TITLE_SIZE: f64 = 13.0;
/// Verdana is as wide as DejaVu Sans, with which a PNG is drawn.
pub const FONTS: &str = "DejaVu Sans, Verdana, sans-serif";

/// For those who cannot tell all colours apart: Okabe and Ito 2008, without their yellow, which is too light on white.
const SERIES: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"];

impl Look {
    pub fn ink(self) -> &'static str {
        match self {
            Self::Paper => "#000000",
            Self::Page => "var(--ink)",
        }
    }

    pub fn faint(self) -> &'static str {
        match self {
            Self::Paper => "#d9d9d9",
            Self::Page => "var(--faint)",
        }
    }

    pub fn accent(self) -> &'static str {
        match self {
            Self::Paper => SERIES[0],
            Self::Page => "var(--series-0)",
        }
    }

    /// How pictures are enlarged: in a page each of their pixels is a square, as it is of many pictures that should be small.
    pub fn image_rendering(self) -> Option<&'static str> {
        match self {
            Self::Paper => None,
            Self::Page => Some("pixelated"),
        }
    }

    /// Of the series of that number; after the last the first comes again.
    pub fn series(self, number: usize) -> String {
        let number = number % SERIES.len();
        match self {
            Self::Paper => SERIES[number].to_owned(),
            Self::Page => format!("var(--series-{number})"),
        }
    }
}

impl Svg {
    /// A whole SVG document, on white.
    pub fn to_document(&self) -> String {
        let Self { width, height, content } = self;
        let svg = html! {
            svg xmlns="http://www.w3.org/2000/svg" width=(px(*width)) height=(px(*height))
                viewBox={ "0 0 " (px(*width)) " " (px(*height)) } font-family=(FONTS) font-size=(px(FONT_SIZE)) {
                rect width="100%" height="100%" fill="#ffffff" {}
                (content)
            }
        };
        svg.into_string()
    }

    /// For a page of HTML, whose style sheet makes it as wide as there is room, up to its own `--width`. `title` is told to those who do not see it.
    pub fn to_inline(&self, title: &str) -> Markup {
        let Self { width, height, content } = self;
        html! {
            svg role="img" aria-label=(title) viewBox={ "0 0 " (px(*width)) " " (px(*height)) }
                style={ "--width:" (px(*width)) "px" } font-size=(px(FONT_SIZE)) { (content) }
        }
    }
}

/// With two decimals at most.
pub fn px(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// About how wide a text is: in DejaVu Sans a digit takes 0.636 of the font's size, and most letters less.
pub fn text_width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| if ".,:;'|ijl ".contains(c) { 0.35 } else { 0.64 }).sum::<f64>() * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, -0.001, 12.0, 12.345, 100.5].map(px), ["0", "0", "12", "12.35", "100.5"]);
    }

    #[test]
    fn a_document_stands_alone() {
        let svg = Svg { width: 10.0, height: 5.0, content: html! { text { "<&" } } };
        let document = svg.to_document();
        assert!(
            document.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"10\" height=\"5\""),
            "{document}"
        );
        assert!(document.contains("<text>&lt;&amp;</text></svg>"), "{document}");
    }
}
