//! Batch normalisation (Ioffe and Szegedy 2015) as kernels apply it, channel by channel, and what they need for its gradient.

use std::sync::{Arc, OnceLock};

use super::channel_statistics::ChannelStatistics;

/// What is normalised by.
pub enum Statistics {
    /// Measured by the forward pass.
    OfBatch(Arc<OnceLock<ChannelStatistics>>),
    Running(ChannelStatistics),
}

/// `(x - mean) · scale + shift` of each channel.
pub struct Normalisation {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Normalisation {
    /// `epsilon` is added to the variance; `weight` and `bias` (C).
    pub fn new(statistics: &ChannelStatistics, epsilon: f64, weight: &[f32], bias: &[f32]) -> Self {
        let deviations = statistics.variance.iter().map(|variance| (variance + epsilon).sqrt());
        Self {
            mean: statistics.mean.iter().map(|&mean| mean as f32).collect(),
            scale: weight.iter().zip(deviations).map(|(&weight, d)| (f64::from(weight) / d) as f32).collect(),
            shift: bias.to_vec(),
        }
    }
}

/// The gradient of what is normalised, x, is `scale · dz + slope · (x - mean) + offset` of each channel, with `dz` that of the
/// normalised output.
pub struct NormalisationGradient {
    pub scale: Vec<f64>,
    pub slope: Vec<f32>,
    pub offset: Vec<f32>,
    pub d_weight: Vec<f32>,
    pub d_bias: Vec<f32>,
}

impl Statistics {
    /// After the forward pass.
    pub fn known(&self) -> &ChannelStatistics {
        match self {
            Self::Running(running) => running,
            Self::OfBatch(measured) => measured.get().expect("the forward pass has measured the batch"),
        }
    }

    /// From the sums of `dz`, plain, and of its product with x less its mean.
    pub fn gradient(&self, epsilon: f64, weight: &[f32], plain: &[f64], with_centred: &[f64]) -> NormalisationGradient {
        // dx = scale · (dz - mean(dz) - x̂ · mean(dz · x̂)) (Ioffe and Szegedy 2015, section 3); running estimates are
        // constants, and leave dx = scale · dz.
        let (statistics, channels) = (self.known(), plain.len());
        let mut gradient = NormalisationGradient {
            scale: vec![0.0; channels],
            slope: vec![0.0; channels],
            offset: vec![0.0; channels],
            d_weight: vec![0.0; channels],
            d_bias: plain.iter().map(|&sum| sum as f32).collect(),
        };
        for channel in 0..channels {
            let inverse_deviation = 1.0 / (statistics.variance[channel] + epsilon).sqrt();
            let scale = f64::from(weight[channel]) * inverse_deviation;
            let d_weight = with_centred[channel] * inverse_deviation;
            gradient.scale[channel] = scale;
            gradient.d_weight[channel] = d_weight as f32;
            if let Self::OfBatch(_) = self {
                let slope = -scale * inverse_deviation * d_weight / statistics.count;
                gradient.slope[channel] = slope as f32;
                gradient.offset[channel] = (-scale * plain[channel] / statistics.count) as f32;
            }
        }
        gradient
    }
}
