//! Sums over a channels-last image: over its pixels, and over the channels of each.

use candle_core::Result;

use super::float::dot;
use crate::simd;

/// The sum of each channel over the pixels of an image (pixels, C): (C).
///
/// # Errors
/// The SIMD path that the environment asks for is not available on this CPU.
pub fn channel_sums(image: &[f32], channels: usize) -> Result<Vec<f32>> {
    simd::vectorized(
        #[inline(always)]
        || {
            let mut sums = vec![0.0; channels];
            for pixel in image.chunks_exact(channels) {
                sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
            }
            sums
        },
    )
}

/// The weighted sum of the channels of each pixel of an image (pixels, C), with weights (C): (pixels).
///
/// # Errors
/// Those of [`channel_sums`].
pub fn weighted_channels(image: &[f32], weights: &[f32]) -> Result<Vec<f32>> {
    simd::vectorized(
        #[inline(always)]
        || image.chunks_exact(weights.len()).map(|pixel| dot(pixel, weights)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_over_pixels_or_over_channels() -> Result<()> {
        // Three pixels of eleven channels, whole numbers.
        let image: Vec<f32> = (0..33).map(|position| position as f32).collect();
        let sums: Vec<f32> = (0..11).map(|channel| (3 * channel + 33) as f32).collect();
        assert_eq!(channel_sums(&image, 11)?, sums);
        let weights: Vec<f32> = (0..11).map(|channel| (channel % 3) as f32).collect();
        let expected = image.chunks(11).map(|pixel| pixel.iter().zip(&weights).map(|(a, w)| a * w).sum::<f32>());
        assert_eq!(weighted_channels(&image, &weights)?, expected.collect::<Vec<_>>());
        Ok(())
    }
}
