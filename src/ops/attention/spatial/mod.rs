//! Attention to positions, and before it to channels if wanted, and the pool that follows, on channels-last images: the
//! convolutional block attention module and its spatial half (Woo et al. 2018, section 3.1).
//!
//! Channels: s = σ(E relu(R mean) + E relu(R max)), of the means and the greatest of each channel. Positions: σ(w ∗ [mean; max]),
//! of the mean and the greatest over the channels at each position. As in PyTorch's pools, the first of equals is the greatest.

mod kernel;

use std::sync::{Mutex, PoisonError};

use candle_core::{D, Result, Shape, Tensor, bail};
use candle_nn::ops::sigmoid;
use rayon::prelude::*;

use super::squeeze_excite::{SqueezeExcite, squeeze_and_excite};
use crate::ops::concat::concat;
use crate::ops::custom_op::{OnSlices, SliceOp};
use crate::ops::float::{add, has_f32_kernel};
use crate::ops::pool::max_pool;
use crate::ops::tape::apply2;
use crate::ops::whole_batch;
use crate::simd;
use kernel::{KERNEL, Kept, Size, Weights};

/// The weights of spatial attention.
#[derive(Clone, Copy)]
pub struct SpatialGates<'a> {
    /// R (C / r, C) and E (C, C / r) of the gates of the channels, which come first, if any.
    pub channels: Option<[&'a Tensor; 2]>,
    /// (1, 2, 7, 7): of the means, and of the greatest; three zeros on each side.
    pub kernel: &'a Tensor,
}

/// What spatial attention makes of a feature map.
pub struct SpatiallyAttended {
    /// Like the input, (N, H, W, C).
    pub output: Tensor,
    /// The channel gates, (N, C), between 0 and 1, where there are any.
    pub gates: Option<Tensor>,
    /// The spatial gates, (N, H, W), between 0 and 1.
    pub map: Tensor,
}

impl SpatialGates<'_> {
    /// Of a feature map `x` (N, H, W, C), by candle's operations.
    pub fn attend(&self, x: &Tensor) -> Result<SpatiallyAttended> {
        let (images, height, width, channels) = x.dims4()?;
        let (gates, gated) = match self.channels {
            None => (None, x.clone()),
            Some([reduce, expand]) => {
                let planes = x.reshape((images, height * width, channels))?.transpose(1, 2)?.contiguous()?;
                let of_mean = squeeze_and_excite(&planes.mean(2)?, reduce, expand)?;
                let of_greatest = squeeze_and_excite(&greatest(&planes)?, reduce, expand)?;
                let gates = sigmoid(&(of_mean + of_greatest)?)?;
                let gated = x.broadcast_mul(&gates.reshape((images, 1, 1, channels))?)?;
                (Some(gates), gated)
            }
        };
        let descriptors = Tensor::stack(&[gated.mean(3)?, greatest(&gated)?], 1)?;
        let map = sigmoid(&descriptors.conv2d(self.kernel, KERNEL / 2, 1, 1, 1)?.squeeze(1)?)?;
        Ok(SpatiallyAttended { output: gated.broadcast_mul(&map.unsqueeze(3)?)?, gates, map })
    }
}

/// Along the last dimension. (candle's `max` gives each of equals the whole gradient.)
fn greatest(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    x.gather(&x.detach().argmax_keepdim(D::Minus1)?, D::Minus1)?.squeeze(D::Minus1)
}

/// An activated feature map `x` (N, H, W, C) attended to and pooled 2 x 2, (N, H / 2, W / 2, C).
///
/// # Errors
/// The sizes do not fit.
pub fn spatial_attention_and_pool(x: &Tensor, gates: SpatialGates) -> Result<Tensor> {
    let (_, height, width, channels) = x.dims4()?;
    if gates.kernel.dims() != [1, 2, KERNEL, KERNEL] || height < 2 || width < 2 {
        bail!("spatial attention to {height} x {width} positions with a kernel of {:?}", gates.kernel.shape())
    }
    if !has_f32_kernel(x) {
        return max_pool(&gates.attend(x)?.output);
    }
    let size = Size { height, width, channels };
    let mut weights = vec![gates.kernel];
    weights.extend(gates.channels.into_iter().flatten());
    apply2(&x.contiguous()?, &concat(&weights)?, OnSlices(AttendPositionsAndPool { size, kept: Mutex::default() }))
}

struct AttendPositionsAndPool {
    size: Size,
    /// What the backward pass needs of the forward pass, for each image.
    kept: Mutex<Vec<Kept>>,
}

impl AttendPositionsAndPool {
    /// The kernel comes first, then the weights of the gates of the channels, if any.
    fn weights<'a>(&self, concatenated: &'a [f32]) -> Weights<'a> {
        let (kernel, rest) = concatenated.split_at(2 * KERNEL * KERNEL);
        Weights { kernel, channels: (!rest.is_empty()).then(|| SqueezeExcite::split(rest)) }
    }

    fn pooled(&self, x: &[f32], weights: &Weights) -> Result<(Vec<f32>, Vec<Kept>)> {
        let (image, pooled) = (self.size.image(), self.size.pooled());
        let mut out = vec![0.0; x.len() / image * pooled];
        let kept = out
            .par_chunks_exact_mut(pooled)
            .zip(x.par_chunks_exact(image))
            .map(|(out, x)| {
                simd::vectorized(
                    #[inline(always)]
                    || kernel::forward(self.size, weights, x, out),
                )
            })
            .collect::<Result<_>>()?;
        Ok((out, kept))
    }

    /// The gradients of `x` and of the weights.
    fn gradients(&self, kept: &[Kept], x: &[f32], weights: &Weights, gradient: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let (image, pooled) = (self.size.image(), self.size.pooled());
        let mut dx = vec![0.0; x.len()];
        let of_images: Vec<Vec<f32>> = dx
            .par_chunks_exact_mut(image)
            .zip(x.par_chunks_exact(image))
            .zip(gradient.par_chunks_exact(pooled).zip(kept))
            .map(|((dx, x), (gradient, kept))| {
                simd::vectorized(
                    #[inline(always)]
                    || kernel::backward(self.size, weights, kept, x, gradient, dx),
                )
            })
            .collect::<Result<_>>()?;
        // In order, so that neither the number of threads nor that of ranks changes the rounding.
        let mut d_weights = vec![0.0; weights.len()];
        for of_image in whole_batch::rows(&of_images.concat(), weights.len())?.chunks_exact(weights.len()) {
            add(&mut d_weights, of_image);
        }
        Ok((dx, d_weights))
    }
}

impl SliceOp<2> for AttendPositionsAndPool {
    const NAME: &'static str = "spatial_attention_and_pool";

    fn forward(&self, [x, weights]: [&[f32]; 2]) -> Result<(Vec<f32>, Shape)> {
        let (out, kept) = self.pooled(x, &self.weights(weights))?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        let Size { height, width, channels } = self.size;
        Ok((out, Shape::from((x.len() / self.size.image(), height / 2, width / 2, channels))))
    }

    fn backward(&self, [x, weights]: [&[f32]; 2], gradient: &[f32]) -> Result<[Option<Vec<f32>>; 2]> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (dx, d_weights) = self.gradients(&kept, x, &self.weights(weights), gradient)?;
        Ok([Some(dx), Some(d_weights)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use crate::ops::reference::{Arguments, bits_on_threads, equals_f64, real, tensor};

    fn gates(weights: &[Tensor]) -> SpatialGates<'_> {
        let [kernel, channels @ ..] = weights else { unreachable!("a kernel at least") };
        let channels = match channels {
            [reduce, expand] => Some([reduce, expand]),
            _ => None,
        };
        SpatialGates { channels, kernel }
    }

    fn pooled(arguments: &[Tensor]) -> Result<Tensor> {
        spatial_attention_and_pool(&arguments[0], gates(&arguments[1..]))
    }

    fn arguments([images, height, width, channels]: [usize; 4], squeezed: usize) -> Vec<Tensor> {
        let shape = [images, height, width, channels];
        let mut arguments = vec![
            tensor(real(1, shape.iter().product()), &shape),
            tensor(real(2, 2 * KERNEL * KERNEL), &[1, 2, KERNEL, KERNEL]),
        ];
        if squeezed > 0 {
            arguments.push(tensor(real(3, squeezed * channels), &[squeezed, channels]));
            arguments.push(tensor(real(4, squeezed * channels), &[channels, squeezed]));
        }
        arguments
    }

    proptest! {
        #![proptest_config(crate::testing::property(48))]
        #[test]
        fn equals_candles_operations(
            (n, h, w, c) in (1..6usize, 2..20usize, 2..20usize, 1..40usize), squeezed in 0..4usize
        ) {
            equals_f64(Arguments { inexact: &arguments([n, h, w, c], squeezed), ..Arguments::default() }, pooled)?;
        }
    }

    #[test]
    fn sizes_that_are_no_multiples() {
        for (shape, squeezed) in
            [([1, 28, 28, 1], 0), ([2, 14, 14, 3], 1), ([1, 7, 7, 10], 2), ([2, 3, 3, 33], 0), ([1, 24, 36, 5], 2)]
        {
            let arguments = arguments(shape, squeezed);
            equals_f64(Arguments { inexact: &arguments, ..Arguments::default() }, pooled).expect("equal");
        }
    }

    #[test]
    fn the_gradients_are_finite_differences() {
        for squeezed in [0, 2] {
            let mut values = vec![normal(1, &[2, 5, 4, 6]), normal(2, &[1, 2, KERNEL, KERNEL])];
            if squeezed > 0 {
                values.extend([normal(3, &[squeezed, 6]), normal(4, &[6, squeezed])]);
            }
            for position in 0..values.len() {
                let with = |value: &Tensor| {
                    let mut values = values.clone();
                    values[position] = value.clone();
                    values
                };
                assert_gradient(&values[position], |value| pooled(&with(value)));
                assert_gradient(&values[position], |value| {
                    let values = with(value);
                    Ok(gates(&values[1..]).attend(&values[0])?.output)
                });
            }
        }
    }

    #[test]
    fn no_bit_depends_on_the_number_of_threads() -> Result<()> {
        let arguments = arguments([21, 8, 8, 20], 2);
        let gradient = tensor(real(5, 21 * 4 * 4 * 20), &[21, 4, 4, 20]);
        let bits = |threads| bits_on_threads(threads, &arguments, &gradient, pooled);
        assert_eq!(bits(1)?, bits(3)?);
        Ok(())
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let mut arguments = arguments([1, 4, 4, 3], 0);
        let mut x = real(1, 48);
        x[5] = f32::NAN;
        arguments[0] = tensor(x, &[1, 4, 4, 3]);
        assert!(pooled(&arguments)?.flatten_all()?.to_vec1::<f32>()?[0].is_nan());
        Ok(())
    }

    #[test]
    fn a_kernel_that_does_not_fit_is_refused() {
        for shape in [[1, 2, 3, 3], [1, 1, 7, 7], [1, 2, 7, 5], [2, 2, 7, 7]] {
            let kernel = tensor(real(2, shape.iter().product()), &shape);
            let x = tensor(real(1, 48), &[1, 4, 4, 3]);
            assert!(
                spatial_attention_and_pool(&x, SpatialGates { channels: None, kernel: &kernel }).is_err(),
                "{shape:?}"
            );
        }
    }
}
