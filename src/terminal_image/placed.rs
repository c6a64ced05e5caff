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
