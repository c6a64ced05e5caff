//! Attention modules: what a block makes more or less of, learned with the rest.

use candle_core::{Result, Tensor};

use super::weights::Builder;
use crate::config::AttentionKind;
use crate::ops;

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

    /// The gates of the block's channels.
    pub fn gates(&self) -> Option<ops::SqueezeExcitation<'_>> {
        match self {
            Self::None => None,
            Self::SqueezeExcitation(SqueezeExcitation { reduce, expand }) => {
                Some(ops::SqueezeExcitation { reduce, expand })
            }
        }
    }
}

/// Squeeze-and-excitation (Hu et al. 2018, section 3): a gate for each channel from the means of all of them.
pub struct SqueezeExcitation {
    /// (C / 16, C)
    pub reduce: Tensor,
    /// (C, C / 16)
    pub expand: Tensor,
}
