//! What the network costs in arithmetic: its convolutions and linear layers, two floating-point operations a
//! multiply-add, and the non-local block's. What is left out (batch normalisation, ReLU, pooling, the optimizer, other
//! attention) is bound by memory.

use crate::config::{AttentionKind, ModelConfig};
use crate::data::CLASSES;
use crate::model::attention::NON_LOCAL_BLOCK;

/// Operations for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flops {
    pub forward: u64,
    /// Forward, and the gradients of weights and inputs; of the images themselves there is none.
    pub training: u64,
}

/// Of an image with sides of `side` pixels.
pub fn per_image(config: &ModelConfig, side: usize) -> Flops {
    let [first, second, third] = config.channels.map(|channels| channels as u64);
    let (side, hidden, classes) = (side as u64, config.hidden as u64, CLASSES.len() as u64);
    let convolution = |inputs: u64, outputs: u64, side: u64| 2 * 3 * 3 * inputs * outputs * side * side;
    let linear = |inputs: u64, outputs: u64| 2 * inputs * outputs;
    // Each block ends in a pool that halves the sides.
    let first_convolution = convolution(3, first, side);
    let forward = first_convolution
        + convolution(first, second, side / 2)
        + convolution(second, third, side / 4)
        + attention(config, side / 4)
        + linear(third * (side / 8) * (side / 8), hidden)
        + linear(hidden, classes);
    Flops { forward, training: 3 * forward - first_convolution }
}

/// Of the last block, whose images have sides of `side` pixels: four projections, the comparison of all pairs of positions and
/// the sums over them.
fn attention(config: &ModelConfig, side: u64) -> u64 {
    let channels = config.channels[NON_LOCAL_BLOCK - 1] as u64;
    let (inner, positions) = (channels / 2, side * side);
    match config.attention {
        AttentionKind::NonLocal => 4 * 2 * channels * inner * positions + 2 * 2 * inner * positions * positions,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::SIDE;

    #[test]
    fn the_studys_network_takes_4_255_gflop_for_a_step_of_64_images() {
        let flops = per_image(&ModelConfig::default(), SIDE);
        assert_eq!(flops, Flops { forward: 22_751_232, training: 66_484_224 });
        assert_eq!((flops.training * 64 + 500_000) / 1_000_000, 4255);
    }

    #[test]
    fn the_non_local_block_takes_four_projections_and_two_products_of_positions() {
        let plain = ModelConfig::default();
        let config = ModelConfig { attention: AttentionKind::NonLocal, ..plain.clone() };
        let more = per_image(&config, SIDE).forward - per_image(&plain, SIDE).forward;
        assert_eq!(more, 4 * 2 * 128 * 64 * 64 + 2 * 2 * 64 * 64 * 64);
    }
}
