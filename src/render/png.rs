//! Images as PNG, as small as they get.

use std::io;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

/// # Errors
/// The image has no pixels.
pub fn encode(image: &RgbImage) -> io::Result<Vec<u8>> {
    let mut png = vec![];
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
        .write_image(image, image.width(), image.height(), ExtendedColorType::Rgb8)
        .map_err(io::Error::other)?;
    Ok(png)
}
