//! Efficient channel attention (ECA-Net, Wang et al. 2020, section 3.3): a weight for each channel from its mean and those
//! of its neighbours, s = σ(w ∗ z).

use candle_core::{Result, Tensor};

use super::kind::{Attended, Attention, Kind, attend_channels, expect_parameters};
use crate::model::init::Init;
use crate::model::weights::ParameterSpec;
use crate::ops::{ChannelGates, Epilogue};

pub(super) static KIND: Kind = Kind {
    min_channels: 1,
    max_positions: usize::MAX,
    only_in_last_block: false,
    parameters: |block| {
        let taps = taps(block.outputs);
        let name = format!("eca{}.conv.weight", block.number);
        vec![ParameterSpec::new(name, &[1, 1, taps], Init::Uniform { fan_in: taps })]
    },
    flops: |_| 0,
    build: |parameters| {
        let [kernel] = expect_parameters(parameters);
        Box::new(EfficientChannelAttention { kernel })
    },
};

struct EfficientChannelAttention {
    /// (1, 1, K), with K from the number of channels: 3 of 32 and of 64, 5 of 128.
    kernel: Tensor,
}

impl EfficientChannelAttention {
    fn gates(&self) -> ChannelGates<'_> {
        ChannelGates::Efficient { kernel: &self.kernel }
    }
}

impl Attention for EfficientChannelAttention {
    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue::GateAndPool(self.gates())
    }

    fn attend(&self, x: &Tensor) -> Result<Attended> {
        attend_channels(x, self.gates())
    }
}

/// The odd number next to (log₂(C) + b) / γ, with γ = 2 and b = 1, as the authors' code rounds it: down, and then up to the
/// next odd one (equation 12).
fn taps(channels: usize) -> usize {
    let taps = (((channels as f64).log2() + 1.0) / 2.0) as usize;
    if taps % 2 == 1 { taps } else { taps + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_grows_with_the_channels() {
        for (channels, expected) in [(1, 1), (2, 1), (16, 3), (32, 3), (64, 3), (128, 5), (256, 5), (2048, 7)] {
            assert_eq!(taps(channels), expected, "{channels} channels");
        }
    }
}
