//! Attention modules: what a block makes more or less of, learned with the rest.

use candle_core::{Result, Tensor};

use super::weights::Builder;
use crate::config::AttentionKind;
use crate::ops;

/// Channels of the squeeze for each channel of the block.
pub const REDUCTION: usize = 16;

/// What a block attends to, between its ReLU and its pool.
pub enum Attention {
    None,
    SqueezeExcitation(SqueezeExcitation),
    Efficient(EfficientChannelAttention),
}

/// Squeeze-and-excitation (Hu et al. 2018, section 3): a gate for each channel from the means of all of them,
/// s = σ(E relu(R z)).
pub struct SqueezeExcitation {
    /// R, (C / 16, C)
    pub reduce: Tensor,
    /// E, (C, C / 16)
    pub expand: Tensor,
}

/// Efficient channel attention (ECA-Net, Wang et al. 2020, section 3.3): a gate for each channel from its mean and those of
/// its neighbours, s = σ(w ∗ z).
pub struct EfficientChannelAttention {
    /// (1, 1, K), with K from the number of channels: [`efficient_taps`].
    pub kernel: Tensor,
}

impl Attention {
    /// Of block `number`, whose convolution has `channels` outputs.
    pub(super) fn new(builder: &mut Builder, kind: AttentionKind, number: usize, channels: usize) -> Result<Self> {
        match kind {
            AttentionKind::None => Ok(Self::None),
            AttentionKind::Se => Ok(Self::SqueezeExcitation(SqueezeExcitation::new(builder, number, channels)?)),
            AttentionKind::Eca => {
                let taps = efficient_taps(channels);
                let kernel = builder.uniform(format!("eca{number}.conv.weight"), &[1, 1, taps], taps)?;
                Ok(Self::Efficient(EfficientChannelAttention { kernel }))
            }
        }
    }

    /// The gates of the block's channels, where these are all that it attends to: they are a part of the block's operation.
    pub(super) fn gates(&self) -> Option<ops::ChannelGates<'_>> {
        match self {
            Self::None => None,
            Self::SqueezeExcitation(SqueezeExcitation { reduce, expand }) => {
                Some(ops::ChannelGates::SqueezeExcitation { reduce, expand })
            }
            Self::Efficient(EfficientChannelAttention { kernel }) => Some(ops::ChannelGates::Efficient { kernel }),
        }
    }
}

impl SqueezeExcitation {
    /// With the names of the study's module, which CBAM's channel attention has in most implementations too.
    fn new(builder: &mut Builder, number: usize, channels: usize) -> Result<Self> {
        let squeezed = channels / REDUCTION;
        Ok(Self {
            reduce: builder.uniform(format!("ca{number}.fc.0.weight"), &[squeezed, channels], channels)?,
            expand: builder.uniform(format!("ca{number}.fc.2.weight"), &[channels, squeezed], squeezed)?,
        })
    }
}

/// The odd number next to (log₂(C) + b) / γ, with γ = 2 and b = 1, as the authors' code rounds it: down, and then up to the
/// next odd one (Wang et al. 2020, equation 12).
fn efficient_taps(channels: usize) -> usize {
    let taps = (((channels as f64).log2() + 1.0) / 2.0) as usize;
    if taps % 2 == 1 { taps } else { taps + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_efficient_channel_attention_grows_with_the_channels() {
        for (channels, taps) in [(1, 1), (2, 1), (16, 3), (32, 3), (64, 3), (128, 5), (256, 5), (2048, 7)] {
            assert_eq!(efficient_taps(channels), taps, "{channels} channels");
        }
    }
}
