//! From channels-last images to vectors in PyTorch's order.

use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;

use super::custom_op::{OnSlices, SliceOp};
use super::float::{has_f32_kernel, with_elements};
use super::tape::apply1;

/// `x` (N, H, W, C) as vectors (N, C · H · W), planes one after another: what PyTorch's `flatten(1)` makes of (N, C, H, W),
/// so that a linear layer's weight is the same there and here.
pub fn flatten_planes(x: &Tensor) -> Result<Tensor> {
    let (images, height, width, channels) = x.dims4()?;
    if has_f32_kernel(x) {
        return apply1(&x.contiguous()?, OnSlices(FlattenPlanes { pixels: height * width, channels }));
    }
    x.permute((0, 3, 1, 2))?.contiguous()?.reshape((images, channels * height * width))
}

/// The inverse of [`flatten_planes`], from vectors (N, C · H · W) to images (N, H, W, C).
pub fn unflatten_planes(y: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (images, elements) = y.dims2()?;
    let (pixels, channels) = (height * width, elements / (height * width));
    if has_f32_kernel(y) {
        let x = with_elements(y, |y: &[f32]| Ok(transposed(y, channels, pixels)))?;
        return Tensor::from_vec(x, (images, height, width, channels), y.device());
    }
    y.reshape((images, channels, height, width))?.permute((0, 2, 3, 1))?.contiguous()
}

struct FlattenPlanes {
    pixels: usize,
    channels: usize,
}

impl SliceOp<1> for FlattenPlanes {
    const NAME: &'static str = "flatten_planes";

    fn forward(&self, [x]: [&[f32]; 1]) -> Result<(Vec<f32>, Shape)> {
        let elements = self.channels * self.pixels;
        Ok((transposed(x, self.pixels, self.channels), Shape::from((x.len() / elements, elements))))
    }

    fn backward(&self, _x: [&[f32]; 1], dy: &[f32]) -> Result<[Option<Vec<f32>>; 1]> {
        Ok([Some(transposed(dy, self.channels, self.pixels))])
    }
}

/// Each matrix (rows, columns) of `x` as (columns, rows).
fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    y.par_chunks_exact_mut(rows * columns).zip(x.par_chunks_exact(rows * columns)).for_each(|(y, x)| {
        for (row, x) in x.chunks_exact(columns).enumerate() {
            for (column, &x) in x.iter().enumerate() {
                y[column * rows + row] = x;
            }
        }
    });
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use candle_core::DType;

    #[test]
    fn is_the_permutation_and_its_gradient_the_way_back() -> Result<()> {
        let x = normal(1, &[2, 3, 4, 5]).to_dtype(DType::F32)?;
        let weight = normal(2, &[2, 60]).to_dtype(DType::F32)?;
        let ours = flatten_planes(&x)?;
        let expected = x.permute((0, 3, 1, 2))?.contiguous()?.flatten_from(1)?;
        assert_eq!(ours.to_vec2::<f32>()?, expected.to_vec2::<f32>()?);
        let variable = candle_core::Var::from_tensor(&x)?;
        let gradients = (flatten_planes(&variable)? * &weight)?.sum_all()?.backward()?;
        let expected = weight.reshape((2, 5, 3, 4))?.permute((0, 2, 3, 1))?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(gradients.get(&variable).expect("a gradient").flatten_all()?.to_vec1::<f32>()?, expected);
        for x in [x.clone(), x.to_dtype(DType::F64)?] {
            let back = unflatten_planes(&flatten_planes(&x)?, 3, 4)?;
            assert_eq!((back - &x)?.abs()?.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?, 0.0);
        }
        Ok(())
    }

    #[test]
    fn the_gradient_on_other_devices_is_finite_differences() {
        assert_gradient(&normal(1, &[2, 3, 2, 4]), flatten_planes);
    }
}
