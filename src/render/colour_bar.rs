//! What the colours of a map stand for.

use image::RgbImage;

use super::colour_map::ColourScale;

/// The colours of a map, and the values at their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColourBar {
    pub low: f32,
    pub high: f32,
    pub scale: ColourScale,
}

impl ColourBar {
    /// Upright, the greatest value at the top.
    pub fn image(&self, width: u32, height: u32) -> RgbImage {
        let rows = height.max(2) - 1;
        RgbImage::from_fn(width, height, |_, y| self.scale.colour(1.0 - y as f32 / rows as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_value_is_at_the_top() {
        let bar = ColourBar { low: 0.0, high: 1.0, scale: ColourScale::Grey }.image(2, 6);
        let greys: Vec<u8> = (0..6).map(|y| bar.get_pixel(1, y)[0]).collect();
        assert_eq!(greys, [255, 204, 153, 102, 51, 0]);
        assert_eq!(ColourBar { low: 0.0, high: 1.0, scale: ColourScale::Grey }.image(1, 1).get_pixel(0, 0)[0], 255);
    }
}
