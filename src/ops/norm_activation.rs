//! Batch normalisation and an activation as one operation, on channels-last images. Of the forward pass only the input is
//! kept: the backward pass normalises it again.

use std::sync::{Arc, OnceLock};

use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;

use super::activation::{Pointwise, composed, for_activation};
use super::batch_norm::BatchStatistics;
use super::channel_statistics::{ChannelStatistics, ImageStatistics, merge, total};
use super::custom_op::{OnSlices, SliceOp};
use super::float::has_f32_kernel;
use super::normalisation::{Normalisation, NormalisationGradient, Statistics};
use super::tape::apply3;
use crate::config::Activation;
use crate::simd;

/// What normalises and what follows.
#[derive(Clone, Copy)]
pub struct NormActivation<'a> {
    /// (C), as the bias.
    pub weight: &'a Tensor,
    pub bias: &'a Tensor,
    /// Added to the variance.
    pub epsilon: f64,
    pub activation: Activation,
}

/// `x` (N, H, W, C) normalised by its own statistics, scaled, shifted and activated.
///
/// # Errors
/// The sizes do not fit.
pub fn norm_activation_train(x: &Tensor, norm: NormActivation) -> Result<(Tensor, BatchStatistics)> {
    if !has_f32_kernel(x) {
        return composed_train(x, norm);
    }
    let measured = Arc::new(OnceLock::new());
    let y = apply(x, norm, Statistics::OfBatch(Arc::clone(&measured)))?;
    let measured = measured.get().expect("the forward pass has measured the batch");
    Ok((y, measured.for_running(x.device())?))
}

/// `x` (N, H, W, C) normalised by the running `mean` and `variance` (C), scaled, shifted and activated.
///
/// # Errors
/// The sizes do not fit.
pub fn norm_activation_evaluate(x: &Tensor, norm: NormActivation, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
    if !has_f32_kernel(x) {
        let deviation = (variance.detach() + norm.epsilon)?.sqrt()?;
        let normalised = x.broadcast_sub(&mean.detach())?.broadcast_div(&deviation)?;
        return finish(&normalised, norm);
    }
    apply(x, norm, Statistics::Running(ChannelStatistics::running(mean, variance)?))
}

fn composed_train(x: &Tensor, norm: NormActivation) -> Result<(Tensor, BatchStatistics)> {
    let (images, height, width, channels) = x.dims4()?;
    let count = (images * height * width) as f64;
    let pixels = x.reshape((images * height * width, channels))?;
    let mean = pixels.mean_keepdim(0)?;
    let centred = pixels.broadcast_sub(&mean)?;
    let variance = centred.sqr()?.mean_keepdim(0)?;
    let normalised = centred.broadcast_div(&(&variance + norm.epsilon)?.sqrt()?)?.reshape(x.shape())?;
    let statistics = BatchStatistics {
        mean: mean.detach().squeeze(0)?,
        variance: (variance.detach().squeeze(0)? * (count / (count - 1.0).max(1.0)))?,
    };
    Ok((finish(&normalised, norm)?, statistics))
}

fn finish(normalised: &Tensor, norm: NormActivation) -> Result<Tensor> {
    composed(&normalised.broadcast_mul(norm.weight)?.broadcast_add(norm.bias)?, norm.activation)
}

fn apply(x: &Tensor, norm: NormActivation, statistics: Statistics) -> Result<Tensor> {
    let (_, height, width, channels) = x.dims4()?;
    let NormActivation { weight, bias, epsilon, activation } = norm;
    let op = Op { pixels: height * width, channels, shape: x.shape().clone(), epsilon, activation, statistics };
    apply3(&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, OnSlices(op))
}

struct Op {
    pixels: usize,
    channels: usize,
    shape: Shape,
    epsilon: f64,
    activation: Activation,
    statistics: Statistics,
}

impl Op {
    fn image(&self) -> usize {
        self.pixels * self.channels
    }

    /// How `x` is normalised; measures it, where that is due.
    fn normalisation(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> Result<Normalisation> {
        if let Statistics::OfBatch(measured) = &self.statistics
            && measured.get().is_none()
        {
            let of_image = |x: &[f32]| {
                simd::vectorized(
                    #[inline(always)]
                    || ImageStatistics::new(x, self.channels),
                )
            };
            let images: Vec<ImageStatistics> = x.par_chunks_exact(self.image()).map(of_image).collect::<Result<_>>()?;
            let merged = merge(&images, self.pixels, self.channels)?;
            measured.get_or_init(|| merged);
        }
        Ok(Normalisation::new(self.statistics.known(), self.epsilon, weight, bias))
    }

    fn output<A: Pointwise>(&self, x: &[f32], normalisation: &Normalisation) -> Result<Vec<f32>> {
        let mut out = vec![0.0; x.len()];
        out.par_chunks_exact_mut(self.image()).zip(x.par_chunks_exact(self.image())).try_for_each(|(out, x)| {
            simd::vectorized(
                #[inline(always)]
                || activate::<A>(x, normalisation, out),
            )
        })?;
        Ok(out)
    }

    fn gradients<A: Pointwise>(&self, [x, weight, bias]: [&[f32]; 3], dy: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        let normalisation = self.normalisation(x, weight, bias)?;
        let images = || x.par_chunks_exact(self.image()).zip(dy.par_chunks_exact(self.image()));
        let of_images: Vec<(Vec<f32>, Vec<f32>)> = images()
            .map(|(x, dy)| {
                simd::vectorized(
                    #[inline(always)]
                    || gradient_sums::<A>(x, dy, &normalisation),
                )
            })
            .collect::<Result<_>>()?;
        let plain = total(of_images.iter().map(|(plain, _)| plain.as_slice()), self.channels)?;
        let with_centred = total(of_images.iter().map(|(_, centred)| centred.as_slice()), self.channels)?;
        let gradient = self.statistics.gradient(self.epsilon, weight, &plain, &with_centred);
        let mut dx = vec![0.0; x.len()];
        dx.par_chunks_exact_mut(self.image()).zip(images()).try_for_each(|(dx, (x, dy))| {
            simd::vectorized(
                #[inline(always)]
                || input_gradient::<A>(x, dy, &normalisation, &gradient, dx),
            )
        })?;
        Ok([Some(dx), Some(gradient.d_weight), Some(gradient.d_bias)])
    }
}

impl SliceOp<3> for Op {
    const NAME: &'static str = "norm_activation";

    fn forward(&self, [x, weight, bias]: [&[f32]; 3]) -> Result<(Vec<f32>, Shape)> {
        let normalisation = self.normalisation(x, weight, bias)?;
        let out = for_activation!(self.activation, A => self.output::<A>(x, &normalisation))?;
        Ok((out, self.shape.clone()))
    }

    fn backward(&self, arguments: [&[f32]; 3], dy: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        for_activation!(self.activation, A => self.gradients::<A>(arguments, dy))
    }
}

#[inline(always)]
fn activate<A: Pointwise>(x: &[f32], normalisation: &Normalisation, out: &mut [f32]) {
    let channels = normalisation.scale.len();
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let shift = &normalisation.shift[..channels];
    for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
        let (out, x) = (&mut out[..channels], &x[..channels]);
        for i in 0..channels {
            out[i] = A::value((x[i] - mean[i]) * scale[i] + shift[i]);
        }
    }
}

/// Over the pixels of an image, of each channel: the sum of the gradient of what is activated, and of its product with the
/// input less its mean.
#[inline(always)]
fn gradient_sums<A: Pointwise>(x: &[f32], dy: &[f32], normalisation: &Normalisation) -> (Vec<f32>, Vec<f32>) {
    let channels = normalisation.scale.len();
    let (mut plain, mut with_centred) = (vec![0.0; channels], vec![0.0; channels]);
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let shift = &normalisation.shift[..channels];
    for (x, dy) in x.chunks_exact(channels).zip(dy.chunks_exact(channels)) {
        let (plain, with_centred) = (&mut plain[..channels], &mut with_centred[..channels]);
        let (x, dy) = (&x[..channels], &dy[..channels]);
        for i in 0..channels {
            let centred = x[i] - mean[i];
            let dz = dy[i] * A::slope(centred * scale[i] + shift[i]);
            plain[i] += dz;
            with_centred[i] += dz * centred;
        }
    }
    (plain, with_centred)
}

#[inline(always)]
fn input_gradient<A: Pointwise>(
    x: &[f32],
    dy: &[f32],
    normalisation: &Normalisation,
    gradient: &NormalisationGradient,
    dx: &mut [f32],
) {
    let channels = normalisation.scale.len();
    let (mean, scale) = (&normalisation.mean[..channels], &normalisation.scale[..channels]);
    let (shift, slope) = (&normalisation.shift[..channels], &gradient.slope[..channels]);
    let offset = &gradient.offset[..channels];
    let pixels = x.chunks_exact(channels).zip(dy.chunks_exact(channels));
    for (dx, (x, dy)) in dx.chunks_exact_mut(channels).zip(pixels) {
        let (dx, x, dy) = (&mut dx[..channels], &x[..channels], &dy[..channels]);
        for i in 0..channels {
            let centred = x[i] - mean[i];
            let dz = dy[i] * A::slope(centred * scale[i] + shift[i]);
            dx[i] = scale[i] * dz + (slope[i] * centred + offset[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use proptest::prelude::*;

    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use crate::ops::reference::{Arguments, bits_on_threads, equals_f64, real, tensor};

    const EPSILON: f64 = 1e-12;

    fn norm<'a>(weight: &'a Tensor, bias: &'a Tensor, activation: Activation) -> NormActivation<'a> {
        NormActivation { weight, bias, epsilon: EPSILON, activation }
    }

    fn activations() -> impl Strategy<Value = Activation> {
        prop::sample::select(vec![Activation::Relu, Activation::Gelu, Activation::Silu])
    }

    fn arguments([n, h, w, c]: [usize; 4]) -> [Tensor; 3] {
        [tensor(real(1, n * h * w * c), &[n, h, w, c]), tensor(real(4, c), &[c]), tensor(real(5, c), &[c])]
    }

    proptest! {
        #![proptest_config(crate::testing::property(64))]
        #[test]
        fn equals_the_separate_operations(
            (n, h, w, c) in (2..20usize, 1..8usize, 2..8usize, 1..40usize),
            activation in activations(),
        ) {
            let inexact = arguments([n, h, w, c]);
            equals_f64(Arguments { inexact: &inexact, ..Arguments::default() }, |a| {
                Ok(norm_activation_train(&a[0], norm(&a[1], &a[2], activation))?.0)
            })?;
            let constants = [tensor(real(7, c), &[c]), (tensor(real(8, c), &[c]) + 2.0)?];
            equals_f64(Arguments { inexact: &inexact, constants: &constants, ..Arguments::default() }, |a| {
                norm_activation_evaluate(&a[0], norm(&a[1], &a[2], activation), &a[3], &a[4])
            })?;
        }
    }

    #[test]
    fn the_gradients_on_other_devices_are_finite_differences() -> Result<()> {
        let (x, weight, bias) = (normal(1, &[2, 3, 2, 3]), normal(2, &[3]), normal(3, &[3]));
        let (mean, variance) = (normal(4, &[3]), normal(5, &[3]).sqr()?);
        for activation in [Activation::Relu, Activation::Gelu, Activation::Silu] {
            assert_gradient(&x, |x| Ok(norm_activation_train(x, norm(&weight, &bias, activation))?.0));
            assert_gradient(&weight, |weight| Ok(norm_activation_train(&x, norm(weight, &bias, activation))?.0));
            assert_gradient(&bias, |bias| Ok(norm_activation_train(&x, norm(&weight, bias, activation))?.0));
            let norm = norm(&weight, &bias, activation);
            assert_gradient(&x, |x| norm_activation_evaluate(x, norm, &mean, &variance));
        }
        Ok(())
    }

    #[test]
    fn statistics_are_those_of_the_batch() -> Result<()> {
        let [x, weight, bias] = arguments([7, 6, 8, 3]);
        // A great mean beside a small deviation, where a difference of squares would have no digits left.
        let x = (x + 100.0)?;
        let (_, ours) = norm_activation_train(&x, norm(&weight, &bias, Activation::Gelu))?;
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let (weight, bias) = (double(&weight)?, double(&bias)?);
        let (_, expected) = norm_activation_train(&double(&x)?, norm(&weight, &bias, Activation::Gelu))?;
        let difference = |ours: &Tensor, expected: &Tensor| {
            ((double(ours)? - expected)? / expected)?.abs()?.max(0)?.to_scalar::<f64>()
        };
        assert!(difference(&ours.mean, &expected.mean)? < 1e-6);
        assert!(difference(&ours.variance, &expected.variance)? < 1e-4);
        Ok(())
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let [x, weight, bias] = arguments([1, 2, 2, 3]);
        let x = (x * f64::NAN)?;
        for activation in [Activation::Relu, Activation::Gelu, Activation::Silu] {
            let (y, _) = norm_activation_train(&x, norm(&weight, &bias, activation))?;
            assert!(y.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_nan()), "{activation:?}");
        }
        Ok(())
    }

    #[test]
    fn no_bit_depends_on_the_number_of_threads() -> Result<()> {
        let arguments = arguments([21, 4, 4, 20]);
        let gradient = tensor(real(6, 21 * 4 * 4 * 20), &[21, 4, 4, 20]);
        let f = |a: &[Tensor]| Ok(norm_activation_train(&a[0], norm(&a[1], &a[2], Activation::Gelu))?.0);
        let bits = |threads| bits_on_threads(threads, &arguments, &gradient, f);
        assert_eq!(bits(1)?, bits(3)?);
        Ok(())
    }
}
