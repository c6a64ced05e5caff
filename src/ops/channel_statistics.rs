//! What a batch of channels-last images says of each channel: measured image by image, and merged in their order, so that
//! neither the number of threads nor that of ranks changes the rounding.

use candle_core::{Device, Result, Tensor};

use super::batch_norm::{BatchStatistics, of_channels};
use super::whole_batch;

/// Mean and biased variance of each channel.
#[derive(Debug)]
pub struct ChannelStatistics {
    /// Numbers in each channel of the batch.
    pub count: f64,
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
}

impl ChannelStatistics {
    /// Running estimates (C).
    pub fn running(mean: &Tensor, variance: &Tensor) -> Result<Self> {
        Ok(Self { count: 0.0, mean: of_channels(mean)?, variance: of_channels(variance)? })
    }

    /// For the running estimates: the variance is unbiased, as PyTorch has it.
    pub fn for_running(&self, device: &Device) -> Result<BatchStatistics> {
        let unbiased = self.count / (self.count - 1.0).max(1.0);
        let of_channels = |values: &[f64], factor: f64| {
            let values: Vec<f32> = values.iter().map(|value| (value * factor) as f32).collect();
            Tensor::from_vec(values, self.mean.len(), device)
        };
        Ok(BatchStatistics { mean: of_channels(&self.mean, 1.0)?, variance: of_channels(&self.variance, unbiased)? })
    }
}

/// The statistics of one image, of each channel: the mean, and the sum of squared deviations from it.
pub struct ImageStatistics {
    pub mean: Vec<f32>,
    pub squares: Vec<f32>,
}

impl ImageStatistics {
    /// Of `y` (pixels, channels), in two passes, for which it is still in the cache: a difference of two great sums would
    /// lose digits.
    #[inline(always)]
    pub fn new(y: &[f32], channels: usize) -> Self {
        let pixels = (y.len() / channels) as f32;
        let mut mean = vec![0.0; channels];
        add_pixels(
            y,
            [&mut mean],
            #[inline(always)]
            |value, _| [value],
        );
        mean.iter_mut().for_each(|mean| *mean /= pixels);
        let mut squares = vec![0.0; channels];
        add_pixels(
            y,
            [&mut squares],
            #[inline(always)]
            |value, channel| [(value - mean[channel]) * (value - mean[channel])],
        );
        Self { mean, squares }
    }
}

/// Adds `f(value, channel)` of every pixel of `y` to `sums`, four pixels at a time, so that a sum is loaded and stored once
/// for four of them.
#[inline(always)]
pub fn add_pixels<const SUMS: usize>(y: &[f32], sums: [&mut [f32]; SUMS], f: impl Fn(f32, usize) -> [f32; SUMS]) {
    let channels = sums[0].len();
    let sums = sums.map(
        #[inline(always)]
        |sums| &mut sums[..channels],
    );
    let mut fours = y.chunks_exact(4 * channels);
    for four in &mut fours {
        let (a, rest) = four.split_at(channels);
        let (b, rest) = rest.split_at(channels);
        let (c, d) = rest.split_at(channels);
        for channel in 0..channels {
            let (a, b) = (f(a[channel], channel), f(b[channel], channel));
            let (c, d) = (f(c[channel], channel), f(d[channel], channel));
            for sum in 0..SUMS {
                sums[sum][channel] += (a[sum] + b[sum]) + (c[sum] + d[sum]);
            }
        }
    }
    for pixel in fours.remainder().chunks_exact(channels) {
        for channel in 0..channels {
            let terms = f(pixel[channel], channel);
            for sum in 0..SUMS {
                sums[sum][channel] += terms[sum];
            }
        }
    }
}

/// The sums of all images of the batch, each of `channels` numbers, in their order, so that neither the number of threads nor
/// that of ranks changes the rounding.
///
/// # Errors
/// A rank is lost.
pub fn total<'a>(images: impl Iterator<Item = &'a [f32]>, channels: usize) -> Result<Vec<f64>> {
    let own: Vec<f32> = images.flatten().copied().collect();
    let mut total = vec![0.0; channels];
    for of_image in whole_batch::rows(&own, channels)?.chunks_exact(channels) {
        total.iter_mut().zip(of_image).for_each(|(total, &sum)| *total += f64::from(sum));
    }
    Ok(total)
}

/// The statistics of the batch from those of this process's images, of equal size (Chan et al. 1979), in order.
///
/// # Errors
/// A rank is lost.
pub fn merge(images: &[ImageStatistics], pixels: usize, channels: usize) -> Result<ChannelStatistics> {
    let own: Vec<f32> = images.iter().flat_map(|image| [&image.mean[..], &image.squares[..]].concat()).collect();
    let images = whole_batch::rows(&own, 2 * channels)?;
    let images = images.chunks_exact(2 * channels).map(|image| image.split_at(channels));
    let count = (images.len() * pixels) as f64;
    let (mut mean, mut within, mut between) = (vec![0.0; channels], vec![0.0; channels], vec![0.0; channels]);
    for (of_image, _) in images.clone() {
        mean.iter_mut().zip(of_image).for_each(|(mean, &of_image)| *mean += f64::from(of_image));
    }
    mean.iter_mut().for_each(|mean| *mean /= images.len() as f64);
    for (of_image, squares) in images {
        for channel in 0..channels {
            let deviation = f64::from(of_image[channel]) - mean[channel];
            within[channel] += f64::from(squares[channel]);
            between[channel] += deviation * deviation;
        }
    }
    let variance = within.iter().zip(&between).map(|(within, between)| (within + between * pixels as f64) / count);
    Ok(ChannelStatistics { count, variance: variance.collect(), mean })
}
