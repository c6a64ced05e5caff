//! The colours, for dark and for light backgrounds. Tests hold them to the contrast that text needs, and the series to what
//! the colour-blind tell apart.

use ratatui::style::Color;

use super::depth::Depth;

pub const SERIES: usize = 10;

/// One colour, in each depth.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    rgb: [u8; 3],
    /// Of the terminal's own sixteen.
    own: Color,
}

impl Ink {
    pub fn at(self, depth: Depth) -> Color {
        depth.colour(self.rgb, self.own)
    }
}

#[derive(Debug)]
pub struct Colours {
    pub series: [Ink; SERIES],
    pub bars: Ink,
    pub best: Ink,
    pub alarm: Ink,
    pub warning: Ink,
    pub pending: Ink,
    pub faint: Ink,
    pub backward: Ink,
}

const fn ink(rgb: u32, own: Color) -> Ink {
    let [_, red, green, blue] = rgb.to_be_bytes();
    Ink { rgb: [red, green, blue], own }
}

pub static DARK: Colours = Colours {
    series: [
        ink(0x6fdbff, Color::Cyan),
        ink(0xf4ca19, Color::Yellow),
        ink(0x00b155, Color::Green),
        ink(0xae8cc8, Color::LightMagenta),
        ink(0xffff65, Color::LightYellow),
        ink(0xff6b06, Color::LightRed),
        ink(0x84b0ff, Color::White),
        ink(0xb5b4b6, Color::Gray),
        ink(0xb0fffb, Color::LightCyan),
        ink(0xc3deaa, Color::LightGreen),
    ],
    bars: ink(0x4597b5, Color::Cyan),
    best: ink(0x3ccf7a, Color::Green),
    alarm: ink(0xff7b6b, Color::LightRed),
    warning: ink(0xf4ca19, Color::Yellow),
    pending: ink(0xdc9bd6, Color::LightMagenta),
    faint: ink(0x9a9a9a, Color::DarkGray),
    backward: ink(0x84b0ff, Color::LightGreen),
};

pub static LIGHT: Colours = Colours {
    series: [
        ink(0x0072b2, Color::Blue),
        ink(0x9a4a00, Color::Red),
        ink(0x205344, Color::Black),
        ink(0x7c2878, Color::Magenta),
        ink(0x111111, Color::Black),
        ink(0x6800ab, Color::Blue),
        ink(0x706b67, Color::Black),
        ink(0x382a0a, Color::Red),
        ink(0xac0bfb, Color::Magenta),
        ink(0x670154, Color::Black),
    ],
    bars: ink(0x3d8fc4, Color::Blue),
    best: ink(0x00704a, Color::Blue),
    alarm: ink(0xbb0a0a, Color::Red),
    warning: ink(0x8a5600, Color::Red),
    pending: ink(0x7c2878, Color::Magenta),
    faint: ink(0x696969, Color::DarkGray),
    backward: ink(0x3f44c4, Color::Black),
};
