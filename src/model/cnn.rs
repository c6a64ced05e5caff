//! The study's network, with any number of blocks: convolution, batch normalisation, ReLU, attention if any and max-pool;
//! then a head of two linear layers.

use candle_core::{Device, Result, Tensor};

use super::active_channels::ActiveChannels;
use super::attention::{self, Attention};
use super::block::BlockShape;
use super::cnn_shape::{CnnShape, HeadShape};
use super::pool::pooled;
use super::running_statistics::RunningStatistics;
use super::weights::{Builder, ParameterSpec, Weights};
use crate::config::{AttentionKind, ModelConfig, Pool, Precision};
use crate::ops;
use crate::random::{Purpose, stream};

/// Weight of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// How a batch goes through a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch, which move the running statistics; dropout by the mask of this step.
    Train { seed: u64, step: u64 },
    /// Running statistics, no dropout; changes nothing.
    Evaluate,
}

pub struct Cnn {
    pub(super) blocks: Vec<Block>,
    pub(super) head: Head,
    attention: AttentionKind,
    shape: CnnShape,
    weights: Weights,
}

impl Cnn {
    /// Of that shape, which is of `config`; see [`super::Network::new`].
    pub(super) fn new(shape: CnnShape, config: &ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut builder = Builder { seed, device, weights: Weights::default() };
        let blocks = shape.blocks.iter().map(|block| Block::new(&mut builder, block)).collect::<Result<_>>()?;
        let head = Head::new(&mut builder, &shape.head, config.dropout)?;
        Ok(Self { blocks, head, attention: config.attention, shape, weights: builder.weights })
    }

    pub(super) fn set_precision(&mut self, precision: Precision) {
        self.blocks.iter_mut().for_each(|block| block.precision = precision);
        self.head.precision = precision;
    }

    pub(super) fn shape(&self) -> &CnnShape {
        &self.shape
    }

    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(super) fn summary(&self) -> String {
        let attention = match self.attention {
            AttentionKind::None => String::new(),
            kind => format!("-{}", <&str>::from(kind)),
        };
        let channels: Vec<String> = self.shape.blocks.iter().map(|block| block.outputs.to_string()).collect();
        let pool = match self.head.pool {
            Pool::Flatten => "",
            Pool::Average => " average",
            Pool::Max => " max",
        };
        format!("cnn{attention} {}{pool}", channels.join("-"))
    }

    pub(super) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.forward_observed(x, mode, |_, _| Ok(()))
    }

    pub(super) fn evaluate(&self, x: &Tensor, active: &mut ActiveChannels) -> Result<Tensor> {
        self.forward_observed(x, Mode::Evaluate, |block, y| active.mark(self.shape.layers(), block, y))
    }

    /// `observe` sees, of each block from 0, what its operation gives, before attention that follows the operation.
    fn forward_observed(
        &self,
        x: &Tensor,
        mode: Mode,
        mut observe: impl FnMut(usize, &Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        for (number, block) in self.blocks.iter().enumerate() {
            let y = block.operation(&x, mode)?;
            observe(number, &y)?;
            x = block.attention.finish(y)?;
        }
        self.head.forward(&x, mode)
    }
}

/// Convolution 3 x 3 → batch normalisation → ReLU → attention → max-pool 2 x 2.
pub(super) struct Block {
    pub conv_weight: Tensor,
    pub conv_bias: Tensor,
    pub norm_weight: Tensor,
    pub norm_bias: Tensor,
    pub running: RunningStatistics,
    pub attention: Box<dyn Attention>,
    pub precision: Precision,
}

impl Block {
    fn new(builder: &mut Builder, shape: &BlockShape) -> Result<Self> {
        let [conv_weight, conv_bias, norm_weight, norm_bias] = builder.parameters(shape.parameters())?;
        let running = RunningStatistics::new(builder, &format!("bn{}", shape.number), shape.outputs)?;
        let kind = attention::kind_of(shape.attention);
        let parameters = (kind.parameters)(shape).into_iter().map(|spec| builder.parameter(spec));
        let attention = (kind.build)(parameters.collect::<Result<_>>()?);
        Ok(Self { conv_weight, conv_bias, norm_weight, norm_bias, running, attention, precision: Precision::F32 })
    }

    pub fn parameters(&self) -> ops::BlockParameters<'_> {
        ops::BlockParameters {
            weight: &self.conv_weight,
            bias: &self.conv_bias,
            norm_weight: &self.norm_weight,
            norm_bias: &self.norm_bias,
            epilogue: self.attention.epilogue(),
            precision: self.precision,
        }
    }

    /// All but the attention that follows it, from (N, H, W, inputs).
    fn operation(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        match mode {
            Mode::Train { .. } => {
                let (y, batch) = ops::conv_block_train(x, self.parameters())?;
                self.running.track(&batch, MOMENTUM)?;
                Ok(y)
            }
            Mode::Evaluate => {
                ops::conv_block_evaluate(x, self.parameters(), &self.running.mean, &self.running.variance)
            }
        }
    }
}

/// Pool → linear → ReLU → dropout → linear.
pub(super) struct Head {
    pub pool: Pool,
    pub fc1: Linear,
    pub fc2: Linear,
    dropout: f32,
    precision: Precision,
}

impl Head {
    fn new(builder: &mut Builder, shape: &HeadShape, dropout: f32) -> Result<Self> {
        let fc1 = Linear::new(builder, shape.first())?;
        let fc2 = Linear::new(builder, shape.second())?;
        Ok(Self { pool: shape.pool, fc1, fc2, dropout, precision: Precision::F32 })
    }

    /// The last feature map (N, H, W, C) to logits (N, classes).
    fn forward(&self, features: &Tensor, mode: Mode) -> Result<Tensor> {
        let hidden = self.hidden(features, self.precision)?;
        let hidden = match mode {
            Mode::Train { seed, step } => {
                ops::dropout(&hidden, self.dropout, &mut stream(seed, Purpose::Dropout, 0, step))?
            }
            Mode::Evaluate => hidden,
        };
        self.fc2.forward(&hidden, self.precision)
    }

    /// The last feature map (N, H, W, C) to the hidden layer before dropout, (N, hidden).
    pub fn hidden(&self, features: &Tensor, precision: Precision) -> Result<Tensor> {
        ops::relu(&self.fc1.forward(&pooled(self.pool, features)?, precision)?)
    }
}

pub(super) struct Linear {
    /// (outputs, inputs)
    pub weight: Tensor,
    pub bias: Tensor,
}

impl Linear {
    fn new(builder: &mut Builder, parameters: [ParameterSpec; 2]) -> Result<Self> {
        let [weight, bias] = builder.parameters(parameters)?;
        Ok(Self { weight, bias })
    }

    /// (N, inputs) to (N, outputs).
    pub fn forward(&self, x: &Tensor, precision: Precision) -> Result<Tensor> {
        ops::linear(x, &self.weight, &self.bias, precision)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;
    use crate::data::DatasetInfo;
    use crate::model::testing::{architectures, assert_tape_is_candle, cnn, images, with_attention};
    use crate::ops::gradient_check::{assert_gradient, close, normal};

    fn tiny() -> (Cnn, Tensor) {
        let config = ModelConfig { channels: vec![4, 6, 8], hidden: 16, ..ModelConfig::default() };
        let dataset = DatasetInfo::cifar10();
        (cnn(&config, &dataset, 0), images(1, 5, &dataset))
    }

    fn names(cnn: &Cnn) -> Vec<&str> {
        cnn.weights().parameters.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn names_are_those_of_the_study() {
        let cnn = cnn(&ModelConfig::default(), &DatasetInfo::cifar10(), 0);
        let names = names(&cnn);
        assert_eq!(names[..4], ["conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias"]);
        assert_eq!(names[12..], ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
        let buffers: Vec<&str> = cnn.weights().buffers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(buffers[3..6], ["bn2.running_mean", "bn2.running_var", "bn2.num_batches_tracked"]);
        assert_eq!(cnn.summary(), "cnn 32-64-128");
    }

    #[test]
    fn further_blocks_go_on_with_the_names() {
        let (config, dataset) = architectures().pop().expect("five blocks");
        let config = ModelConfig { attention: AttentionKind::Cbam, ..config };
        let cnn = cnn(&config, &dataset, 0);
        let last = ["conv5.weight", "conv5.bias", "bn5.weight", "bn5.bias", "ca5.fc.0.weight", "ca5.fc.2.weight"];
        assert_eq!(names(&cnn)[28..34], last);
        assert_eq!(cnn.summary(), "cnn-cbam 16-16-16-16-17 average");
    }

    #[test]
    fn non_local_attention_is_in_the_last_block() {
        for (config, dataset) in architectures() {
            let config = ModelConfig { attention: AttentionKind::NonLocal, ..config };
            let cnn = cnn(&config, &dataset, 0);
            let attending: Vec<&str> = names(&cnn).into_iter().filter(|name| name.starts_with("nl")).collect();
            let prefix = format!("nl{}.", config.channels.len());
            assert!(attending.len() == 8 && attending.iter().all(|name| name.starts_with(&prefix)), "{attending:?}");
        }
    }

    #[test]
    fn evaluation_changes_nothing_and_training_moves_the_running_statistics() -> Result<()> {
        let (cnn, x) = tiny();
        let before = cnn.weights().to_safetensors().expect("bytes");
        let logits = cnn.forward(&x, Mode::Evaluate)?;
        assert_eq!(logits.dims(), [5, 10]);
        assert_eq!(cnn.weights().to_safetensors().expect("bytes"), before);
        cnn.forward(&x, Mode::Train { seed: 0, step: 1 })?;
        assert_ne!(cnn.weights().to_safetensors().expect("bytes"), before);
        Ok(())
    }

    #[test]
    fn an_image_is_evaluated_alike_in_every_batch() -> Result<()> {
        let (cnn, x) = tiny();
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
    fn the_gradients_of_the_tape_are_candles_to_the_bit() -> Result<()> {
        for (config, dataset) in with_attention(false) {
            let cnn = cnn(&config, &dataset, 0);
            let x = images(1, 3, &dataset);
            let forward = || cnn.forward(&x, Mode::Train { seed: 0, step: 1 });
            assert_tape_is_candle(&cnn.weights().parameters, &config, forward)?;
        }
        Ok(())
    }

    #[test]
    fn the_gradients_of_the_head_are_finite_differences() {
        let (features, hidden, classes) = (normal(1, &[2, 3, 2, 2]), 4, 3);
        for (pool, inputs) in [(Pool::Flatten, 12), (Pool::Average, 2), (Pool::Max, 2)] {
            let linear = |seed, inputs: usize, outputs: usize| Linear {
                weight: normal(seed, &[outputs, inputs]),
                bias: normal(seed + 1, &[outputs]),
            };
            let (fc1, fc2) = (linear(2, inputs, hidden), linear(4, hidden, classes));
            let head = Head { pool, fc1, fc2, dropout: 0.0, precision: Precision::F32 };
            assert_gradient(&features, |features| head.forward(features, Mode::Evaluate));
            let hidden = head.hidden(&features, Precision::F32).expect("the hidden layer");
            let ours = head.features_gradient(&features, &hidden, &[2, 0]).expect("a gradient");
            let features = Var::from_tensor(&features).expect("a variable");
            let logits = head.forward(&features, Mode::Evaluate).expect("logits");
            let chosen = (logits.get(0).and_then(|row| row.get(2)), logits.get(1).and_then(|row| row.get(0)));
            let sum = (chosen.0.expect("a logit") + chosen.1.expect("a logit")).expect("a sum");
            let expected = sum.backward().expect("gradients").remove(&features).expect("a gradient");
            close(&ours, &expected, 1e-12);
        }
    }

    #[test]
    fn the_gradients_of_the_linear_layer_are_finite_differences() {
        let (x, weight, bias) = (normal(1, &[3, 5]), normal(2, &[4, 5]), normal(3, &[4]));
        let forward = |x: &Tensor, weight: &Tensor, bias: &Tensor| {
            Linear { weight: weight.clone(), bias: bias.clone() }.forward(x, Precision::F32)
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
                running: RunningStatistics {
                    mean: Var::from_tensor(&normal(6, &[3]))?,
                    variance: Var::from_tensor(&normal(7, &[3]).sqr()?)?,
                    batches_tracked: Var::zeros((), DType::I64, &Device::Cpu)?,
                },
                attention: (attention::kind_of(AttentionKind::None).build)(vec![]),
                precision: Precision::F32,
            };
            block.operation(&x, mode)
        };
        for (position, value) in values.iter().enumerate() {
            assert_gradient(value, |value| forward(position, value, Mode::Train { seed: 0, step: 1 }));
        }
        // In evaluation mode an explanation differentiates by the image, or by the convolution.
        for (position, value) in values.iter().enumerate().take(3) {
            assert_gradient(value, |value| forward(position, value, Mode::Evaluate));
        }
    }
}
