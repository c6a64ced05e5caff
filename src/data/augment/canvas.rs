//! The image that the transforms work on.

use crate::data::info::ImageSize;

/// An image that is being changed.
pub struct Image<'a> {
    pub size: ImageSize,
    /// Planes, each row by row.
    pub pixels: &'a mut [u8],
}

impl Image<'_> {
    /// The planes of a colour image.
    #[inline(always)]
    pub fn rgb(&mut self) -> Option<[&mut [u8]; 3]> {
        let plane = self.size.plane();
        if self.size.channels != 3 {
            return None;
        }
        let (r, rest) = self.pixels.split_at_mut(plane);
        let (g, b) = rest.split_at_mut(plane);
        Some([r, g, b])
    }
}
