//! The study's network: three blocks of convolution, batch normalisation, ReLU, attention if any and max-pool, then two
//! linear layers.

mod active_channels;
mod trace;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::attention::Attention;
use super::weights::{Builder, Weights};
use crate::config::{AttentionKind, ModelConfig};
use crate::data::{CLASSES, SIDE};
use crate::ops;
use crate::random::{Purpose, stream};
pub use active_channels::ActiveChannels;
pub use trace::{ForwardTrace, Layer, LogitGradients, UnknownLayer};

/// Weight of a batch in the running estimates.
const MOMENTUM: f64 = 0.1;

/// How a batch goes through the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch, which move the running estimates; dropout by the mask of this step.
    Train { seed: u64, step: u64 },
    /// Running estimates, no dropout; changes nothing.
    Evaluate,
}

pub struct Cnn {
    blocks: [Block; 3],
    fc1: Linear,
    fc2: Linear,
    dropout: f32,
    attention: AttentionKind,
    weights: Weights,
}

impl Cnn {
    /// With PyTorch's default initialisation, drawn from `seed`.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut builder = Builder { seed, device, weights: Weights::default() };
        let [first, second, third] = config.channels;
        let blocks = [
            Block::new(&mut builder, config.attention, 1, 3, first)?,
            Block::new(&mut builder, config.attention, 2, first, second)?,
            Block::new(&mut builder, config.attention, 3, second, third)?,
        ];
        // Three pools halve each side.
        let features = third * (SIDE / 8) * (SIDE / 8);
        let fc1 = Linear::new(&mut builder, "fc1", features, config.hidden)?;
        let fc2 = Linear::new(&mut builder, "fc2", config.hidden, CLASSES.len())?;
        let &ModelConfig { dropout, attention, .. } = config;
        Ok(Self { blocks, fc1, fc2, dropout, attention, weights: builder.weights })
    }

    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Such as `cnn 32-64-128` or `cnn-se 32-64-128`.
    pub fn summary(&self) -> String {
        let channels: Vec<String> = self.blocks.iter().map(|block| block.conv_bias.elem_count().to_string()).collect();
        let attention = match self.attention {
            AttentionKind::None => String::new(),
            kind => format!("-{}", kind.name()),
        };
        format!("cnn{attention} {}", channels.join("-"))
    }

    /// Normalised images (N, 32, 32, 3) to logits (N, 10).
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.head(&self.features(x, mode)?, mode)
    }

    /// Normalised images (N, 32, 32, 3) to the last feature map (N, 4, 4, channels).
    fn features(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.blocks.iter().try_fold(x.clone(), |x, block| block.forward(&x, mode))
    }

    /// The last feature map (N, 4, 4, channels) to logits (N, 10).
    fn head(&self, features: &Tensor, mode: Mode) -> Result<Tensor> {
        let hidden = self.hidden(features)?;
        let hidden = match mode {
            Mode::Train { seed, step } => {
                ops::dropout(&hidden, self.dropout, &mut stream(seed, Purpose::Dropout, 0, step))?
            }
            Mode::Evaluate => hidden,
        };
        self.fc2.forward(&hidden)
    }

    /// The last feature map (N, 4, 4, channels) to the hidden layer before dropout, (N, hidden).
    fn hidden(&self, features: &Tensor) -> Result<Tensor> {
        ops::relu(&self.fc1.forward(&ops::flatten_planes(features)?)?)
    }
}

/// Convolution 3 x 3 → batch normalisation → ReLU → attention → max-pool 2 x 2.
struct Block {
    conv_weight: Tensor,
    conv_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    running_mean: Var,
    running_variance: Var,
    batches_tracked: Var,
    attention: Attention,
}

impl Block {
    fn new(
        builder: &mut Builder,
        attention: AttentionKind,
        number: usize,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let device = builder.device;
        let fan_in = inputs * 3 * 3;
        Ok(Self {
            conv_weight: builder.uniform(format!("conv{number}.weight"), &[outputs, inputs, 3, 3], fan_in)?,
            conv_bias: builder.uniform(format!("conv{number}.bias"), &[outputs], fan_in)?,
            norm_weight: builder.constant(format!("bn{number}.weight"), outputs, 1.0)?,
            norm_bias: builder.constant(format!("bn{number}.bias"), outputs, 0.0)?,
            running_mean: builder
                .buffer(format!("bn{number}.running_mean"), &Tensor::zeros(outputs, DType::F32, device)?)?,
            running_variance: builder
                .buffer(format!("bn{number}.running_var"), &Tensor::ones(outputs, DType::F32, device)?)?,
            batches_tracked: builder
                .buffer(format!("bn{number}.num_batches_tracked"), &Tensor::zeros((), DType::I64, device)?)?,
            attention: Attention::new(builder, attention, number, outputs)?,
        })
    }

    fn parameters(&self) -> ops::BlockParameters<'_> {
        ops::BlockParameters {
            weight: &self.conv_weight,
            bias: &self.conv_bias,
            norm_weight: &self.norm_weight,
            norm_bias: &self.norm_bias,
            epilogue: self.attention.epilogue(),
        }
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let parameters = self.parameters();
        match mode {
            Mode::Train { .. } => {
                let (y, batch) = ops::conv_block_train(x, parameters)?;
                self.track(&batch)?;
                self.attention.after_block(y)
            }
            Mode::Evaluate => self.attention.after_block(self.evaluate(x, parameters)?),
        }
    }

    fn evaluate(&self, x: &Tensor, parameters: ops::BlockParameters) -> Result<Tensor> {
        ops::conv_block_evaluate(x, parameters, &self.running_mean, &self.running_variance)
    }

    fn track(&self, batch: &ops::BatchStatistics) -> Result<()> {
        let move_towards = |running: &Var, batch: &Tensor| -> Result<()> {
            running.set(&((running.as_tensor() * (1.0 - MOMENTUM))? + (batch * MOMENTUM)?)?)
        };
        move_towards(&self.running_mean, &batch.mean)?;
        move_towards(&self.running_variance, &batch.variance)?;
        self.batches_tracked.set(&(self.batches_tracked.as_tensor() + self.batches_tracked.ones_like()?)?)
    }
}

struct Linear {
    /// (outputs, inputs)
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(builder: &mut Builder, name: &str, inputs: usize, outputs: usize) -> Result<Self> {
        Ok(Self {
            weight: builder.uniform(format!("{name}.weight"), &[outputs, inputs], inputs)?,
            bias: builder.uniform(format!("{name}.bias"), &[outputs], inputs)?,
        })
    }

    /// (N, inputs) to (N, outputs).
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, &self.bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};

    fn tiny() -> Cnn {
        let config = ModelConfig { channels: [4, 6, 8], hidden: 16, ..ModelConfig::default() };
        Cnn::new(&config, 0, &Device::Cpu).expect("a network")
    }

    fn images() -> Tensor {
        normal(1, &[5, 32, 32, 3]).to_dtype(DType::F32).expect("f32")
    }

    #[test]
    fn has_the_names_and_shapes_of_the_study() -> Result<()> {
        let cnn = Cnn::new(&ModelConfig::default(), 0, &Device::Cpu)?;
        let names: Vec<&str> = cnn.weights().parameters.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..4], ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"]);
        assert_eq!(names[12..], ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
        assert_eq!(cnn.weights().parameter_count(), 1_147_914);
        assert_eq!(cnn.weights().buffers.len(), 9);
        assert_eq!(cnn.summary(), "cnn 32-64-128");
        Ok(())
    }

    #[test]
    fn evaluation_changes_nothing_and_training_moves_the_running_estimates() -> Result<()> {
        let cnn = tiny();
        let before = cnn.weights().to_safetensors().expect("bytes");
        let logits = cnn.forward(&images(), Mode::Evaluate)?;
        assert_eq!(logits.dims(), [5, 10]);
        assert_eq!(cnn.weights().to_safetensors().expect("bytes"), before);
        cnn.forward(&images(), Mode::Train { seed: 0, step: 1 })?;
        assert_ne!(cnn.weights().to_safetensors().expect("bytes"), before);
        Ok(())
    }

    #[test]
    fn an_image_is_evaluated_alike_in_every_batch() -> Result<()> {
        let (cnn, x) = (tiny(), images());
        let together = cnn.forward(&x, Mode::Evaluate)?.to_vec2::<f32>()?;
        for (i, together) in together.iter().enumerate() {
            let alone = cnn.forward(&x.narrow(0, i, 1)?, Mode::Evaluate)?.to_vec2::<f32>()?;
            for (a, b) in alone[0].iter().zip(together) {
                assert!((a - b).abs() < 1e-5);
            }
        }
        Ok(())
    }

    #[test]
    fn every_parameter_has_a_gradient() -> Result<()> {
        let cnn = tiny();
        let logits = cnn.forward(&images(), Mode::Train { seed: 0, step: 1 })?;
        let loss = ops::cross_entropy(&logits, &Tensor::new(&[1u32, 2, 3, 4, 5], &Device::Cpu)?)?;
        let gradients = loss.backward()?;
        for (name, parameter) in &cnn.weights().parameters {
            assert!(gradients.get(parameter).is_some(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn the_gradients_of_the_linear_layer_are_finite_differences() {
        let (x, weight, bias) = (normal(1, &[3, 5]), normal(2, &[4, 5]), normal(3, &[4]));
        let forward = |x: &Tensor, weight: &Tensor, bias: &Tensor| {
            Linear { weight: weight.clone(), bias: bias.clone() }.forward(x)
        };
        assert_gradient(&x, |x| forward(x, &weight, &bias));
        assert_gradient(&weight, |weight| forward(&x, weight, &bias));
        assert_gradient(&bias, |bias| forward(&x, &weight, bias));
    }

    #[test]
    fn the_gradients_of_a_block_are_finite_differences() {
        let values =
            [normal(1, &[2, 4, 4, 2]), normal(2, &[3, 2, 3, 3]), normal(3, &[3]), normal(4, &[3]), normal(5, &[3])];
        // Value `position` is the variable, the others are constants.
        let forward = |position: usize, value: &Tensor, mode: Mode| -> Result<Tensor> {
            let mut values = values.clone();
            values[position] = value.clone();
            let [x, conv_weight, conv_bias, norm_weight, norm_bias] = values;
            let block = Block {
                conv_weight,
                conv_bias,
                norm_weight,
                norm_bias,
                running_mean: Var::from_tensor(&normal(6, &[3]))?,
                running_variance: Var::from_tensor(&normal(7, &[3]).sqr()?)?,
                batches_tracked: Var::zeros((), DType::I64, &Device::Cpu)?,
                attention: Attention::None,
            };
            block.forward(&x, mode)
        };
        for (position, value) in values.iter().enumerate() {
            assert_gradient(value, |value| forward(position, value, Mode::Train { seed: 0, step: 1 }));
        }
        // In evaluation mode what explains a decision differentiates the image, or the convolution.
        for (position, value) in values.iter().enumerate().take(3) {
            assert_gradient(value, |value| forward(position, value, Mode::Evaluate));
        }
    }
}
