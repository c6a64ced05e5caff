//! How images are wanted, and how they are drawn.

use std::fmt;

use clap::ValueEnum;

use super::half_blocks::Palette;

/// How images are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Images {
    /// The best that the terminal says it can do
    #[default]
    Auto,
    /// The protocol of kitty, Ghostty, Konsole and others
    Kitty,
    /// The protocol of iTerm2, WezTerm, mintty and others
    Iterm,
    /// DEC's sixel graphics: xterm, foot, mlterm and others
    Sixel,
    /// Characters: half blocks in colour, shades where there is none
    Blocks,
    /// No images
    Off,
}

/// How images are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageBackend {
    Protocol(Protocol),
    Cells(Palette),
    Nothing,
}

/// What a terminal draws pixels by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Kitty,
    /// kitty's, past tmux, with characters for the cells of the images.
    Placeholders,
    Iterm2,
    /// iTerm2's, past tmux, over cells that are empty for it.
    Iterm2PastTmux,
    Sixel,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Protocol::Kitty => "kitty graphics",
            Protocol::Placeholders => "kitty graphics by Unicode placeholders",
            Protocol::Iterm2 => "iTerm2 inline images",
            Protocol::Iterm2PastTmux => "iTerm2 inline images past tmux",
            Protocol::Sixel => "sixel",
        })
    }
}

impl fmt::Display for ImageBackend {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ImageBackend::Protocol(protocol) => protocol.fmt(formatter),
            ImageBackend::Cells(Palette::TrueColour) => formatter.write_str("half blocks in true colour"),
            ImageBackend::Cells(Palette::Colours256) => formatter.write_str("half blocks in 256 colours"),
            ImageBackend::Cells(Palette::Shades) => formatter.write_str("shaded characters"),
            ImageBackend::Nothing => formatter.write_str("none"),
        }
    }
}
