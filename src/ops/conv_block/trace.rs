//! A block in evaluation mode, open behind its convolution: what it makes of the convolution's output, and gradients by that
//! output. It uses the kernels of training, without the convolution's own gradients.

use std::sync::Mutex;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::op::{Kept, PooledBlock};
use super::parameters::{BlockParameters, ChannelParameters, Epilogue};
use crate::ops::attention::channel::ChannelGates;
use crate::ops::channel_statistics::ChannelStatistics;
use crate::ops::conv::Geometry;
use crate::ops::float::{has_f32_kernel, with_elements};
use crate::ops::normalisation::Statistics;
use crate::ops::pooled_buffer::PooledBuffer;

pub struct BlockTrace {
    /// The block's output, (N, H / 2, W / 2, O).
    pub output: Tensor,
    /// The gates of its channels, (N, O), if it has them.
    pub gates: Option<Tensor>,
    /// The convolution's output, (N, H, W, O).
    convolved: Tensor,
    block: PooledBlock,
    parameters: Vec<f32>,
    kept: Kept,
}

impl BlockTrace {
    /// What a block with running estimates `mean` and `variance` (O) makes of its convolution's output (N, H, W, O). None
    /// where no kernel does that: of other types, on other devices, and of a block that ends before its pool.
    ///
    /// # Errors
    /// The images are too small to pool.
    pub fn new(
        convolved: &Tensor,
        parameters: BlockParameters,
        mean: &Tensor,
        variance: &Tensor,
    ) -> Result<Option<Self>> {
        if matches!(parameters.epilogue, Epilogue::Relu) || !has_f32_kernel(convolved) {
            return Ok(None);
        }
        let gates = parameters.gates();
        let (images, height, width, outputs) = convolved.dims4()?;
        if height < 2 || width < 2 {
            bail!("images of {height} x {width} pixels are too small to pool")
        }
        let (_, channels, kernel, _) = parameters.weight.dims4()?;
        let geometry = Geometry { height, width, channels, outputs, kernel, stride: 1, padding: kernel / 2 };
        let block = PooledBlock {
            geometry,
            precision: parameters.precision,
            gates: gates.as_ref().map(ChannelGates::kind),
            statistics: Statistics::Running(ChannelStatistics::running(mean, variance)?),
            wants_x: false,
            kept: Mutex::default(),
        };
        let parameters = parameters.channels()?.to_vec1::<f32>()?;
        let (output, kept) = with_elements(convolved, |y| {
            let parameters = block.split(&parameters);
            block.pool_and_keep(y, &block.statistics.known().normalisation(&parameters), parameters.gates)
        })?;
        let device = convolved.device();
        let gates = gates.map(|_| {
            let gates: Vec<f32> = kept.gates.iter().flat_map(|kept| kept.image.gates.iter().copied()).collect();
            Tensor::from_vec(gates, (images, outputs), device)
        });
        Ok(Some(Self {
            output: Tensor::from_vec(output, (images, height / 2, width / 2, outputs), device)?,
            gates: gates.transpose()?,
            convolved: convolved.clone(),
            block,
            parameters,
            kept,
        }))
    }

    /// From gradients (rows, H / 2, W / 2, O) of anything by the block's output, each for one of the images, to those by
    /// the convolution's output, (H, W, O): what `f` makes of each, given its row, while it is in the cache.
    ///
    /// # Errors
    /// The gradients do not fit, or there is no such image.
    pub fn gradients<T: Send>(
        &self,
        images: &[usize],
        output_gradients: &Tensor,
        f: impl Fn(usize, &[f32]) -> T + Sync,
    ) -> Result<Vec<T>> {
        let count = self.convolved.dim(0)?;
        let fits = output_gradients.dims()[1..] == self.output.dims()[1..] && output_gradients.dim(0)? == images.len();
        if !fits || images.iter().any(|&image| image >= count) {
            bail!("gradients of {:?} by {:?}, of images {images:?}", output_gradients.shape(), self.output.shape())
        }
        let parameters: ChannelParameters = self.block.split(&self.parameters);
        let normalisation = self.block.statistics.known().normalisation(&parameters);
        // Running estimates are constants: the sums over the batch do not matter.
        let zeros = vec![0.0; self.block.geometry.outputs];
        let (terms, _) = self.block.statistics.gradients(&parameters, &normalisation, &zeros, &zeros);
        with_elements(&self.convolved, |y| {
            with_elements(output_gradients, |gradients: &[f32]| {
                let rows = gradients.par_chunks_exact(self.block.pooled_image()).zip(images).enumerate();
                rows.map_init(
                    || PooledBuffer::stale(self.block.geometry.out_image()),
                    |dy, (row, (gradient, &image))| {
                        let sums =
                            self.block.gradient_sums(&self.kept, image, gradient, &normalisation, parameters.gates)?;
                        self.block.output_gradient(
                            y,
                            &self.kept,
                            image,
                            gradient,
                            &terms,
                            &normalisation,
                            sums.gates.as_ref(),
                            dy,
                        )?;
                        Ok(f(row, dy))
                    },
                )
                .collect()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::conv_block::tests::{TestGates, arguments, parameters, with_gates};
    use crate::ops::reference::{real, tensor, with_gradients};
    use crate::ops::{conv_block_evaluate, conv2d};

    #[test]
    fn is_the_block_and_its_gradient_that_of_the_blocks_input() -> Result<()> {
        for gates in [TestGates::None, TestGates::SqueezeExcite(3), TestGates::Efficient(3)] {
            // The convolution passes each channel on, so that the gradients of its output and its input are the same.
            let channels = 5;
            let mut arguments = with_gates(arguments([3, 6, 7, channels], channels, 1), channels, gates);
            let identity = (0..channels * channels).map(|position| f32::from(u8::from(position % (channels + 1) == 0)));
            arguments[1] = tensor(identity.collect(), &[channels, channels, 1, 1]);
            arguments[2] = arguments[2].zeros_like()?;
            let mean = tensor(real(7, channels), &[channels]);
            let variance = ((tensor(real(8, channels), &[channels]) + 2.0)? * 50.0)?;
            let gradient = tensor(real(6, 3 * 3 * 3 * channels), &[3, 3, 3, channels]);
            let (expected, gradients) = with_gradients(&arguments[..1], &gradient, |x| {
                conv_block_evaluate(&x[0], parameters(&arguments), &mean, &variance)
            })?;

            let convolved = conv2d(&arguments[0], &arguments[1], &arguments[2], 1, 0)?;
            let open = BlockTrace::new(&convolved, parameters(&arguments), &mean, &variance)?.expect("a kernel");
            let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
            assert_eq!(numbers(&open.output)?, numbers(&expected)?, "{gates:?}");
            assert_eq!(open.gates.is_some(), !matches!(gates, TestGates::None));

            // Rows in another order, and one image twice.
            let (images, rows) = ([2, 0, 2, 1], Tensor::new(&[2u32, 0, 2, 1], convolved.device())?);
            let ours = open.gradients(&images, &gradient.index_select(&rows, 0)?, |_, dy| dy.to_vec())?;
            for (ours, image) in ours.iter().zip(images) {
                let expected = numbers(&gradients[0].get(image)?)?;
                let greatest = expected.iter().fold(0f32, |greatest, value| greatest.max(value.abs()));
                let error = ours.iter().zip(&expected).fold(0f32, |error, (a, b)| error.max((a - b).abs()));
                assert!(greatest > 0.0 && error <= 1e-6 * greatest, "{gates:?}: {error} of {greatest}");
            }
            assert!(open.gradients(&[3], &gradient.narrow(0, 0, 1)?, |_, _| ()).is_err(), "no such image");
            assert!(open.gradients(&[0, 1], &gradient, |_, _| ()).is_err(), "three rows");
        }
        Ok(())
    }
}
