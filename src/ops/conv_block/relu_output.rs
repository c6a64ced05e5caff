//! A block that ends after its ReLU, (N, H, W, O), for attention to positions: its gates do not commute with the pool.

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Shape};
use rayon::prelude::*;

use super::kernel::{activated_gradient_sums, activated_output_gradient, relu, relu_in_place};
use super::parameters::ChannelParameters;
use crate::config::Precision;
use crate::ops::channel_statistics::{ChannelStatistics, total};
use crate::ops::conv::{Convolution, Geometry};
use crate::ops::custom_op::SliceOp;
use crate::ops::normalisation::Statistics;
use crate::ops::pooled_buffer::PooledBuffer;
use crate::ops::tape::is_recording;
use crate::simd;

pub struct ReluBlock {
    pub geometry: Geometry,
    pub precision: Precision,
    pub statistics: Statistics,
    /// Whether the gradient of the input is needed.
    pub wants_x: bool,
    /// The convolution's output, (N, H, W, O), which the backward pass needs.
    pub kept: Mutex<Option<PooledBuffer>>,
}

impl ReluBlock {
    fn forward_and_keep(
        &self,
        x: &[f32],
        weight: &[f32],
        parameters: &ChannelParameters,
    ) -> Result<(Vec<f32>, PooledBuffer)> {
        let (y, normalisation) = self.statistics.convolve(self.geometry, self.precision, x, weight, parameters)?;
        let image = self.geometry.out_image();
        let mut out = vec![0.0; y.len()];
        out.par_chunks_exact_mut(image).zip(y.par_chunks_exact(image)).try_for_each(|(out, y)| {
            simd::vectorized(
                #[inline(always)]
                || relu(y, &normalisation, out),
            )
        })?;
        Ok((out, y))
    }

    /// The output alone, in the memory of the convolution's.
    fn forward_only(
        &self,
        running: &ChannelStatistics,
        x: &[f32],
        weight: &[f32],
        parameters: &ChannelParameters,
    ) -> Result<Vec<f32>> {
        let normalisation = running.normalisation(parameters);
        let mut out = vec![0.0; x.len() / self.geometry.image() * self.geometry.out_image()];
        Convolution::new(self.geometry, self.precision)?.forward_batch(x, weight, parameters.bias, &mut out, |y| {
            simd::vectorized(
                #[inline(always)]
                || relu_in_place(y, &normalisation),
            )
        })?;
        Ok(out)
    }

    fn gradients(
        &self,
        y: &[f32],
        x: &[f32],
        weight: &[f32],
        parameters: &ChannelParameters,
        gradient: &[f32],
    ) -> Result<[Option<Vec<f32>>; 3]> {
        let statistics = self.statistics.known();
        let normalisation = statistics.normalisation(parameters);
        let image = self.geometry.out_image();
        let of_images: Vec<(Vec<f32>, Vec<f32>)> = gradient
            .par_chunks_exact(image)
            .zip(y.par_chunks_exact(image))
            .map(|(gradient, y)| {
                simd::vectorized(
                    #[inline(always)]
                    || activated_gradient_sums(y, gradient, &normalisation),
                )
            })
            .collect::<Result<_>>()?;
        let plain = total(of_images.iter().map(|(plain, _)| plain.as_slice()), self.geometry.outputs)?;
        let with_centred = total(of_images.iter().map(|(_, centred)| centred.as_slice()), self.geometry.outputs)?;
        let (terms, d_parameters) = self.statistics.gradients(parameters, &normalisation, &plain, &with_centred);
        let gradients =
            Convolution::new(self.geometry, self.precision)?.gradients(x, weight, self.wants_x, |number, dy| {
                let (y, gradient) = (&y[number * image..][..image], &gradient[number * image..][..image]);
                simd::vectorized(
                    #[inline(always)]
                    || activated_output_gradient(y, &terms, &normalisation, gradient, dy),
                )
            })?;
        Ok([gradients.x, Some(gradients.weight), Some(d_parameters)])
    }
}

impl SliceOp<3> for ReluBlock {
    const NAME: &'static str = "activated_block";

    fn forward(&self, [x, weight, parameters]: [&[f32]; 3]) -> Result<(Vec<f32>, Shape)> {
        let Geometry { outputs, .. } = self.geometry;
        let parameters = ChannelParameters::split(parameters, outputs, None);
        let out = match &self.statistics {
            Statistics::Running(running) if !is_recording() => self.forward_only(running, x, weight, &parameters)?,
            Statistics::Running(_) | Statistics::OfBatch(_) => {
                let (out, y) = self.forward_and_keep(x, weight, &parameters)?;
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(y);
                out
            }
        };
        let images = out.len() / self.geometry.out_image();
        Ok((out, Shape::from((images, self.geometry.out_height(), self.geometry.out_width(), outputs))))
    }

    fn backward(&self, [x, weight, parameters]: [&[f32]; 3], gradient: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        let parameters = ChannelParameters::split(parameters, self.geometry.outputs, None);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            *kept = Some(self.forward_and_keep(x, weight, &parameters)?.1);
        }
        let y = kept.as_ref().expect("kept just now");
        self.gradients(y, x, weight, &parameters, gradient)
    }
}
