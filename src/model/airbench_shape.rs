//! The architecture of airbench94 (Jordan 2024, section 3): which layers it has, from its configuration and the size of its
//! images. Parameters have the names of its `state_dict`.

use super::init::Init;
use super::layer::LayerInfo;
use super::shape_error::{ShapeError, check_applies};
use super::weights::{ParameterSpec, count};
use crate::config::{AttentionKind, ModelConfig, Pool};
use crate::data::DatasetInfo;

/// Side of the first convolution's kernel, which has no padding.
pub const FIRST_KERNEL: usize = 2;
/// The name of the first convolution's bias.
pub const FIRST_BIAS: &str = "whiten.bias";
/// Side of the other kernels.
const KERNEL: usize = 3;

/// A first convolution, groups, a pool over what is left and a linear layer.
#[derive(Clone, Debug)]
pub struct AirbenchShape {
    pub(super) first: FirstShape,
    pub(super) groups: Vec<GroupShape>,
    pub(super) head: LinearShape,
    /// Whether the first convolution's kernel whitens, and is frozen.
    pub(super) whitening: bool,
    layers: Vec<LayerInfo>,
}

/// Convolution 2 × 2 without padding, to a channel for each direction of the patches, and its opposite.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstShape {
    pub inputs: usize,
    pub outputs: usize,
    /// Of the output.
    pub height: usize,
    pub width: usize,
}

/// Convolution, max-pool, normalisation, activation, convolution, normalisation and activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupShape {
    /// From 1, as in the names of its parameters.
    pub number: usize,
    pub inputs: usize,
    pub outputs: usize,
    /// Of the input; the pool halves it.
    pub height: usize,
    pub width: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct LinearShape {
    /// What the pool makes of the last feature map.
    pub features: usize,
    pub classes: usize,
}

impl AirbenchShape {
    /// # Errors
    /// The images are too small for so many groups, or a setting is of another network.
    pub fn new(config: &ModelConfig, dataset: &DatasetInfo) -> Result<Self, ShapeError> {
        let ModelConfig { channels, attention, hidden, dropout, .. } = config;
        let network = "airbench";
        check_applies("model.attention", <&str>::from(*attention), *attention == AttentionKind::None, network)?;
        check_applies("model.hidden", hidden, *hidden == 0, network)?;
        check_applies("model.dropout", dropout, *dropout == 0.0, network)?;
        let [height, width] = [dataset.height, dataset.width].map(|side| (side + 1).saturating_sub(FIRST_KERNEL));
        let fit = height.min(width).checked_ilog2().unwrap_or(0);
        if channels.len() > fit as usize {
            let (channels, width, height) = (channels.clone(), dataset.width, dataset.height);
            return Err(ShapeError::TooManyBlocks { channels, width, height, fit });
        }
        let inputs = dataset.channels;
        let first = FirstShape { inputs, outputs: 2 * inputs * FIRST_KERNEL * FIRST_KERNEL, height, width };
        let mut groups = Vec::with_capacity(channels.len());
        let (mut inputs, mut height, mut width) = (first.outputs, height, width);
        for (number, &outputs) in (1..).zip(channels) {
            groups.push(GroupShape { number, inputs, outputs, height, width });
            (inputs, height, width) = (outputs, height / 2, width / 2);
        }
        let features = match config.pool {
            Pool::Flatten => inputs * height * width,
            Pool::Average | Pool::Max => inputs,
        };
        let head = LinearShape { features, classes: dataset.classes.len() };
        let layers = std::iter::once(first.layer()).chain(groups.iter().flat_map(GroupShape::layers)).collect();
        Ok(Self { first, groups, head, whitening: config.whitening, layers })
    }

    /// The convolutions, in the order of the network.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// The number of trained numbers.
    pub fn parameter_count(&self) -> u64 {
        let kernel = if self.whitening { 0 } else { self.first.weight_len() as u64 };
        let groups: u64 = self.groups.iter().map(|group| count(&group.parameters())).sum();
        kernel + self.first.outputs as u64 + groups + count(&[self.head.parameter()])
    }
}

impl FirstShape {
    /// (O, C, K, K)
    pub fn weight_dims(&self) -> [usize; 4] {
        [self.outputs, self.inputs, FIRST_KERNEL, FIRST_KERNEL]
    }

    pub fn weight_len(&self) -> usize {
        self.weight_dims().iter().product()
    }

    /// Of a kernel that is trained.
    pub fn weight(&self) -> ParameterSpec {
        let init = Init::PartialIdentity { fan_in: self.inputs * FIRST_KERNEL * FIRST_KERNEL };
        ParameterSpec::new("whiten.weight".into(), &self.weight_dims(), init)
    }

    pub fn bias(&self) -> ParameterSpec {
        ParameterSpec::new(FIRST_BIAS.into(), &[self.outputs], Init::Zeros)
    }

    fn layer(&self) -> LayerInfo {
        let &Self { outputs, height, width, .. } = self;
        LayerInfo { name: "whiten".into(), channels: outputs, height, width }
    }
}

impl GroupShape {
    /// The name of a part of it.
    pub fn name(&self, part: &str) -> String {
        format!("layers.{}.{part}", self.number)
    }

    /// Of the first convolution and its normalisation, and of the second.
    pub fn parameters(&self) -> [ParameterSpec; 4] {
        let &Self { inputs, outputs, .. } = self;
        let convolution = |name: &str, inputs: usize| {
            let init = Init::PartialIdentity { fan_in: inputs * KERNEL * KERNEL };
            ParameterSpec::new(self.name(name), &[outputs, inputs, KERNEL, KERNEL], init)
        };
        let bias = |name: &str| ParameterSpec::new(self.name(name), &[outputs], Init::Zeros);
        [
            convolution("conv1.weight", inputs),
            bias("norm1.bias"),
            convolution("conv2.weight", outputs),
            bias("norm2.bias"),
        ]
    }

    fn layers(&self) -> [LayerInfo; 2] {
        let &Self { outputs, height, width, .. } = self;
        let layer = |name: &str, height, width| LayerInfo { name: self.name(name), channels: outputs, height, width };
        [layer("conv1", height, width), layer("conv2", height / 2, width / 2)]
    }

    /// Multiplications of its convolutions for an image.
    pub fn products(&self) -> u64 {
        let &Self { inputs, outputs, height, width, .. } = self;
        let positions = inputs * height * width + outputs * (height / 2) * (width / 2);
        (KERNEL * KERNEL * outputs * positions) as u64
    }
}

impl LinearShape {
    pub fn parameter(&self) -> ParameterSpec {
        ParameterSpec::new(
            "head.weight".into(),
            &[self.classes, self.features],
            Init::Uniform { fan_in: self.features },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::dataset;
    use super::*;

    #[test]
    fn layers_are_the_convolutions() {
        let shape = AirbenchShape::new(&ModelConfig::airbench(), &DatasetInfo::cifar10()).expect("it fits");
        let layers: Vec<String> = shape
            .layers()
            .iter()
            .map(|layer| format!("{} {}x{}x{}", layer.name, layer.channels, layer.height, layer.width))
            .collect();
        let expected = [
            "whiten 24x31x31",
            "layers.1.conv1 64x31x31",
            "layers.1.conv2 64x15x15",
            "layers.2.conv1 256x15x15",
            "layers.2.conv2 256x7x7",
            "layers.3.conv1 256x7x7",
            "layers.3.conv2 256x3x3",
        ];
        assert_eq!(layers, expected);
    }

    #[test]
    fn what_does_not_fit_is_told_in_a_line() {
        let error = |config: ModelConfig, side| {
            AirbenchShape::new(&config, &dataset(side, 3, 10)).expect_err("it does not fit").to_string()
        };
        let airbench = ModelConfig::airbench;
        assert!(AirbenchShape::new(&airbench(), &dataset(9, 3, 10)).is_ok());
        assert!(error(airbench(), 8).contains("at most 2 blocks fit, not 3"));
        assert!(error(airbench(), 1).contains("at most 0 blocks fit, not 3"));
        for (config, told) in [
            (ModelConfig { hidden: 512, ..airbench() }, "model.hidden = 512"),
            (ModelConfig { dropout: 0.5, ..airbench() }, "model.dropout = 0.5"),
            (ModelConfig { attention: AttentionKind::Se, ..airbench() }, "model.attention = se"),
        ] {
            let expected = format!("{told}: the network airbench (model.network) does not have that; leave it out");
            assert_eq!(error(config, 32), expected);
        }
    }
}
