//! The mean of each channel over all positions (global average pooling, Lin et al. 2014, section 3.2).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::float::{elements, has_f32_kernel, sum_rows};
use super::tape::apply1;

/// `x` (N, H, W, C): (N, C).
pub fn global_average(x: &Tensor) -> Result<Tensor> {
    if has_f32_kernel(x) { apply1(&x.contiguous()?, GlobalAverage) } else { x.mean((1, 2)) }
}

/// From the gradient (N, C) by the means to that by the images, (N, H, W, C).
pub fn global_average_gradient(y_gradient: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (images, channels) = y_gradient.dims2()?;
    let of_position = (y_gradient / (height * width) as f64)?;
    of_position.reshape((images, 1, 1, channels))?.broadcast_as((images, height, width, channels))?.contiguous()
}

struct GlobalAverage;

impl CustomOp1 for GlobalAverage {
    fn name(&self) -> &'static str {
        "global_average"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (images, height, width, channels) = layout.shape().dims4()?;
        let positions = height * width;
        let mut y = vec![0.0; images * channels];
        let of_images = elements::<f32>(x, layout)?.par_chunks_exact(positions * channels);
        y.par_chunks_exact_mut(channels).zip(of_images).for_each(|(y, x)| {
            y.iter_mut().zip(sum_rows(x, channels)).for_each(|(y, sum)| *y = sum / positions as f32);
        });
        Ok((CpuStorage::F32(y), Shape::from((images, channels))))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let (_, height, width, _) = x.dims4()?;
        Ok(Some(global_average_gradient(dy, height, width)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, close, normal};
    use crate::ops::reference::{real, tensor, with_gradients};
    use candle_core::DType;

    #[test]
    fn composed_gradient_is_finite_differences() {
        assert_gradient(&normal(1, &[2, 3, 2, 4]), global_average);
    }

    #[test]
    fn kernel_and_gradient_equal_the_composed_ones() -> Result<()> {
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        for shape in [[3, 4, 5, 7], [1, 1, 1, 1], [2, 3, 3, 32]] {
            let x = tensor(real(1, shape.iter().product()), &shape);
            let dy = tensor(real(2, shape[0] * shape[3]), &[shape[0], shape[3]]);
            let (ours, gradients) = with_gradients(std::slice::from_ref(&x), &dy, |x| global_average(&x[0]))?;
            let (expected, expected_gradients) =
                with_gradients(&[double(&x)?], &double(&dy)?, |x| global_average(&x[0]))?;
            close(&double(&ours)?, &expected, 1e-6);
            close(&double(&gradients[0])?, &expected_gradients[0], 1e-6);
        }
        Ok(())
    }
}
