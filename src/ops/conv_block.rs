//! Convolution → batch normalisation → ReLU → 2 × 2 max-pool as one operation, on channels-last images.
//!
//! Apart, the three that follow the convolution cost as much as it does, all of it memory traffic. Together they read its
//! output once: for each maximum they keep its position and the value there, and the gradient of the convolution's output
//! exists for one image at a time, in the cache, where the convolution's gradients consume it.
//!
//! Batch normalisation (Ioffe and Szegedy 2015) as PyTorch's; where maxima tie the first takes the gradient; ReLU's gradient
//! at 0 is 0.

mod gates;
mod kernel;
mod relu_output;
mod trace;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::batch_norm::{BatchStatistics, EPSILON, batch_norm_evaluate, batch_norm_train, of_channels};
use super::concat::concat;
use super::conv::{conv2d, geometry};
use super::convolution::Convolution;
use super::float::{elements, has_f32_kernel, with_elements};
use super::geometry::Geometry;
use super::pool::pool_whole_windows;
use super::pooled_buffer::PooledBuffer;
use super::relu::relu;
use super::tape::{apply3, is_differentiable};
use crate::simd;
pub use gates::ChannelGates;
pub(super) use gates::squeeze_and_excite;
use gates::{GateKind, Gates, ImageGates, ImageGatesGradient};
pub(super) use kernel::activated;
use kernel::{
    DEAD, GateGradient, GradientTerms, Maxima, Moments, Normalisation, activated_means_only, gradient_sums,
    normalise_and_pool, normalise_and_pool_only, output_gradient,
};
use relu_output::ReluBlock;
pub use trace::BlockTrace;

/// The parameters of a block.
#[derive(Clone, Copy)]
pub struct BlockParameters<'a> {
    /// (O, C, K, K), K odd.
    pub weight: &'a Tensor,
    /// (O), as the two that follow.
    pub bias: &'a Tensor,
    pub norm_weight: &'a Tensor,
    pub norm_bias: &'a Tensor,
    pub epilogue: Epilogue<'a>,
}

impl<'a> BlockParameters<'a> {
    fn gates(&self) -> Option<ChannelGates<'a>> {
        match self.epilogue {
            Epilogue::GateAndPool(gates) => Some(gates),
            Epilogue::Pool | Epilogue::Relu => None,
        }
    }

    /// Those beside the convolution's weight, in the order of [`OfChannels`].
    fn of_channels(&self) -> Vec<&'a Tensor> {
        let gates = self.gates();
        let of_gates = gates.iter().flat_map(ChannelGates::weights);
        [self.bias, self.norm_weight, self.norm_bias].into_iter().chain(of_gates).collect()
    }
}

/// What follows a block's ReLU.
#[derive(Clone, Copy)]
pub enum Epilogue<'a> {
    Pool,
    /// Attention to channels, and the pool. A gate is positive, so it commutes with the maximum, and is applied after the
    /// pool, to a quarter of the numbers.
    GateAndPool(ChannelGates<'a>),
    /// Nothing: the block gives (N, H, W, O).
    Relu,
}

/// `x` (N, H, W, C) through a block that normalises with the statistics of the batch: (N, H / 2, W / 2, O), if it is pooled.
pub fn conv_block_train(x: &Tensor, parameters: BlockParameters) -> Result<(Tensor, BatchStatistics)> {
    if !has_f32_kernel(x) {
        let (y, statistics) = batch_norm_train(&planes(x, parameters)?, parameters.norm_weight, parameters.norm_bias)?;
        return Ok((finish(&y, parameters.epilogue)?, statistics));
    }
    let measured = Arc::new(OnceLock::new());
    let output = apply(x, parameters, Statistics::OfBatch(Arc::clone(&measured)))?;
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

/// `x` (N, H, W, C) through a block that normalises with running estimates (O): (N, H / 2, W / 2, O), if it is pooled.
pub fn conv_block_evaluate(
    x: &Tensor,
    parameters: BlockParameters,
    mean: &Tensor,
    variance: &Tensor,
) -> Result<Tensor> {
    if !has_f32_kernel(x) {
        let y = planes(x, parameters)?;
        let y = batch_norm_evaluate(&y, parameters.norm_weight, parameters.norm_bias, mean, variance)?;
        return finish(&y, parameters.epilogue);
    }
    apply(x, parameters, Statistics::Running(running(mean, variance)?))
}

/// Running estimates (O).
fn running(mean: &Tensor, variance: &Tensor) -> Result<ChannelStatistics> {
    Ok(ChannelStatistics { count: 0.0, mean: of_channels(mean)?, variance: of_channels(variance)? })
}

/// The convolution alone, (N, O, H, W), for what follows it apart.
fn planes(x: &Tensor, parameters: BlockParameters) -> Result<Tensor> {
    let padding = parameters.weight.dim(2)? / 2;
    conv2d(x, parameters.weight, parameters.bias, 1, padding)?.permute((0, 3, 1, 2))?.contiguous()
}

/// From `y` (N, O, H, W).
fn finish(y: &Tensor, epilogue: Epilogue) -> Result<Tensor> {
    let activated = relu(y)?.permute((0, 2, 3, 1))?.contiguous()?;
    match epilogue {
        Epilogue::Relu => Ok(activated),
        Epilogue::Pool => pool_whole_windows(&activated),
        Epilogue::GateAndPool(gates) => {
            let gates = gates.gates(&activated.mean((1, 2))?)?;
            pool_whole_windows(&activated.broadcast_mul(&gates.unsqueeze(1)?.unsqueeze(1)?)?)
        }
    }
}

fn apply(x: &Tensor, parameters: BlockParameters, statistics: Statistics) -> Result<Tensor> {
    let weight = parameters.weight;
    let geometry = geometry(x, weight, 1, weight.dim(2)? / 2)?;
    if geometry.height < 2 || geometry.width < 2 {
        bail!("images of {} x {} pixels are too small to pool", geometry.height, geometry.width)
    }
    let (x, weight, wants_x) = (x.contiguous()?, weight.contiguous()?, is_differentiable(x));
    let of_channels = concat(&parameters.of_channels())?;
    if matches!(parameters.epilogue, Epilogue::Relu) {
        let block = ReluBlock { geometry, statistics, wants_x, kept: Mutex::new(None) };
        return apply3(&x, &weight, &of_channels, block);
    }
    let gates = parameters.gates().as_ref().map(ChannelGates::kind);
    let block = ConvBlock { geometry, gates, statistics, wants_x, kept: Mutex::new(None) };
    apply3(&x, &weight, &of_channels, block)
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

impl Statistics {
    /// After the forward pass.
    fn known(&self) -> &ChannelStatistics {
        match self {
            Self::Running(running) => running,
            Self::OfBatch(measured) => measured.get().expect("the forward pass has measured the batch"),
        }
    }

    /// The convolution's output, (N, H, W, O), and how it is normalised; measures it, where that is due.
    fn convolve(
        &self,
        geometry: Geometry,
        x: &[f32],
        weight: &[f32],
        of_channels: &OfChannels,
    ) -> Result<(PooledBuffer, Normalisation)> {
        let channels = geometry.outputs;
        let measures = matches!(self, Self::OfBatch(_));
        let mut y = PooledBuffer::stale(x.len() / geometry.image() * geometry.out_image());
        let moments = Convolution::new(geometry)?.forward_batch(x, weight, of_channels.bias, &mut y, |y| {
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
        let normalisation = match self {
            Self::Running(running) => of_channels.normalisation(running),
            Self::OfBatch(measured) => {
                let moments: Vec<Moments> = moments.into_iter().flatten().collect();
                of_channels.normalisation(measured.get_or_init(|| merge(&moments, geometry.out_pixels(), channels)))
            }
        };
        Ok((y, normalisation))
    }

    /// What makes the gradient of the convolution's output, and the gradients of its bias and of the normalisation's weight
    /// and bias, one after another; from the sums of the gradient of the normalised output, plain, and of its product with
    /// the convolution's output less its mean.
    fn gradients<'a>(
        &self,
        of_channels: &OfChannels,
        normalisation: &'a Normalisation,
        plain: &[f64],
        with_centred: &[f64],
    ) -> (GradientTerms<'a>, Vec<f32>) {
        // dy = scale · (dz - mean(dz) - ŷ · mean(dz · ŷ)) with z the normalised output (Ioffe and Szegedy 2015, section 3);
        // running estimates are constants, and leave dy = scale · dz.
        let (statistics, channels) = (self.known(), plain.len());
        let mut terms = GradientTerms { scale: vec![], slope: vec![], offset: vec![], mean: &normalisation.mean };
        let mut d_of_channels = vec![0.0; 3 * channels];
        for channel in 0..channels {
            let inverse_deviation = 1.0 / (statistics.variance[channel] + EPSILON).sqrt();
            let scale = f64::from(of_channels.norm_weight[channel]) * inverse_deviation;
            let d_norm_weight = with_centred[channel] * inverse_deviation;
            terms.scale.push(scale as f32);
            match self {
                Self::OfBatch(_) => {
                    let slope = -scale * inverse_deviation * d_norm_weight / statistics.count;
                    terms.slope.push(slope as f32);
                    terms.offset.push((-scale * plain[channel] / statistics.count) as f32);
                    // The bias: normalisation subtracts whatever it adds, so its gradient is exactly 0.
                }
                Self::Running(_) => {
                    terms.slope.push(0.0);
                    terms.offset.push(0.0);
                    d_of_channels[channel] = (scale * plain[channel]) as f32;
                }
            }
            d_of_channels[channels + channel] = d_norm_weight as f32;
            d_of_channels[2 * channels + channel] = plain[channel] as f32;
        }
        (terms, d_of_channels)
    }
}

/// Over the images in order, so that the number of threads does not change the rounding.
fn total<'a>(images: impl Iterator<Item = &'a [f32]>, channels: usize) -> Vec<f64> {
    let mut total = vec![0.0; channels];
    for of_image in images {
        total.iter_mut().zip(of_image).for_each(|(total, &sum)| *total += f64::from(sum));
    }
    total
}

struct ConvBlock {
    geometry: Geometry,
    gates: Option<GateKind>,
    statistics: Statistics,
    /// Whether the gradient of the input is needed.
    wants_x: bool,
    /// With the convolution's output, (N, H, W, O).
    kept: Mutex<Option<(PooledBuffer, Kept)>>,
}

/// What the way back to the convolution's output needs of the way there.
struct Kept {
    pooled: Pooled,
    /// Of each image; none without gates.
    gates: Vec<ImageGates>,
}

/// Of each maximum, (N, H / 2, W / 2, O):
struct Pooled {
    /// its position in its window, row by row, or [`DEAD`];
    positions: Vec<u8>,
    /// the convolution's output there.
    values: PooledBuffer,
}

impl ConvBlock {
    fn pooled_image(&self) -> usize {
        (self.geometry.height / 2) * (self.geometry.width / 2) * self.geometry.outputs
    }

    fn of_channels<'a>(&self, joined: &'a [f32]) -> OfChannels<'a> {
        OfChannels::split(joined, self.geometry.outputs, self.gates)
    }

    /// The output, and what a backward pass needs.
    fn forward_and_keep(
        &self,
        x: &[f32],
        weight: &[f32],
        of_channels: &OfChannels,
    ) -> Result<(Vec<f32>, (PooledBuffer, Kept))> {
        let (y, normalisation) = self.statistics.convolve(self.geometry, x, weight, of_channels)?;
        let (out, kept) = self.pool_and_keep(&y, &normalisation, of_channels.gates)?;
        Ok((out, (y, kept)))
    }

    /// What becomes of the convolution's output `y` (N, H, W, O), and what the way back to it needs.
    fn pool_and_keep(
        &self,
        y: &[f32],
        normalisation: &Normalisation,
        gates: Option<Gates>,
    ) -> Result<(Vec<f32>, Kept)> {
        let elements = y.len() / self.geometry.out_image() * self.pooled_image();
        let mut out = vec![0.0; elements];
        let mut pooled = Pooled { positions: vec![DEAD; elements], values: PooledBuffer::stale(elements) };
        let gates = out
            .par_chunks_exact_mut(self.pooled_image())
            .zip(pooled.positions.par_chunks_exact_mut(self.pooled_image()))
            .zip(pooled.values.par_chunks_exact_mut(self.pooled_image()))
            .zip(y.par_chunks_exact(self.geometry.out_image()))
            .map(|(((out, positions), values), y)| {
                simd::vectorized(
                    #[inline(always)]
                    || {
                        normalise_and_pool(y, self.geometry.width, normalisation, Maxima { out, positions, values });
                        gates.map(|gates| {
                            let gates = gates.of_image(y, normalisation);
                            gates::apply(out, &gates.gates);
                            gates
                        })
                    },
                )
            })
            .collect::<Result<Vec<_>>>()?;
        Ok((out, Kept { pooled, gates: gates.into_iter().flatten().collect() }))
    }

    /// The output alone: evaluation needs neither the convolution's output nor the positions of the maxima.
    fn forward_only(
        &self,
        running: &ChannelStatistics,
        x: &[f32],
        weight: &[f32],
        of_channels: &OfChannels,
    ) -> Result<Vec<f32>> {
        let normalisation = of_channels.normalisation(running);
        let convolution = Convolution::new(self.geometry)?;
        let weight = convolution.pack_weight(weight)?;
        let at_once = convolution.images_at_once();
        let (image, out_image) = (self.geometry.image(), self.geometry.out_image());
        let mut pooled = vec![0.0; x.len() / image * self.pooled_image()];
        let groups = pooled.par_chunks_mut(at_once * self.pooled_image()).zip(x.par_chunks(at_once * image));
        groups.try_for_each_init(
            || (PooledBuffer::zeros(at_once * self.geometry.padded_len()), PooledBuffer::stale(at_once * out_image)),
            |(padded, y), (pooled, x)| {
                let y = &mut y[..x.len() / image * out_image];
                self.geometry.pad(x, padded);
                convolution.forward(padded, &weight, of_channels.bias, y)?;
                let images = y.chunks_exact(out_image).zip(pooled.chunks_exact_mut(self.pooled_image()));
                for (y, pooled) in images {
                    simd::vectorized(
                        #[inline(always)]
                        || {
                            normalise_and_pool_only(y, self.geometry.width, &normalisation, pooled);
                            if let Some(gates) = of_channels.gates {
                                let mut means = vec![0.0; self.geometry.outputs];
                                activated_means_only(y, &normalisation, &mut means);
                                gates::apply(pooled, &gates.of_means(&means));
                            }
                        },
                    )?;
                }
                Ok::<(), candle_core::Error>(())
            },
        )?;
        Ok(pooled)
    }
}

/// The parameters beside the convolution's weight, which the operation takes one after another.
struct OfChannels<'a> {
    bias: &'a [f32],
    norm_weight: &'a [f32],
    norm_bias: &'a [f32],
    gates: Option<Gates<'a>>,
}

impl<'a> OfChannels<'a> {
    fn split(joined: &'a [f32], channels: usize, gates: Option<GateKind>) -> Self {
        let (bias, rest) = joined.split_at(channels);
        let (norm_weight, rest) = rest.split_at(channels);
        let (norm_bias, rest) = rest.split_at(channels);
        Self { bias, norm_weight, norm_bias, gates: gates.map(|kind| Gates::split(kind, rest)) }
    }

    fn normalisation(&self, statistics: &ChannelStatistics) -> Normalisation {
        let deviations = statistics.variance.iter().map(|variance| (variance + EPSILON).sqrt());
        Normalisation {
            mean: statistics.mean.iter().map(|&mean| mean as f32).collect(),
            scale: self.norm_weight.iter().zip(deviations).map(|(&w, d)| (f64::from(w) / d) as f32).collect(),
            shift: self.norm_bias.to_vec(),
        }
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
        let of_channels = self.of_channels(elements(of_channels, of_channels_layout)?);
        let out = match &self.statistics {
            Statistics::Running(running) => self.forward_only(running, x, weight, &of_channels)?,
            Statistics::OfBatch(_) => {
                let (out, kept) = self.forward_and_keep(x, weight, &of_channels)?;
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                out
            }
        };
        let Geometry { height, width, outputs, .. } = self.geometry;
        let shape = Shape::from((out.len() / self.pooled_image(), height / 2, width / 2, outputs));
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
        BlockGradients::of(x, weight, of_channels, gradient, |[x, weight, of_channels, gradient]| {
            let of_channels = self.of_channels(of_channels);
            if kept.is_none() {
                *kept = Some(self.forward_and_keep(x, weight, &of_channels)?.1);
            }
            let (y, kept) = kept.as_ref().expect("kept just now");
            self.backward(y, kept, x, weight, &of_channels, gradient)
        })
    }
}

struct BlockGradients {
    x: Option<Vec<f32>>,
    weight: Vec<f32>,
    /// Of what [`OfChannels`] holds, one after another.
    of_channels: Vec<f32>,
}

impl BlockGradients {
    /// As tensors, like the arguments that they are of: what `f` makes of the elements of these and of the output's gradient.
    fn of(
        x: &Tensor,
        weight: &Tensor,
        of_channels: &Tensor,
        gradient: &Tensor,
        f: impl FnOnce([&[f32]; 4]) -> Result<Self>,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = with_elements(x, |x: &[f32]| {
            with_elements(weight, |weight: &[f32]| {
                with_elements(of_channels, |of_channels: &[f32]| {
                    with_elements(gradient, |gradient: &[f32]| f([x, weight, of_channels, gradient]))
                })
            })
        })?;
        let dx = gradients.x.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
        let dw = Tensor::from_vec(gradients.weight, weight.shape(), weight.device())?;
        let d_of_channels = Tensor::from_vec(gradients.of_channels, of_channels.shape(), of_channels.device())?;
        Ok((dx, Some(dw), Some(d_of_channels)))
    }
}

/// Over the maxima of an image, of each channel, and after its gates:
struct GradientSums {
    /// the sum of the gradient,
    plain: Vec<f32>,
    /// and of its product with the convolution's output less its mean.
    with_centred: Vec<f32>,
    gates: Option<ImageGatesGradient>,
}

impl ConvBlock {
    fn backward(
        &self,
        y: &[f32],
        kept: &Kept,
        x: &[f32],
        weight: &[f32],
        of_channels: &OfChannels,
        gradient: &[f32],
    ) -> Result<BlockGradients> {
        let channels = self.geometry.outputs;
        let normalisation = of_channels.normalisation(self.statistics.known());
        let pooled_image = self.pooled_image();
        let of_images: Vec<GradientSums> = gradient
            .par_chunks_exact(pooled_image)
            .enumerate()
            .map(|(number, gradient)| self.gradient_sums(kept, number, gradient, &normalisation, of_channels.gates))
            .collect::<Result<_>>()?;
        let plain = total(of_images.iter().map(|sums| sums.plain.as_slice()), channels);
        let with_centred = total(of_images.iter().map(|sums| sums.with_centred.as_slice()), channels);
        let (terms, mut d_of_channels) = self.statistics.gradients(of_channels, &normalisation, &plain, &with_centred);
        if let Some(gates) = of_channels.gates {
            let gradients = of_images.iter().filter_map(|sums| sums.gates.as_ref());
            d_of_channels.extend(gates.weight_gradients(kept.gates.iter().zip(gradients)));
        }
        let gradients = Convolution::new(self.geometry)?.gradients(x, weight, self.wants_x, |number, dy| {
            let gradient = &gradient[number * pooled_image..][..pooled_image];
            let of_gates = of_images[number].gates.as_ref();
            self.output_gradient(y, kept, number, gradient, &terms, &normalisation, of_gates, dy)
        })?;
        Ok(BlockGradients { x: gradients.x, weight: gradients.weight, of_channels: d_of_channels })
    }

    /// Of image `number`, from the gradient of what the block makes of it.
    fn gradient_sums(
        &self,
        kept: &Kept,
        number: usize,
        gradient: &[f32],
        normalisation: &Normalisation,
        gates: Option<Gates>,
    ) -> Result<GradientSums> {
        let maxima = number * self.pooled_image()..(number + 1) * self.pooled_image();
        let (positions, values) = (&kept.pooled.positions[maxima.clone()], &kept.pooled.values[maxima]);
        simd::vectorized(
            #[inline(always)]
            || {
                let (mut plain, mut with_centred) = gradient_sums(gradient, positions, values, &normalisation.mean);
                let gates = gates.zip(kept.gates.get(number)).map(|(gates, kept)| {
                    gates.backward(kept, normalisation, self.geometry.out_pixels(), &mut plain, &mut with_centred)
                });
                GradientSums { plain, with_centred, gates }
            },
        )
    }

    /// Writes to `dy` the gradient of the convolution's output for image `number`, from that of what the block makes of it.
    #[expect(clippy::too_many_arguments, reason = "all that both passes know of an image")]
    fn output_gradient(
        &self,
        y: &[f32],
        kept: &Kept,
        number: usize,
        gradient: &[f32],
        terms: &GradientTerms,
        normalisation: &Normalisation,
        of_gates: Option<&ImageGatesGradient>,
        dy: &mut [f32],
    ) -> Result<()> {
        let y = &y[number * dy.len()..][..dy.len()];
        let positions = &kept.pooled.positions[number * gradient.len()..][..gradient.len()];
        let gate_gradient = kept.gates.get(number).zip(of_gates).map(|(kept, gradient)| GateGradient {
            gates: &kept.gates,
            shares: &gradient.shares,
            normalisation,
        });
        simd::vectorized(
            #[inline(always)]
            || output_gradient(y, self.geometry.width, terms, gradient, positions, gate_gradient, dy),
        )
    }
}

/// The moments of images of equal size put together (Chan et al. 1979), in order.
fn merge(images: &[Moments], pixels: usize, channels: usize) -> ChannelStatistics {
    let count = (images.len() * pixels) as f64;
    let mut merged = ChannelStatistics { count, mean: vec![0.0; channels], variance: vec![0.0; channels] };
    for channel in 0..channels {
        let means = || images.iter().map(|image| f64::from(image.mean[channel]));
        let mean = means().sum::<f64>() / images.len() as f64;
        let within: f64 = images.iter().map(|image| f64::from(image.squares[channel])).sum();
        let between: f64 = means().map(|of_image| (of_image - mean) * (of_image - mean)).sum();
        merged.mean[channel] = mean;
        merged.variance[channel] = (within + between * pixels as f64) / count;
    }
    merged
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    use super::*;
    use crate::ops::reference::{Arguments, bits_on_threads, equals_f64, real, tensor, whole, with_gradients};

    pub(super) fn parameters(arguments: &[Tensor]) -> BlockParameters<'_> {
        let [_, weight, bias, norm_weight, norm_bias, gates @ ..] = arguments else { unreachable!("five arguments") };
        let epilogue = match gates {
            [reduce, expand] => Epilogue::GateAndPool(ChannelGates::SqueezeExcitation { reduce, expand }),
            [kernel] => Epilogue::GateAndPool(ChannelGates::Efficient { kernel }),
            _ => Epilogue::Pool,
        };
        BlockParameters { weight, bias, norm_weight, norm_bias, epilogue }
    }

    /// The arguments of a block whose convolution is exact, so that ties are.
    pub(super) fn arguments(shape: [usize; 4], outputs: usize, kernel: usize) -> Vec<Tensor> {
        let channels = shape[3];
        vec![
            tensor(whole(1, shape.iter().product()), &shape),
            tensor(whole(2, outputs * channels * kernel * kernel), &[outputs, channels, kernel, kernel]),
            tensor(whole(3, outputs), &[outputs]),
            tensor(real(4, outputs), &[outputs]),
            tensor(real(5, outputs), &[outputs]),
        ]
    }

    #[derive(Clone, Copy, Debug)]
    pub(super) enum TestGates {
        None,
        /// To so many.
        SqueezeExcite(usize),
        /// With so many taps.
        Efficient(usize),
    }

    fn gates() -> impl Strategy<Value = TestGates> {
        prop_oneof![
            Just(TestGates::None),
            (1..4usize).prop_map(TestGates::SqueezeExcite),
            (0..3usize).prop_map(|half| TestGates::Efficient(2 * half + 1)),
        ]
    }

    /// Adds the weights of the gates.
    pub(super) fn with_gates(mut arguments: Vec<Tensor>, outputs: usize, gates: TestGates) -> Vec<Tensor> {
        match gates {
            TestGates::None => {}
            TestGates::SqueezeExcite(squeezed) => {
                arguments.push(tensor(real(9, squeezed * outputs), &[squeezed, outputs]));
                arguments.push(tensor(real(10, squeezed * outputs), &[outputs, squeezed]));
            }
            TestGates::Efficient(taps) => arguments.push(tensor(real(9, taps), &[1, 1, taps])),
        }
        arguments
    }

    /// Of two channels at least: after a weight alone, whose scale normalisation undoes, a gradient is but rounding.
    fn shapes() -> impl Strategy<Value = ([usize; 4], usize, usize)> {
        ((1..20usize, 2..10usize, 2..10usize, 2..9usize), 1..40usize, 0..3usize)
            .prop_map(|((n, h, w, c), outputs, half)| ([n, h, w, c], outputs, 2 * half + 1))
    }

    /// Whether a block equals the separate operations, in training; and in evaluation, where these take the parameters of
    /// the normalisation, which normalises by a deviation of about `deviation`, for constants.
    fn equals_the_separate_operations(
        block: impl Fn(&[Tensor]) -> BlockParameters,
        arguments: &[Tensor],
        deviation: f64,
    ) -> std::result::Result<(), TestCaseError> {
        let outputs = arguments[2].elem_count();
        let (exact, of_norm, gates) = (&arguments[..3], &arguments[3..5], &arguments[5..]);
        equals_f64(Arguments { exact, inexact: &arguments[3..], constants: &[] }, |arguments| {
            Ok(conv_block_train(&arguments[0], block(arguments))?.0)
        })?;
        let variance = ((tensor(real(8, outputs), &[outputs]) + 2.0)? * (deviation * deviation / 2.0))?;
        let constants = [of_norm, &[tensor(real(7, outputs), &[outputs]), variance]].concat();
        equals_f64(Arguments { exact, inexact: gates, constants: &constants }, |arguments| {
            let (variables, constants) = arguments.split_at(arguments.len() - constants.len());
            let all = [&variables[..3], &constants[..2], &variables[3..]].concat();
            conv_block_evaluate(&all[0], block(&all), &constants[2], &constants[3])
        })
    }

    proptest! {
        #![proptest_config(crate::testing::property(48))]
        #[test]
        fn a_pooled_block_equals_the_separate_operations((shape, outputs, kernel) in shapes(), gates in gates()) {
            let arguments = with_gates(arguments(shape, outputs, kernel), outputs, gates);
            // As great as the outputs are: gates of great numbers are 0 or 1, and their gradients but rounding.
            equals_the_separate_operations(parameters, &arguments, 10.0)?;
        }

        #[test]
        fn a_block_without_a_pool_equals_the_separate_operations((shape, outputs, kernel) in shapes()) {
            equals_the_separate_operations(activated, &arguments(shape, outputs, kernel), 1.0)?;
        }
    }

    /// The parameters of a block without a pool.
    fn activated(arguments: &[Tensor]) -> BlockParameters<'_> {
        BlockParameters { epilogue: Epilogue::Relu, ..parameters(arguments) }
    }

    #[test]
    fn statistics_are_those_of_the_batch() -> Result<()> {
        let arguments = arguments([7, 6, 8, 3], 10, 3);
        // A great mean beside a small deviation, where a difference of squares would have no digits left.
        let x = ((&arguments[0] * 1e-2)? + 100.0)?;
        let (_, ours) = conv_block_train(&x, parameters(&arguments))?;
        let doubles: Vec<Tensor> = arguments.iter().map(|tensor| tensor.to_dtype(DType::F64)).collect::<Result<_>>()?;
        let (_, expected) = conv_block_train(&x.to_dtype(DType::F64)?, parameters(&doubles))?;
        let difference = |ours: &Tensor, expected: &Tensor| {
            ((ours.to_dtype(DType::F64)? - expected)? / expected)?.abs()?.max(0)?.to_scalar::<f64>()
        };
        assert!(difference(&ours.mean, &expected.mean)? < 1e-6);
        assert!(difference(&ours.variance, &expected.variance)? < 1e-4);
        Ok(())
    }

    #[test]
    fn the_first_of_equal_maxima_takes_the_gradient_and_none_passes_at_zero() -> Result<()> {
        // The identity of one channel; normalisation with running estimates that change nothing.
        let x = tensor(vec![1.0, 1.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0], &[1, 2, 4, 1]);
        let of_one = |value: f32| tensor(vec![value], &[1]);
        let (weight, zero, one) = (tensor(vec![1.0], &[1, 1, 1, 1]), of_one(0.0), of_one((1.0 + 1e-5f32).sqrt()));
        let block = |x: &[Tensor]| {
            let parameters = BlockParameters {
                weight: &weight,
                bias: &zero,
                norm_weight: &one,
                norm_bias: &zero,
                epilogue: Epilogue::Pool,
            };
            conv_block_evaluate(&x[0], parameters, &zero, &of_one(1.0))
        };
        let (y, gradients) = with_gradients(&[x], &tensor(vec![3.0, 5.0], &[1, 1, 2, 1]), block)?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 0.0]);
        assert_eq!(gradients[0].flatten_all()?.to_vec1::<f32>()?, [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let mut arguments = arguments([1, 4, 4, 1], 3, 1);
        let mut x = whole(1, 16);
        x[5] = f32::NAN;
        arguments[0] = tensor(x, &[1, 4, 4, 1]);
        let ones = tensor(vec![1.0; 3], &[3]);
        let evaluated = conv_block_evaluate(&arguments[0], parameters(&arguments), &ones, &ones)?;
        assert_eq!(evaluated.flatten_all()?.to_vec1::<f32>()?.iter().filter(|value| value.is_nan()).count(), 3);
        let (trained, _) = conv_block_train(&arguments[0], parameters(&arguments))?;
        assert!(trained.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_nan()));
        Ok(())
    }

    #[test]
    fn no_bit_depends_on_the_number_of_threads() -> Result<()> {
        let shape = [21, 8, 8, 5];
        let arguments = with_gates(arguments(shape, 20, 3), 20, TestGates::SqueezeExcite(2));
        let x = tensor(real(9, shape.iter().product()), &shape);
        let gradient = tensor(real(6, 21 * 4 * 4 * 20), &[21, 4, 4, 20]);
        let arguments: Vec<Tensor> = std::iter::once(&x).chain(&arguments[1..]).cloned().collect();
        let block = |arguments: &[Tensor]| Ok(conv_block_train(&arguments[0], parameters(arguments))?.0);
        let bits = |threads| bits_on_threads(threads, &arguments, &gradient, block);
        assert_eq!(bits(1)?, bits(3)?);
        Ok(())
    }
}
