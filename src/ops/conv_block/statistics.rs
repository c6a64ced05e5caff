//! The statistics that a block normalises by, and what they make of its gradient.

use candle_core::Result;

use super::kernel::GradientTerms;
use super::parameters::ChannelParameters;
use crate::config::Precision;
use crate::ops::batch_norm::EPSILON;
use crate::ops::channel_statistics::{ChannelStatistics, ImageStatistics, merge};
use crate::ops::conv::{Convolution, Geometry};
use crate::ops::normalisation::{Normalisation, NormalisationGradient, Statistics};
use crate::ops::pooled_buffer::PooledBuffer;
use crate::simd;

impl ChannelStatistics {
    pub fn normalisation(&self, parameters: &ChannelParameters) -> Normalisation {
        Normalisation::new(self, EPSILON, parameters.norm_weight, parameters.norm_bias)
    }
}

impl Statistics {
    /// The convolution's output, (N, H, W, O), and how it is normalised; measures it, where that is due.
    pub fn convolve(
        &self,
        geometry: Geometry,
        precision: Precision,
        x: &[f32],
        weight: &[f32],
        parameters: &ChannelParameters,
    ) -> Result<(PooledBuffer, Normalisation)> {
        let channels = geometry.outputs;
        let measures = matches!(self, Self::OfBatch(_));
        let mut y = PooledBuffer::stale(x.len() / geometry.image() * geometry.out_image());
        let images = Convolution::new(geometry, precision)?.forward_batch(x, weight, parameters.bias, &mut y, |y| {
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
                let merged = merge(&images, geometry.out_pixels(), channels)?;
                measured.get_or_init(|| merged).normalisation(parameters)
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
        let NormalisationGradient { scale, slope, offset, d_weight, d_bias } =
            self.gradient(EPSILON, parameters.norm_weight, plain, with_centred);
        let d_conv_bias = match self {
            // Normalisation subtracts whatever it adds, so its gradient is exactly 0.
            Self::OfBatch(_) => vec![0.0; plain.len()],
            Self::Running(_) => scale.iter().zip(plain).map(|(scale, plain)| (scale * plain) as f32).collect(),
        };
        let scale = scale.iter().map(|&scale| scale as f32).collect();
        let terms = GradientTerms { scale, slope, offset, mean: &normalisation.mean };
        (terms, [d_conv_bias, d_weight, d_bias].concat())
    }
}
