//! Batch normalisation over (N, H, W) of each channel (Ioffe and Szegedy 2015), as PyTorch's: the biased variance
//! normalises, the running estimate takes the unbiased one.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp3, DType, Layout, Result, Shape, Tensor, WithDType};
use rayon::prelude::*;

use super::float::{Float, elements, for_real, sum_lanes, with_elements};
use super::tape::{apply1, apply3};

/// Added to the variance.
pub const EPSILON: f64 = 1e-5;

/// What a batch says of each channel, for the running estimates.
pub struct BatchStatistics {
    /// (C)
    pub mean: Tensor,
    /// (C), unbiased.
    pub variance: Tensor,
}

/// `x` (N, C, H, W) normalised by its own statistics, scaled by `weight` (C) and shifted by `bias` (C).
pub fn batch_norm_train(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<(Tensor, BatchStatistics)> {
    if !x.device().is_cpu() {
        return composed_train(x, weight, bias);
    }
    let x = x.contiguous()?;
    for_real!(x.dtype(), "batch_norm", T => {
        let sizes = Sizes::new(x.shape())?;
        let (mean, variance) = with_elements(&x, |x: &[T]| Ok(statistics(sizes, x)))?;
        let unbiased = sizes.count() as f64 / (sizes.count() as f64 - 1.0).max(1.0);
        let of_channels = |values: Vec<T>| Tensor::from_vec(values, sizes.channels, x.device());
        let statistics = BatchStatistics {
            mean: of_channels(mean.iter().map(|&mean| T::from_f64(mean)).collect())?,
            variance: of_channels(variance.iter().map(|&variance| T::from_f64(variance * unbiased)).collect())?,
        };
        let inverse_deviation = variance.iter().map(|variance| 1.0 / (variance + EPSILON).sqrt()).collect();
        let y = apply3(&x, &weight.contiguous()?, &bias.contiguous()?, NormaliseBatch { mean, inverse_deviation })?;
        Ok((y, statistics))
    })
}

/// `x` (N, C, H, W) normalised by the running `mean` and `variance` (C). Differentiable in `x`; the parameters and
/// statistics count as constants.
pub fn batch_norm_evaluate(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
) -> Result<Tensor> {
    let (scale, shift) = evaluation_scale(weight, bias, mean, variance)?;
    if x.device().is_cpu() {
        let (scale, shift) = (of_channels(&scale)?, of_channels(&shift)?);
        return apply1(&x.contiguous()?, ScaleChannels { scale, shift });
    }
    x.broadcast_mul(&per_channel(&scale)?)?.broadcast_add(&per_channel(&shift)?)
}

/// What normalisation by running estimates multiplies each channel by, and then adds: constants, each (C).
pub fn evaluation_scale(weight: &Tensor, bias: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<(Tensor, Tensor)> {
    let scale = weight.detach().div(&(variance.detach() + EPSILON)?.sqrt()?)?;
    let shift = bias.detach().sub(&mean.detach().mul(&scale)?)?;
    Ok((scale, shift))
}

/// The numbers of a tensor (C).
pub fn of_channels(values: &Tensor) -> Result<Vec<f64>> {
    values.to_dtype(DType::F64)?.to_vec1()
}

fn per_channel(values: &Tensor) -> Result<Tensor> {
    values.reshape((1, values.elem_count(), 1, 1))
}

fn composed_train(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<(Tensor, BatchStatistics)> {
    let (images, channels, height, width) = x.dims4()?;
    let count = (images * height * width) as f64;
    let mean_of = |x: &Tensor| -> Result<Tensor> {
        x.transpose(0, 1)?.contiguous()?.reshape((channels, images * height * width))?.mean(1)
    };
    let mean = mean_of(x)?;
    let centred = x.broadcast_sub(&per_channel(&mean)?)?;
    let variance = mean_of(&centred.sqr()?)?;
    let deviation = (&variance + EPSILON)?.sqrt()?;
    let y = centred
        .broadcast_div(&per_channel(&deviation)?)?
        .broadcast_mul(&per_channel(weight)?)?
        .broadcast_add(&per_channel(bias)?)?;
    let variance = (variance.detach() * (count / (count - 1.0).max(1.0)))?;
    Ok((y, BatchStatistics { mean: mean.detach(), variance }))
}

#[derive(Clone, Copy)]
struct Sizes {
    images: usize,
    channels: usize,
    pixels: usize,
}

impl Sizes {
    fn new(x: &Shape) -> Result<Self> {
        let (images, channels, height, width) = x.dims4()?;
        Ok(Self { images, channels, pixels: height * width })
    }

    /// Elements of a channel.
    fn count(self) -> usize {
        self.images * self.pixels
    }

    /// The planes of a channel, one for each image.
    fn planes<T>(self, x: &[T], channel: usize) -> impl Iterator<Item = &[T]> {
        x.chunks_exact(self.pixels).skip(channel).step_by(self.channels)
    }
}

/// Mean and biased variance of each channel; planes are summed in T, their sums in f64.
fn statistics<T: Float>(sizes: Sizes, x: &[T]) -> (Vec<f64>, Vec<f64>) {
    (0..sizes.channels)
        .into_par_iter()
        .map(|channel| {
            let sum: f64 = sizes.planes(x, channel).map(|x| sum_lanes(x.len(), |i| x[i]).to_f64()).sum();
            let mean = sum / sizes.count() as f64;
            let centre = T::from_f64(mean);
            let squares: f64 = sizes
                .planes(x, channel)
                .map(|x| sum_lanes(x.len(), |i| (x[i] - centre) * (x[i] - centre)).to_f64())
                .sum();
            (mean, squares / sizes.count() as f64)
        })
        .unzip()
}

/// `x * scale + shift`, plane by plane.
fn scale_planes<T: Float>(sizes: Sizes, x: &[T], scale: impl Fn(usize) -> (T, T) + Sync) -> Vec<T> {
    let mut y = vec![T::zero(); x.len()];
    let planes = y.par_chunks_exact_mut(sizes.pixels).zip(x.par_chunks_exact(sizes.pixels)).enumerate();
    planes.for_each(|(plane, (y, x))| {
        let (scale, shift) = scale(plane % sizes.channels);
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = x * scale + shift);
    });
    y
}

struct NormaliseBatch {
    mean: Vec<f64>,
    /// 1 / √(variance + ε)
    inverse_deviation: Vec<f64>,
}

impl CustomOp3 for NormaliseBatch {
    fn name(&self) -> &'static str {
        "batch_norm"
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
        let sizes = Sizes::new(x_layout.shape())?;
        for_real!(x.dtype(), self.name(), T => {
            let weight: &[T] = elements(weight, weight_layout)?;
            let bias: &[T] = elements(bias, bias_layout)?;
            let y = scale_planes(sizes, elements(x, x_layout)?, |channel| {
                let scale = weight[channel].to_f64() * self.inverse_deviation[channel];
                (T::from_f64(scale), T::from_f64(bias[channel].to_f64() - self.mean[channel] * scale))
            });
            Ok((T::to_cpu_storage_owned(y), x_layout.shape().clone()))
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
        let sizes = Sizes::new(x.shape())?;
        for_real!(x.dtype(), self.name(), T => with_elements(x, |xs: &[T]| with_elements(y_gradient, |dy: &[T]| {
            let weights = weight.to_vec1::<T>()?;
            let (dx, dw, db) = self.gradients(sizes, xs, dy, &weights);
            Ok((
                Some(Tensor::from_vec(dx, x.shape(), x.device())?),
                Some(Tensor::from_vec(dw, weight.shape(), weight.device())?),
                Some(Tensor::from_vec(db, bias.shape(), bias.device())?),
            ))
        })))
    }
}

impl NormaliseBatch {
    /// Of x, weight and bias. With x̂ the normalised x: dx = w / σ · (dy − mean(dy) − x̂ · mean(dy · x̂)).
    fn gradients<T: Float>(&self, sizes: Sizes, x: &[T], dy: &[T], weight: &[T]) -> (Vec<T>, Vec<T>, Vec<T>) {
        let sums: Vec<(f64, f64)> = (0..sizes.channels)
            .into_par_iter()
            .map(|channel| {
                let centre = T::from_f64(self.mean[channel]);
                let (mut sum, mut sum_centred) = (0.0, 0.0);
                for (x, dy) in sizes.planes(x, channel).zip(sizes.planes(dy, channel)) {
                    sum += sum_lanes(dy.len(), |i| dy[i]).to_f64();
                    sum_centred += sum_lanes(dy.len(), |i| dy[i] * (x[i] - centre)).to_f64();
                }
                (sum, sum_centred * self.inverse_deviation[channel])
            })
            .collect();
        let mut dx = vec![T::zero(); x.len()];
        let planes = x.par_chunks_exact(sizes.pixels).zip(dy.par_chunks_exact(sizes.pixels));
        dx.par_chunks_exact_mut(sizes.pixels).zip(planes).enumerate().for_each(|(plane, (dx, (x, dy)))| {
            let channel = plane % sizes.channels;
            let (sum, sum_normalised) = sums[channel];
            let count = sizes.count() as f64;
            let inverse_deviation = self.inverse_deviation[channel];
            let scale = T::from_f64(weight[channel].to_f64() * inverse_deviation);
            let centre = T::from_f64(self.mean[channel]);
            let mean = T::from_f64(sum / count);
            let slope = T::from_f64(sum_normalised / count * inverse_deviation);
            dx.iter_mut()
                .zip(x.iter().zip(dy))
                .for_each(|(dx, (&x, &dy))| *dx = scale * (dy - mean - (x - centre) * slope));
        });
        let (db, dw) = sums.into_iter().map(|(sum, centred)| (T::from_f64(sum), T::from_f64(centred))).unzip();
        (dx, dw, db)
    }
}

/// `x * scale + shift` for each channel, with constant scale and shift.
struct ScaleChannels {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl CustomOp1 for ScaleChannels {
    fn name(&self) -> &'static str {
        "scale_channels"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(layout.shape())?;
        for_real!(x.dtype(), self.name(), T => {
            let y = scale_planes(sizes, elements(x, layout)?, |channel| {
                (T::from_f64(self.scale[channel]), T::from_f64(self.shift[channel]))
            });
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
        let sizes = Sizes::new(x.shape())?;
        for_real!(x.dtype(), self.name(), T => with_elements(y_gradient, |dy: &[T]| {
            let dx = scale_planes(sizes, dy, |channel| (T::from_f64(self.scale[channel]), T::from_f64(0.0)));
            Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, close, normal};

    const SHAPES: [[usize; 4]; 4] = [[2, 3, 4, 4], [7, 2, 3, 1], [1, 1, 3, 5], [16, 3, 1, 1]];

    fn parameters(channels: usize) -> (Tensor, Tensor) {
        (normal(5, &[channels]), normal(6, &[channels]))
    }

    #[test]
    fn gradients_are_finite_differences() {
        type Train = fn(&Tensor, &Tensor, &Tensor) -> Result<(Tensor, BatchStatistics)>;
        for shape in SHAPES {
            let x = normal(1, &shape).affine(2.0, 3.0).expect("an affine map");
            let (weight, bias) = parameters(shape[1]);
            for train in [batch_norm_train as Train, composed_train] {
                assert_gradient(&x, |x| Ok(train(x, &weight, &bias)?.0));
                assert_gradient(&weight, |weight| Ok(train(&x, weight, &bias)?.0));
                assert_gradient(&bias, |bias| Ok(train(&x, &weight, bias)?.0));
            }
            let (mean, variance) = (normal(7, &[shape[1]]), normal(8, &[shape[1]]).sqr().expect("a square"));
            assert_gradient(&x, |x| batch_norm_evaluate(x, &weight, &bias, &mean, &variance));
        }
    }

    #[test]
    fn composed_is_equal() -> Result<()> {
        for shape in SHAPES {
            let x = normal(1, &shape);
            let (weight, bias) = parameters(shape[1]);
            let (ours, our_statistics) = batch_norm_train(&x, &weight, &bias)?;
            let (composed, statistics) = composed_train(&x, &weight, &bias)?;
            close(&ours, &composed, 1e-12);
            close(&our_statistics.mean, &statistics.mean, 1e-12);
            close(&our_statistics.variance, &statistics.variance, 1e-12);
        }
        Ok(())
    }

    /// ```python
    /// x = torch.arange(12.).reshape(3, 2, 2, 1) ** 2 / 10
    /// bn = torch.nn.BatchNorm2d(2); bn.weight.data = torch.tensor([2., .5]); bn.bias.data = torch.tensor([-1., 1.])
    /// bn(x).flatten(); bn.running_mean; bn.running_var
    /// ```
    #[test]
    fn equals_pytorch() -> Result<()> {
        let x = (Tensor::arange(0.0f64, 12.0, &candle_core::Device::Cpu)?.sqr()? / 10.0)?.reshape((3, 2, 2, 1))?;
        let weight = Tensor::new(&[2.0f64, 0.5], x.device())?;
        let bias = Tensor::new(&[-1.0f64, 1.0], x.device())?;
        let (y, statistics) = batch_norm_train(&x, &weight, &bias)?;
        let expected = [
            -3.02044034,
            -2.95561337,
            0.43786183,
            0.49502844,
            -1.98320901,
            -1.39976633,
            0.80372804,
            0.95236123,
            1.12848508,
            2.23054361,
            1.53546047,
            1.77556014,
        ];
        close(&y.flatten_all()?, &Tensor::new(&expected, x.device())?, 1e-6);
        // PyTorch's running estimates after one step are 0.9 * (0, 1) + 0.1 * (mean, variance).
        close(&(statistics.mean * 0.1)?, &Tensor::new(&[0.3116667, 0.5316667], x.device())?, 1e-6);
        close(&((statistics.variance * 0.1)? + 0.9)?, &Tensor::new(&[2.04216671, 3.19496679], x.device())?, 1e-6);
        Ok(())
    }
}
