//! How many bytes a training step moves.

use super::network::{TILE, hidden_parts, weight_parts};
use crate::config::{AttentionKind, Pool};
use crate::model::{BlockShape, CnnShape, HeadShape};

const FLOAT: u64 = 4;

/// Bytes that the kernels of a training step read and write for `images` images: each kernel each element of each of its
/// arguments once, as if it had a perfect cache and the next kernel an empty one. So it is what a card's memory moves if
/// nothing stays in its cache from one kernel to the next. Left out are vectors of a number a channel, labels and losses.
pub fn bytes_of_step(shape: &CnnShape, images: u64) -> u64 {
    let blocks: u64 = shape.blocks().iter().enumerate().map(|(number, block)| of_block(block, number, images)).sum();
    // The gradient is summed; Adam reads gradient, parameters and two moments, and writes the last three.
    let optimizer = 8 * shape.parameter_count() * FLOAT;
    let image = shape.blocks().first().map_or(0, |block| (block.positions() * block.inputs) as u64);
    // The bytes of the images, those of the augmented ones written and read, and the normalised ones written.
    let batch = images * image * (3 + FLOAT);
    batch + blocks + of_head(shape.head(), shape.blocks().last(), images) + optimizer
}

fn of_block(block: &BlockShape, number: usize, images: u64) -> u64 {
    let [inputs, outputs, positions] = [block.inputs, block.outputs, block.positions()].map(|count| count as u64);
    let pooled = ((block.height / 2) * (block.width / 2)) as u64;
    let (x, y) = (images * positions * inputs, images * positions * outputs);
    let (out, of_images, weight) = (images * pooled * outputs, images * outputs, 9 * inputs * outputs);
    let statistics = 2 * (images * positions).div_ceil(TILE.into()) * outputs;
    let partial = u64::from(weight_parts(block, images as u32).count) * weight;
    // conv_forward, merge_statistics, normalise_and_pool.
    let forward = (x + weight + y + statistics) + statistics + (y + out);
    // gradient_sums, normalisation_gradient, conv_output_gradient, conv_weight_gradient, sum_parts.
    let backward = (2 * out + 2 * of_images) + 2 * of_images + (y + out + y) + (x + y + partial) + (partial + weight);
    // conv_input_gradient; of the images themselves there is none.
    let of_input = if number > 0 { y + weight + x } else { 0 };
    // activated_sums, apply_gates; gate_gradients reads and rewrites both sums, reads four of the values and writes two; and
    // the gates and shares that conv_output_gradient reads.
    let gates = if block.attention == AttentionKind::None {
        0
    } else {
        (y + 3 * of_images) + (3 * of_images + 2 * out) + (4 + 4 + 2) * of_images + 2 * of_images
    };
    // Positions of maxima are bytes: written once, read twice.
    (forward + backward + of_input + gates) * FLOAT + 3 * out
}

fn of_head(head: &HeadShape, last: Option<&BlockShape>, images: u64) -> u64 {
    let [features, hidden, classes] = [head.features, head.hidden, head.classes].map(|count| count as u64);
    let (x, units, logits) = (images * features, images * hidden, images * classes);
    let (first, second) = (features * hidden, hidden * classes);
    let partial = u64::from(hidden_parts(head)) * units;
    // hidden_partial, hidden_layer, output_layer, cross_entropy.
    let forward = (x + first + partial) + (partial + 2 * units) + (units + second + logits) + 2 * logits;
    // output_layer_gradient, hidden_gradient, hidden_weight_gradient, feature_gradient.
    let backward =
        (logits + units + second) + (logits + second + 2 * units) + (units + x + first) + (units + first + x);
    // average_positions and its gradient.
    let average = match (head.pool, last) {
        (Pool::Average, Some(last)) => 2 * (x + images * ((last.height / 2) * (last.width / 2) * last.outputs) as u64),
        _ => 0,
    };
    (forward + backward + average) * FLOAT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::data::DatasetInfo;

    fn bytes(attention: AttentionKind, pool: Pool) -> u64 {
        let config = ModelConfig { channels: vec![16], hidden: 2, attention, pool, ..ModelConfig::default() };
        let cifar = DatasetInfo::cifar10();
        let classes = cifar.classes[..3].to_vec();
        let grey = DatasetInfo { channels: 1, height: 4, width: 4, classes, mean: vec![0.5], std: vec![0.2], ..cifar };
        let shape = CnnShape::new(&config, &grey).expect("a network that can be");
        bytes_of_step(&shape, 8)
    }

    /// By hand, for 8 grey images of 4 x 4, one block of 16 channels, 2 hidden units and 3 classes.
    #[test]
    fn one_block_is_counted_kernel_by_kernel() {
        // Elements: x 128, y 2048, pooled 512, weight 144; 8 x 16 of images and channels 128; two tiles of pixels with two
        // statistics 64; the gradient of the weight in all its 8 strips of 16 pixels: 1152.
        let load = 128 * 3 + 128 * 4;
        let forward = (128 + 144 + 2048 + 64) + 64 + (2048 + 512);
        let backward = (512 + 512 + 256) + 256 + (2048 + 512 + 2048) + (128 + 2048 + 1152) + (1152 + 144);
        // Head: features 8 x 64 = 512, in 4 strips of 16: partial 4 x 16 = 64; weights 128 and 6; logits 24.
        let head = (512 + 128 + 64) + (64 + 32) + (16 + 6 + 24) + 48;
        let of_head = (24 + 16 + 6) + (24 + 6 + 32) + (16 + 512 + 128) + (16 + 128 + 512);
        // 160 of the convolution, 32 of the normalisation, 130 and 9 of the head.
        let optimizer = 8 * (160 + 32 + 130 + 9);
        let floats = forward + backward + head + of_head + optimizer;
        assert_eq!(bytes(AttentionKind::None, Pool::Flatten), load + 4 * floats + 3 * 512);
    }

    #[test]
    fn gates_and_the_average_pool_are_more() {
        let plain = bytes(AttentionKind::None, Pool::Flatten);
        // Two weights of one squeezed channel, 16 numbers each.
        let gates = (2048 + 3 * 128) + (3 * 128 + 1024) + 10 * 128 + 256;
        assert_eq!(bytes(AttentionKind::Se, Pool::Flatten) - plain, 4 * (gates + 8 * 32));
        assert!(bytes(AttentionKind::None, Pool::Average) != plain);
    }
}
