//! The greatest number of each channel over all positions: a max-pool over the whole image.

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::custom_op::{OnSlices, SliceOp};
use super::float::has_f32_kernel;
use super::tape::apply1;

/// `x` (N, H, W, C): (N, C). Of equal maxima the first, row by row, takes the gradient, as in PyTorch's max-pool; a NaN
/// counts as the greatest.
///
/// # Errors
/// The images have no pixel.
pub fn global_max(x: &Tensor) -> Result<Tensor> {
    let (images, height, width, channels) = x.dims4()?;
    if height * width == 0 {
        bail!("a maximum over images of {height} x {width} pixels")
    }
    if has_f32_kernel(x) {
        let op = GlobalMax { pixels: height * width, channels, positions: Mutex::default() };
        return apply1(&x.contiguous()?, OnSlices(op));
    }
    // candle's gradient of `gather` is right, and that of its maximum divides among equals.
    let pixels = x.reshape((images, height * width, channels))?;
    let first = pixels.detach().argmax_keepdim(1)?;
    pixels.gather(&first, 1)?.squeeze(1)
}

/// From the gradient (N, C) by the maxima of `x` (N, H, W, C) to that by `x`.
pub fn global_max_gradient(x: &Tensor, y_gradient: &Tensor) -> Result<Tensor> {
    let (images, height, width, channels) = x.dims4()?;
    let pixels = x.detach().reshape((images, height * width, channels))?;
    let first = pixels.argmax_keepdim(1)?;
    pixels.zeros_like()?.scatter_add(&first, &y_gradient.unsqueeze(1)?.contiguous()?, 1)?.reshape(x.shape())
}

struct GlobalMax {
    pixels: usize,
    channels: usize,
    /// The pixel of each maximum, from the forward pass.
    positions: Mutex<Vec<u32>>,
}

impl SliceOp<1> for GlobalMax {
    const NAME: &'static str = "global_max";

    fn forward(&self, [x]: [&[f32]; 1]) -> Result<(Vec<f32>, Shape)> {
        let &Self { pixels, channels, .. } = self;
        let images = x.len() / (pixels * channels);
        let (mut y, mut positions) = (vec![0.0; images * channels], vec![0; images * channels]);
        y.par_chunks_exact_mut(channels)
            .zip(positions.par_chunks_exact_mut(channels))
            .zip(x.par_chunks_exact(pixels * channels))
            .for_each(|((y, positions), x)| {
                y.copy_from_slice(&x[..channels]);
                for (pixel, x) in (0..).zip(x.chunks_exact(channels)).skip(1) {
                    for ((y, position), &x) in y.iter_mut().zip(positions.iter_mut()).zip(x) {
                        let takes_over = x > *y || x.is_nan();
                        *y = if takes_over { x } else { *y };
                        *position = if takes_over { pixel } else { *position };
                    }
                }
            });
        *self.positions.lock().unwrap_or_else(PoisonError::into_inner) = positions;
        Ok((y, Shape::from((images, channels))))
    }

    fn backward(&self, [x]: [&[f32]; 1], dy: &[f32]) -> Result<[Option<Vec<f32>>; 1]> {
        let &Self { pixels, channels, .. } = self;
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dx = vec![0.0; x.len()];
        let maxima = dy.par_chunks_exact(channels).zip(positions.par_chunks_exact(channels));
        dx.par_chunks_exact_mut(pixels * channels).zip(maxima).for_each(|(dx, (dy, positions))| {
            for (channel, (&dy, &pixel)) in dy.iter().zip(positions).enumerate() {
                dx[pixel as usize * channels + channel] = dy;
            }
        });
        Ok([Some(dx)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use crate::ops::reference::{Arguments, equals_f64, tensor, whole, with_gradients};

    proptest! {
        #![proptest_config(crate::testing::property(48))]
        #[test]
        fn equals_the_composed_one_with_ties((n, h, w, c) in (1..9usize, 1..6usize, 1..6usize, 1..40usize)) {
            let exact = [tensor(whole(1, n * h * w * c), &[n, h, w, c])];
            equals_f64(Arguments { exact: &exact, ..Arguments::default() }, |x| global_max(&x[0]))?;
        }
    }

    #[test]
    fn the_composed_gradient_is_finite_differences() {
        assert_gradient(&normal(1, &[2, 3, 2, 4]), global_max);
    }

    #[test]
    fn the_first_of_equal_maxima_takes_the_whole_gradient() -> Result<()> {
        let x = tensor(vec![-3.0, -1.0, -1.0, -1.0], &[1, 2, 2, 1]);
        let (y, gradients) = with_gradients(&[x], &tensor(vec![5.0], &[1, 1]), |x| global_max(&x[0]))?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [-1.0]);
        assert_eq!(gradients[0].flatten_all()?.to_vec1::<f32>()?, [0.0, 5.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        for nan in 0..4 {
            let mut x = vec![1.0, 5.0, 2.0, 5.0];
            x[nan] = f32::NAN;
            assert!(global_max(&tensor(x, &[1, 2, 2, 1]))?.flatten_all()?.to_vec1::<f32>()?[0].is_nan());
        }
        Ok(())
    }
}
