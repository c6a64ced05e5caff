//! Spatial attention (Woo et al. 2018, section 3.1): a weight for each position from the mean and the greatest of its
//! channels, and of those of its neighbours, s = σ(w ∗ [mean; max]).

use candle_core::{Result, Tensor};

use super::kind::{Attended, Attention, AttentionWeights, Kind, expect_parameters};
use crate::model::block::BlockShape;
use crate::model::init::Init;
use crate::model::weights::ParameterSpec;
use crate::ops::{self, Epilogue, SpatialGates};

/// Side of the kernel.
const KERNEL: usize = 7;

pub(super) static KIND: Kind = Kind {
    min_channels: 1,
    max_positions: usize::MAX,
    only_in_last_block: false,
    parameters: |block| vec![parameter(block)],
    flops: |_| 0,
    build: |parameters| {
        let [kernel] = expect_parameters(parameters);
        Box::new(SpatialAttention { kernel })
    },
};

pub(super) fn parameter(block: &BlockShape) -> ParameterSpec {
    let dims = [1, 2, KERNEL, KERNEL];
    let init = Init::Uniform { fan_in: dims.iter().product() };
    ParameterSpec::new(format!("sa{}.conv.weight", block.number), &dims, init)
}

struct SpatialAttention {
    /// (1, 2, 7, 7)
    kernel: Tensor,
}

impl SpatialAttention {
    fn gates(&self) -> SpatialGates<'_> {
        SpatialGates { channels: None, kernel: &self.kernel }
    }
}

impl Attention for SpatialAttention {
    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue::Relu
    }

    fn finish(&self, y: Tensor) -> Result<Tensor> {
        ops::spatial_attention_and_pool(&y, self.gates())
    }

    fn attend(&self, x: &Tensor) -> Result<Attended> {
        spatial_attention(x, self.gates())
    }
}

/// `x` (N, H, W, C) times channel attention, if any, and spatial attention.
pub(super) fn spatial_attention(x: &Tensor, gates: SpatialGates) -> Result<Attended> {
    let ops::SpatiallyAttended { output, gates: channels, map } = gates.attend(x)?;
    Ok(Attended { output, weights: AttentionWeights { channels, positions: Some(map), matrix: None } })
}
