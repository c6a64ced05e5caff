//! Inverted dropout (Srivastava et al. 2014, section 10) with a mask drawn by counter.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rand::RngCore;

use super::float::{elements, has_f32_kernel, with_elements};
use super::tape::apply1;

/// Zeroes each element of `x` with `probability`, below 1, and scales the others by `1 / (1 - probability)`.
pub fn dropout(x: &Tensor, probability: f32, rng: &mut impl RngCore) -> Result<Tensor> {
    if probability == 0.0 {
        return Ok(x.clone());
    }
    // The threshold is exact: 2^32 * p fits in u64.
    let threshold = (f64::from(probability) * (1u64 << 32) as f64) as u64;
    let kept = 1.0 / (1.0 - probability);
    let mask: Vec<f32> =
        (0..x.elem_count()).map(|_| if u64::from(rng.next_u32()) < threshold { 0.0 } else { kept }).collect();
    if has_f32_kernel(x) {
        return apply1(&x.contiguous()?, Dropout { mask });
    }
    x.mul(&Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?)
}

/// A product with the mask, both ways.
struct Dropout {
    mask: Vec<f32>,
}

impl Dropout {
    fn masked(&self, values: &[f32]) -> Vec<f32> {
        values.iter().zip(&self.mask).map(|(value, mask)| value * mask).collect()
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.masked(elements(x, layout)?)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let dx = with_elements(dy, |dy: &[f32]| Ok(self.masked(dy)))?;
        Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use crate::random::{Purpose, stream};
    use candle_core::{DType, Device};

    fn mask(step: u64) -> impl RngCore {
        stream(7, Purpose::Dropout, 1, step)
    }

    #[test]
    fn drops_the_asked_share_and_keeps_the_mean() -> Result<()> {
        let x = Tensor::ones((100, 200), DType::F32, &Device::Cpu)?;
        let y = dropout(&x, 0.3, &mut mask(1))?.flatten_all()?.to_vec1::<f32>()?;
        let dropped = y.iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
        assert!((dropped - 0.3).abs() < 0.02, "{dropped}");
        assert!(y.iter().all(|&y| y == 0.0 || (y - 1.0 / 0.7).abs() < 1e-6));
        Ok(())
    }

    #[test]
    fn repeats_with_the_stream_and_differs_between_steps() -> Result<()> {
        let x = normal(1, &[8, 16]);
        let y = |step| dropout(&x, 0.5, &mut mask(step))?.flatten_all()?.to_vec1::<f64>();
        assert_eq!(y(1)?, y(1)?);
        assert_ne!(y(1)?, y(2)?);
        Ok(())
    }

    #[test]
    fn gradient_is_finite_differences() {
        assert_gradient(&normal(1, &[4, 6]), |x| dropout(x, 0.5, &mut mask(3)));
    }
}
