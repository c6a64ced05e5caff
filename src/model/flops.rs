//! What a network costs in arithmetic: its convolutions and linear layers, two floating-point operations a multiply-add,
//! and the matrix products of non-local attention. What is left out (batch normalisation, ReLU, pooling, the optimizer,
//! other attention) is bound by memory.

use super::airbench_shape::AirbenchShape;
use super::attention;
use super::block::BlockShape;
use super::cnn_shape::{CnnShape, HeadShape};
use super::shape::NetworkShape;

/// Operations for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flops {
    pub forward: u64,
    /// Forward, and the gradients of weights and inputs; of the images themselves there is none.
    pub training: u64,
}

impl NetworkShape {
    pub fn flops(&self) -> Flops {
        match self {
            Self::Cnn(cnn) => cnn.flops(),
            Self::Airbench(airbench) => airbench.flops(),
        }
    }
}

impl AirbenchShape {
    fn flops(&self) -> Flops {
        let first = 2 * (self.first.weight_len() * self.first.height * self.first.width) as u64;
        let groups: u64 = self.groups.iter().map(|group| 2 * group.products()).sum();
        let others = groups + 2 * (self.head.features * self.head.classes) as u64;
        // A frozen kernel has no gradient, as the images have none.
        let first_backward = if self.whitening { 0 } else { first };
        Flops { forward: first + others, training: first + first_backward + 3 * others }
    }
}

impl CnnShape {
    fn flops(&self) -> Flops {
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
        (attention::kind_of(self.attention).flops)(self)
    }
}

impl HeadShape {
    fn flops(&self) -> u64 {
        2 * (self.features * self.hidden + self.hidden * self.classes) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AttentionKind, ModelConfig, Pool};
    use crate::data::DatasetInfo;
    use crate::model::testing::dataset;

    fn cost(config: &ModelConfig, dataset: &DatasetInfo) -> (Flops, u64) {
        let shape = NetworkShape::new(config, dataset).expect("a network that can be");
        (shape.flops(), shape.parameter_count())
    }

    #[test]
    fn the_study_takes_4_255_gflop_for_a_step_of_64_images() {
        let (flops, parameters) = cost(&ModelConfig::default(), &DatasetInfo::cifar10());
        assert_eq!(flops, Flops { forward: 22_751_232, training: 66_484_224 });
        assert_eq!((flops.training * 64 + 500_000) / 1_000_000, 4255);
        assert_eq!(parameters, 1_147_914);
    }

    #[test]
    fn the_record_takes_0_236_gflop_for_an_image() {
        let (flops, parameters) = cost(&ModelConfig::airbench(), &DatasetInfo::cifar10());
        // whiten, 12 taps to 24, 31 x 31; the groups on 31 x 31, 15 x 15 (twice), 7 x 7 (twice), 3 x 3; the head.
        let first = 2 * 12 * 24 * 961;
        let groups =
            18 * (24 * 64 * 961 + 64 * 64 * 225 + 64 * 256 * 225 + 256 * 256 * 49 + 256 * 256 * 49 + 256 * 256 * 9);
        let head = 2 * 256 * 10;
        assert_eq!(flops, Flops { forward: first + groups + head, training: first + 3 * (groups + head) });
        // Without the frozen kernel and scales: the biases, the kernels and the head.
        let kernels = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256);
        assert_eq!(parameters, 24 + kernels + 2 * (64 + 256 + 256) + 2560);
        let trained = ModelConfig { whitening: false, ..ModelConfig::airbench() };
        assert_eq!(cost(&trained, &DatasetInfo::cifar10()).1 - parameters, 12 * 24);
    }

    // The numbers below are worked out by hand, layer by layer: operations are 2 x multiply-adds.

    #[test]
    fn two_blocks_on_small_grey_images() {
        let config = ModelConfig { channels: vec![8, 16], hidden: 32, ..ModelConfig::default() };
        let (flops, parameters) = cost(&config, &dataset(28, 1, 47));
        // conv1, 9 taps, 28 x 28: 112 896; conv2, 72 taps, 14 x 14: 451 584; fc1, 16 x 7 x 7 to 32: 50 176; fc2: 3 008.
        assert_eq!(flops.forward, 112_896 + 451_584 + 50_176 + 3_008);
        assert_eq!(flops.training, 3 * 617_664 - 112_896);
        // conv1, bn1, conv2, bn2, fc1, fc2, with their biases.
        assert_eq!(parameters, 80 + 16 + 1_168 + 32 + 25_120 + 1_551);
    }

    #[test]
    fn four_blocks_on_greater_colour_images() {
        let config =
            ModelConfig { channels: vec![16, 32, 64, 128], hidden: 64, pool: Pool::Average, ..ModelConfig::default() };
        let (flops, parameters) = cost(&config, &dataset(96, 3, 3));
        // conv1 on 96 x 96: 7 962 624; each further convolution has four times the products on a quarter of the positions:
        // 21 233 664; fc1, 128 to 64: 16 384; fc2: 384.
        assert_eq!(flops.forward, 7_962_624 + 3 * 21_233_664 + 16_384 + 384);
        assert_eq!(flops.training, 3 * 71_680_384 - 7_962_624);
        assert_eq!(parameters, (448 + 4_640 + 18_496 + 73_856) + (32 + 64 + 128 + 256) + 8_256 + 195);
    }

    #[test]
    fn non_local_attention_takes_four_projections_and_two_products_of_positions() {
        let (plain, cifar) = (ModelConfig::default(), DatasetInfo::cifar10());
        let config = ModelConfig { attention: AttentionKind::NonLocal, ..plain.clone() };
        // Of 64 positions between 128 and 64 channels: 4 x 1 048 576; 64 x 64 x 64, twice: 2 x 524 288.
        assert_eq!(cost(&config, &cifar).0.forward - cost(&plain, &cifar).0.forward, 5_242_880);
        // theta, phi, g and W.
        assert_eq!(cost(&config, &cifar).1 - cost(&plain, &cifar).1, 3 * (128 * 64 + 64) + (64 * 128 + 128));
    }
}
