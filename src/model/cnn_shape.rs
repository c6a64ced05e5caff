//! The architecture of the study's network: which layers it has, from its configuration and the size of its images, and what
//! follows from their shapes alone. No tensor is made here.

use super::attention;
use super::block::BlockShape;
use super::init::Init;
use super::layer::LayerInfo;
use super::shape_error::{ShapeError, check_applies};
use super::weights::{ParameterSpec, count};
use crate::config::{Activation, ModelConfig, Pool};
use crate::data::DatasetInfo;

/// Blocks of convolution, batch normalisation, ReLU, attention and max-pool, and then the head.
#[derive(Clone, Debug)]
pub struct CnnShape {
    pub(super) blocks: Vec<BlockShape>,
    pub(super) head: HeadShape,
    layers: Vec<LayerInfo>,
}

/// Two linear layers with a ReLU and dropout between them.
#[derive(Clone, Copy, Debug)]
pub struct HeadShape {
    pub pool: Pool,
    /// What the pool makes of the last feature map.
    pub features: usize,
    pub hidden: usize,
    pub classes: usize,
}

impl CnnShape {
    /// # Errors
    /// The images are too small for so many blocks, the attention does not fit the blocks, or a setting is of another network.
    pub fn new(config: &ModelConfig, dataset: &DatasetInfo) -> Result<Self, ShapeError> {
        let ModelConfig { channels, attention, .. } = config;
        check_applies(
            "model.activation",
            <&str>::from(config.activation),
            config.activation == Activation::Relu,
            "cnn",
        )?;
        check_applies("model.whitening", config.whitening, !config.whitening, "cnn")?;
        let fit = dataset.height.min(dataset.width).checked_ilog2().unwrap_or(0);
        if channels.len() > fit as usize {
            let (channels, width, height) = (channels.clone(), dataset.width, dataset.height);
            return Err(ShapeError::TooManyBlocks { channels, width, height, fit });
        }
        let mut blocks = Vec::with_capacity(channels.len());
        let (mut inputs, mut height, mut width) = (dataset.channels, dataset.height, dataset.width);
        for (number, &outputs) in (1..).zip(channels) {
            let attention = attention::in_block(*attention, number == channels.len());
            let block = BlockShape { number, inputs, outputs, height, width, attention };
            block.check_attention(config)?;
            blocks.push(block);
            (inputs, height, width) = (outputs, height / 2, width / 2);
        }
        let features = match config.pool {
            Pool::Flatten => inputs * height * width,
            Pool::Average | Pool::Max => inputs,
        };
        let head = HeadShape { pool: config.pool, features, hidden: config.hidden, classes: dataset.classes.len() };
        let layers = blocks.iter().map(BlockShape::layer).collect();
        Ok(Self { blocks, head, layers })
    }

    /// The convolutions, in the order of the network.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    pub fn blocks(&self) -> &[BlockShape] {
        &self.blocks
    }

    pub fn head(&self) -> &HeadShape {
        &self.head
    }

    /// The number of trained numbers.
    pub fn parameter_count(&self) -> u64 {
        let of_blocks: u64 = self.blocks.iter().map(BlockShape::parameter_count).sum();
        of_blocks + count(&self.head.first()) + count(&self.head.second())
    }
}

impl BlockShape {
    fn check_attention(&self, config: &ModelConfig) -> Result<(), ShapeError> {
        let (kind, attention) = (attention::kind_of(self.attention), <&str>::from(self.attention));
        if self.outputs < kind.min_channels {
            let (least, in_each, channels) = (kind.min_channels, !kind.only_in_last_block, config.channels.clone());
            return Err(ShapeError::TooFewChannels { attention, least, in_each, channels });
        }
        if self.positions() > kind.max_positions {
            let &Self { width, height, .. } = self;
            return Err(ShapeError::TooManyPositions { attention, most: kind.max_positions, width, height });
        }
        Ok(())
    }

    fn parameter_count(&self) -> u64 {
        count(&self.parameters()) + count(&(attention::kind_of(self.attention).parameters)(self))
    }
}

impl HeadShape {
    pub(super) fn first(&self) -> [ParameterSpec; 2] {
        linear("fc1", self.features, self.hidden)
    }

    pub(super) fn second(&self) -> [ParameterSpec; 2] {
        linear("fc2", self.hidden, self.classes)
    }
}

fn linear(name: &str, inputs: usize, outputs: usize) -> [ParameterSpec; 2] {
    let init = Init::Uniform { fan_in: inputs };
    [
        ParameterSpec::new(format!("{name}.weight"), &[outputs, inputs], init),
        ParameterSpec::new(format!("{name}.bias"), &[outputs], init),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{cnn, dataset, with_attention};
    use super::*;
    use crate::config::AttentionKind;

    fn shape(channels: &[usize], attention: AttentionKind, dataset: &DatasetInfo) -> Result<CnnShape, ShapeError> {
        let config = ModelConfig { channels: channels.to_vec(), attention, ..ModelConfig::default() };
        CnnShape::new(&config, dataset)
    }

    #[test]
    fn each_block_halves_the_sides_rounded_down() {
        let images = DatasetInfo { width: 33, ..dataset(28, 1, 47) };
        let shape = shape(&[4, 5, 6], AttentionKind::None, &images).expect("three blocks fit");
        let layer = |name: &str, channels, height, width| LayerInfo { name: name.to_owned(), channels, height, width };
        let expected = [layer("conv1", 4, 28, 33), layer("conv2", 5, 14, 16), layer("conv3", 6, 7, 8)];
        assert_eq!(shape.layers(), expected);
        assert_eq!(shape.head.features, 6 * 3 * 4);
    }

    #[test]
    fn as_many_blocks_as_the_images_can_be_halved() {
        for (side, fit) in [(28, 4), (32, 5), (96, 6), (2, 1), (1, 0)] {
            assert!(fit == 0 || shape(&vec![4; fit], AttentionKind::None, &dataset(side, 3, 2)).is_ok(), "{side}");
            let error = shape(&vec![4; fit + 1], AttentionKind::None, &dataset(side, 3, 2)).expect_err("one too many");
            let told = format!("of {side} x {side} pixels, so at most {fit} blocks fit, not {}", fit + 1);
            assert!(
                error.to_string().starts_with("model.channels = [4") && error.to_string().ends_with(&told),
                "{error}"
            );
        }
    }

    #[test]
    fn attention_that_does_not_fit_is_refused() {
        let cifar = DatasetInfo::cifar10();
        for (attention, channels, told) in [
            (AttentionKind::Se, [16, 15, 16], "se needs at least 16 channels in each block"),
            (AttentionKind::Cbam, [15, 16, 16], "cbam needs at least 16 channels in each block"),
            (AttentionKind::NonLocal, [16, 16, 1], "non-local needs at least 2 channels in the last block"),
        ] {
            let error = shape(&channels, attention, &cifar).expect_err("too few channels").to_string();
            assert_eq!(error, format!("model.attention = {told}; model.channels = {channels:?}"));
        }
        for (attention, channels) in [
            (AttentionKind::Se, [16, 16, 16]),
            (AttentionKind::NonLocal, [1, 1, 2]),
            (AttentionKind::Eca, [1, 1, 1]),
            (AttentionKind::Spatial, [1, 1, 1]),
        ] {
            assert!(shape(&channels, attention, &cifar).is_ok(), "{attention:?}");
        }
        let error = shape(&[16], AttentionKind::NonLocal, &dataset(96, 3, 3)).expect_err("9216 positions").to_string();
        assert!(error.contains("have 96 x 96") && error.contains("model.channels"), "{error}");
        assert!(shape(&[16, 16], AttentionKind::NonLocal, &dataset(96, 3, 3)).is_ok());
    }

    #[test]
    fn counts_the_parameters_of_the_network() {
        for (config, dataset) in with_attention(true) {
            let shape = CnnShape::new(&config, &dataset).expect("a network that can be");
            let expected = cnn(&config, &dataset, 0).weights().parameter_count();
            assert_eq!(shape.parameter_count(), expected as u64, "{config:?}");
        }
    }
}
