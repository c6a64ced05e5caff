//! Batch normalisation by running estimates and ReLU, of channels-last images: what follows a convolution where a
//! block is traced.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;

use super::batch_norm::{evaluation_scale, of_channels};
use super::float::{Float, elements, for_real, with_elements};
use super::relu::relu;
use super::tape::apply1;

/// `x` (N, H, W, C) normalised by the running `mean` and `variance` (C), and no less than 0. Differentiable in `x`; the
/// parameters and statistics count as constants.
pub fn normalise_and_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
) -> Result<Tensor> {
    let (scale, shift) = evaluation_scale(weight, bias, mean, variance)?;
    if x.device().is_cpu() {
        return apply1(&x.contiguous()?, NormaliseRelu { scale: of_channels(&scale)?, shift: of_channels(&shift)? });
    }
    composed(x, &scale, &shift)
}

fn composed(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    relu(&x.broadcast_mul(scale)?.broadcast_add(shift)?)
}

/// relu(x · scale + shift)
struct NormaliseRelu {
    /// One for each channel.
    scale: Vec<f64>,
    shift: Vec<f64>,
}

/// Pixels that one task takes.
const TASK_PIXELS: usize = 1 << 10;

impl NormaliseRelu {
    fn forward<T: Float>(&self, x: &[T]) -> Vec<T> {
        let (scale, shift) = (converted::<T>(&self.scale), converted::<T>(&self.shift));
        let mut y = vec![T::zero(); x.len()];
        let task = TASK_PIXELS * scale.len();
        y.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(scale.len()).zip(x.chunks_exact(scale.len())) {
                for ((y, &x), (&scale, &shift)) in y.iter_mut().zip(x).zip(scale.iter().zip(&shift)) {
                    let value = x * scale + shift;
                    // A NaN is seen.
                    *y = if value <= T::zero() { T::zero() } else { value };
                }
            }
        });
        y
    }

    fn input_gradient<T: Float>(&self, y: &[T], dy: &[T]) -> Vec<T> {
        let scale = converted::<T>(&self.scale);
        let mut dx = vec![T::zero(); y.len()];
        let task = TASK_PIXELS * scale.len();
        let sources = y.par_chunks(task).zip(dy.par_chunks(task));
        dx.par_chunks_mut(task).zip(sources).for_each(|(dx, (y, dy))| {
            let pixels = y.chunks_exact(scale.len()).zip(dy.chunks_exact(scale.len()));
            for (dx, (y, dy)) in dx.chunks_exact_mut(scale.len()).zip(pixels) {
                for ((dx, &y), (&dy, &scale)) in dx.iter_mut().zip(y).zip(dy.iter().zip(&scale)) {
                    *dx = if y <= T::zero() { T::zero() } else { dy * scale };
                }
            }
        });
        dx
    }
}

fn converted<T: Float>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&value| T::from_f64(value)).collect()
}

impl CustomOp1 for NormaliseRelu {
    fn name(&self) -> &'static str {
        "normalise_and_relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        for_real!(x.dtype(), self.name(), T => {
            Ok((T::to_cpu_storage_owned(self.forward::<T>(elements(x, layout)?)), layout.shape().clone()))
        })
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
        for_real!(y.dtype(), self.name(), T => with_elements(y, |y: &[T]| with_elements(y_gradient, |dy| {
            Ok(Some(Tensor::from_vec(self.input_gradient(y, dy), y_gradient.shape(), y_gradient.device())?))
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::batch_norm_evaluate;
    use crate::ops::gradient_check::{assert_gradient, close, gradient, normal};

    /// Weight, bias, mean and variance of three channels.
    fn parameters() -> Result<[Tensor; 4]> {
        Ok([normal(1, &[3]), normal(2, &[3]), normal(3, &[3]), normal(4, &[3]).sqr()?])
    }

    #[test]
    fn is_normalisation_and_then_relu() -> Result<()> {
        let [weight, bias, mean, variance] = parameters()?;
        let x = normal(5, &[2, 4, 6, 3]);
        let planes = batch_norm_evaluate(&x.permute((0, 3, 1, 2))?, &weight, &bias, &mean, &variance)?;
        let expected = relu(&planes)?.permute((0, 2, 3, 1))?.contiguous()?;
        close(&normalise_and_relu(&x, &weight, &bias, &mean, &variance)?, &expected, 1e-12);
        let (scale, shift) = evaluation_scale(&weight, &bias, &mean, &variance)?;
        close(&composed(&x, &scale, &shift)?, &expected, 1e-12);
        Ok(())
    }

    #[test]
    fn gradient_is_finite_differences_and_0_at_0() -> Result<()> {
        let [weight, bias, mean, variance] = parameters()?;
        assert_gradient(&normal(5, &[2, 4, 6, 3]), |x| normalise_and_relu(x, &weight, &bias, &mean, &variance));
        let (one, zero) = (weight.ones_like()?, weight.zeros_like()?);
        let at_0 =
            gradient(&normal(5, &[1, 1, 1, 3]).zeros_like()?, |x| normalise_and_relu(x, &one, &zero, &zero, &one));
        assert_eq!(at_0.flatten_all()?.to_vec1::<f64>()?, [0.0; 3]);
        Ok(())
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let [weight, bias, mean, variance] = parameters()?;
        let x = (normal(5, &[1, 1, 1, 3]) * f64::NAN)?;
        let y = normalise_and_relu(&x, &weight, &bias, &mean, &variance)?.flatten_all()?.to_vec1::<f64>()?;
        assert!(y.iter().all(|y| y.is_nan()), "{y:?}");
        Ok(())
    }
}
