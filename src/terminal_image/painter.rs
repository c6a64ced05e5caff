//! Draws images over a frame, and takes them away again.

use std::io;

use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use viuer::ViuError;

use super::backend::Protocol;
use super::outer_place::OuterPlace;
use super::past_tmux::PastTmux;
use super::placed::Placed;
use super::placeholders::Placeholders;
use super::protocols::{Corner, forget, print};
use super::reserved::Reserved;
use super::tmux;

/// Draws the images of a frame.
#[derive(Debug)]
pub enum Painter {
    /// As characters of the frame.
    Within(Placeholders),
    Past(PastTmux),
    Over(OverPainter),
}

impl Painter {
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Placeholders => Self::Within(Placeholders::new(tmux::reaches_terminal)),
            Protocol::Iterm2PastTmux => Self::Past(PastTmux::default()),
            Protocol::Kitty | Protocol::Iterm2 | Protocol::Sixel => {
                Self::Over(OverPainter { protocol, reserved: Reserved::default() })
            }
        }
    }

    /// Before the frame is drawn.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn reserve(&mut self, placed: &[Placed], buffer: &mut Buffer) -> io::Result<()> {
        match self {
            Self::Within(placeholders) => placeholders.fill(placed, buffer, &mut io::stdout().lock()),
            Self::Past(painter) => {
                painter.reserve(placed, buffer);
                Ok(())
            }
            Self::Over(painter) => {
                painter.reserved.reserve(placed, buffer);
                Ok(())
            }
        }
    }

    /// After the frame is drawn. `cell` is the size of a character in pixels, where the terminal tells. Returns why viuer
    /// could not draw an image, if so.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn paint(&mut self, placed: Vec<Placed>, cell: Option<Size>) -> io::Result<Option<String>> {
        match self {
            Self::Within(_) => Ok(None),
            Self::Past(painter) => painter.paint(placed, &mut io::stdout().lock()).map(|()| None),
            Self::Over(painter) => painter.paint(placed, cell),
        }
    }

    /// The screen has been given to others since, or is another one.
    pub fn reset(&mut self) {
        match self {
            Self::Within(placeholders) => placeholders.reset(),
            Self::Past(painter) => painter.reset(),
            Self::Over(painter) => painter.reserved.shown.clear(),
        }
    }

    /// Inside tmux: the pane is there now. Whether a frame is due.
    pub fn found_at(&mut self, place: Option<OuterPlace>) -> bool {
        match self {
            Self::Past(painter) => painter.found_at(place),
            Self::Within(_) | Self::Over(_) => false,
        }
    }
}

/// Over the cells, by viuer.
#[derive(Debug)]
pub struct OverPainter {
    protocol: Protocol,
    reserved: Reserved,
}

impl OverPainter {
    fn paint(&mut self, placed: Vec<Placed>, cell: Option<Size>) -> io::Result<Option<String>> {
        if placed == self.reserved.shown {
            return Ok(None);
        }
        forget()?;
        let mut fault = None;
        for Placed { area, image } in &placed {
            match print(self.protocol, image, area.as_size(), Corner::OfScreen { x: area.x, y: area.y }, cell) {
                Ok(()) => {}
                Err(ViuError::Io(error)) => return Err(error),
                Err(error) => fault = Some(error.to_string()),
            }
        }
        self.reserved.shown = placed;
        Ok(fault)
    }
}
