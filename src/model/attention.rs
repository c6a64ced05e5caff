//! Attention modules: what a block makes more or less of, learned with the rest.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use super::weights::Builder;
use crate::config::AttentionKind;
use crate::ops::{self, BlockOutput};

/// Channels of the squeeze for each channel of the block.
pub const REDUCTION: usize = 16;

pub enum Attention {
    None,
    SqueezeExcitation(SqueezeExcitation),
}

impl Attention {
    /// Of block `number`, whose convolution has `channels` outputs.
    pub(super) fn new(builder: &mut Builder, kind: AttentionKind, number: usize, channels: usize) -> Result<Self> {
        match kind {
            AttentionKind::None => Ok(Self::None),
            AttentionKind::Se => {
                let squeezed = channels / REDUCTION;
                let reduce = builder.uniform(format!("ca{number}.fc.0.weight"), &[squeezed, channels], channels)?;
                let expand = builder.uniform(format!("ca{number}.fc.2.weight"), &[channels, squeezed], squeezed)?;
                Ok(Self::SqueezeExcitation(SqueezeExcitation { reduce, expand }))
            }
        }
    }

    /// The pooled pictures (N, H, W, C) of a block, attended to.
    pub fn apply(&self, output: BlockOutput) -> Result<Tensor> {
        match (self, output.channel_means) {
            (Self::SqueezeExcitation(module), Some(means)) => {
                ops::scale_channels(&output.pooled, &module.gates(&means)?)
            }
            _ => Ok(output.pooled),
        }
    }
}

/// Squeeze-and-excitation (Hu et al. 2018, section 3): a gate for each channel from the means of all of them.
///
/// The study has it before the pool. A gate is positive, so it commutes with the maximum, and is applied after it, to a
/// quarter of the numbers.
pub struct SqueezeExcitation {
    /// (C / 16, C)
    pub reduce: Tensor,
    /// (C, C / 16)
    pub expand: Tensor,
}

impl SqueezeExcitation {
    /// From the channels' means (N, C), gates (N, C) between 0 and 1.
    pub fn gates(&self, means: &Tensor) -> Result<Tensor> {
        let squeezed = ops::relu(&means.matmul(&self.reduce.t()?)?)?;
        sigmoid(&squeezed.matmul(&self.expand.t()?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};

    #[test]
    fn the_gradients_of_gates_are_finite_differences() {
        let (means, reduce, expand) = (normal(1, &[3, 8]), normal(2, &[2, 8]), normal(3, &[8, 2]));
        let gates = |means: &Tensor, reduce: &Tensor, expand: &Tensor| {
            SqueezeExcitation { reduce: reduce.clone(), expand: expand.clone() }.gates(means)
        };
        assert_gradient(&means, |means| gates(means, &reduce, &expand));
        assert_gradient(&reduce, |reduce| gates(&means, reduce, &expand));
        assert_gradient(&expand, |expand| gates(&means, &reduce, expand));
    }
}
