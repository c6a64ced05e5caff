//! What is drawn of a picture that is explained.

use image::RgbImage;

use super::Map;
use super::colour::{enlarged, overlay, picture, viridis_picture};
use crate::data::SIDE;

#[derive(Clone, Debug)]
pub enum Drawing {
    Picture,
    /// In viridis.
    Map(Map),
    /// In jet, over the picture.
    Heat(Map),
}

impl Drawing {
    /// Of the picture with these planes R, G and B, with `scale` pixels for each of its own, in both directions.
    pub fn draw(&self, planes: &[u8], scale: u32) -> RgbImage {
        let picture = || enlarged(&picture(planes), scale);
        match self {
            Drawing::Picture => picture(),
            Drawing::Map(map) => viridis_picture(map, SIDE as u32 * scale),
            Drawing::Heat(heat) => overlay(&picture(), heat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drawing_has_the_scaled_size() {
        let map = || Map::new(2, vec![0.0, 1.0, 2.0, 3.0]);
        for drawing in [Drawing::Picture, Drawing::Map(map()), Drawing::Heat(map())] {
            assert_eq!(drawing.draw(&[200; 3 * SIDE * SIDE], 3).dimensions(), (96, 96));
        }
    }
}
