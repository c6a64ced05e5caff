//! The convolutional block attention module (CBAM, Woo et al. 2018, section 3): channels, and then positions. Channel
//! attention is of the means and of the greatest of the channels, s = σ(E relu(R mean) + E relu(R max)).

use candle_core::{Result, Tensor};

use super::kind::{Attended, Attention, Kind, expect_parameters};
use super::{spatial, squeeze_excite};
use crate::ops::{self, Epilogue, SpatialGates};

pub(super) static KIND: Kind = Kind {
    min_channels: squeeze_excite::REDUCTION,
    max_positions: usize::MAX,
    only_in_last_block: false,
    parameters: |block| {
        let [reduce, expand] = squeeze_excite::parameters(block);
        vec![reduce, expand, spatial::parameter(block)]
    },
    flops: |_| 0,
    build: |parameters| {
        let [reduce, expand, kernel] = expect_parameters(parameters);
        Box::new(Cbam { reduce, expand, kernel })
    },
};

struct Cbam {
    /// R, (C / 16, C)
    reduce: Tensor,
    /// E, (C, C / 16)
    expand: Tensor,
    /// Of spatial attention, (1, 2, 7, 7).
    kernel: Tensor,
}

impl Cbam {
    fn gates(&self) -> SpatialGates<'_> {
        SpatialGates { channels: Some([&self.reduce, &self.expand]), kernel: &self.kernel }
    }
}

impl Attention for Cbam {
    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue::Relu
    }

    fn finish(&self, y: Tensor) -> Result<Tensor> {
        ops::spatial_attention_and_pool(&y, self.gates())
    }

    fn attend(&self, x: &Tensor) -> Result<Attended> {
        spatial::spatial_attention(x, self.gates())
    }
}
