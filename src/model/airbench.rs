//! The network of airbench94 (Jordan 2024, section 3): a whitening convolution, groups of two convolutions, a pool over what is
//! left and a linear layer. The normalisations have no scale, and the logits are scaled down.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::active_channels::ActiveChannels;
use super::airbench_shape::{AirbenchShape, FIRST_BIAS, FIRST_KERNEL, GroupShape};
use super::cnn::Mode;
use super::pool::pooled;
use super::running_statistics::RunningStatistics;
use super::weights::{Builder, Weights};
use super::whitening::whitening_kernel;
use crate::config::{Activation, ModelConfig, Pool, Precision};
use crate::data::Dataset;
use crate::ops::{self, AfterConvolution, NormActivation};

/// Weight of a batch in the running statistics.
const MOMENTUM: f64 = 0.4;
/// Added to variances.
const EPSILON: f64 = 1e-12;
/// Of the logits.
const SCALE: f32 = 1.0 / 9.0;

pub struct Airbench {
    first: First,
    pub(super) groups: Vec<Group>,
    head: Head,
    activation: Activation,
    /// Of the products of the groups' convolutions.
    precision: Precision,
    shape: AirbenchShape,
    weights: Weights,
}

struct First {
    kernel: Kernel,
    bias: Tensor,
    bias_is_frozen: bool,
}

/// That of the first convolution, (O, C, 2, 2).
enum Kernel {
    /// Frozen.
    Whitening(Var),
    Trained(Tensor),
}

impl Kernel {
    fn weight(&self) -> Tensor {
        match self {
            Self::Whitening(weight) => weight.detach(),
            Self::Trained(weight) => weight.clone(),
        }
    }
}

impl First {
    fn bias(&self) -> Tensor {
        if self.bias_is_frozen { self.bias.detach() } else { self.bias.clone() }
    }
}

/// Convolution 3 × 3 → max-pool 2 × 2 → normalisation → activation → convolution 3 × 3 → normalisation → activation.
pub(super) struct Group {
    pub conv1: Tensor,
    norm1: Norm,
    pub conv2: Tensor,
    norm2: Norm,
}

/// Batch normalisation, whose scale is frozen, and an activation.
struct Norm {
    scale: Var,
    bias: Tensor,
    running: RunningStatistics,
    activation: Activation,
}

struct Head {
    pool: Pool,
    /// (classes, features)
    weight: Tensor,
}

impl Airbench {
    /// Of that shape, which is of `config`; see [`super::Network::new`]. A whitening kernel is zeros until [`Airbench::prepare`].
    pub(super) fn new(shape: AirbenchShape, config: &ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut builder = Builder { seed, device, weights: Weights::default() };
        let kernel = if shape.whitening {
            let zeros = Tensor::zeros(&shape.first.weight_dims()[..], DType::F32, device)?;
            Kernel::Whitening(builder.buffer("whiten.weight".into(), &zeros)?)
        } else {
            Kernel::Trained(builder.parameter(shape.first.weight())?)
        };
        let first = First { kernel, bias: builder.parameter(shape.first.bias())?, bias_is_frozen: false };
        let groups = shape.groups.iter().map(|group| Group::new(&mut builder, group, config.activation));
        let groups = groups.collect::<Result<_>>()?;
        let head = Head { pool: config.pool, weight: builder.parameter(shape.head.parameter())? };
        let (activation, precision, weights) = (config.activation, Precision::F32, builder.weights);
        Ok(Self { first, groups, head, activation, precision, shape, weights })
    }

    pub(super) fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    pub(super) fn shape(&self) -> &AirbenchShape {
        &self.shape
    }

    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(super) fn summary(&self) -> String {
        let widths: Vec<String> = self.shape.groups.iter().map(|group| group.outputs.to_string()).collect();
        let activation = match self.activation {
            Activation::Gelu => String::new(),
            other => format!(" {}", <&str>::from(other)),
        };
        let pool = match self.head.pool {
            Pool::Max => "",
            Pool::Average => " average",
            Pool::Flatten => " flatten",
        };
        let first = if self.shape.whitening { "" } else { " without whitening" };
        format!("airbench {}{activation}{pool}{first}", widths.join("-"))
    }

    /// Makes the whitening kernel of the training images.
    pub(super) fn prepare(&self, data: &Dataset) -> Result<()> {
        match &self.first.kernel {
            Kernel::Whitening(weight) => weight.set(&whitening_kernel(data, FIRST_KERNEL)?.to_device(weight.device())?),
            Kernel::Trained(_) => Ok(()),
        }
    }

    /// Whether the bias of the first convolution has no gradient from now on; behind a frozen kernel, the first layer then has
    /// no backward pass.
    pub(super) fn freeze_first_bias(&mut self, is_frozen: bool) {
        self.first.bias_is_frozen = is_frozen;
    }

    /// Whether a parameter is frozen.
    pub(super) fn is_frozen(&self, parameter: &str) -> bool {
        self.first.bias_is_frozen && parameter == FIRST_BIAS
    }

    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.forward_observed(x, mode, |_, _| Ok(()))
    }

    pub(super) fn evaluate(&self, x: &Tensor, active: &mut ActiveChannels) -> Result<Tensor> {
        let layers = self.shape.layers();
        self.forward_observed(x, Mode::Evaluate, |layer, y| match self.activation {
            Activation::Relu => active.mark(layers, layer, y),
            // None is ever 0 for all images.
            Activation::Gelu | Activation::Silu => {
                active.merge(layers, layer, &vec![true; layers[layer].channels]);
                Ok(())
            }
        })
    }

    /// `observe` sees, of each layer, what its activation gives.
    fn forward_observed(
        &self,
        x: &Tensor,
        mode: Mode,
        mut observe: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = ops::conv_activation(x, &self.first.kernel.weight(), &self.first.bias(), self.activation)?;
        observe(0, &x)?;
        for (number, group) in self.groups.iter().enumerate() {
            x = group
                .norm1
                .forward(&ops::conv_pool(&x, &group.conv1, AfterConvolution::MaxPool, self.precision)?, mode)?;
            observe(2 * number + 1, &x)?;
            x = group
                .norm2
                .forward(&ops::conv_pool(&x, &group.conv2, AfterConvolution::Nothing, self.precision)?, mode)?;
            observe(2 * number + 2, &x)?;
        }
        self.head.logits(&self.head.vectors(&x)?)
    }

    /// From images (N, H, W, C) to the output of the first convolution.
    pub(super) fn convolve_first(&self, x: &Tensor) -> Result<Tensor> {
        ops::conv2d(x, &self.first.kernel.weight().detach(), &self.first.bias.detach(), 1, 0)
    }

    /// The kernel of a layer but the first.
    pub(super) fn kernel(&self, layer: usize) -> Tensor {
        let group = &self.groups[(layer - 1) / 2];
        if layer % 2 == 1 { group.conv1.detach() } else { group.conv2.detach() }
    }

    /// From the output of a convolution (N, H, W, C) to the input of the next, in evaluation mode; differentiable in it.
    pub(super) fn finish(&self, layer: usize, convolved: &Tensor) -> Result<Tensor> {
        let Some(group) = layer.checked_sub(1).map(|layer| &self.groups[layer / 2]) else {
            return ops::activate(convolved, self.activation);
        };
        if layer % 2 == 1 {
            group.norm1.forward(&ops::max_pool(convolved)?, Mode::Evaluate)
        } else {
            group.norm2.forward(convolved, Mode::Evaluate)
        }
    }

    /// From the last feature map (N, H, W, C) to the linear layer's input, (N, features).
    pub(super) fn vectors(&self, features: &Tensor) -> Result<Tensor> {
        self.head.vectors(features)
    }

    /// From the linear layer's input to the logits, (N, classes).
    pub(super) fn logits(&self, vectors: &Tensor) -> Result<Tensor> {
        self.head.logits(vectors)
    }
}

impl Group {
    fn new(builder: &mut Builder, shape: &GroupShape, activation: Activation) -> Result<Self> {
        let [conv1, bias1, conv2, bias2] = builder.parameters(shape.parameters())?;
        let mut norm = |name: &str, bias: Tensor| Norm::new(builder, &shape.name(name), bias, activation);
        Ok(Self { norm1: norm("norm1", bias1)?, norm2: norm("norm2", bias2)?, conv1, conv2 })
    }
}

impl Norm {
    fn new(builder: &mut Builder, name: &str, bias: Tensor, activation: Activation) -> Result<Self> {
        let channels = bias.elem_count();
        let ones = Tensor::ones(channels, DType::F32, builder.device)?;
        let scale = builder.buffer(format!("{name}.weight"), &ones)?;
        Ok(Self { scale, bias, running: RunningStatistics::new(builder, name, channels)?, activation })
    }

    /// `x` (N, H, W, C) normalised and activated.
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (weight, bias, activation) = (&self.scale.detach(), &self.bias, self.activation);
        let norm = NormActivation { weight, bias, epsilon: EPSILON, activation };
        match mode {
            Mode::Train { .. } => {
                let (y, batch) = ops::norm_activation_train(x, norm)?;
                self.running.track(&batch, MOMENTUM)?;
                Ok(y)
            }
            Mode::Evaluate => ops::norm_activation_evaluate(x, norm, &self.running.mean, &self.running.variance),
        }
    }
}

impl Head {
    fn vectors(&self, features: &Tensor) -> Result<Tensor> {
        pooled(self.pool, features)
    }

    fn logits(&self, vectors: &Tensor) -> Result<Tensor> {
        ops::scaled_linear(vectors, &self.weight, SCALE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DatasetInfo;
    use crate::data::source::sample;
    use crate::model::testing::{airbench, airbenches, assert_tape_is_candle, images};

    #[test]
    fn names_are_those_of_airbench94() {
        let network = airbench(&ModelConfig::airbench(), &DatasetInfo::cifar10(), 0);
        let names = |named: &[(String, Var)]| named.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let parameters = names(&network.weights().parameters);
        assert_eq!(parameters[..3], ["whiten.bias", "layers.1.conv1.weight", "layers.1.norm1.bias"]);
        assert_eq!(parameters[3..5], ["layers.1.conv2.weight", "layers.1.norm2.bias"]);
        assert_eq!(parameters[13..], ["head.weight"]);
        let buffers = names(&network.weights().buffers);
        assert_eq!(buffers[..2], ["whiten.weight", "layers.1.norm1.weight"]);
        assert_eq!(buffers[24], "layers.3.norm2.num_batches_tracked");
        assert_eq!(network.summary(), "airbench 64-256-256");
        let other = ModelConfig {
            activation: Activation::Silu,
            pool: Pool::Average,
            whitening: false,
            ..ModelConfig::airbench()
        };
        let other = airbench(&other, &DatasetInfo::cifar10(), 0);
        assert_eq!(other.summary(), "airbench 64-256-256 silu average without whitening");
        assert_eq!(names(&other.weights().parameters)[..2], ["whiten.weight", "whiten.bias"]);
    }

    #[test]
    fn the_gradients_of_the_tape_are_candles_to_the_bit() -> Result<()> {
        for (config, dataset) in airbenches() {
            let network = airbench(&config, &dataset, 0);
            let x = images(1, 3, &dataset);
            let forward = || network.forward(&x, Mode::Train { seed: 0, step: 1 });
            assert_tape_is_candle(&network.weights().parameters, &config, forward)?;
        }
        Ok(())
    }

    #[test]
    fn evaluation_changes_nothing_and_is_that_of_each_image_alone() -> Result<()> {
        for (config, dataset) in airbenches() {
            let network = airbench(&config, &dataset, 0);
            let x = images(1, 5, &dataset);
            network.forward(&x, Mode::Train { seed: 0, step: 1 })?;
            let before = network.weights().to_safetensors().expect("bytes");
            let mut active = ActiveChannels::default();
            let together = network.evaluate(&x, &mut active)?.to_vec2::<f32>()?;
            assert_eq!(network.weights().to_safetensors().expect("bytes"), before);
            for (image, together) in together.iter().enumerate() {
                let alone = network.forward(&x.narrow(0, image, 1)?, Mode::Evaluate)?.to_vec2::<f32>()?;
                assert!(alone[0].iter().zip(together).all(|(a, b)| (a - b).abs() < 1e-4), "{config:?}");
            }
            assert_eq!(active.dead().len(), network.shape().layers().len());
            if config.activation != Activation::Relu {
                assert!(active.dead().iter().all(Vec::is_empty));
            }
        }
        Ok(())
    }

    #[test]
    fn what_is_frozen_is_made_of_the_data_alone() -> Result<()> {
        let (train, _) = sample::read().expect("the sample");
        let network = |seed| airbench(&ModelConfig::airbench(), &DatasetInfo::cifar10(), seed);
        let kernel = |network: &Airbench| network.first.kernel.weight().flatten_all()?.to_vec1::<f32>();
        let (one, other) = (network(0), network(1));
        one.prepare(&train)?;
        other.prepare(&train)?;
        assert_eq!(kernel(&one)?, kernel(&other)?);
        assert!(kernel(&one)?.iter().any(|number| number.abs() > 0.1));
        Ok(())
    }
}
