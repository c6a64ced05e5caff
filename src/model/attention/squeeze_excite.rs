//! Squeeze-and-excitation (Hu et al. 2018, section 3): a weight for each channel from the means of all of them,
//! s = σ(E relu(R z)).

use candle_core::{Result, Tensor};

use super::kind::{Attended, Attention, Kind, attend_channels, expect_parameters};
use crate::model::block::BlockShape;
use crate::model::init::Init;
use crate::model::weights::ParameterSpec;
use crate::ops::{ChannelGates, Epilogue};

/// Channels of a block for each one of the squeeze.
pub(super) const REDUCTION: usize = 16;

pub(super) static KIND: Kind = Kind {
    min_channels: REDUCTION,
    max_positions: usize::MAX,
    only_in_last_block: false,
    parameters: |block| parameters(block).into(),
    flops: |_| 0,
    build: |parameters| {
        let [reduce, expand] = expect_parameters(parameters);
        Box::new(SqueezeExcitation { reduce, expand })
    },
};

/// Reduction and expansion, with the names of the study's module, which CBAM's channel attention has in most
/// implementations too.
pub(super) fn parameters(block: &BlockShape) -> [ParameterSpec; 2] {
    let &BlockShape { number, outputs: channels, .. } = block;
    let squeezed = channels / REDUCTION;
    let uniform = |fan_in| Init::Uniform { fan_in };
    [
        ParameterSpec::new(format!("ca{number}.fc.0.weight"), &[squeezed, channels], uniform(channels)),
        ParameterSpec::new(format!("ca{number}.fc.2.weight"), &[channels, squeezed], uniform(squeezed)),
    ]
}

struct SqueezeExcitation {
    /// R, (C / 16, C)
    reduce: Tensor,
    /// E, (C, C / 16)
    expand: Tensor,
}

impl SqueezeExcitation {
    fn gates(&self) -> ChannelGates<'_> {
        ChannelGates::SqueezeExcitation { reduce: &self.reduce, expand: &self.expand }
    }
}

impl Attention for SqueezeExcitation {
    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue::GateAndPool(self.gates())
    }

    fn attend(&self, x: &Tensor) -> Result<Attended> {
        attend_channels(x, self.gates())
    }
}
