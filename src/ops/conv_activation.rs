//! Convolution without padding, with a bias, and an activation: a network's first layer. The images have no gradient, and
//! the kernel has one only where it is trained. The output of the convolution is not kept: it takes few multiplications, and
//! the backward pass makes it again, in the cache.

use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;

use super::activation::{Pointwise, composed, for_activation};
use super::channel_statistics::{add_pixels, total};
use super::conv::{Convolution, Geometry, conv2d, geometry};
use super::custom_op::{OnSlices, SliceOp};
use super::float::has_f32_kernel;
use super::pooled_buffer::PooledBuffer;
use super::tape::{apply3, is_differentiable};
use crate::config::{Activation, Precision};
use crate::simd;

/// `x` (N, H, W, C), which counts as a constant, with `weight` (O, C, K, K) and `bias` (O), activated:
/// (N, H - K + 1, W - K + 1, O).
///
/// # Errors
/// The sizes do not fit.
pub fn conv_activation(x: &Tensor, weight: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    let geometry = geometry(x, weight, 1, 0)?;
    if !has_f32_kernel(x) {
        return composed(&conv2d(&x.detach(), weight, bias, 1, 0)?, activation);
    }
    let op = Op { geometry, activation, wants_weight: is_differentiable(weight) };
    apply3(&x.contiguous()?, &weight.contiguous()?, &bias.contiguous()?, OnSlices(op))
}

struct Op {
    geometry: Geometry,
    activation: Activation,
    /// Whether the gradient of the weight is needed.
    wants_weight: bool,
}

impl Op {
    fn output<A: Pointwise>(&self, x: &[f32], weight: &[f32], bias: &[f32]) -> Result<Vec<f32>> {
        let mut y = vec![0.0; x.len() / self.geometry.image() * self.geometry.out_image()];
        Convolution::new(self.geometry, Precision::F32)?.forward_batch(x, weight, bias, &mut y, |y| {
            simd::vectorized(
                #[inline(always)]
                || y.iter_mut().for_each(|y| *y = A::value(*y)),
            )
        })?;
        Ok(y)
    }

    fn gradients<A: Pointwise>(&self, [x, weight, bias]: [&[f32]; 3], dy: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        let Geometry { outputs, .. } = self.geometry;
        let (image, out_image) = (self.geometry.image(), self.geometry.out_image());
        let convolution = Convolution::new(self.geometry, Precision::F32)?;
        let packed = convolution.pack_weight(weight)?;
        // Without padding an image is as it is when padded.
        let convolved_gradient = |number: usize, out: &mut [f32]| -> Result<()> {
            convolution.forward(&x[number * image..][..image], &packed, bias, out)?;
            let dy = &dy[number * out_image..][..out_image];
            simd::vectorized(
                #[inline(always)]
                || out.iter_mut().zip(dy).for_each(|(out, dy)| *out = dy * A::slope(*out)),
            )
        };
        let sums: Vec<Vec<f32>> = (0..x.len() / image)
            .into_par_iter()
            .map_init(
                || PooledBuffer::stale(out_image),
                |out, number| {
                    convolved_gradient(number, out)?;
                    simd::vectorized(
                        #[inline(always)]
                        || {
                            let mut sums = vec![0.0; outputs];
                            add_pixels(
                                out,
                                [&mut sums],
                                #[inline(always)]
                                |value, _| [value],
                            );
                            sums
                        },
                    )
                },
            )
            .collect::<Result<_>>()?;
        let d_bias = total(sums.iter().map(Vec::as_slice), outputs)?.into_iter().map(|sum| sum as f32).collect();
        let d_weight = match self.wants_weight {
            true => Some(convolution.gradients(x, weight, false, convolved_gradient)?.weight),
            false => None,
        };
        Ok([None, d_weight, Some(d_bias)])
    }
}

impl SliceOp<3> for Op {
    const NAME: &'static str = "conv_activation";

    fn forward(&self, [x, weight, bias]: [&[f32]; 3]) -> Result<(Vec<f32>, Shape)> {
        let y = for_activation!(self.activation, A => self.output::<A>(x, weight, bias))?;
        let geometry = self.geometry;
        let images = y.len() / geometry.out_image();
        Ok((y, Shape::from((images, geometry.out_height(), geometry.out_width(), geometry.outputs))))
    }

    fn backward(&self, arguments: [&[f32]; 3], dy: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        for_activation!(self.activation, A => self.gradients::<A>(arguments, dy))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use proptest::prelude::*;

    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use crate::ops::reference::{Arguments, bits_on_threads, equals_f64, real, tensor, whole};

    const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Gelu, Activation::Silu];

    fn x([n, h, w, c]: [usize; 4]) -> Tensor {
        tensor(real(1, n * h * w * c), &[n, h, w, c])
    }

    /// Weight and bias.
    fn parameters(channels: usize, outputs: usize, kernel: usize) -> [Tensor; 2] {
        let taps = outputs * channels * kernel * kernel;
        [tensor(real(2, taps), &[outputs, channels, kernel, kernel]), tensor(real(3, outputs), &[outputs])]
    }

    proptest! {
        #![proptest_config(crate::testing::property(48))]
        #[test]
        fn equals_the_separate_operations(
            (n, h, w, c) in (1..20usize, 3..9usize, 3..9usize, 1..5usize),
            (outputs, kernel) in (1..40usize, 1..4usize),
            activation in prop::sample::select(ACTIVATIONS.to_vec()),
        ) {
            let x = x([n, h, w, c]);
            equals_f64(Arguments { inexact: &parameters(c, outputs, kernel), ..Arguments::default() }, |a| {
                conv_activation(&x.to_dtype(a[0].dtype())?, &a[0], &a[1], activation)
            })?;
        }
    }

    #[test]
    fn a_frozen_kernel_has_no_gradient_and_the_bias_the_same() -> Result<()> {
        let (x, [weight, bias]) = (x([5, 7, 7, 3]), parameters(3, 24, 2));
        let gradient = tensor(real(6, 5 * 36 * 24), &[5, 6, 6, 24]);
        let gradients = |weight: &Tensor| {
            let bias = Var::from_tensor(&bias)?;
            let store = (conv_activation(&x, weight, &bias, Activation::Gelu)? * &gradient)?.sum_all()?.backward()?;
            Ok::<_, candle_core::Error>((
                store.get(&bias).expect("a gradient").to_vec1::<f32>()?,
                store.get(weight).is_some(),
            ))
        };
        let (frozen, frozen_weight) = gradients(&weight)?;
        let trained = Var::from_tensor(&weight)?;
        let (with_weight, trained_weight) = gradients(&trained)?;
        assert_eq!(frozen, with_weight);
        assert!(!frozen_weight && trained_weight);
        Ok(())
    }

    #[test]
    fn the_gradients_on_other_devices_are_finite_differences() {
        let (x, weight, bias) = (normal(1, &[2, 4, 5, 3]), normal(2, &[4, 3, 2, 2]), normal(3, &[4]));
        for activation in ACTIVATIONS {
            assert_gradient(&weight, |weight| conv_activation(&x, weight, &bias, activation));
            assert_gradient(&bias, |bias| conv_activation(&x, &weight, bias, activation));
        }
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let [weight, bias] = parameters(3, 4, 2);
        for activation in ACTIVATIONS {
            let y = conv_activation(&(x([1, 3, 3, 3]) * f64::NAN)?, &weight, &bias, activation)?;
            assert!(y.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_nan()), "{activation:?}");
        }
        Ok(())
    }

    #[test]
    fn no_bit_depends_on_the_number_of_threads() -> Result<()> {
        let x = tensor(whole(1, 21 * 8 * 8 * 3), &[21, 8, 8, 3]);
        let gradient = tensor(real(6, 21 * 49 * 24), &[21, 7, 7, 24]);
        let f = |a: &[Tensor]| conv_activation(&x, &a[0], &a[1], Activation::Gelu);
        let bits = |threads| bits_on_threads(threads, &parameters(3, 24, 2), &gradient, f);
        assert_eq!(bits(1)?, bits(3)?);
        Ok(())
    }
}
