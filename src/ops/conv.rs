//! Convolution with stride 1 and "same" zero padding.
//!
//! On the CPU: im2col and a matrix product for each picture (Chellapilla et al. 2006), pictures in parallel. The
//! gradient of an input that nobody differentiates (the first layer's) is not computed.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

use super::gemm::{Matrix, add_product};
use super::real::{Real, elements, for_real, with_elements};

/// `x` (N, C, H, W) with `weight` (O, C, K, K), K odd, and `bias` (O): (N, O, H, W).
pub fn conv2d_same(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (_, channels, _, _) = x.dims4()?;
    let (outputs, weight_channels, kernel, kernel_width) = weight.dims4()?;
    if kernel != kernel_width || kernel % 2 == 0 || weight_channels != channels {
        bail!("a same convolution of {:?} with a kernel of {:?}", x.shape(), weight.shape())
    }
    if x.device().is_cpu() {
        return x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, SameConv2d);
    }
    x.conv2d(weight, kernel / 2, 1, 1, 1)?.broadcast_add(&bias.reshape((1, outputs, 1, 1))?)
}

struct SameConv2d;

/// The sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    pictures: usize,
    channels: usize,
    height: usize,
    width: usize,
    outputs: usize,
    kernel: usize,
}

impl Sizes {
    fn new(x: &Shape, weight: &Shape) -> Result<Self> {
        let (pictures, channels, height, width) = x.dims4()?;
        let (outputs, _, kernel, _) = weight.dims4()?;
        Ok(Self { pictures, channels, height, width, outputs, kernel })
    }

    fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Weights of one output channel; rows of the unfolded picture.
    fn taps(self) -> usize {
        self.channels * self.kernel * self.kernel
    }
}

impl CustomOp3 for SameConv2d {
    fn name(&self) -> &'static str {
        "conv2d_same"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(x_layout.shape(), weight_layout.shape())?;
        let shape = Shape::from((sizes.pictures, sizes.outputs, sizes.height, sizes.width));
        for_real!(x.dtype(), self.name(), T => {
            let y = forward::<T>(
                sizes,
                elements(x, x_layout)?,
                elements(weight, weight_layout)?,
                elements(bias, bias_layout)?,
            );
            Ok((T::to_cpu_storage_owned(y), shape))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        y_gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::new(x.shape(), weight.shape())?;
        for_real!(x.dtype(), self.name(), T => with_elements(y_gradient, |dy: &[T]| {
            let (dw, db) = with_elements(x, |x| Ok(parameter_gradients::<T>(sizes, x, dy)))?;
            let dx = if x.track_op() {
                let dx = with_elements(weight, |w| Ok(input_gradient::<T>(sizes, w, dy)))?;
                Some(Tensor::from_vec(dx, x.shape(), x.device())?)
            } else {
                None
            };
            let dw = Tensor::from_vec(dw, weight.shape(), weight.device())?;
            let db = Tensor::from_vec(db, bias.shape(), bias.device())?;
            Ok((dx, Some(dw), Some(db)))
        }))
    }
}

fn forward<T: Real>(sizes: Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let weight = Matrix::new(weight, sizes.outputs, sizes.taps());
    let mut y = vec![T::zero(); sizes.pictures * sizes.outputs * sizes.pixels()];
    y.par_chunks_exact_mut(sizes.outputs * sizes.pixels())
        .zip(x.par_chunks_exact(sizes.channels * sizes.pixels()))
        .for_each_init(
            || vec![T::zero(); sizes.taps() * sizes.pixels()],
            |unfolded, (y, x)| {
                unfold(sizes, x, unfolded);
                for (plane, &bias) in y.chunks_exact_mut(sizes.pixels()).zip(bias) {
                    plane.fill(bias);
                }
                add_product(y, weight, Matrix::new(unfolded, sizes.taps(), sizes.pixels()));
            },
        );
    y
}

/// The gradients of weight and bias. Pictures are summed in a fixed number of groups, so the thread count does not
/// change the rounding.
fn parameter_gradients<T: Real>(sizes: Sizes, x: &[T], dy: &[T]) -> (Vec<T>, Vec<T>) {
    const GROUPS: usize = 8;
    let group = sizes.pictures.div_ceil(GROUPS).max(1);
    let partial: Vec<(Vec<T>, Vec<T>)> = x
        .par_chunks(group * sizes.channels * sizes.pixels())
        .zip(dy.par_chunks(group * sizes.outputs * sizes.pixels()))
        .map(|(x, dy)| {
            let mut dw = vec![T::zero(); sizes.outputs * sizes.taps()];
            let mut db = vec![T::zero(); sizes.outputs];
            let mut unfolded = vec![T::zero(); sizes.taps() * sizes.pixels()];
            let pictures = x.chunks_exact(sizes.channels * sizes.pixels());
            for (x, dy) in pictures.zip(dy.chunks_exact(sizes.outputs * sizes.pixels())) {
                unfold(sizes, x, &mut unfolded);
                let unfolded = Matrix::new(&unfolded, sizes.taps(), sizes.pixels()).transposed();
                add_product(&mut dw, Matrix::new(dy, sizes.outputs, sizes.pixels()), unfolded);
                for (db, plane) in db.iter_mut().zip(dy.chunks_exact(sizes.pixels())) {
                    *db += super::real::sum_lanes(plane.len(), |i| plane[i]);
                }
            }
            (dw, db)
        })
        .collect();
    let mut dw = vec![T::zero(); sizes.outputs * sizes.taps()];
    let mut db = vec![T::zero(); sizes.outputs];
    for (group_dw, group_db) in partial {
        dw.iter_mut().zip(group_dw).for_each(|(sum, part)| *sum += part);
        db.iter_mut().zip(group_db).for_each(|(sum, part)| *sum += part);
    }
    (dw, db)
}

fn input_gradient<T: Real>(sizes: Sizes, weight: &[T], dy: &[T]) -> Vec<T> {
    let weight = Matrix::new(weight, sizes.outputs, sizes.taps()).transposed();
    let mut dx = vec![T::zero(); sizes.pictures * sizes.channels * sizes.pixels()];
    dx.par_chunks_exact_mut(sizes.channels * sizes.pixels())
        .zip(dy.par_chunks_exact(sizes.outputs * sizes.pixels()))
        .for_each_init(
            || vec![T::zero(); sizes.taps() * sizes.pixels()],
            |unfolded, (dx, dy)| {
                unfolded.fill(T::zero());
                add_product(unfolded, weight, Matrix::new(dy, sizes.outputs, sizes.pixels()));
                fold_add(sizes, unfolded, dx);
            },
        );
    dx
}

/// The parts of two rows that meet when a row is read `tap` columns from the left of a kernel centred on it: the range
/// of output columns, and where its input begins.
fn overlap(width: usize, kernel: usize, tap: usize) -> (std::ops::Range<usize>, usize) {
    let padding = kernel / 2;
    let first = padding.saturating_sub(tap).min(width);
    let last = (width + padding).saturating_sub(tap).clamp(first, width);
    (first..last, (first + tap).saturating_sub(padding))
}

/// Calls `f` with each row segment of the unfolded picture that lies inside the picture: its place there, its place in
/// the picture, and its length.
fn for_segments(sizes: Sizes, mut f: impl FnMut(usize, usize, usize)) {
    let Sizes { channels, height, width, kernel, .. } = sizes;
    for channel in 0..channels {
        for tap_y in 0..kernel {
            let (rows, first_input_row) = overlap(height, kernel, tap_y);
            for tap_x in 0..kernel {
                let (columns, first_input_column) = overlap(width, kernel, tap_x);
                let unfolded_plane = ((channel * kernel + tap_y) * kernel + tap_x) * height;
                for (row, input_row) in rows.clone().zip(first_input_row..) {
                    f(
                        (unfolded_plane + row) * width + columns.start,
                        (channel * height + input_row) * width + first_input_column,
                        columns.len(),
                    );
                }
            }
        }
    }
}

/// im2col: picture (C, H, W) to (C · K · K, H · W); what lies outside is 0 and must have been 0 before, or been written
/// by an earlier call with the same sizes.
fn unfold<T: Real>(sizes: Sizes, x: &[T], unfolded: &mut [T]) {
    for_segments(sizes, |to, from, len| unfolded[to..to + len].copy_from_slice(&x[from..from + len]));
}

/// The transpose of [`unfold`], added to `dx`.
fn fold_add<T: Real>(sizes: Sizes, unfolded: &[T], dx: &mut [T]) {
    for_segments(sizes, |from, to, len| {
        dx[to..to + len].iter_mut().zip(&unfolded[from..from + len]).for_each(|(dx, &part)| *dx += part);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, close, normal};
    use candle_core::Var;

    const SHAPES: [(usize, usize, usize, usize, usize, usize); 5] =
        [(2, 3, 8, 8, 4, 3), (1, 1, 1, 1, 1, 3), (9, 2, 5, 3, 3, 3), (3, 4, 4, 6, 2, 5), (17, 2, 3, 3, 5, 1)];

    #[test]
    fn equals_candle_forward() -> Result<()> {
        for (n, c, h, w, o, k) in SHAPES {
            let (x, weight, bias) = (normal(1, &[n, c, h, w]), normal(2, &[o, c, k, k]), normal(3, &[o]));
            let ours = conv2d_same(&x, &weight, &bias)?;
            let theirs = x.conv2d(&weight, k / 2, 1, 1, 1)?.broadcast_add(&bias.reshape((1, o, 1, 1))?)?;
            close(&ours, &theirs, 1e-12);
        }
        Ok(())
    }

    #[test]
    fn gradients_are_finite_differences() -> Result<()> {
        for (n, c, h, w, o, k) in SHAPES {
            let (x, weight, bias) = (normal(1, &[n, c, h, w]), normal(2, &[o, c, k, k]), normal(3, &[o]));
            assert_gradient(&x, |x| conv2d_same(x, &weight, &bias));
            assert_gradient(&weight, |weight| conv2d_same(&x, weight, &bias));
            assert_gradient(&bias, |bias| conv2d_same(&x, &weight, bias));
        }
        Ok(())
    }

    #[test]
    fn the_gradient_of_an_input_that_is_not_a_variable_is_not_computed() -> Result<()> {
        let x = normal(1, &[1, 2, 4, 4]);
        let weight = Var::from_tensor(&normal(2, &[3, 2, 3, 3]))?;
        let gradients = conv2d_same(&x, &weight, &normal(3, &[3]))?.sum_all()?.backward()?;
        assert!(gradients.get(&x).is_none());
        assert!(gradients.get(&weight).is_some());
        Ok(())
    }

    #[test]
    fn the_thread_count_changes_no_bit() -> Result<()> {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            pool.install(|| -> Result<Vec<f64>> {
                let x = Var::from_tensor(&normal(1, &[13, 3, 8, 8]))?;
                let weight = Var::from_tensor(&normal(2, &[4, 3, 3, 3]))?;
                let y = conv2d_same(&x, &weight, &normal(3, &[4]))?;
                let gradients = y.sqr()?.sum_all()?.backward()?;
                let mut all = y.flatten_all()?.to_vec1()?;
                for variable in [&x, &weight] {
                    all.extend(gradients.get(variable).expect("a gradient").flatten_all()?.to_vec1::<f64>()?);
                }
                Ok(all)
            })
        };
        assert_eq!(run(1)?, run(3)?);
        Ok(())
    }
}
