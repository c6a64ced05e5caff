//! Squeeze-and-excitation (Hu et al. 2018, section 3): a gate for each channel of a picture from the means of all of them.
//!
//! s = σ(E relu(R z)), with z the means (C), R (C / r, C) and E (C, C / r).

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::picture::{Normalisation, Rectified, rectified, rectified_means};
use crate::ops::real::sum_lanes;
use crate::ops::relu::relu;

/// The weights of the gates of a block.
#[derive(Clone, Copy)]
pub struct SqueezeExcitation<'a> {
    /// (C / r, C)
    pub reduce: &'a Tensor,
    /// (C, C / r)
    pub expand: &'a Tensor,
}

impl SqueezeExcitation<'_> {
    /// Gates (N, C) between 0 and 1 from the channels' means (N, C), by candle's operations.
    pub fn gates(&self, means: &Tensor) -> Result<Tensor> {
        sigmoid(&relu(&means.matmul(&self.reduce.t()?)?)?.matmul(&self.expand.t()?)?)
    }
}

/// The same on slices.
#[derive(Clone, Copy)]
pub struct Gates<'a> {
    pub reduce: &'a [f32],
    pub expand: &'a [f32],
}

/// The gates of a picture, and what the way back needs of them.
pub struct PictureGates {
    /// The mean of each channel after the ReLU, (C).
    means: Vec<f32>,
    /// (C / r), after the ReLU.
    squeezed: Vec<f32>,
    /// (C)
    pub gates: Vec<f32>,
    /// Of the sigmoid, where they are, (C).
    slopes: Vec<f32>,
    /// Of each channel, how many pixels are above 0 once normalised,
    counts: Vec<f32>,
    /// and the sum of the convolution's output less its mean over these.
    centred: Vec<f32>,
}

/// What the gradient of the gates of a picture gives on.
pub struct PictureGatesGradient {
    /// To each pixel above 0, of each channel.
    pub shares: Vec<f32>,
    /// Before the sigmoid, (C).
    excited: Vec<f32>,
    /// Before the ReLU, (C / r).
    squeezed: Vec<f32>,
}

impl Gates<'_> {
    /// The gates of a picture from the convolution's output `y` (pixels, C).
    #[inline(always)]
    pub fn of_picture(&self, y: &[f32], normalisation: &Normalisation) -> PictureGates {
        let zeros = || vec![0.0; normalisation.scale.len()];
        let (mut means, mut counts, mut centred) = (zeros(), zeros(), zeros());
        let rectified = Rectified { means: &mut means, counts: &mut counts, centred: &mut centred };
        rectified_means(y, normalisation, rectified);
        let squeezed = self.squeezed(&means);
        let (gates, slopes) = self.excited(&squeezed).map(sigmoid_and_slope).unzip();
        PictureGates { means, squeezed, gates, slopes, counts, centred }
    }

    /// The gates (C) from the means (C).
    pub fn from_means(&self, means: &[f32]) -> Vec<f32> {
        self.excited(&self.squeezed(means)).map(|value| sigmoid_and_slope(value).0).collect()
    }

    fn squeezed(&self, means: &[f32]) -> Vec<f32> {
        self.reduce.chunks_exact(means.len()).map(|row| rectified(dot(row, means))).collect()
    }

    /// Before the sigmoid.
    fn excited(&self, squeezed: &[f32]) -> impl Iterator<Item = f32> {
        self.expand.chunks_exact(squeezed.len()).map(|row| dot(row, squeezed))
    }

    /// Takes the sums of the gradient over the maxima of a picture of so many pixels, of each channel: plain, and of its
    /// product with the convolution's output less its mean. Leaves there what the gates make of them.
    pub fn backward(
        &self,
        kept: &PictureGates,
        normalisation: &Normalisation,
        pixels: usize,
        plain: &mut [f32],
        with_centred: &mut [f32],
    ) -> PictureGatesGradient {
        let Normalisation { scale, shift, .. } = normalisation;
        let channels = plain.len();
        let excited: Vec<f32> = (0..channels)
            .map(|i| {
                // A maximum is scale · centred + shift where the gradient passes, and 0 where it does not.
                let d_gate = with_centred[i] * scale[i] + plain[i] * shift[i];
                d_gate * kept.slopes[i]
            })
            .collect();
        let mut squeezed = vec![0.0; kept.squeezed.len()];
        for (excited, row) in excited.iter().zip(self.expand.chunks_exact(squeezed.len())) {
            add_scaled(&mut squeezed, *excited, row);
        }
        for (gradient, &value) in squeezed.iter_mut().zip(&kept.squeezed) {
            *gradient = if value > 0.0 { *gradient } else { 0.0 };
        }
        let mut shares = vec![0.0; channels];
        for (squeezed, row) in squeezed.iter().zip(self.reduce.chunks_exact(channels)) {
            add_scaled(&mut shares, *squeezed / pixels as f32, row);
        }
        for i in 0..channels {
            plain[i] = plain[i] * kept.gates[i] + shares[i] * kept.counts[i];
            with_centred[i] = with_centred[i] * kept.gates[i] + shares[i] * kept.centred[i];
        }
        PictureGatesGradient { shares, excited, squeezed }
    }
}

/// The gradients of R (C / r, C) and then E (C, C / r), over the pictures in order.
pub fn weight_gradients<'a>(
    pictures: impl Iterator<Item = (&'a PictureGates, &'a PictureGatesGradient)>,
    [channels, squeezed]: [usize; 2],
) -> Vec<f32> {
    let mut gradients = vec![0.0; 2 * channels * squeezed];
    let (reduce, expand) = gradients.split_at_mut(channels * squeezed);
    for (kept, gradient) in pictures {
        for (row, squeezed) in reduce.chunks_exact_mut(channels).zip(&gradient.squeezed) {
            add_scaled(row, *squeezed, &kept.means);
        }
        for (row, excited) in expand.chunks_exact_mut(squeezed).zip(&gradient.excited) {
            add_scaled(row, *excited, &kept.squeezed);
        }
    }
    gradients
}

/// Multiplies each pixel by the gates of its channels.
#[inline(always)]
pub fn apply(pixels: &mut [f32], gates: &[f32]) {
    for pixel in pixels.chunks_exact_mut(gates.len()) {
        pixel.iter_mut().zip(gates).for_each(|(value, gate)| *value *= gate);
    }
}

/// The logistic function and its derivative, without the difference of two numbers that are almost 1.
fn sigmoid_and_slope(x: f32) -> (f32, f32) {
    let smaller = (-x.abs()).exp();
    let (greater_half, smaller_half) = (1.0 / (1.0 + smaller), smaller / (1.0 + smaller));
    (if x < 0.0 { smaller_half } else { greater_half }, greater_half * smaller_half)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_lanes(a.len(), |i| a[i] * b[i])
}

fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
}
