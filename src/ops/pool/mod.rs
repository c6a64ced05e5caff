//! Max-pooling of channels-last images over 2 x 2 windows with stride 2, as PyTorch's: the first maximum, row by row, takes
//! the whole gradient, and an odd last row or column is left out, with gradient 0. (candle's gradient multiplies by count / 4
//! where it should divide: each pool shrinks gradients four times.)

pub(super) mod window;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::float::{Float, elements, for_real, with_elements};
use super::tape::{apply1, apply2};
use crate::simd;

/// `x` (N, H, W, C): (N, H / 2, W / 2, C).
///
/// # Errors
/// No window fits.
pub fn max_pool(x: &Tensor) -> Result<Tensor> {
    fits(x)?;
    if x.device().is_cpu() { apply1(&x.contiguous()?, MaxPool::default()) } else { composed(x) }
}

/// The pool of the sum of `a` and `b`, both (N, H, W, C) in f32 on the CPU: (N, H / 2, W / 2, C).
///
/// # Errors
/// No window fits.
pub(super) fn add_and_max_pool(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    fits(a)?;
    apply2(&a.contiguous()?, &b.contiguous()?, MaxPool::default())
}

fn fits(x: &Tensor) -> Result<()> {
    let (_, height, width, _) = x.dims4()?;
    if height < 2 || width < 2 {
        bail!("a 2 x 2 pool of images of {width} x {height} pixels: no window fits")
    }
    Ok(())
}

/// Gathers the first maximum of each window: candle's gradient of `gather` is right.
fn composed(x: &Tensor) -> Result<Tensor> {
    let (images, height, width, channels) = x.dims4()?;
    let (height, width) = (height / 2, width / 2);
    let windows = x
        .narrow(1, 0, 2 * height)?
        .narrow(2, 0, 2 * width)?
        .contiguous()?
        .reshape(&[images, height, 2, width, 2, channels][..])?
        .permute([0, 1, 3, 5, 2, 4])?
        .reshape((images, height, width, channels, 4))?;
    let first_maximum = windows.detach().argmax_keepdim(D::Minus1)?;
    windows.gather(&first_maximum, D::Minus1)?.squeeze(D::Minus1)
}

#[derive(Default)]
struct MaxPool {
    /// The position of each maximum in its window, from the forward pass.
    positions: Mutex<Vec<u8>>,
}

impl MaxPool {
    /// From images (N, H, W, C): `pool` pools those elements of them, an image of the given size (H, W, C).
    fn forward<T: Float>(
        &self,
        shape: &Shape,
        pool: impl Fn(Range<usize>, [usize; 3], &mut [T], &mut [u8]) -> Result<()> + Sync,
    ) -> Result<(CpuStorage, Shape)> {
        let (images, height, width, channels) = shape.dims4()?;
        let (image, pooled) = (height * width * channels, (height / 2) * (width / 2) * channels);
        let mut out = vec![T::zero(); images * pooled];
        let mut positions = vec![0; out.len()];
        out.par_chunks_exact_mut(pooled).zip(positions.par_chunks_exact_mut(pooled)).enumerate().try_for_each(
            |(number, (out, positions))| {
                pool(number * image..(number + 1) * image, [height, width, channels], out, positions)
            },
        )?;
        *self.positions.lock().unwrap_or_else(PoisonError::into_inner) = positions;
        Ok((T::to_cpu_storage_owned(out), Shape::from((images, height / 2, width / 2, channels))))
    }

    fn input_gradient<T: Float>(&self, x: &Tensor, y_gradient: &Tensor) -> Result<Tensor> {
        let (_, height, width, channels) = x.dims4()?;
        let (image, pooled) = (height * width * channels, (height / 2) * (width / 2) * channels);
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dx = vec![T::zero(); x.elem_count()];
        with_elements(y_gradient, |dy: &[T]| {
            let maxima = dy.par_chunks_exact(pooled).zip(positions.par_chunks_exact(pooled));
            dx.par_chunks_exact_mut(image).zip(maxima).try_for_each(|(dx, (dy, positions))| {
                simd::vectorized(
                    #[inline(always)]
                    || window::unpool(dy, positions, [height, width, channels], dx),
                )
            })
        })?;
        Tensor::from_vec(dx, x.shape(), x.device())
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        for_real!(x.dtype(), CustomOp1::name(self), T => {
            let x: &[T] = elements(x, layout)?;
            self.forward(layout.shape(), |image, size, out, positions| {
                simd::vectorized(
                    #[inline(always)]
                    || window::pool(&x[image], size, out, positions),
                )
            })
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        for_real!(x.dtype(), CustomOp1::name(self), T => Ok(Some(self.input_gradient::<T>(x, dy)?)))
    }
}

impl CustomOp2 for MaxPool {
    fn name(&self) -> &'static str {
        "add_and_max_pool"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (elements::<f32>(a, a_layout)?, elements::<f32>(b, b_layout)?);
        self.forward(a_layout.shape(), |image, size, out, positions| {
            simd::vectorized(
                #[inline(always)]
                || window::add_and_pool([&a[image.clone()], &b[image]], size, out, positions),
            )
        })
    }

    fn bwd(&self, a: &Tensor, _b: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dx = self.input_gradient::<f32>(a, dy)?;
        Ok((Some(dx.clone()), Some(dx)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, close, gradient, normal, weighted_gradient};
    use candle_core::Device;

    const SHAPES: [[usize; 4]; 6] =
        [[2, 4, 6, 3], [1, 2, 2, 1], [3, 5, 7, 2], [2, 9, 4, 5], [1, 7, 7, 33], [2, 3, 3, 10]];

    #[test]
    fn gradient_is_finite_differences() {
        for shape in SHAPES {
            assert_gradient(&normal(1, &shape), max_pool);
        }
        assert_gradient(&normal(1, &[3, 5, 7, 2]), composed);
    }

    #[test]
    fn the_first_of_equal_maxima_takes_the_whole_gradient() -> Result<()> {
        // The last row and column are in no window.
        let x = Tensor::new(&[[1.0f64, 3.0, 9.0], [3.0, 3.0, 9.0], [9.0, 9.0, 9.0]], &Device::Cpu)?
            .reshape((1, 3, 3, 1))?;
        for f in [max_pool, composed] {
            assert_eq!(f(&x)?.flatten_all()?.to_vec1::<f64>()?, [3.0]);
            assert_eq!(gradient(&x, f).flatten_all()?.to_vec1::<f64>()?, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        }
        Ok(())
    }

    #[test]
    fn composed_is_equal() -> Result<()> {
        for shape in SHAPES {
            // Many ties.
            let x = (normal(1, &shape) * 2.0)?.round()?;
            close(&max_pool(&x)?, &composed(&x)?, 0.0);
            let gradients = |f: fn(&Tensor) -> Result<Tensor>| weighted_gradient(&x, f);
            close(&gradients(max_pool)?.0, &gradients(composed)?.0, 0.0);
        }
        Ok(())
    }

    #[test]
    fn images_without_a_window_are_refused() {
        for narrow in [[1, 1, 4, 3], [1, 4, 1, 3]] {
            assert!(max_pool(&normal(1, &narrow)).is_err());
        }
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let x = Tensor::new(&[1.0f32, f32::NAN, 3.0, 2.0], &Device::Cpu)?.reshape((1, 2, 2, 1))?;
        assert!(max_pool(&x)?.flatten_all()?.to_vec1::<f32>()?[0].is_nan());
        Ok(())
    }
}
