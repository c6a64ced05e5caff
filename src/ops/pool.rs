//! Max-pooling over 2 x 2 windows with stride 2, with PyTorch's rule for ties: the first maximum, row by row, takes the
//! whole gradient. (candle's multiplies by count/4 where it should divide: each pool shrinks gradients four times.)

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, Layout, Result, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use super::float::{Float, elements, for_real, with_elements};
use super::tape::apply1;

/// `x` (N, C, H, W), H and W even: (N, C, H / 2, W / 2).
pub fn max_pool_2x2(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    if height % 2 != 0 || width % 2 != 0 {
        bail!("a 2 x 2 pool of images of {width} x {height} pixels: the sides must be even")
    }
    if x.device().is_cpu() { apply1(&x.contiguous()?, MaxPool2x2) } else { composed(x) }
}

/// `x` (N, H, W, C): (N, H / 2, W / 2, C). An odd row or column is left out.
pub fn pool_whole_windows(x: &Tensor) -> Result<Tensor> {
    let (_, height, width, channels) = x.dims4()?;
    if height < 2 || width < 2 {
        bail!("a 2 x 2 pool of images of {width} x {height} pixels: no window fits")
    }
    if x.device().is_cpu() {
        return apply1(&x.contiguous()?, PoolWholeWindows { height, width, channels });
    }
    pool_planes(x)
}

/// The same, plane by plane.
fn pool_planes(x: &Tensor) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    let planes = x.permute((0, 3, 1, 2))?;
    let whole_windows = planes.narrow(2, 0, height / 2 * 2)?.narrow(3, 0, width / 2 * 2)?.contiguous()?;
    max_pool_2x2(&whole_windows)?.permute((0, 2, 3, 1))?.contiguous()
}

/// Gathers the first maximum of each window: candle's gradient of `gather` is right.
fn composed(x: &Tensor) -> Result<Tensor> {
    let (images, channels, height, width) = x.dims4()?;
    let windows = x
        .reshape((images * channels, height / 2, 2, width / 2, 2))?
        .permute((0, 1, 3, 2, 4))?
        .reshape((images, channels, height / 2, width / 2, 4))?
        .contiguous()?;
    let first_maximum = windows.detach().argmax_keepdim(D::Minus1)?;
    windows.gather(&first_maximum, D::Minus1)?.squeeze(D::Minus1)
}

struct MaxPool2x2;

impl CustomOp1 for MaxPool2x2 {
    fn name(&self) -> &'static str {
        "max_pool_2x2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (images, channels, height, width) = layout.shape().dims4()?;
        let shape = Shape::from((images, channels, height / 2, width / 2));
        for_real!(x.dtype(), self.name(), T => {
            Ok((T::to_cpu_storage_owned(forward::<T>(width, elements(x, layout)?)), shape))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
        let width = x.dim(D::Minus1)?;
        for_real!(x.dtype(), self.name(), T => with_elements(x, |xs: &[T]| with_elements(y_gradient, |dy| {
            Ok(Some(Tensor::from_vec(input_gradient(width, xs, dy), x.shape(), x.device())?))
        })))
    }
}

/// Pairs of rows that one task handles. Planes follow each other without a gap and have an even height, so the rows of
/// all of them are the rows of one tall plane.
const TASK_ROW_PAIRS: usize = 256;

fn forward<T: Float>(width: usize, x: &[T]) -> Vec<T> {
    let mut y = vec![T::zero(); x.len() / 4];
    let tasks = y.par_chunks_mut(TASK_ROW_PAIRS * width / 2).zip(x.par_chunks(TASK_ROW_PAIRS * 2 * width));
    tasks.for_each(|(y, x)| {
        for (y, rows) in y.chunks_exact_mut(width / 2).zip(x.chunks_exact(2 * width)) {
            for (column, y) in y.iter_mut().enumerate() {
                let window = window(rows, width, column);
                *y = window[first_maximum(window)];
            }
        }
    });
    y
}

fn input_gradient<T: Float>(width: usize, x: &[T], dy: &[T]) -> Vec<T> {
    let mut dx = vec![T::zero(); x.len()];
    let sources = x.par_chunks(TASK_ROW_PAIRS * 2 * width).zip(dy.par_chunks(TASK_ROW_PAIRS * width / 2));
    dx.par_chunks_mut(TASK_ROW_PAIRS * 2 * width).zip(sources).for_each(|(dx, (x, dy))| {
        let rows = dx.chunks_exact_mut(2 * width).zip(x.chunks_exact(2 * width));
        for ((dx, x), dy) in rows.zip(dy.chunks_exact(width / 2)) {
            for (column, &dy) in dy.iter().enumerate() {
                let position = first_maximum(window(x, width, column));
                dx[position / 2 * width + 2 * column + position % 2] = dy;
            }
        }
    });
    dx
}

/// Of channels-last images.
#[derive(Clone, Copy)]
struct PoolWholeWindows {
    height: usize,
    width: usize,
    channels: usize,
}

impl PoolWholeWindows {
    fn row(self) -> usize {
        self.width * self.channels
    }

    fn pooled_row(self) -> usize {
        self.width / 2 * self.channels
    }

    fn image(self) -> usize {
        self.height * self.row()
    }

    fn pooled_image(self) -> usize {
        self.height / 2 * self.pooled_row()
    }

    /// Where element `position` of a row of windows comes from, in two rows of the image.
    fn sources(self, position: usize) -> [usize; 4] {
        let first = position / self.channels * 2 * self.channels + position % self.channels;
        [first, first + self.channels, first + self.row(), first + self.row() + self.channels]
    }

    fn forward<T: Float>(self, x: &[T]) -> Vec<T> {
        let mut y = vec![T::zero(); x.len() / self.image() * self.pooled_image()];
        y.par_chunks_mut(self.pooled_image()).zip(x.par_chunks(self.image())).for_each(|(y, x)| {
            for (y, rows) in y.chunks_exact_mut(self.pooled_row()).zip(x.chunks_exact(2 * self.row())) {
                for (position, y) in y.iter_mut().enumerate() {
                    let window = self.sources(position).map(|source| rows[source]);
                    *y = window[first_maximum(window)];
                }
            }
        });
        y
    }

    fn input_gradient<T: Float>(self, x: &[T], dy: &[T]) -> Vec<T> {
        let mut dx = vec![T::zero(); x.len()];
        let images = x.par_chunks(self.image()).zip(dy.par_chunks(self.pooled_image()));
        dx.par_chunks_mut(self.image()).zip(images).for_each(|(dx, (x, dy))| {
            let rows = dx.chunks_exact_mut(2 * self.row()).zip(x.chunks_exact(2 * self.row()));
            for ((dx, x), dy) in rows.zip(dy.chunks_exact(self.pooled_row())) {
                for (position, &dy) in dy.iter().enumerate() {
                    let sources = self.sources(position);
                    dx[sources[first_maximum(sources.map(|source| x[source]))]] = dy;
                }
            }
        });
        dx
    }
}

impl CustomOp1 for PoolWholeWindows {
    fn name(&self) -> &'static str {
        "pool_whole_windows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let images = layout.shape().dims4()?.0;
        let shape = Shape::from((images, self.height / 2, self.width / 2, self.channels));
        for_real!(x.dtype(), self.name(), T => {
            Ok((T::to_cpu_storage_owned(self.forward::<T>(elements(x, layout)?)), shape))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
        for_real!(x.dtype(), self.name(), T => with_elements(x, |xs: &[T]| with_elements(y_gradient, |dy| {
            Ok(Some(Tensor::from_vec(self.input_gradient(xs, dy), x.shape(), x.device())?))
        })))
    }
}

/// The window of `column` in two rows of `width` elements, row by row.
fn window<T: Copy>(rows: &[T], width: usize, column: usize) -> [T; 4] {
    let (top, bottom) = rows.split_at(width);
    [top[2 * column], top[2 * column + 1], bottom[2 * column], bottom[2 * column + 1]]
}

/// The position of the first maximum; NaN counts as the greatest, so that it is seen in the output.
fn first_maximum<T: Float>(window: [T; 4]) -> usize {
    let mut best = 0;
    for position in 1..4 {
        if window[position] > window[best] || (window[position].is_nan() && !window[best].is_nan()) {
            best = position;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, close, gradient, normal, weighted_gradient};
    use candle_core::Device;

    #[test]
    fn gradient_is_finite_differences() {
        for shape in [[2, 3, 4, 6], [1, 1, 2, 2], [5, 2, 8, 2]] {
            assert_gradient(&normal(1, &shape), max_pool_2x2);
            assert_gradient(&normal(1, &shape), composed);
        }
    }

    #[test]
    fn the_first_of_equal_maxima_takes_the_whole_gradient() -> Result<()> {
        let x = Tensor::new(&[[[[1.0f64, 1.0, 0.0, 2.0], [1.0, 0.0, 2.0, 2.0]]]], &Device::Cpu)?;
        for f in [max_pool_2x2, composed] {
            let dx = gradient(&x, f).flatten_all()?.to_vec1::<f64>()?;
            assert_eq!(dx, [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        }
        Ok(())
    }

    #[test]
    fn channels_last_is_plane_by_plane_forward_and_back() -> Result<()> {
        for shape in [[2, 4, 6, 3], [1, 2, 2, 1], [3, 5, 7, 2], [2, 9, 4, 5]] {
            // Many ties.
            let x = (normal(1, &shape) * 2.0)?.round()?;
            close(&pool_whole_windows(&x)?, &pool_planes(&x)?, 0.0);
            let gradients = |f: fn(&Tensor) -> Result<Tensor>| weighted_gradient(&x, f);
            close(&gradients(pool_whole_windows)?.0, &gradients(pool_planes)?.0, 0.0);
        }
        for narrow in [[1, 1, 4, 3], [1, 4, 1, 3]] {
            assert!(pool_whole_windows(&normal(1, &narrow)).is_err());
        }
        Ok(())
    }

    #[test]
    fn composed_is_equal() -> Result<()> {
        let x = normal(3, &[4, 3, 6, 8]);
        close(&max_pool_2x2(&x)?, &composed(&x)?, 0.0);
        Ok(())
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let x = Tensor::new(&[[[[1.0f32, f32::NAN], [3.0, 2.0]]]], &Device::Cpu)?;
        assert!(max_pool_2x2(&x)?.flatten_all()?.to_vec1::<f32>()?[0].is_nan());
        Ok(())
    }

    #[test]
    fn odd_sides_are_refused() {
        assert!(max_pool_2x2(&normal(1, &[1, 1, 3, 4])).is_err());
    }
}
