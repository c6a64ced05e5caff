//! Inverted dropout (Srivastava et al. 2014, section 10) with a mask drawn by counter.

use candle_core::{Result, Shape, Tensor};
use rand::RngCore;

use super::custom_op::{OnSlices, SliceOp};
use super::float::has_f32_kernel;
use super::tape::apply1;
use super::whole_batch;

/// Zeroes each element of `x` with `probability`, below 1, and scales the others by `1 / (1 - probability)`.
pub fn dropout(x: &Tensor, probability: f32, rng: &mut impl RngCore) -> Result<Tensor> {
    if probability == 0.0 {
        return Ok(x.clone());
    }
    let DropoutRule { threshold, kept } = DropoutRule::new(probability);
    // Those of the images before this rank's are drawn too.
    let (own, images) = (x.dim(0)?, whole_batch::images(x.dim(0)?).1);
    let row = x.elem_count().checked_div(own).unwrap_or(0);
    let draws = (0..images.end * row).map(|_| if u64::from(rng.next_u32()) < threshold { 0.0 } else { kept });
    let mask: Vec<f32> = draws.skip(images.start * row).collect();
    if has_f32_kernel(x) {
        return apply1(&x.contiguous()?, OnSlices(Dropout { mask, shape: x.shape().clone() }));
    }
    x.mul(&Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?)
}

/// What becomes of an element by its number of the stream.
#[derive(Clone, Copy, Debug)]
pub struct DropoutRule {
    /// Numbers below it drop their elements.
    pub threshold: u64,
    /// What the others are multiplied by.
    pub kept: f32,
}

impl DropoutRule {
    /// `probability` is below 1.
    pub fn new(probability: f32) -> Self {
        // The threshold is exact: 2^32 * p fits in u64.
        Self { threshold: (f64::from(probability) * (1u64 << 32) as f64) as u64, kept: 1.0 / (1.0 - probability) }
    }
}

/// A product with the mask, both ways.
struct Dropout {
    mask: Vec<f32>,
    shape: Shape,
}

impl Dropout {
    fn masked(&self, values: &[f32]) -> Vec<f32> {
        values.iter().zip(&self.mask).map(|(value, mask)| value * mask).collect()
    }
}

impl SliceOp<1> for Dropout {
    const NAME: &'static str = "dropout";

    fn forward(&self, [x]: [&[f32]; 1]) -> Result<(Vec<f32>, Shape)> {
        Ok((self.masked(x), self.shape.clone()))
    }

    fn backward(&self, _x: [&[f32]; 1], dy: &[f32]) -> Result<[Option<Vec<f32>>; 1]> {
        Ok([Some(self.masked(dy))])
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
