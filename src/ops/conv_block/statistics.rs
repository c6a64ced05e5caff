//! The statistics that a block normalises by, and what they make of its gradient.

use std::sync::{Arc, OnceLock};

use candle_core::Result;

use super::kernel::{GradientTerms, Normalisation};
use super::parameters::ChannelParameters;
use crate::ops::batch_norm::EPSILON;
use crate::ops::channel_statistics::{ChannelStatistics, ImageStatistics, merge};
use crate::ops::conv::{Convolution, Geometry};
use crate::ops::pooled_buffer::PooledBuffer;
use crate::simd;

impl ChannelStatistics {
    pub fn normalisation(&self, parameters: &ChannelParameters) -> Normalisation {
        let deviations = self.variance.iter().map(|variance| (variance + EPSILON).sqrt());
        Normalisation {
            mean: self.mean.iter().map(|&mean| mean as f32).collect(),
            scale: parameters.norm_weight.iter().zip(deviations).map(|(&w, d)| (f64::from(w) / d) as f32).collect(),
            shift: parameters.norm_bias.to_vec(),
        }
    }
}

/// What a block normalises by.
pub enum Statistics {
    /// Measured by the forward pass.
    OfBatch(Arc<OnceLock<ChannelStatistics>>),
    Running(ChannelStatistics),
}

impl Statistics {
    /// After the forward pass.
    pub fn known(&self) -> &ChannelStatistics {
        match self {
            Self::Running(running) => running,
            Self::OfBatch(measured) => measured.get().expect("the forward pass has measured the batch"),
        }
    }

    /// The convolution's output, (N, H, W, O), and how it is normalised; measures it, where that is due.
    pub fn convolve(
        &self,
        geometry: Geometry,
        x: &[f32],
        weight: &[f32],
        parameters: &ChannelParameters,
    ) -> Result<(PooledBuffer, Normalisation)> {
        let channels = geometry.outputs;
        let measures = matches!(self, Self::OfBatch(_));
        let mut y = PooledBuffer::stale(x.len() / geometry.image() * geometry.out_image());
        let images = Convolution::new(geometry)?.forward_batch(x, weight, parameters.bias, &mut y, |y| {
            if measures {
                simd::vectorized(
                    #[inline(always)]
                    || ImageStatistics::new(y, channels),
                )
                .map(Some)
            } else {
                Ok(None)
            }
        })?;
        let normalisation = match self {
            Self::Running(running) => running.normalisation(parameters),
            Self::OfBatch(measured) => {
                let images: Vec<ImageStatistics> = images.into_iter().flatten().collect();
                measured.get_or_init(|| merge(&images, geometry.out_pixels(), channels)).normalisation(parameters)
            }
        };
        Ok((y, normalisation))
    }

    /// What makes the gradient of the convolution's output, and the gradients of its bias and of the normalisation's weight
    /// and bias, one after another; from the sums of the gradient of the normalised output, plain, and of its product with
    /// the convolution's output less its mean.
    pub fn gradients<'a>(
        &self,
        parameters: &ChannelParameters,
        normalisation: &'a Normalisation,
        plain: &[f64],
        with_centred: &[f64],
    ) -> (GradientTerms<'a>, Vec<f32>) {
        // dy = scale · (dz - mean(dz) - ŷ · mean(dz · ŷ)) with z the normalised output (Ioffe and Szegedy 2015, section 3);
        // running estimates are constants, and leave dy = scale · dz.
        let (statistics, channels) = (self.known(), plain.len());
        let mut terms = GradientTerms { scale: vec![], slope: vec![], offset: vec![], mean: &normalisation.mean };
        let mut d_parameters = vec![0.0; 3 * channels];
        for channel in 0..channels {
            let inverse_deviation = 1.0 / (statistics.variance[channel] + EPSILON).sqrt();
            let scale = f64::from(parameters.norm_weight[channel]) * inverse_deviation;
            let d_norm_weight = with_centred[channel] * inverse_deviation;
            terms.scale.push(scale as f32);
            match self {
                Self::OfBatch(_) => {
                    let slope = -scale * inverse_deviation * d_norm_weight / statistics.count;
                    terms.slope.push(slope as f32);
                    terms.offset.push((-scale * plain[channel] / statistics.count) as f32);
                    // The bias: normalisation subtracts whatever it adds, so its gradient is exactly 0.
                }
                Self::Running(_) => {
                    terms.slope.push(0.0);
                    terms.offset.push(0.0);
                    d_parameters[channel] = (scale * plain[channel]) as f32;
                }
            }
            d_parameters[channels + channel] = d_norm_weight as f32;
            d_parameters[2 * channels + channel] = plain[channel] as f32;
        }
        (terms, d_parameters)
    }
}
