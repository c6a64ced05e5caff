//! What a network costs in arithmetic: its convolutions and linear layers, two floating-point operations a multiply-add,
//! and the matrix products of non-local attention. What is left out (batch normalisation, ReLU, pooling, the optimizer,
//! other attention) is bound by memory.

use super::attention;
use super::shape::{BlockShape, HeadShape, NetworkShape};

/// Operations for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flops {
    pub forward: u64,
    /// Forward, and the gradients of weights and inputs; of the images themselves there is none.
    pub training: u64,
}

impl NetworkShape {
    pub fn flops(&self) -> Flops {
        let blocks = self.blocks.iter().map(|block| block.convolution_flops() + block.attention_flops());
        let forward = blocks.sum::<u64>() + self.head.flops();
        let images_gradient = self.blocks.first().map_or(0, BlockShape::convolution_flops);
        Flops { forward, training: 3 * forward - images_gradient }
    }
}

impl BlockShape {
    fn convolution_flops(&self) -> u64 {
        let [weight, ..] = self.parameters();
        2 * (weight.len() * self.positions()) as u64
    }

    fn attention_flops(&self) -> u64 {
        (attention::kind(self.attention).flops)(self)
    }
}

impl HeadShape {
    fn flops(&self) -> u64 {
        2 * (self.features * self.hidden + self.hidden * self.classes) as u64
    }
}
