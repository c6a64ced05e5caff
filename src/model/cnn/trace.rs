//! The network in evaluation mode, open at its convolutions: the operations that a block fuses, one after another.
//!
//! "The output of a layer" is that of the convolution itself, before batch normalisation: what a PyTorch forward hook on
//! `conv3` gives, and what `pytorch-grad-cam` takes for its target layer.

mod backward;

use std::fmt;
use std::str::FromStr;

use candle_core::{Result, Tensor};

use super::{Block, Cnn};
use crate::model::attention::{Attended, AttentionWeights};
use crate::ops;
pub use backward::LogitGradients;

/// A convolution, by its name in the `state_dict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    Conv1,
    Conv2,
    Conv3,
}

impl Layer {
    /// In the order of the network.
    pub const ALL: [Self; 3] = [Self::Conv1, Self::Conv2, Self::Conv3];

    pub fn name(self) -> &'static str {
        match self {
            Self::Conv1 => "conv1",
            Self::Conv2 => "conv2",
            Self::Conv3 => "conv3",
        }
    }

    /// Of its block, from 0.
    pub fn index(self) -> usize {
        match self {
            Self::Conv1 => 0,
            Self::Conv2 => 1,
            Self::Conv3 => 2,
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A name that no convolution of the network has.
#[derive(Debug, thiserror::Error)]
#[error("there is no layer {0:?}: the convolutions are conv1, conv2 and conv3")]
pub struct UnknownLayer(String);

impl FromStr for Layer {
    type Err = UnknownLayer;

    fn from_str(name: &str) -> std::result::Result<Self, UnknownLayer> {
        Self::ALL.into_iter().find(|layer| layer.name() == name).ok_or_else(|| UnknownLayer(name.to_owned()))
    }
}

/// What the network makes of images on the way to its logits. No gradient passes through it; [`LogitGradients`] gives those of
/// the logits.
pub struct ForwardTrace {
    blocks: [LayerTrace; 3],
    /// The last feature map, (N, H, W, C),
    features: Tensor,
    /// what the head makes of it before dropout, (N, hidden),
    hidden: Tensor,
    /// and the logits, (N, 10).
    pub logits: Tensor,
}

struct LayerTrace {
    /// (N, H, W, C)
    convolved: Tensor,
    attention: AttentionWeights,
    /// Where a kernel does what follows the convolution.
    open: Option<ops::BlockTrace>,
}

impl ForwardTrace {
    /// The output of a convolution, (N, H, W, C).
    pub fn output(&self, layer: Layer) -> &Tensor {
        &self.blocks[layer.index()].convolved
    }

    /// What the block of that layer attended to.
    pub fn attention(&self, layer: Layer) -> &AttentionWeights {
        &self.blocks[layer.index()].attention
    }
}

impl Cnn {
    /// Normalised images (N, 32, 32, 3) through the open network. The logits are [`Cnn::forward`]'s in evaluation mode,
    /// but for rounding.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn trace(&self, x: &Tensor) -> Result<ForwardTrace> {
        let mut x = x.clone();
        let mut look = |block: &Block| -> Result<LayerTrace> {
            let convolved = block.convolve(&x)?.detach();
            let (trace, output) = match block.open(&convolved)? {
                Some(open) => {
                    let attention = AttentionWeights { gates: open.gates.clone(), ..AttentionWeights::default() };
                    let output = open.output.clone();
                    (LayerTrace { convolved, attention, open: Some(open) }, output)
                }
                None => {
                    let Attended { output, weights } = block.attend(&convolved)?;
                    let output = ops::max_pool(&output.detach())?;
                    (LayerTrace { convolved, attention: weights.detach(), open: None }, output)
                }
            };
            x = output;
            Ok(trace)
        };
        let [first, second, third] = &self.blocks;
        let blocks = [look(first)?, look(second)?, look(third)?];
        let hidden = self.hidden(&x)?.detach();
        let logits = self.fc2.forward(&hidden)?.detach();
        Ok(ForwardTrace { blocks, features: x, hidden, logits })
    }
}

impl Block {
    /// (N, H, W, inputs) to (N, H, W, C).
    fn convolve(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.conv_weight.detach(), &self.conv_bias.detach(), 1, self.padding()?)
    }

    fn padding(&self) -> Result<usize> {
        Ok(self.conv_weight.dim(2)? / 2)
    }

    /// What follows the convolution's output (N, H, W, C), by a kernel, where there is one.
    fn open(&self, convolved: &Tensor) -> Result<Option<ops::BlockTrace>> {
        ops::BlockTrace::new(convolved, self.parameters(), &self.running_mean, &self.running_variance)
    }

    /// From the convolution's output (N, H, W, C) to before the pool.
    fn attend(&self, convolved: &Tensor) -> Result<Attended> {
        let (mean, variance) = (self.running_mean.as_tensor(), self.running_variance.as_tensor());
        self.attention.attend(&ops::normalise_and_relu(convolved, &self.norm_weight, &self.norm_bias, mean, variance)?)
    }

    /// From the convolution's output (N, H, W, C) to the block's, (N, H / 2, W / 2, C); differentiable in that output.
    fn finish(&self, convolved: &Tensor) -> Result<Tensor> {
        ops::max_pool(&self.attend(convolved)?.output)
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
        let config = ModelConfig { channels: [16, 16, 32], hidden: 24, attention, ..ModelConfig::default() };
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
                close_in_f64(&ops::max_pool(&output)?, &open.output)?;
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
            ModelConfig { channels: [16, 16, 32], attention: AttentionKind::NonLocal, ..ModelConfig::default() };
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
