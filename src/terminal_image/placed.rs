//! An image in its place.

use std::sync::Arc;

use image::RgbImage;
use ratatui::layout::Rect;

/// An image and the cells that it fills. Pixels are compared only where two are not the same allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub area: Rect,
    pub image: Arc<RgbImage>,
}

/// An image among others in a row.
pub struct InRow {
    pub image: RgbImage,
    /// Right of it: lines of text, with control sequences or without, each of so many columns.
    pub beside: Vec<String>,
    pub beside_width: u16,
}

impl InRow {
    /// The text beside that row of cells.
    pub fn beside(&self, row: u16) -> &str {
        self.beside.get(usize::from(row)).map_or("", String::as_str)
    }
}
