//! A factor for each channel of each picture.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::real::{elements, has_f32_kernel, with_elements};

/// `x` (N, H, W, C), each channel times its `factor` (N, C).
///
/// # Errors
/// The sizes do not fit.
pub fn scale_channels(x: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let (pictures, height, width, channels) = x.dims4()?;
    if factor.dims() != [pictures, channels] {
        bail!("channels of {:?} times factors of {:?}", x.shape(), factor.shape())
    }
    if has_f32_kernel(x) {
        let op = ScaleChannels { pixels: height * width, channels };
        return x.contiguous()?.apply_op2(&factor.contiguous()?, op);
    }
    x.broadcast_mul(&factor.reshape((pictures, 1, 1, channels))?)
}

struct ScaleChannels {
    pixels: usize,
    channels: usize,
}

impl ScaleChannels {
    /// `x` with each pixel times the factors of its picture.
    fn scaled(&self, x: &[f32], factor: &[f32]) -> Vec<f32> {
        let mut y = Vec::with_capacity(x.len());
        for (x, factor) in x.chunks_exact(self.pixels * self.channels).zip(factor.chunks_exact(self.channels)) {
            for x in x.chunks_exact(self.channels) {
                y.extend(x.iter().zip(factor).map(|(x, factor)| x * factor));
            }
        }
        y
    }
}

impl CustomOp2 for ScaleChannels {
    fn name(&self) -> &'static str {
        "scale_channels"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        factor: &CpuStorage,
        factor_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.scaled(elements(x, x_layout)?, elements(factor, factor_layout)?);
        Ok((CpuStorage::F32(y), x_layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, factor: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        with_elements(dy, |dy: &[f32]| {
            let dx = with_elements(factor, |factor: &[f32]| Ok(self.scaled(dy, factor)))?;
            let mut d_factor = vec![0.0; factor.elem_count()];
            with_elements(x, |x: &[f32]| {
                let picture = self.pixels * self.channels;
                let pictures = x.chunks_exact(picture).zip(dy.chunks_exact(picture));
                for (d_factor, (x, dy)) in d_factor.chunks_exact_mut(self.channels).zip(pictures) {
                    for (x, dy) in x.chunks_exact(self.channels).zip(dy.chunks_exact(self.channels)) {
                        d_factor.iter_mut().zip(x.iter().zip(dy)).for_each(|(sum, (x, dy))| *sum += x * dy);
                    }
                }
                Ok(())
            })?;
            Ok((
                Some(Tensor::from_vec(dx, x.shape(), x.device())?),
                Some(Tensor::from_vec(d_factor, factor.shape(), factor.device())?),
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use crate::ops::reference::{real, relative_error, tensor, with_gradients};
    use candle_core::DType;

    #[test]
    fn equals_the_one_for_other_devices_whose_gradients_are_finite_differences() -> Result<()> {
        let (x, factor) = (normal(1, &[2, 3, 4, 5]), normal(2, &[2, 5]));
        assert_gradient(&x, |x| scale_channels(x, &factor));
        assert_gradient(&factor, |factor| scale_channels(&x, factor));

        let arguments = [tensor(real(1, 120), &[2, 3, 4, 5]), tensor(real(2, 10), &[2, 5])];
        let gradient = tensor(real(3, 120), &[2, 3, 4, 5]);
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let doubles = arguments.iter().map(double).collect::<Result<Vec<_>>>()?;
        let f = |arguments: &[Tensor]| scale_channels(&arguments[0], &arguments[1]);
        let (ours, our_gradients) = with_gradients(&arguments, &gradient, f)?;
        let (expected, gradients) = with_gradients(&doubles, &double(&gradient)?, f)?;
        for (ours, expected) in
            [(&ours, &expected), (&our_gradients[0], &gradients[0]), (&our_gradients[1], &gradients[1])]
        {
            assert!(relative_error(ours, &expected.flatten_all()?.to_vec1()?)? < 1e-6);
        }
        Ok(())
    }
}
