//! Convolution → batch normalisation → ReLU → 2 × 2 max-pool as one operation, on channels-last pictures.
//!
//! Apart, the three that follow the convolution cost as much as it does, all of it memory traffic. Together they read its
//! output once: for each maximum they keep its place and the value there, and the gradient of the convolution's output
//! exists for one picture at a time, in the cache, where the convolution's gradients consume it.
//!
//! Batch normalisation (Ioffe and Szegedy 2015) as PyTorch's; where maxima tie the first takes the gradient; ReLU's gradient
//! at 0 is 0.

mod picture;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::batch_norm::{BatchStatistics, EPSILON, batch_norm_evaluate, batch_norm_train};
use super::buffer::{Buffer, pieces};
use super::conv::{conv2d, geometry};
use super::convolution::Convolution;
use super::geometry::Geometry;
use super::pool::max_pool_2x2;
use super::real::{elements, has_f32_kernel, with_elements};
use super::relu::relu;
use super::simd;
use picture::{
    DEAD, GradientTerms, Maxima, MeanGradient, Moments, Normalisation, Rectified, gradient_sums, normalise_and_pool,
    normalise_and_pool_only, output_gradient, rectified_means,
};

/// The parameters of a block.
#[derive(Clone, Copy)]
pub struct BlockParameters<'a> {
    /// (O, C, K, K), K odd.
    pub weight: &'a Tensor,
    /// (O), as the two that follow.
    pub bias: &'a Tensor,
    pub norm_weight: &'a Tensor,
    pub norm_bias: &'a Tensor,
}

/// What is wanted of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockOutputs {
    Pooled,
    /// For attention to channels, which needs the mean of each before the pool. A positive factor for each channel may
    /// follow the pool, for it commutes with the maximum.
    PooledAndMeans,
}

pub struct BlockOutput {
    /// (N, H / 2, W / 2, O)
    pub pooled: Tensor,
    /// The mean of each channel after ReLU and before the pool, (N, O), where it is wanted.
    pub channel_means: Option<Tensor>,
}

/// `x` (N, H, W, C) through a block that normalises with the statistics of the batch.
pub fn conv_block_train(
    x: &Tensor,
    parameters: BlockParameters,
    outputs: BlockOutputs,
) -> Result<(BlockOutput, BatchStatistics)> {
    if !has_f32_kernel(x) {
        let (y, statistics) = batch_norm_train(&planes(x, parameters)?, parameters.norm_weight, parameters.norm_bias)?;
        return Ok((rectify_and_pool(&y, outputs)?, statistics));
    }
    let measured = Arc::new(OnceLock::new());
    let output = apply(x, parameters, outputs, Statistics::OfBatch(Arc::clone(&measured)))?;
    let measured = measured.get().expect("the forward pass has measured the batch");
    let unbiased = measured.count / (measured.count - 1.0).max(1.0);
    let of_channels = |values: &[f64], factor: f64| {
        let values: Vec<f32> = values.iter().map(|value| (value * factor) as f32).collect();
        Tensor::from_vec(values, measured.mean.len(), x.device())
    };
    let statistics = BatchStatistics {
        mean: of_channels(&measured.mean, 1.0)?,
        variance: of_channels(&measured.variance, unbiased)?,
    };
    Ok((output, statistics))
}

/// `x` (N, H, W, C) through a block that normalises with running estimates (O).
pub fn conv_block_evaluate(
    x: &Tensor,
    parameters: BlockParameters,
    outputs: BlockOutputs,
    mean: &Tensor,
    variance: &Tensor,
) -> Result<BlockOutput> {
    if !has_f32_kernel(x) {
        let y = planes(x, parameters)?;
        let y = batch_norm_evaluate(&y, parameters.norm_weight, parameters.norm_bias, mean, variance)?;
        return rectify_and_pool(&y, outputs);
    }
    let of_channels = |values: &Tensor| values.to_dtype(DType::F64)?.to_vec1::<f64>();
    let running = ChannelStatistics { count: 0.0, mean: of_channels(mean)?, variance: of_channels(variance)? };
    apply(x, parameters, outputs, Statistics::Running(running))
}

/// The convolution alone, (N, O, H, W), for what follows it apart.
fn planes(x: &Tensor, parameters: BlockParameters) -> Result<Tensor> {
    let padding = parameters.weight.dim(2)? / 2;
    conv2d(x, parameters.weight, parameters.bias, 1, padding)?.permute((0, 3, 1, 2))?.contiguous()
}

/// `y` (N, O, H, W) rectified and pooled; an odd row or column is left out of the pool.
fn rectify_and_pool(y: &Tensor, outputs: BlockOutputs) -> Result<BlockOutput> {
    let (_, _, height, width) = y.dims4()?;
    let rectified = relu(y)?;
    let channel_means = match outputs {
        BlockOutputs::Pooled => None,
        BlockOutputs::PooledAndMeans => Some(rectified.mean((2, 3))?),
    };
    let whole_windows = rectified.narrow(2, 0, height / 2 * 2)?.narrow(3, 0, width / 2 * 2)?.contiguous()?;
    let pooled = max_pool_2x2(&whole_windows)?.permute((0, 2, 3, 1))?.contiguous()?;
    Ok(BlockOutput { pooled, channel_means })
}

fn apply(
    x: &Tensor,
    parameters: BlockParameters,
    outputs: BlockOutputs,
    statistics: Statistics,
) -> Result<BlockOutput> {
    let BlockParameters { weight, bias, norm_weight, norm_bias } = parameters;
    let geometry = geometry(x, weight, 1, weight.dim(2)? / 2)?;
    if geometry.height < 2 || geometry.width < 2 {
        bail!("pictures of {} x {} pixels are too small to pool", geometry.height, geometry.width)
    }
    // candle's operations take three tensors at most, and give one.
    let of_channels = Tensor::stack(&[bias, norm_weight, norm_bias], 0)?;
    let block = ConvBlock { geometry, outputs, statistics, kept: Mutex::new(None) };
    let pictures = x.dim(0)?;
    let (pooled_picture, channels) = (block.pooled_picture(), geometry.outputs);
    let flat = x.contiguous()?.apply_op3(&weight.contiguous()?, &of_channels, block)?;
    let shape = (pictures, geometry.height / 2, geometry.width / 2, channels);
    Ok(match outputs {
        BlockOutputs::Pooled => BlockOutput { pooled: flat.reshape(shape)?, channel_means: None },
        BlockOutputs::PooledAndMeans => BlockOutput {
            pooled: flat.narrow(0, 0, pictures * pooled_picture)?.reshape(shape)?,
            channel_means: Some(
                flat.narrow(0, pictures * pooled_picture, pictures * channels)?.reshape((pictures, channels))?,
            ),
        },
    })
}

/// Mean and biased variance of each channel.
#[derive(Debug)]
struct ChannelStatistics {
    /// Numbers in each channel of the batch.
    count: f64,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

enum Statistics {
    /// Measured by the forward pass.
    OfBatch(Arc<OnceLock<ChannelStatistics>>),
    Running(ChannelStatistics),
}

/// Gives the pooled pictures one after another, and then the means, where they are wanted.
struct ConvBlock {
    geometry: Geometry,
    outputs: BlockOutputs,
    statistics: Statistics,
    kept: Mutex<Option<Kept>>,
}

/// What the backward pass needs of the forward pass.
struct Kept {
    /// The convolution's output, (N, H, W, O).
    y: Buffer,
    pooled: Pooled,
    /// Where means are wanted, of each picture and channel (N, O): the pixels above 0 once normalised,
    counts: Vec<f32>,
    /// and the sum of the convolution's output less its mean over these.
    centred: Vec<f32>,
}

/// Of each maximum, (N, H / 2, W / 2, O):
struct Pooled {
    /// its place in its window, row by row, or [`DEAD`];
    places: Vec<u8>,
    /// the convolution's output there.
    values: Buffer,
}

impl Normalisation {
    fn new(statistics: &ChannelStatistics, norm_weight: &[f32], norm_bias: &[f32]) -> Self {
        let deviations = statistics.variance.iter().map(|variance| (variance + EPSILON).sqrt());
        Self {
            mean: statistics.mean.iter().map(|&mean| mean as f32).collect(),
            scale: norm_weight
                .iter()
                .zip(deviations)
                .map(|(&w, deviation)| (f64::from(w) / deviation) as f32)
                .collect(),
            shift: norm_bias.to_vec(),
        }
    }
}

impl ConvBlock {
    fn pooled_picture(&self) -> usize {
        (self.geometry.height / 2) * (self.geometry.width / 2) * self.geometry.outputs
    }

    fn of_channels<'a>(&self, of_channels: &'a [f32]) -> [&'a [f32]; 3] {
        let (bias, rest) = of_channels.split_at(self.geometry.outputs);
        let (norm_weight, norm_bias) = rest.split_at(self.geometry.outputs);
        [bias, norm_weight, norm_bias]
    }

    /// The output, and what a backward pass needs.
    fn forward_and_keep(&self, x: &[f32], weight: &[f32], of_channels: &[f32]) -> Result<(Vec<f32>, Kept)> {
        let [bias, norm_weight, norm_bias] = self.of_channels(of_channels);
        let channels = self.geometry.outputs;
        let measures = matches!(self.statistics, Statistics::OfBatch(_));
        let mut y = Buffer::stale(x.len() / self.geometry.picture() * self.geometry.out_picture());
        let moments = Convolution::new(self.geometry)?.forward_batch(x, weight, bias, &mut y, |y| {
            if measures {
                simd::vectorized(
                    #[inline(always)]
                    || Moments::of(y, channels),
                )
                .map(Some)
            } else {
                Ok(None)
            }
        })?;
        let normalisation = match &self.statistics {
            Statistics::Running(running) => Normalisation::new(running, norm_weight, norm_bias),
            Statistics::OfBatch(measured) => {
                let moments: Vec<Moments> = moments.into_iter().flatten().collect();
                let statistics = measured.get_or_init(|| merge(&moments, self.geometry.out_pixels(), channels));
                Normalisation::new(statistics, norm_weight, norm_bias)
            }
        };
        let pictures = y.len() / self.geometry.out_picture();
        let elements = pictures * self.pooled_picture();
        let mean_picture = self.mean_picture();
        let mut out = vec![0.0; elements + pictures * mean_picture];
        let (out_pooled, out_means) = out.split_at_mut(elements);
        let mut pooled = Pooled { places: vec![DEAD; elements], values: Buffer::stale(elements) };
        let mut counts = vec![0.0; pictures * mean_picture];
        let mut centred = vec![0.0; pictures * mean_picture];
        let maxima = out_pooled
            .par_chunks_exact_mut(self.pooled_picture())
            .zip(pooled.places.par_chunks_exact_mut(self.pooled_picture()))
            .zip(pooled.values.par_chunks_exact_mut(self.pooled_picture()))
            .map(|((out, places), values)| Maxima { out, places, values });
        let rectified = pieces(out_means, mean_picture, pictures)
            .zip(pieces(&mut counts, mean_picture, pictures))
            .zip(pieces(&mut centred, mean_picture, pictures))
            .map(|((means, counts), centred)| Rectified { means, counts, centred });
        let of_pictures = maxima.zip(rectified).zip(y.par_chunks_exact(self.geometry.out_picture()));
        of_pictures
            .try_for_each(|((maxima, rectified), y)| self.finish_picture(y, &normalisation, maxima, rectified))?;
        Ok((out, Kept { y, pooled, counts, centred }))
    }

    /// Elements of the means of one picture.
    fn mean_picture(&self) -> usize {
        match self.outputs {
            BlockOutputs::Pooled => 0,
            BlockOutputs::PooledAndMeans => self.geometry.outputs,
        }
    }

    /// What follows the convolution of a picture.
    fn finish_picture(
        &self,
        y: &[f32],
        normalisation: &Normalisation,
        maxima: Maxima,
        rectified: Rectified,
    ) -> Result<()> {
        simd::vectorized(
            #[inline(always)]
            || {
                normalise_and_pool(y, self.geometry.width, normalisation, maxima);
                if self.outputs == BlockOutputs::PooledAndMeans {
                    rectified_means(y, normalisation, rectified);
                }
            },
        )
    }

    /// The output alone: evaluation needs neither the convolution's output nor the places of the maxima.
    fn forward_only(
        &self,
        running: &ChannelStatistics,
        x: &[f32],
        weight: &[f32],
        of_channels: &[f32],
    ) -> Result<Vec<f32>> {
        let [bias, norm_weight, norm_bias] = self.of_channels(of_channels);
        let normalisation = Normalisation::new(running, norm_weight, norm_bias);
        let channels = self.geometry.outputs;
        let convolution = Convolution::new(self.geometry)?;
        let weight = convolution.pack_weight(weight)?;
        let at_once = convolution.pictures_at_once();
        let (picture, out_picture) = (self.geometry.picture(), self.geometry.out_picture());
        let (pooled_picture, mean_picture) = (self.pooled_picture(), self.mean_picture());
        let pictures = x.len() / picture;
        let mut out = vec![0.0; pictures * (pooled_picture + mean_picture)];
        let (pooled, means) = out.split_at_mut(pictures * pooled_picture);
        let groups = pooled
            .par_chunks_mut(at_once * pooled_picture)
            .zip(pieces(means, at_once * mean_picture, pictures.div_ceil(at_once)))
            .zip(x.par_chunks(at_once * picture));
        groups.try_for_each_init(
            || (Buffer::zeros(at_once * self.geometry.padded_len()), Buffer::stale(at_once * out_picture)),
            |(padded, y), ((pooled, means), x)| {
                let y = &mut y[..x.len() / picture * out_picture];
                self.geometry.pad(x, padded);
                convolution.forward(padded, &weight, bias, y)?;
                let pictures = y.chunks_exact(out_picture).zip(pooled.chunks_exact_mut(pooled_picture));
                let mut means = means.chunks_exact_mut(channels);
                for (y, pooled) in pictures {
                    let means = means.next();
                    simd::vectorized(
                        #[inline(always)]
                        || {
                            normalise_and_pool_only(y, self.geometry.width, &normalisation, pooled);
                            if let Some(means) = means {
                                let (counts, centred) = (&mut vec![0.0; channels], &mut vec![0.0; channels]);
                                rectified_means(y, &normalisation, Rectified { means, counts, centred });
                            }
                        },
                    )?;
                }
                Ok::<(), candle_core::Error>(())
            },
        )?;
        Ok(out)
    }
}

impl CustomOp3 for ConvBlock {
    fn name(&self) -> &'static str {
        "conv_block"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        of_channels: &CpuStorage,
        of_channels_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (elements::<f32>(x, x_layout)?, elements::<f32>(weight, weight_layout)?);
        let of_channels = elements::<f32>(of_channels, of_channels_layout)?;
        let out = match &self.statistics {
            Statistics::Running(running) => self.forward_only(running, x, weight, of_channels)?,
            Statistics::OfBatch(_) => {
                let (out, kept) = self.forward_and_keep(x, weight, of_channels)?;
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                out
            }
        };
        let shape = Shape::from(out.len());
        Ok((CpuStorage::F32(out), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        of_channels: &Tensor,
        _out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let gradients = with_elements(x, |x_values: &[f32]| {
            with_elements(weight, |weight: &[f32]| {
                with_elements(of_channels, |of_channels: &[f32]| {
                    if kept.is_none() {
                        *kept = Some(self.forward_and_keep(x_values, weight, of_channels)?.1);
                    }
                    let kept = kept.as_ref().expect("kept just now");
                    with_elements(gradient, |gradient: &[f32]| {
                        self.backward(kept, x_values, weight, of_channels, gradient, x.track_op())
                    })
                })
            })
        })?;
        let dx = gradients.x.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
        let dw = Tensor::from_vec(gradients.weight, weight.shape(), weight.device())?;
        let d_of_channels = Tensor::from_vec(gradients.of_channels, of_channels.shape(), of_channels.device())?;
        Ok((dx, Some(dw), Some(d_of_channels)))
    }
}

struct BlockGradients {
    x: Option<Vec<f32>>,
    weight: Vec<f32>,
    /// Of bias, norm weight and norm bias.
    of_channels: Vec<f32>,
}

impl ConvBlock {
    fn backward(
        &self,
        kept: &Kept,
        x: &[f32],
        weight: &[f32],
        of_channels: &[f32],
        gradient: &[f32],
        wants_x: bool,
    ) -> Result<BlockGradients> {
        let channels = self.geometry.outputs;
        let [_, norm_weight, norm_bias] = self.of_channels(of_channels);
        let statistics = match &self.statistics {
            Statistics::Running(running) => running,
            Statistics::OfBatch(measured) => measured.get().expect("the forward pass has measured the batch"),
        };
        let normalisation = Normalisation::new(statistics, norm_weight, norm_bias);
        let pooled = &kept.pooled;
        let (gradient, mean_gradient) = gradient.split_at(pooled.places.len());
        // Each pixel of a channel has its share of the gradient of the mean.
        let pixels = self.geometry.out_pixels() as f32;
        let shares: Vec<f32> = mean_gradient.iter().map(|gradient| gradient / pixels).collect();
        let mut sums = self.sum_gradient(pooled, gradient, &normalisation.mean)?;
        for (place, share) in shares.iter().enumerate() {
            sums.plain[place % channels] += f64::from(share * kept.counts[place]);
            sums.with_centred[place % channels] += f64::from(share * kept.centred[place]);
        }

        // dy = scale · (dz - mean(dz) - ŷ · mean(dz · ŷ)) with z the normalised output (Ioffe and Szegedy 2015, section 3);
        // running estimates are constants, and leave dy = scale · dz.
        let mut terms = GradientTerms { scale: vec![], slope: vec![], offset: vec![], mean: &normalisation.mean };
        let mut d_of_channels = vec![0.0; 3 * channels];
        for channel in 0..channels {
            let inverse_deviation = 1.0 / (statistics.variance[channel] + EPSILON).sqrt();
            let scale = f64::from(norm_weight[channel]) * inverse_deviation;
            let d_norm_weight = sums.with_centred[channel] * inverse_deviation;
            terms.scale.push(scale as f32);
            match self.statistics {
                Statistics::OfBatch(_) => {
                    let slope = -scale * inverse_deviation * d_norm_weight / statistics.count;
                    terms.slope.push(slope as f32);
                    terms.offset.push((-scale * sums.plain[channel] / statistics.count) as f32);
                    // The bias: normalisation subtracts whatever it adds, so its gradient is exactly 0.
                }
                Statistics::Running(_) => {
                    terms.slope.push(0.0);
                    terms.offset.push(0.0);
                    d_of_channels[channel] = (scale * sums.plain[channel]) as f32;
                }
            }
            d_of_channels[channels + channel] = d_norm_weight as f32;
            d_of_channels[2 * channels + channel] = sums.plain[channel] as f32;
        }

        let (picture, pooled_picture) = (self.geometry.out_picture(), self.pooled_picture());
        let gradients = Convolution::new(self.geometry)?.gradients(x, weight, wants_x, |number, dy| {
            let y = &kept.y[number * picture..][..picture];
            let places = &pooled.places[number * pooled_picture..][..pooled_picture];
            let gradient = &gradient[number * pooled_picture..][..pooled_picture];
            let share = shares.chunks_exact(channels).nth(number);
            let of_mean = share.map(|share| MeanGradient { share, normalisation: &normalisation });
            simd::vectorized(
                #[inline(always)]
                || output_gradient(y, self.geometry.width, &terms, gradient, places, of_mean, dy),
            )
        })?;
        Ok(BlockGradients { x: gradients.x, weight: gradients.weight, of_channels: d_of_channels })
    }

    fn sum_gradient(&self, pooled: &Pooled, gradient: &[f32], mean: &[f32]) -> Result<GradientSums> {
        let channels = self.geometry.outputs;
        let mut total = GradientSums { plain: vec![0.0; channels], with_centred: vec![0.0; channels] };
        let of_pictures = gradient
            .par_chunks_exact(self.pooled_picture())
            .zip(pooled.places.par_chunks_exact(self.pooled_picture()))
            .zip(pooled.values.par_chunks_exact(self.pooled_picture()))
            .map(|((gradient, places), values)| {
                simd::vectorized(
                    #[inline(always)]
                    || gradient_sums(gradient, places, values, mean),
                )
            })
            .collect::<Result<Vec<_>>>()?;
        // In order, so that the number of threads does not change the rounding.
        for (plain, with_centred) in of_pictures {
            total.plain.iter_mut().zip(plain).for_each(|(total, sum)| *total += f64::from(sum));
            total.with_centred.iter_mut().zip(with_centred).for_each(|(total, sum)| *total += f64::from(sum));
        }
        Ok(total)
    }
}

/// Over the maxima of a batch, of each channel: the sum of the gradient, and of its product with the convolution's output
/// less its mean.
struct GradientSums {
    plain: Vec<f64>,
    with_centred: Vec<f64>,
}

/// The moments of pictures of equal size put together (Chan et al. 1979), in order.
fn merge(pictures: &[Moments], pixels: usize, channels: usize) -> ChannelStatistics {
    let count = (pictures.len() * pixels) as f64;
    let mut merged = ChannelStatistics { count, mean: vec![0.0; channels], variance: vec![0.0; channels] };
    for channel in 0..channels {
        let means = || pictures.iter().map(|picture| f64::from(picture.mean[channel]));
        let mean = means().sum::<f64>() / pictures.len() as f64;
        let within: f64 = pictures.iter().map(|picture| f64::from(picture.squares[channel])).sum();
        let between: f64 = means().map(|of_picture| (of_picture - mean) * (of_picture - mean)).sum();
        merged.mean[channel] = mean;
        merged.variance[channel] = (within + between * pixels as f64) / count;
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::reference::{real, relative_error, tensor, whole, with_gradients};

    fn parameters(arguments: &[Tensor]) -> BlockParameters<'_> {
        let [_, weight, bias, norm_weight, norm_bias] = arguments else { unreachable!("five arguments") };
        BlockParameters { weight, bias, norm_weight, norm_bias }
    }

    /// The arguments of a block whose convolution is exact, so that ties are, and what it is differentiated with.
    fn arguments(shape: [usize; 4], outputs: usize, kernel: usize) -> (Vec<Tensor>, Tensor) {
        let [pictures, height, width, channels] = shape;
        let arguments = vec![
            tensor(whole(1, shape.iter().product()), &shape),
            tensor(whole(2, outputs * channels * kernel * kernel), &[outputs, channels, kernel, kernel]),
            tensor(whole(3, outputs), &[outputs]),
            tensor(real(4, outputs), &[outputs]),
            tensor(real(5, outputs), &[outputs]),
        ];
        let pooled = [pictures, height / 2, width / 2, outputs];
        (arguments, tensor(real(6, pooled.iter().product()), &pooled))
    }

    /// Compares a block with the separate operations in f64, whose gradients are checked by finite differences.
    fn check(
        arguments: &[Tensor],
        output_gradient: &Tensor,
        block: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<()> {
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let values = |tensor: &Tensor| double(tensor)?.flatten_all()?.to_vec1::<f64>();
        let (ours, our_gradients) = with_gradients(arguments, output_gradient, &block)?;
        let arguments: Vec<Tensor> = arguments.iter().map(double).collect::<Result<_>>()?;
        let (expected, gradients) = with_gradients(&arguments, &double(output_gradient)?, &block)?;
        let error = relative_error(&ours, &values(&expected)?)?;
        assert!(error <= 1e-5, "the output: {error:.1e}");
        for (place, (ours, expected)) in our_gradients.iter().zip(&gradients).enumerate() {
            let expected = values(expected)?;
            let error = relative_error(ours, &expected)?;
            // The gradient of a bias before normalisation is 0: f64 leaves some 1e-16 of rounding, ours nothing.
            let is_zero =
                expected.iter().all(|value| value.abs() < 1e-9) && values(ours)?.iter().all(|&value| value == 0.0);
            assert!(error <= 1e-5 || is_zero, "gradient {place}: {error:.1e}");
        }
        Ok(())
    }

    /// Everything that a block gives, one after another.
    fn joined(output: &BlockOutput) -> Result<Tensor> {
        let pooled = output.pooled.flatten_all()?;
        match &output.channel_means {
            None => Ok(pooled),
            Some(means) => Tensor::cat(&[pooled, means.flatten_all()?], 0),
        }
    }

    /// What is wanted of a block, and a gradient of it.
    fn wanted(means: bool, gradient: Tensor, shape: &[usize; 4], outputs: usize) -> (BlockOutputs, Tensor) {
        let gradient = gradient.flatten_all().expect("one dimension");
        if !means {
            return (BlockOutputs::Pooled, gradient);
        }
        // As great as that of the pooled, of which there are fewer than pixels.
        let of_means = real(10, shape[0] * outputs).into_iter().map(|value| 8.0 * value).collect();
        let of_means = tensor(of_means, &[shape[0] * outputs]);
        (BlockOutputs::PooledAndMeans, Tensor::cat(&[gradient, of_means], 0).expect("one dimension"))
    }

    /// Of two channels at least: after a weight alone, whose scale normalisation undoes, a gradient is but rounding.
    fn shapes() -> impl Strategy<Value = ([usize; 4], usize, usize)> {
        ((1..20usize, 2..10usize, 2..10usize, 2..9usize), 1..40usize, 0..3usize)
            .prop_map(|((n, h, w, c), outputs, half)| ([n, h, w, c], outputs, 2 * half + 1))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn equals_the_separate_operations_in_training((shape, outputs, kernel) in shapes(), means: bool) {
            let (arguments, gradient) = arguments(shape, outputs, kernel);
            let (outputs_wanted, gradient) = wanted(means, gradient, &shape, outputs);
            check(&arguments, &gradient, |arguments| {
                joined(&conv_block_train(&arguments[0], parameters(arguments), outputs_wanted)?.0)
            }).unwrap();
        }

        #[test]
        fn equals_the_separate_operations_in_evaluation((shape, outputs, kernel) in shapes(), means: bool) {
            let (arguments, gradient) = arguments(shape, outputs, kernel);
            let (outputs_wanted, gradient) = wanted(means, gradient, &shape, outputs);
            let (mean, variance) = (tensor(real(7, outputs), &[outputs]), tensor(real(8, outputs), &[outputs]).sqr().unwrap());
            // The separate operations take the parameters of the normalisation for constants.
            check(&arguments[..3], &gradient, |variables| {
                let dtype = variables[0].dtype();
                let constants: Vec<Tensor> = arguments[3..].iter().map(|t| t.to_dtype(dtype)).collect::<Result<_>>()?;
                let all = [variables, &constants].concat();
                let (mean, variance) = (mean.to_dtype(dtype)?, variance.to_dtype(dtype)?);
                joined(&conv_block_evaluate(&all[0], parameters(&all), outputs_wanted, &mean, &variance)?)
            }).unwrap();
        }
    }

    #[test]
    fn statistics_are_those_of_the_batch() -> Result<()> {
        let (arguments, _) = arguments([7, 6, 8, 3], 10, 3);
        // A great mean beside a small deviation, where a difference of squares would have no digits left.
        let x = ((&arguments[0] * 1e-2)? + 100.0)?;
        let (_, ours) = conv_block_train(&x, parameters(&arguments), BlockOutputs::Pooled)?;
        let doubles: Vec<Tensor> = arguments.iter().map(|tensor| tensor.to_dtype(DType::F64)).collect::<Result<_>>()?;
        let (_, expected) = conv_block_train(&x.to_dtype(DType::F64)?, parameters(&doubles), BlockOutputs::Pooled)?;
        assert!(relative_error(&ours.mean, &expected.mean.to_vec1()?)? < 1e-6);
        assert!(relative_error(&ours.variance, &expected.variance.to_vec1()?)? < 1e-4);
        Ok(())
    }

    #[test]
    fn the_first_of_equal_maxima_takes_the_gradient_and_none_passes_at_zero() -> Result<()> {
        // The identity of one channel; normalisation with running estimates that change nothing.
        let x = tensor(vec![1.0, 1.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0], &[1, 2, 4, 1]);
        let of_one = |value: f32| tensor(vec![value], &[1]);
        let (weight, zero, one) = (tensor(vec![1.0], &[1, 1, 1, 1]), of_one(0.0), of_one((1.0 + 1e-5f32).sqrt()));
        let block = |x: &[Tensor]| {
            let parameters = BlockParameters { weight: &weight, bias: &zero, norm_weight: &one, norm_bias: &zero };
            Ok(conv_block_evaluate(&x[0], parameters, BlockOutputs::Pooled, &zero, &of_one(1.0))?.pooled)
        };
        let (y, gradients) = with_gradients(&[x], &tensor(vec![3.0, 5.0], &[1, 1, 2, 1]), block)?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 0.0]);
        assert_eq!(gradients[0].flatten_all()?.to_vec1::<f32>()?, [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let (mut arguments, _) = arguments([1, 4, 4, 1], 3, 1);
        let mut x = whole(1, 16);
        x[5] = f32::NAN;
        arguments[0] = tensor(x, &[1, 4, 4, 1]);
        let ones = tensor(vec![1.0; 3], &[3]);
        let evaluated = conv_block_evaluate(&arguments[0], parameters(&arguments), BlockOutputs::Pooled, &ones, &ones)?;
        assert_eq!(evaluated.pooled.flatten_all()?.to_vec1::<f32>()?.iter().filter(|value| value.is_nan()).count(), 3);
        let (trained, _) = conv_block_train(&arguments[0], parameters(&arguments), BlockOutputs::Pooled)?;
        assert!(trained.pooled.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_nan()));
        Ok(())
    }

    #[test]
    fn no_bit_depends_on_the_number_of_threads() -> Result<()> {
        let shape = [21, 8, 8, 5];
        let arguments: Vec<Tensor> = arguments(shape, 20, 3).0;
        let x = tensor(real(9, shape.iter().product()), &shape);
        let gradient = tensor(real(6, 21 * (4 * 4 + 1) * 20), &[21 * (4 * 4 + 1) * 20]);
        let bits = |threads: usize| -> Result<Vec<u32>> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| {
                let arguments: Vec<Tensor> = std::iter::once(&x).chain(&arguments[1..]).cloned().collect();
                let block = |arguments: &[Tensor]| {
                    let (output, _) =
                        conv_block_train(&arguments[0], parameters(arguments), BlockOutputs::PooledAndMeans)?;
                    joined(&output)
                };
                let (y, gradients) = with_gradients(&arguments, &gradient, block)?;
                let mut bits = vec![];
                for tensor in std::iter::once(&y).chain(&gradients) {
                    bits.extend(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits));
                }
                Ok(bits)
            })
        };
        assert_eq!(bits(1)?, bits(3)?);
        Ok(())
    }
}
