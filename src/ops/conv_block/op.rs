//! A block that ends with its pool, as a custom operation.

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Shape};
use rayon::prelude::*;

use super::kernel::{
    ActivatedSums, DEAD, GateGradient, GradientTerms, Maxima, activated_means_only, activated_sums, gradient_sums,
    normalise_and_pool, normalise_and_pool_only, output_gradient,
};
use super::parameters::ChannelParameters;
use crate::config::Precision;
use crate::ops::attention::channel::{GateKind, Gates, ImageGates, ImageGatesGradient, apply};
use crate::ops::channel_statistics::{ChannelStatistics, total};
use crate::ops::conv::{Convolution, Geometry};
use crate::ops::custom_op::SliceOp;
use crate::ops::normalisation::{Normalisation, Statistics};
use crate::ops::pooled_buffer::PooledBuffer;
use crate::ops::tape::is_recording;
use crate::simd;

/// A block that ends with its pool.
pub struct PooledBlock {
    pub geometry: Geometry,
    pub precision: Precision,
    pub gates: Option<GateKind>,
    pub statistics: Statistics,
    /// Whether the gradient of the input is needed.
    pub wants_x: bool,
    /// The convolution's output, (N, H, W, O), and what else the backward pass needs.
    pub kept: Mutex<Option<(PooledBuffer, Kept)>>,
}

/// What the gradient of the convolution's output needs of the forward pass.
pub struct Kept {
    maxima: KeptMaxima,
    /// One for each image; none without gates.
    pub gates: Vec<KeptGates>,
}

/// The maxima, (N, H / 2, W / 2, O).
struct KeptMaxima {
    /// The position of each in its window, row by row, or [`DEAD`].
    positions: Vec<u8>,
    /// The convolution's output there.
    values: PooledBuffer,
}

/// The gates of an image, and what its pixels have to do with them.
pub struct KeptGates {
    pub image: ImageGates,
    /// How many pixels of each channel are above 0 once normalised.
    counts: Vec<f32>,
    /// The sum over these of the convolution's output less its mean.
    centred: Vec<f32>,
}

impl PooledBlock {
    pub fn pooled_image(&self) -> usize {
        (self.geometry.height / 2) * (self.geometry.width / 2) * self.geometry.outputs
    }

    pub fn split<'a>(&self, parameters: &'a [f32]) -> ChannelParameters<'a> {
        ChannelParameters::split(parameters, self.geometry.outputs, self.gates)
    }

    /// The output, and what a backward pass needs.
    fn forward_and_keep(
        &self,
        x: &[f32],
        weight: &[f32],
        parameters: &ChannelParameters,
    ) -> Result<(Vec<f32>, (PooledBuffer, Kept))> {
        let (y, normalisation) = self.statistics.convolve(self.geometry, self.precision, x, weight, parameters)?;
        let (out, kept) = self.pool_and_keep(&y, &normalisation, parameters.gates)?;
        Ok((out, (y, kept)))
    }

    /// What becomes of the convolution's output `y` (N, H, W, O), and what its gradient needs.
    pub fn pool_and_keep(
        &self,
        y: &[f32],
        normalisation: &Normalisation,
        gates: Option<Gates>,
    ) -> Result<(Vec<f32>, Kept)> {
        let elements = y.len() / self.geometry.out_image() * self.pooled_image();
        let mut out = vec![0.0; elements];
        let mut maxima = KeptMaxima { positions: vec![DEAD; elements], values: PooledBuffer::stale(elements) };
        let gates = out
            .par_chunks_exact_mut(self.pooled_image())
            .zip(maxima.positions.par_chunks_exact_mut(self.pooled_image()))
            .zip(maxima.values.par_chunks_exact_mut(self.pooled_image()))
            .zip(y.par_chunks_exact(self.geometry.out_image()))
            .map(|(((out, positions), values), y)| {
                simd::vectorized(
                    #[inline(always)]
                    || {
                        normalise_and_pool(y, self.geometry.width, normalisation, Maxima { out, positions, values });
                        gates.map(|gates| {
                            let ActivatedSums { means, counts, centred } = activated_sums(y, normalisation);
                            let image = gates.of_image(means);
                            apply(out, &image.gates);
                            KeptGates { image, counts, centred }
                        })
                    },
                )
            })
            .collect::<Result<Vec<_>>>()?;
        Ok((out, Kept { maxima, gates: gates.into_iter().flatten().collect() }))
    }

    /// The output alone: evaluation needs neither the convolution's output nor the positions of the maxima.
    fn forward_only(
        &self,
        running: &ChannelStatistics,
        x: &[f32],
        weight: &[f32],
        parameters: &ChannelParameters,
    ) -> Result<Vec<f32>> {
        let normalisation = running.normalisation(parameters);
        let convolution = Convolution::new(self.geometry, self.precision)?;
        let weight = convolution.pack_weight(weight)?;
        let at_once = convolution.images_at_once();
        let (image, out_image) = (self.geometry.image(), self.geometry.out_image());
        let mut pooled = vec![0.0; x.len() / image * self.pooled_image()];
        let groups = pooled.par_chunks_mut(at_once * self.pooled_image()).zip(x.par_chunks(at_once * image));
        groups.try_for_each_init(
            || (convolution.padded(at_once), PooledBuffer::stale(at_once * out_image)),
            |(padded, y), (pooled, x)| {
                let y = &mut y[..x.len() / image * out_image];
                convolution.pad(x, padded);
                convolution.forward(padded, &weight, parameters.bias, y)?;
                let images = y.chunks_exact(out_image).zip(pooled.chunks_exact_mut(self.pooled_image()));
                for (y, pooled) in images {
                    simd::vectorized(
                        #[inline(always)]
                        || {
                            normalise_and_pool_only(y, self.geometry.width, &normalisation, pooled);
                            if let Some(gates) = parameters.gates {
                                let mut means = vec![0.0; self.geometry.outputs];
                                activated_means_only(y, &normalisation, &mut means);
                                apply(pooled, &gates.of_means(&means));
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

impl SliceOp<3> for PooledBlock {
    const NAME: &'static str = "conv_block";

    fn forward(&self, [x, weight, parameters]: [&[f32]; 3]) -> Result<(Vec<f32>, Shape)> {
        let parameters = self.split(parameters);
        let out = match &self.statistics {
            Statistics::Running(running) if !is_recording() => self.forward_only(running, x, weight, &parameters)?,
            Statistics::Running(_) | Statistics::OfBatch(_) => {
                let (out, kept) = self.forward_and_keep(x, weight, &parameters)?;
                *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
                out
            }
        };
        let Geometry { height, width, outputs, .. } = self.geometry;
        let shape = Shape::from((out.len() / self.pooled_image(), height / 2, width / 2, outputs));
        Ok((out, shape))
    }

    fn backward(&self, [x, weight, parameters]: [&[f32]; 3], gradient: &[f32]) -> Result<[Option<Vec<f32>>; 3]> {
        let parameters = self.split(parameters);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            *kept = Some(self.forward_and_keep(x, weight, &parameters)?.1);
        }
        let (y, kept) = kept.as_ref().expect("kept just now");
        self.gradients(y, kept, x, weight, &parameters, gradient)
    }
}

/// Sums over the maxima of an image, of each channel.
pub struct GradientSums {
    /// The sum of the gradient.
    plain: Vec<f32>,
    /// The sum of its product with the convolution's output less its mean.
    with_centred: Vec<f32>,
    /// The gradient of the gates that the sums have gone through; its means are a pixel's share.
    pub gates: Option<ImageGatesGradient>,
}

impl PooledBlock {
    fn gradients(
        &self,
        y: &[f32],
        kept: &Kept,
        x: &[f32],
        weight: &[f32],
        parameters: &ChannelParameters,
        gradient: &[f32],
    ) -> Result<[Option<Vec<f32>>; 3]> {
        let channels = self.geometry.outputs;
        let normalisation = self.statistics.known().normalisation(parameters);
        let pooled_image = self.pooled_image();
        let sums: Vec<GradientSums> = gradient
            .par_chunks_exact(pooled_image)
            .enumerate()
            .map(|(number, gradient)| self.gradient_sums(kept, number, gradient, &normalisation, parameters.gates))
            .collect::<Result<_>>()?;
        let plain = total(sums.iter().map(|sums| sums.plain.as_slice()), channels)?;
        let with_centred = total(sums.iter().map(|sums| sums.with_centred.as_slice()), channels)?;
        let (terms, mut d_parameters) = self.statistics.gradients(parameters, &normalisation, &plain, &with_centred);
        if let Some(gates) = parameters.gates {
            let gradients = sums.iter().filter_map(|sums| sums.gates.as_ref());
            let images = kept.gates.iter().map(|kept| &kept.image).zip(gradients);
            d_parameters.extend(gates.weight_gradients(channels, images)?);
        }
        let gradients =
            Convolution::new(self.geometry, self.precision)?.gradients(x, weight, self.wants_x, |number, dy| {
                let gradient = &gradient[number * pooled_image..][..pooled_image];
                let gates = sums[number].gates.as_ref();
                self.output_gradient(y, kept, number, gradient, &terms, &normalisation, gates, dy)
            })?;
        Ok([gradients.x, Some(gradients.weight), Some(d_parameters)])
    }

    /// The sums of image `number`, from the gradient of the block's output.
    pub fn gradient_sums(
        &self,
        kept: &Kept,
        number: usize,
        gradient: &[f32],
        normalisation: &Normalisation,
        gates: Option<Gates>,
    ) -> Result<GradientSums> {
        let maxima = number * self.pooled_image()..(number + 1) * self.pooled_image();
        let (positions, values) = (&kept.maxima.positions[maxima.clone()], &kept.maxima.values[maxima]);
        simd::vectorized(
            #[inline(always)]
            || {
                let (mut plain, mut with_centred) = gradient_sums(gradient, positions, values, &normalisation.mean);
                let gates = gates.zip(kept.gates.get(number)).map(|(gates, kept)| {
                    through_gates(gates, kept, normalisation, self.geometry.out_pixels(), &mut plain, &mut with_centred)
                });
                GradientSums { plain, with_centred, gates }
            },
        )
    }

    /// Writes to `dy` the gradient of the convolution's output for image `number`, from that of the block's output.
    #[expect(clippy::too_many_arguments, reason = "all that both passes know of an image")]
    pub fn output_gradient(
        &self,
        y: &[f32],
        kept: &Kept,
        number: usize,
        gradient: &[f32],
        terms: &GradientTerms,
        normalisation: &Normalisation,
        gates: Option<&ImageGatesGradient>,
        dy: &mut [f32],
    ) -> Result<()> {
        let y = &y[number * dy.len()..][..dy.len()];
        let positions = &kept.maxima.positions[number * gradient.len()..][..gradient.len()];
        let gate_gradient = kept.gates.get(number).zip(gates).map(|(kept, gradient)| GateGradient {
            gates: &kept.image.gates,
            shares: &gradient.means,
            normalisation,
        });
        simd::vectorized(
            #[inline(always)]
            || output_gradient(y, self.geometry.width, terms, gradient, positions, gate_gradient, dy),
        )
    }
}

/// Takes the sums of the gradient over the maxima of an image of `pixels` pixels, and leaves there what the gates make of
/// them.
fn through_gates(
    gates: Gates,
    kept: &KeptGates,
    normalisation: &Normalisation,
    pixels: usize,
    plain: &mut [f32],
    with_centred: &mut [f32],
) -> ImageGatesGradient {
    let Normalisation { scale, shift, .. } = normalisation;
    // A maximum is scale · centred + shift where the gradient passes, and 0 where it does not.
    let d_gates: Vec<f32> = (0..plain.len()).map(|i| with_centred[i] * scale[i] + plain[i] * shift[i]).collect();
    let mut gradient = gates.backward(&kept.image, &d_gates);
    let shares = &mut gradient.means;
    shares.iter_mut().for_each(|share| *share /= pixels as f32);
    for i in 0..plain.len() {
        let gate = kept.image.gates[i];
        plain[i] = plain[i] * gate + shares[i] * kept.counts[i];
        with_centred[i] = with_centred[i] * gate + shares[i] * kept.centred[i];
    }
    gradient
}
