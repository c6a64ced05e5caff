//! Colours, all in one place. None carries a meaning alone: markers, glyphs and words say it as well.

mod choice;
mod colours;
#[cfg(test)]
mod contrast;
mod depth;
mod styles;

pub use self::choice::{Chosen, ThemeChoice};
pub use self::depth::Depth;
pub use self::styles::{SERIES_STYLES, SeriesStyle, Theme};
