//! max(x, 0), with PyTorch's gradient at 0: 0 (candle's is 1).

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;

use super::float::{Float, elements, for_real, with_elements};
use super::tape::apply1;

/// `x` of any shape.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() { apply1(&x.contiguous()?, Relu) } else { composed(x) }
}

fn composed(x: &Tensor) -> Result<Tensor> {
    x.le(0.0)?.where_cond(&x.zeros_like()?, x)
}

struct Relu;

/// Elements handled by one task: long enough to hide the cost of handing it out.
const TASK_ELEMENTS: usize = 1 << 15;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        for_real!(x.dtype(), self.name(), T => {
            let x: &[T] = elements(x, layout)?;
            Ok((T::to_cpu_storage_owned(where_positive(x, x)), layout.shape().clone()))
        })
    }

    fn bwd(&self, _x: &Tensor, y: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
        for_real!(y.dtype(), self.name(), T => with_elements(y, |y: &[T]| with_elements(y_gradient, |dy| {
            Ok(Some(Tensor::from_vec(where_positive(y, dy), y_gradient.shape(), y_gradient.device())?))
        })))
    }
}

/// 0 where the gates are 0 or less, else the values: a NaN is seen.
fn where_positive<T: Float>(gates: &[T], values: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); gates.len()];
    out.par_chunks_mut(TASK_ELEMENTS)
        .zip(gates.par_chunks(TASK_ELEMENTS).zip(values.par_chunks(TASK_ELEMENTS)))
        .for_each(|(out, (gates, values))| {
            for (out, (&gate, &value)) in out.iter_mut().zip(gates.iter().zip(values)) {
                *out = if gate <= T::zero() { T::zero() } else { value };
            }
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, close, gradient, normal};
    use candle_core::Device;

    #[test]
    fn gradient_is_finite_differences_away_from_zero() {
        assert_gradient(&normal(1, &[3, 4, 5]), relu);
        assert_gradient(&normal(1, &[3, 4, 5]), composed);
    }

    #[test]
    fn gradient_at_zero_is_zero() -> Result<()> {
        let x = Tensor::new(&[-1.0f64, 0.0, -0.0, 2.0], &Device::Cpu)?;
        for f in [relu, composed] {
            assert_eq!(gradient(&x, f).to_vec1::<f64>()?, [0.0, 0.0, 0.0, 1.0]);
        }
        Ok(())
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let x = Tensor::new(&[f32::NAN, 1.0], &Device::Cpu)?;
        for f in [relu, composed] {
            assert!(f(&x)?.to_vec1::<f32>()?[0].is_nan());
        }
        Ok(())
    }

    #[test]
    fn composed_is_equal() -> Result<()> {
        let x = normal(2, &[2, 3, 4, 4]);
        close(&relu(&x)?, &composed(&x)?, 0.0);
        Ok(())
    }
}
