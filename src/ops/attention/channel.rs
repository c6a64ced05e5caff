//! Channel attention: a gate for each channel of an image from the means of all of them, s = σ(f(z)), with z the means (C).

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::squeeze_excite::{SqueezeExcite, add_weight_gradients, squeeze_and_excite};
use crate::ops::float::{add_scaled, dot, sigmoid_and_slope};
use crate::ops::whole_batch;

/// How the gates come from the means.
#[derive(Clone, Copy)]
pub enum ChannelGates<'a> {
    /// f(z) = E relu(R z), with R (C / r, C) and E (C, C / r): squeeze-and-excitation (Hu et al. 2018, section 3).
    SqueezeExcitation { reduce: &'a Tensor, expand: &'a Tensor },
    /// f(z) = w ∗ z along the channels, with w (1, 1, K), K odd, and K / 2 zeros at each end: efficient channel attention
    /// (Wang et al. 2020, section 3.3).
    Efficient { kernel: &'a Tensor },
}

/// The kind of [`ChannelGates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateKind {
    SqueezeExcitation,
    Efficient,
}

impl<'a> ChannelGates<'a> {
    /// Gates (N, C) between 0 and 1 from the channels' means (N, C), by candle's operations.
    pub fn gates(&self, means: &Tensor) -> Result<Tensor> {
        match self {
            Self::SqueezeExcitation { reduce, expand } => sigmoid(&squeeze_and_excite(means, reduce, expand)?),
            Self::Efficient { kernel } => sigmoid(&along_channels(means, &kernel.flatten_all()?)?),
        }
    }

    pub fn kind(&self) -> GateKind {
        match self {
            Self::SqueezeExcitation { .. } => GateKind::SqueezeExcitation,
            Self::Efficient { .. } => GateKind::Efficient,
        }
    }

    pub fn weights(&self) -> Vec<&'a Tensor> {
        match *self {
            Self::SqueezeExcitation { reduce, expand } => vec![reduce, expand],
            Self::Efficient { kernel } => vec![kernel],
        }
    }
}

/// w ∗ z of each row of `z` (N, C), w (K). (The gradient of candle's convolution of one dimension fails where the kernel is
/// wider than the row.)
fn along_channels(z: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let (taps, channels) = (kernel.dim(0)?, z.dim(1)?);
    let padded = z.pad_with_zeros(1, taps / 2, taps / 2)?;
    let mut sum = z.zeros_like()?;
    for tap in 0..taps {
        sum = (sum + padded.narrow(1, tap, channels)?.broadcast_mul(&kernel.narrow(0, tap, 1)?)?)?;
    }
    Ok(sum)
}

/// [`ChannelGates`] on slices.
#[derive(Clone, Copy)]
pub enum Gates<'a> {
    SqueezeExcitation(SqueezeExcite<'a>),
    Efficient { kernel: &'a [f32] },
}

/// The gates of an image, and what their backward pass needs.
pub struct ImageGates {
    /// The mean of each channel after the ReLU, (C).
    means: Vec<f32>,
    /// (C / r), after the ReLU; empty where nothing is squeezed.
    squeezed: Vec<f32>,
    /// (C)
    pub gates: Vec<f32>,
    /// The derivatives of the sigmoid, (C).
    slopes: Vec<f32>,
}

/// The gradients before the gates of an image.
pub struct ImageGatesGradient {
    /// By the means, (C).
    pub means: Vec<f32>,
    /// Before the sigmoid, (C).
    excited: Vec<f32>,
    /// Before the ReLU, (C / r).
    squeezed: Vec<f32>,
}

impl<'a> Gates<'a> {
    /// From the weights of gates of that kind, one after another.
    pub fn split(kind: GateKind, weights: &'a [f32]) -> Self {
        match kind {
            GateKind::SqueezeExcitation => Self::SqueezeExcitation(SqueezeExcite::split(weights)),
            GateKind::Efficient => Self::Efficient { kernel: weights },
        }
    }

    /// The gates of an image from the means (C).
    pub fn of_image(&self, means: Vec<f32>) -> ImageGates {
        let (squeezed, excited) = self.excited(&means);
        let (gates, slopes) = excited.into_iter().map(sigmoid_and_slope).unzip();
        ImageGates { means, squeezed, gates, slopes }
    }

    /// The gates (C) from the means (C).
    pub fn of_means(&self, means: &[f32]) -> Vec<f32> {
        self.excited(means).1.into_iter().map(|value| sigmoid_and_slope(value).0).collect()
    }

    /// What is squeezed, if anything, and what comes before the sigmoid.
    fn excited(&self, means: &[f32]) -> (Vec<f32>, Vec<f32>) {
        match self {
            Self::SqueezeExcitation(squeeze) => {
                let squeezed = squeeze.squeezed(means);
                let excited = squeeze.excited(&squeezed);
                (squeezed, excited)
            }
            Self::Efficient { kernel } => {
                let excited = (0..means.len()).map(|channel| {
                    let (taps, channels) = overlap(kernel.len(), means.len(), channel);
                    dot(&kernel[taps], &means[channels])
                });
                (vec![], excited.collect())
            }
        }
    }

    /// The gradients of what is squeezed, before its ReLU, and of the means, from those of the gates.
    pub fn backward(&self, kept: &ImageGates, d_gates: &[f32]) -> ImageGatesGradient {
        let excited: Vec<f32> = d_gates.iter().zip(&kept.slopes).map(|(gradient, slope)| gradient * slope).collect();
        let (squeezed, means) = match self {
            Self::SqueezeExcitation(squeeze) => {
                let gradient = squeeze.backward(&excited, &kept.squeezed);
                (gradient.squeezed, gradient.descriptor)
            }
            Self::Efficient { kernel } => {
                let mut means = vec![0.0; excited.len()];
                for (channel, excited) in excited.iter().enumerate() {
                    let (taps, channels) = overlap(kernel.len(), means.len(), channel);
                    add_scaled(&mut means[channels], *excited, &kernel[taps]);
                }
                (vec![], means)
            }
        };
        ImageGatesGradient { means, excited, squeezed }
    }

    /// The gradients of the weights, one after another, over the images of the batch in order.
    ///
    /// # Errors
    /// A rank is lost.
    pub fn weight_gradients<'p>(
        &self,
        channels: usize,
        images: impl Iterator<Item = (&'p ImageGates, &'p ImageGatesGradient)>,
    ) -> Result<Vec<f32>> {
        let squeezed = match self {
            Self::SqueezeExcitation(squeeze) => squeeze.weights() / (2 * channels),
            Self::Efficient { .. } => 0,
        };
        let own = images.flat_map(|(kept, gradient)| {
            [&kept.means[..], &gradient.excited, &kept.squeezed, &gradient.squeezed].concat()
        });
        let (own, row): (Vec<f32>, usize) = (own.collect(), 2 * (channels + squeezed));
        let mut gradients = vec![0.0; self.weights()];
        for image in whole_batch::rows(&own, row)?.chunks_exact(row) {
            let (means, rest) = image.split_at(channels);
            let (d_excited, rest) = rest.split_at(channels);
            match self {
                Self::SqueezeExcitation(_) => {
                    let (squeezed, d_squeezed) = rest.split_at(squeezed);
                    add_weight_gradients(&mut gradients, [means, squeezed], [d_excited, d_squeezed]);
                }
                Self::Efficient { kernel } => {
                    for (channel, excited) in d_excited.iter().enumerate() {
                        let (taps, channels) = overlap(kernel.len(), channels, channel);
                        add_scaled(&mut gradients[taps], *excited, &means[channels]);
                    }
                }
            }
        }
        Ok(gradients)
    }

    fn weights(&self) -> usize {
        match self {
            Self::SqueezeExcitation(squeeze) => squeeze.weights(),
            Self::Efficient { kernel } => kernel.len(),
        }
    }
}

/// The taps of a kernel centred on `channel` that meet a channel, and which they meet.
fn overlap(kernel: usize, channels: usize, channel: usize) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let half = kernel / 2;
    let (start, end) = (channel.saturating_sub(half), (channel + half + 1).min(channels));
    (start + half - channel..end + half - channel, start..end)
}

/// Multiplies each pixel by the gates of its channels.
#[inline(always)]
pub fn apply(pixels: &mut [f32], gates: &[f32]) {
    for pixel in pixels.chunks_exact_mut(gates.len()) {
        pixel.iter_mut().zip(gates).for_each(|(value, gate)| *value *= gate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};

    #[test]
    fn the_gradients_of_squeeze_and_excitation_are_finite_differences() {
        let (means, reduce, expand) = (normal(1, &[3, 8]), normal(2, &[2, 8]), normal(3, &[8, 2]));
        let gates = |means: &Tensor, reduce: &Tensor, expand: &Tensor| {
            ChannelGates::SqueezeExcitation { reduce, expand }.gates(means)
        };
        assert_gradient(&means, |means| gates(means, &reduce, &expand));
        assert_gradient(&reduce, |reduce| gates(&means, reduce, &expand));
        assert_gradient(&expand, |expand| gates(&means, &reduce, expand));
    }

    #[test]
    fn the_gradients_of_efficient_channel_attention_are_finite_differences() {
        for taps in [1, 3, 5] {
            let (means, kernel) = (normal(1, &[3, 8]), normal(2, &[1, 1, taps]));
            assert_gradient(&means, |means| ChannelGates::Efficient { kernel: &kernel }.gates(means));
            assert_gradient(&kernel, |kernel| ChannelGates::Efficient { kernel }.gates(&means));
        }
    }

    #[test]
    fn a_kernel_ends_with_the_channels() {
        assert_eq!(overlap(3, 5, 0), (1..3, 0..2));
        assert_eq!(overlap(3, 5, 2), (0..3, 1..4));
        assert_eq!(overlap(3, 5, 4), (0..2, 3..5));
        assert_eq!(overlap(5, 2, 0), (2..4, 0..2));
        assert_eq!(overlap(1, 1, 0), (0..1, 0..1));
    }
}
