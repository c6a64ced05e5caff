//! Convolution without a bias at stride 1, that keeps the sides (an odd kernel), and the 2 × 2 max-pool after it where there
//! is one. Of a convolution that is pooled only the maxima and their positions are stored, a quarter of the numbers.

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::conv::{Convolution, Geometry, conv2d, geometry};
use super::custom_op::{OnSlices, SliceOp};
use super::float::has_f32_kernel;
use super::pool::max_pool;
use super::pool::window::{pool, unpool};
use super::pooled_buffer::PooledBuffer;
use super::tape::{apply2, is_differentiable};
use crate::config::Precision;
use crate::simd;

/// What follows a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterConvolution {
    Nothing,
    /// 2 × 2 with stride 2; an odd last row or column is left out, and of equal maxima the first takes the gradient.
    MaxPool,
}

/// `x` (N, H, W, C) with `weight` (O, C, K, K), K odd: (N, H, W, O), or (N, H / 2, W / 2, O).
///
/// # Errors
/// The sizes do not fit.
pub fn conv_pool(x: &Tensor, weight: &Tensor, after: AfterConvolution, precision: Precision) -> Result<Tensor> {
    let padding = weight.dim(2)? / 2;
    let geometry = geometry(x, weight, 1, padding)?;
    let Geometry { height, width, outputs, .. } = geometry;
    if after == AfterConvolution::MaxPool && (height < 2 || width < 2) {
        bail!("images of {height} x {width} pixels are too small to pool")
    }
    if !has_f32_kernel(x) {
        let y = conv2d(x, weight, &Tensor::zeros(outputs, x.dtype(), x.device())?, 1, padding)?;
        return match after {
            AfterConvolution::Nothing => Ok(y),
            AfterConvolution::MaxPool => max_pool(&y),
        };
    }
    let wants_x = is_differentiable(x);
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match after {
        AfterConvolution::Nothing => apply2(&x, &weight, OnSlices(Plain { geometry, precision, wants_x })),
        AfterConvolution::MaxPool => {
            apply2(&x, &weight, OnSlices(Pooled { geometry, precision, wants_x, positions: Mutex::default() }))
        }
    }
}

struct Plain {
    geometry: Geometry,
    precision: Precision,
    /// Whether the gradient of the input is needed.
    wants_x: bool,
}

impl SliceOp<2> for Plain {
    const NAME: &'static str = "conv";

    fn forward(&self, [x, weight]: [&[f32]; 2]) -> Result<(Vec<f32>, Shape)> {
        let geometry = self.geometry;
        let images = x.len() / geometry.image();
        let mut y = vec![0.0; images * geometry.out_image()];
        let zeros = vec![0.0; geometry.outputs];
        Convolution::new(geometry, self.precision)?.forward_batch(x, weight, &zeros, &mut y, |_| Ok(()))?;
        Ok((y, Shape::from((images, geometry.out_height(), geometry.out_width(), geometry.outputs))))
    }

    fn backward(&self, [x, weight]: [&[f32]; 2], dy: &[f32]) -> Result<[Option<Vec<f32>>; 2]> {
        let image = self.geometry.out_image();
        let gradients =
            Convolution::new(self.geometry, self.precision)?.gradients(x, weight, self.wants_x, |number, out| {
                out.copy_from_slice(&dy[number * image..][..image]);
                Ok(())
            })?;
        Ok([gradients.x, Some(gradients.weight)])
    }
}

struct Pooled {
    geometry: Geometry,
    precision: Precision,
    /// Whether the gradient of the input is needed.
    wants_x: bool,
    /// The position of each maximum in its window, from the forward pass.
    positions: Mutex<Vec<u8>>,
}

impl Pooled {
    fn pooled_image(&self) -> usize {
        (self.geometry.height / 2) * (self.geometry.width / 2) * self.geometry.outputs
    }

    /// Of an image of the convolution's output.
    fn size(&self) -> [usize; 3] {
        [self.geometry.height, self.geometry.width, self.geometry.outputs]
    }

    /// The maxima and their positions.
    fn maxima(&self, x: &[f32], weight: &[f32]) -> Result<(Vec<f32>, Vec<u8>)> {
        let convolution = Convolution::new(self.geometry, self.precision)?;
        let (weight, zeros) = (convolution.pack_weight(weight)?, vec![0.0; self.geometry.outputs]);
        let at_once = convolution.images_at_once();
        let (image, out_image, pooled_image) = (self.geometry.image(), self.geometry.out_image(), self.pooled_image());
        let mut out = vec![0.0; x.len() / image * pooled_image];
        let mut positions = vec![0; out.len()];
        out.par_chunks_mut(at_once * pooled_image)
            .zip(positions.par_chunks_mut(at_once * pooled_image))
            .zip(x.par_chunks(at_once * image))
            .try_for_each_init(
                || (convolution.padded(at_once), PooledBuffer::stale(at_once * out_image)),
                |(padded, y), ((out, positions), x)| {
                    let y = &mut y[..x.len() / image * out_image];
                    convolution.pad(x, padded);
                    convolution.forward(padded, &weight, &zeros, y)?;
                    let maxima = out.chunks_exact_mut(pooled_image).zip(positions.chunks_exact_mut(pooled_image));
                    for (y, (out, positions)) in y.chunks_exact(out_image).zip(maxima) {
                        simd::vectorized(
                            #[inline(always)]
                            || pool(y, self.size(), out, positions),
                        )?;
                    }
                    Ok::<(), candle_core::Error>(())
                },
            )?;
        Ok((out, positions))
    }
}

impl SliceOp<2> for Pooled {
    const NAME: &'static str = "conv_pool";

    fn forward(&self, [x, weight]: [&[f32]; 2]) -> Result<(Vec<f32>, Shape)> {
        let (out, positions) = self.maxima(x, weight)?;
        *self.positions.lock().unwrap_or_else(PoisonError::into_inner) = positions;
        let Geometry { height, width, outputs, .. } = self.geometry;
        let shape = Shape::from((out.len() / self.pooled_image(), height / 2, width / 2, outputs));
        Ok((out, shape))
    }

    fn backward(&self, [x, weight]: [&[f32]; 2], dy: &[f32]) -> Result<[Option<Vec<f32>>; 2]> {
        let positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled_image = self.pooled_image();
        let has_unpooled = self.geometry.height % 2 + self.geometry.width % 2 > 0;
        let gradients =
            Convolution::new(self.geometry, self.precision)?.gradients(x, weight, self.wants_x, |number, out| {
                let maxima = number * pooled_image..(number + 1) * pooled_image;
                if has_unpooled {
                    out.fill(0.0);
                }
                simd::vectorized(
                    #[inline(always)]
                    || unpool(&dy[maxima.clone()], &positions[maxima], self.size(), out),
                )
            })?;
        Ok([gradients.x, Some(gradients.weight)])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::check_precision;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use crate::ops::reference::{Arguments, bits_on_threads, equals_f64, real, tensor, whole, with_gradients};

    const BOTH: [AfterConvolution; 2] = [AfterConvolution::Nothing, AfterConvolution::MaxPool];

    /// Exact, so that ties are.
    fn arguments([n, h, w, c]: [usize; 4], outputs: usize, kernel: usize) -> [Tensor; 2] {
        [
            tensor(whole(1, n * h * w * c), &[n, h, w, c]),
            tensor(whole(2, outputs * c * kernel * kernel), &[outputs, c, kernel, kernel]),
        ]
    }

    proptest! {
        #![proptest_config(crate::testing::property(48))]
        #[test]
        fn equals_the_separate_operations(
            (n, h, w, c) in (1..20usize, 2..10usize, 2..10usize, 1..9usize),
            outputs in 1..40usize,
            half in 0..3usize,
        ) {
            let exact = arguments([n, h, w, c], outputs, 2 * half + 1);
            for after in BOTH {
                equals_f64(Arguments { exact: &exact, ..Arguments::default() }, |a| conv_pool(&a[0], &a[1], after, Precision::F32))?;
            }
        }
    }

    #[test]
    fn the_gradients_on_other_devices_are_finite_differences() {
        let (x, weight) = (normal(1, &[2, 5, 4, 3]), normal(2, &[4, 3, 3, 3]));
        for after in BOTH {
            assert_gradient(&x, |x| conv_pool(x, &weight, after, Precision::F32));
            assert_gradient(&weight, |weight| conv_pool(&x, weight, after, Precision::F32));
        }
    }

    #[test]
    fn the_first_of_equal_maxima_takes_the_gradient_and_what_is_left_out_none() -> Result<()> {
        // The identity of one channel; the last column is in no window.
        let x = tensor(vec![-1.0, -1.0, 7.0, -2.0, -1.0, 7.0], &[1, 2, 3, 1]);
        let weight = tensor(vec![1.0], &[1, 1, 1, 1]);
        let (y, gradients) = with_gradients(&[x], &tensor(vec![3.0], &[1, 1, 1, 1]), |x| {
            conv_pool(&x[0], &weight, AfterConvolution::MaxPool, Precision::F32)
        })?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [-1.0]);
        assert_eq!(gradients[0].flatten_all()?.to_vec1::<f32>()?, [3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_nan_is_seen_and_images_without_a_window_are_refused() -> Result<()> {
        let [x, weight] = arguments([1, 4, 4, 2], 3, 3);
        let y = conv_pool(&(x * f64::NAN)?, &weight, AfterConvolution::MaxPool, Precision::F32)?;
        assert!(y.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_nan()));
        let [x, weight] = arguments([1, 1, 4, 2], 3, 3);
        assert!(conv_pool(&x, &weight, AfterConvolution::MaxPool, Precision::F32).is_err());
        assert_eq!(conv_pool(&x, &weight, AfterConvolution::Nothing, Precision::F32)?.dims(), [1, 1, 4, 3]);
        Ok(())
    }

    #[test]
    fn no_bit_depends_on_the_number_of_threads() -> Result<()> {
        // By either algorithm, and in bf16 where there is.
        let precisions = [Precision::F32, Precision::Bf16].into_iter().filter(|&p| check_precision(p).is_ok());
        let cases = precisions.flat_map(|p| [(7, 5, 20, p), (8, 32, 32, p), (9, 32, 32, p)]);
        for (side, channels, outputs, precision) in cases {
            let shape = [21, side, side, channels];
            let arguments = [
                tensor(real(1, shape.iter().product()), &shape),
                tensor(real(2, outputs * channels * 9), &[outputs, channels, 3, 3]),
            ];
            let half = side / 2;
            let gradient = tensor(real(6, 21 * half * half * outputs), &[21, half, half, outputs]);
            let f = |a: &[Tensor]| conv_pool(&a[0], &a[1], AfterConvolution::MaxPool, precision);
            let bits = |threads| bits_on_threads(threads, &arguments, &gradient, f);
            let of_one = bits(1)?;
            assert!(of_one == bits(2)? && of_one == bits(5)?, "{side} {precision:?}");
        }
        Ok(())
    }
}
