//! The network in evaluation mode, open at its convolutions: the operations that a block fuses, one after another.
//!
//! "The output of a layer" is that of the convolution itself, before batch normalisation: what a PyTorch forward hook on
//! `conv3` gives, and what `pytorch-grad-cam` takes for its target layer.

use candle_core::{Result, Tensor};

use super::attention::{Attended, AttentionWeights};
use super::cnn::{Block, Cnn};
use crate::ops;

/// What a network makes of images on the way to its logits. No gradient passes through it; [`super::LogitGradients`] gives
/// those of the logits.
pub struct ForwardTrace {
    pub(super) layers: Vec<LayerTrace>,
    /// The last feature map, (N, H, W, C).
    pub(super) features: Tensor,
    /// The hidden layer before dropout, (N, hidden).
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
        let hidden = self.head.hidden(&features)?.detach();
        let logits = self.head.fc2.forward(&hidden)?.detach();
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
        let output = ops::pool_whole_windows(&output.detach())?;
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
        ops::BlockTrace::new(convolved, self.parameters(), &self.running_mean, &self.running_variance)
    }

    /// From the convolution's output (N, H, W, C) to before the pool.
    pub fn attend(&self, convolved: &Tensor) -> Result<Attended> {
        let (mean, variance) = (self.running_mean.as_tensor(), self.running_variance.as_tensor());
        self.attention.attend(&ops::normalise_and_relu(convolved, &self.norm_weight, &self.norm_bias, mean, variance)?)
    }

    /// From the convolution's output (N, H, W, C) to the block's, (N, H / 2, W / 2, C); differentiable in that output.
    pub fn finish(&self, convolved: &Tensor) -> Result<Tensor> {
        ops::pool_whole_windows(&self.attend(convolved)?.output)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::model::Mode;
    use crate::ops::gradient_check::{assert_gradient, close, normal};

    pub(super) fn network(attention: AttentionKind) -> Cnn {
        let config = ModelConfig { channels: vec![16, 16, 32], hidden: 24, attention, ..ModelConfig::default() };
        let cnn = Cnn::new(&config, 3, &Device::Cpu).expect("a network");
        // Running estimates that do something.
        let x = normal(7, &[6, 32, 32, 3]).to_dtype(DType::F32).expect("f32");
        cnn.forward(&x, Mode::Train { seed: 0, step: 1 }).expect("a training pass");
        // What begins as zeros would hide what it attends to.
        for (name, parameter) in cnn.weights().parameters.iter().filter(|(name, _)| name.contains(".W.")) {
            let value = normal(name.len() as u64, parameter.dims()).to_dtype(DType::F32).expect("f32");
            parameter.set(&(value * 0.1).expect("f32")).expect("of the same shape");
        }
        cnn
    }

    #[test]
    fn the_open_network_is_the_fused_one() -> Result<()> {
        for attention in AttentionKind::ALL {
            let cnn = network(attention);
            let x = normal(1, &[5, 32, 32, 3]).to_dtype(DType::F32)?;
            let expected = cnn.forward(&x, Mode::Evaluate)?.to_vec2::<f32>()?;
            let trace = cnn.trace(&x)?;
            for (ours, expected) in trace.logits.to_vec2::<f32>()?.concat().iter().zip(expected.concat()) {
                assert!((ours - expected).abs() < 1e-5, "{attention:?}: {ours} and {expected}");
            }
            for layer in Layer::ALL {
                let AttentionWeights { gates, map, pairs } = trace.attention(layer);
                let shapes = [gates, map, pairs].map(|shown| shown.as_ref().map(|shown| shown.dims().to_vec()));
                assert_eq!(shapes, attention_shapes(attention, layer), "{attention:?}, {layer}");
                // Other devices have no kernel for what follows a convolution.
                let Some(open) = &trace.blocks[layer.index()].open else { continue };
                let Attended { output, weights } = cnn.blocks[layer.index()].attend(trace.output(layer))?;
                close_in_f64(&ops::pool_whole_windows(&output)?, &open.output)?;
                assert_eq!(weights.gates.is_some(), open.gates.is_some());
                for (composed, ours) in weights.gates.iter().zip(&open.gates) {
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

    /// Of gates, map and pairs of five images.
    fn attention_shapes(attention: AttentionKind, layer: Layer) -> [Option<Vec<usize>>; 3] {
        let (channels, side) = [(16, 32), (16, 16), (32, 8)][layer.index()];
        let (gates, map) = (vec![5, channels], vec![5, side, side]);
        match attention {
            AttentionKind::Se | AttentionKind::Eca => [Some(gates), None, None],
            AttentionKind::Spatial => [None, Some(map), None],
            AttentionKind::Cbam => [Some(gates), Some(map), None],
            AttentionKind::NonLocal if layer == Layer::Conv3 => [None, None, Some(vec![5, 64, 64])],
            AttentionKind::None | AttentionKind::NonLocal => [None, None, None],
        }
    }

    #[test]
    fn the_non_local_network_begins_as_the_plain_one() -> Result<()> {
        let config =
            ModelConfig { channels: vec![16, 16, 32], attention: AttentionKind::NonLocal, ..ModelConfig::default() };
        let cnn = Cnn::new(&config, 3, &Device::Cpu)?;
        let block = &cnn.blocks[2];
        let x = normal(1, &[2, 8, 8, 16]).to_dtype(DType::F32)?;
        let plain = ops::BlockParameters { epilogue: ops::Epilogue::Pool, ..block.parameters() };
        let plain = ops::conv_block_evaluate(&x, plain, &block.running_mean, &block.running_variance)?;
        let ours = block.forward(&x, Mode::Evaluate)?;
        let numbers = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        assert_eq!(numbers(&ours)?, numbers(&plain)?);
        Ok(())
    }

    #[test]
    fn looking_changes_nothing() -> Result<()> {
        let cnn = network(AttentionKind::Se);
        let before = cnn.weights().to_safetensors().expect("bytes");
        cnn.trace(&normal(1, &[2, 32, 32, 3]).to_dtype(DType::F32)?)?;
        assert_eq!(cnn.weights().to_safetensors().expect("bytes"), before);
        Ok(())
    }

    #[test]
    fn the_rest_of_a_block_has_the_gradient_of_finite_differences() -> Result<()> {
        let cnn = network(AttentionKind::None);
        let block = &cnn.blocks[0];
        let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
        let block = Block {
            conv_weight: double(&block.conv_weight)?,
            conv_bias: double(&block.conv_bias)?,
            norm_weight: double(&block.norm_weight)?,
            norm_bias: double(&block.norm_bias)?,
            running_mean: candle_core::Var::from_tensor(&double(&block.running_mean)?)?,
            running_variance: candle_core::Var::from_tensor(&double(&block.running_variance)?)?,
            batches_tracked: block.batches_tracked.clone(),
            attention: super::super::Attention::None,
        };
        assert_gradient(&normal(2, &[1, 4, 4, 16]), |convolved| block.finish(convolved));
        Ok(())
    }

    #[test]
    fn layers_have_the_names_of_the_state_dict() {
        assert_eq!("conv2".parse::<Layer>().expect("a layer"), Layer::Conv2);
        for wrong in ["conv4", "Conv1", "", "fc1"] {
            let error = wrong.parse::<Layer>().expect_err("no layer").to_string();
            assert!(error.contains(wrong) && error.contains("conv1, conv2 and conv3"), "{error}");
        }
    }
}
