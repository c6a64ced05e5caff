//! The network in evaluation mode, open at its convolutions: the operations that a block fuses, one after another.
//!
//! "The output of a layer" is that of the convolution itself, before batch normalisation: what a PyTorch forward hook on
//! `conv3` gives, and what `pytorch-grad-cam` takes for its target layer.

use candle_core::{Result, Tensor};

use super::attention::{Attended, AttentionWeights};
use super::cnn::{Block, Cnn};
use crate::config::Precision;
use crate::ops;

/// What a network makes of images on the way to its logits. No gradient passes through it; [`super::LogitGradients`] gives
/// those of the logits.
pub struct ForwardTrace {
    pub(super) layers: Vec<LayerTrace>,
    /// The last feature map, (N, H, W, C).
    pub(super) features: Tensor,
    /// The input of the last linear layer before dropout, (N, hidden).
    pub(super) hidden: Tensor,
    /// (N, classes)
    pub logits: Tensor,
}

pub(super) struct LayerTrace {
    /// (N, H, W, C)
    pub convolved: Tensor,
    attention: AttentionWeights,
    /// Where a kernel does what follows the convolution.
    pub kernel: Option<ops::BlockTrace>,
}

impl LayerTrace {
    pub fn without_attention(convolved: Tensor) -> Self {
        Self { convolved, attention: AttentionWeights::default(), kernel: None }
    }
}

impl ForwardTrace {
    /// The output of a convolution, (N, H, W, C).
    pub fn output(&self, layer: usize) -> &Tensor {
        &self.layers[layer].convolved
    }

    /// The attention of a layer's block.
    pub fn attention(&self, layer: usize) -> &AttentionWeights {
        &self.layers[layer].attention
    }
}

impl Cnn {
    pub(super) fn trace(&self, x: &Tensor) -> Result<ForwardTrace> {
        let mut layers = Vec::with_capacity(self.blocks.len());
        let mut features = x.clone();
        for block in &self.blocks {
            let (layer, output) = block.trace(&features)?;
            layers.push(layer);
            features = output;
        }
        let hidden = self.head.hidden(&features, Precision::F32)?.detach();
        let logits = self.head.fc2.forward(&hidden, Precision::F32)?.detach();
        Ok(ForwardTrace { layers, features, hidden, logits })
    }
}

impl Block {
    /// Also the block's output, (N, H / 2, W / 2, C).
    fn trace(&self, x: &Tensor) -> Result<(LayerTrace, Tensor)> {
        let convolved = self.convolve(x)?.detach();
        if let Some(kernel) = self.trace_by_kernel(&convolved)? {
            let attention = AttentionWeights { channels: kernel.gates.clone(), ..AttentionWeights::default() };
            let output = kernel.output.clone();
            return Ok((LayerTrace { convolved, attention, kernel: Some(kernel) }, output));
        }
        let Attended { output, weights } = self.attend(&convolved)?;
        let output = ops::max_pool(&output.detach())?;
        Ok((LayerTrace { convolved, attention: weights.detach(), kernel: None }, output))
    }

    /// (N, H, W, inputs) to (N, H, W, C).
    pub fn convolve(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.conv_weight.detach(), &self.conv_bias.detach(), 1, self.padding()?)
    }

    pub fn padding(&self) -> Result<usize> {
        Ok(self.conv_weight.dim(2)? / 2)
    }

    /// What follows the convolution's output (N, H, W, C), by a kernel, where there is one.
    fn trace_by_kernel(&self, convolved: &Tensor) -> Result<Option<ops::BlockTrace>> {
        ops::BlockTrace::new(convolved, self.parameters(), &self.running.mean, &self.running.variance)
    }

    /// From the convolution's output (N, H, W, C) to before the pool.
    pub fn attend(&self, convolved: &Tensor) -> Result<Attended> {
        let (mean, variance) = (self.running.mean.as_tensor(), self.running.variance.as_tensor());
        self.attention.attend(&ops::normalise_and_relu(convolved, &self.norm_weight, &self.norm_bias, mean, variance)?)
    }

    /// From the convolution's output (N, H, W, C) to the block's, (N, H / 2, W / 2, C); differentiable in that output.
    pub fn finish(&self, convolved: &Tensor) -> Result<Tensor> {
        ops::max_pool(&self.attend(convolved)?.output)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::data::DatasetInfo;
    use crate::model::running_statistics::RunningStatistics;
    use crate::model::testing::{cnn, images, trained, with_attention};
    use crate::model::{LayerInfo, Mode};
    use crate::ops::gradient_check::{assert_gradient, close, normal};

    fn study(attention: AttentionKind) -> ModelConfig {
        ModelConfig { channels: vec![16, 16, 32], hidden: 24, attention, ..ModelConfig::default() }
    }

    #[test]
    fn the_open_network_is_the_fused_one() -> Result<()> {
        for (config, dataset) in with_attention(false) {
            let cnn = trained(&config, &dataset);
            let x = images(1, 2, &dataset);
            let trace = cnn.trace(&x)?;
            close_in_f64(&trace.logits, &cnn.forward(&x, Mode::Evaluate)?)?;
            assert_eq!(trace.logits.dims(), [2, dataset.classes.len()]);
            for (layer, info) in cnn.shape().layers().iter().enumerate() {
                let &LayerInfo { height, width, channels, .. } = info;
                assert_eq!(trace.output(layer).dims(), [2, height, width, channels]);
                let is_last = layer + 1 == config.channels.len();
                let AttentionWeights { channels, positions, matrix } = trace.attention(layer);
                let shapes = [channels, positions, matrix].map(|shown| shown.as_ref().map(|t| t.dims().to_vec()));
                assert_eq!(shapes, attention_shapes(config.attention, info, is_last), "{config:?}, {}", info.name);
                // Other devices have no kernel for what follows a convolution.
                let Some(kernel) = &trace.layers[layer].kernel else { continue };
                let Attended { output, weights } = cnn.blocks[layer].attend(trace.output(layer))?;
                close_in_f64(&ops::max_pool(&output)?, &kernel.output)?;
                assert_eq!(weights.channels.is_some(), kernel.gates.is_some());
                for (composed, ours) in weights.channels.iter().zip(&kernel.gates) {
                    close_in_f64(composed, ours)?;
                }
            }
        }
        Ok(())
    }

    fn close_in_f64(a: &Tensor, b: &Tensor) -> Result<()> {
        close(&a.to_dtype(DType::F64)?, &b.to_dtype(DType::F64)?, 1e-5);
        Ok(())
    }

    /// The attention to channels, positions and pairs of two images.
    fn attention_shapes(attention: AttentionKind, layer: &LayerInfo, is_last: bool) -> [Option<Vec<usize>>; 3] {
        let all = layer.height * layer.width;
        let (channels, positions) = (vec![2, layer.channels], vec![2, layer.height, layer.width]);
        match attention {
            AttentionKind::Se | AttentionKind::Eca => [Some(channels), None, None],
            AttentionKind::Spatial => [None, Some(positions), None],
            AttentionKind::Cbam => [Some(channels), Some(positions), None],
            AttentionKind::NonLocal if is_last => [None, None, Some(vec![2, all, all])],
            AttentionKind::None | AttentionKind::NonLocal => [None, None, None],
        }
    }

    #[test]
    fn non_local_attention_begins_as_none() -> Result<()> {
        let dataset = DatasetInfo::cifar10();
        let (plain, non_local) = (study(AttentionKind::None), study(AttentionKind::NonLocal));
        let (plain, non_local) = (cnn(&plain, &dataset, 3), cnn(&non_local, &dataset, 3));
        let x = images(1, 2, &dataset);
        assert_eq!(numbers(&plain.trace(&x)?.features)?, numbers(&non_local.trace(&x)?.features)?);
        Ok(())
    }

    fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
        tensor.flatten_all()?.to_vec1()
    }

    #[test]
    fn a_trace_changes_nothing() -> Result<()> {
        let cnn = trained(&study(AttentionKind::Se), &DatasetInfo::cifar10());
        let before = cnn.weights().to_safetensors().expect("bytes");
        cnn.trace(&images(1, 2, &DatasetInfo::cifar10()))?;
        assert_eq!(cnn.weights().to_safetensors().expect("bytes"), before);
        Ok(())
    }

    #[test]
    fn the_gradient_behind_the_convolution_is_finite_differences() -> Result<()> {
        let mut cnn = trained(&study(AttentionKind::None), &DatasetInfo::cifar10());
        let block = cnn.blocks.swap_remove(0);
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let block = Block {
            conv_weight: double(&block.conv_weight)?,
            conv_bias: double(&block.conv_bias)?,
            norm_weight: double(&block.norm_weight)?,
            norm_bias: double(&block.norm_bias)?,
            running: RunningStatistics {
                mean: Var::from_tensor(&double(&block.running.mean)?)?,
                variance: Var::from_tensor(&double(&block.running.variance)?)?,
                batches_tracked: Var::zeros((), DType::I64, &Device::Cpu)?,
            },
            attention: block.attention,
            precision: block.precision,
        };
        assert_gradient(&normal(2, &[1, 4, 4, 16]), |convolved| block.finish(convolved));
        Ok(())
    }
}
