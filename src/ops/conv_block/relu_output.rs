//! A block that ends after its ReLU, (N, H, W, O), for attention to positions: its gates do not commute with the pool.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::kernel::{activated_gradient_sums, activated_output_gradient, relu, relu_in_position};
use super::{BlockGradients, ChannelStatistics, OfChannels, Statistics, total};
use crate::ops::convolution::Convolution;
use crate::ops::float::elements;
use crate::ops::geometry::Geometry;
use crate::ops::pooled_buffer::PooledBuffer;
use crate::simd;

pub struct ReluBlock {
    pub geometry: Geometry,
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
        of_channels: &OfChannels,
    ) -> Result<(Vec<f32>, PooledBuffer)> {
        let (y, normalisation) = self.statistics.convolve(self.geometry, x, weight, of_channels)?;
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

    /// The output alone, where the convolution's was.
    fn forward_only(
        &self,
        running: &ChannelStatistics,
        x: &[f32],
        weight: &[f32],
        of_channels: &OfChannels,
    ) -> Result<Vec<f32>> {
        let normalisation = of_channels.normalisation(running);
        let mut out = vec![0.0; x.len() / self.geometry.image() * self.geometry.out_image()];
        Convolution::new(self.geometry)?.forward_batch(x, weight, of_channels.bias, &mut out, |y| {
            simd::vectorized(
                #[inline(always)]
                || relu_in_position(y, &normalisation),
            )
        })?;
        Ok(out)
    }

    fn backward(
        &self,
        y: &[f32],
        x: &[f32],
        weight: &[f32],
        of_channels: &OfChannels,
        gradient: &[f32],
    ) -> Result<BlockGradients> {
        let statistics = self.statistics.known();
        let normalisation = of_channels.normalisation(statistics);
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
        let plain = total(of_images.iter().map(|(plain, _)| plain.as_slice()), self.geometry.outputs);
        let with_centred = total(of_images.iter().map(|(_, centred)| centred.as_slice()), self.geometry.outputs);
        let (terms, d_of_channels) = self.statistics.gradients(of_channels, &normalisation, &plain, &with_centred);
        let gradients = Convolution::new(self.geometry)?.gradients(x, weight, self.wants_x, |number, dy| {
            let (y, gradient) = (&y[number * image..][..image], &gradient[number * image..][..image]);
            simd::vectorized(
                #[inline(always)]
                || activated_output_gradient(y, &terms, &normalisation, gradient, dy),
            )
        })?;
        Ok(BlockGradients { x: gradients.x, weight: gradients.weight, of_channels: d_of_channels })
    }
}

impl CustomOp3 for ReluBlock {
    fn name(&self) -> &'static str {
        "activated_block"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        of_channels: &CpuStorage,
        of_channels_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (elements::<f32>(x, x_layout)?, elements::<f32>(weight, weight_layout)?);
        let of_channels = OfChannels::split(elements(of_channels, of_channels_layout)?, self.geometry.outputs, None);
        let out = match &self.statistics {
            Statistics::Running(running) => self.forward_only(running, x, weight, &of_channels)?,
            Statistics::OfBatch(_) => {
                let (out, y) = self.forward_and_keep(x, weight, &of_channels)?;
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(y);
                out
            }
        };
        let shape = (
            out.len() / self.geometry.out_image(),
            self.geometry.out_height(),
            self.geometry.out_width(),
            self.geometry.outputs,
        );
        Ok((CpuStorage::F32(out), Shape::from(shape)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        of_channels: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        BlockGradients::of(x, weight, of_channels, gradient, |[x, weight, of_channels, gradient]| {
            let of_channels = OfChannels::split(of_channels, self.geometry.outputs, None);
            if kept.is_none() {
                *kept = Some(self.forward_and_keep(x, weight, &of_channels)?.1);
            }
            let y = kept.as_ref().expect("kept just now");
            self.backward(y, x, weight, &of_channels, gradient)
        })
    }
}
