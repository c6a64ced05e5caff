//! Adam over the parameters of a network, with its state by parameter name.

use std::iter::once;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor, Var};

use crate::config::OptimizerConfig;
use crate::model::weights::{Weights, assign, find, serialize};
use crate::ops::tape::Gradients;
use crate::ops::{AdamStep, global_norm};

pub struct Adam {
    config: OptimizerConfig,
    slots: Vec<Slot>,
    /// Steps taken.
    steps: u64,
}

/// A parameter and its moments.
struct Slot {
    name: String,
    parameter: Var,
    first_moment: Var,
    second_moment: Var,
}

impl Adam {
    pub fn new(config: OptimizerConfig, weights: &Weights) -> candle_core::Result<Self> {
        let slots = weights
            .parameters
            .iter()
            .map(|(name, parameter)| {
                let zeros = || Var::from_tensor(&parameter.zeros_like()?);
                Ok(Slot {
                    name: name.clone(),
                    parameter: parameter.clone(),
                    first_moment: zeros()?,
                    second_moment: zeros()?,
                })
            })
            .collect::<candle_core::Result<_>>()?;
        Ok(Self { config, slots, steps: 0 })
    }

    /// The Euclidean norm of all gradients together, before the step.
    pub fn gradient_norm(&self, gradients: &Gradients) -> candle_core::Result<f64> {
        global_norm(self.slots.iter().filter_map(|slot| gradients.get(&slot.parameter)))
    }

    /// Moves every parameter that has a gradient.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> candle_core::Result<()> {
        self.steps += 1;
        let OptimizerConfig { beta1, beta2, epsilon, .. } = self.config;
        let step = AdamStep { learning_rate, beta1, beta2, epsilon, step: self.steps };
        for slot in &self.slots {
            if let Some(gradient) = gradients.get(&slot.parameter) {
                step.apply(&slot.parameter, gradient, &slot.first_moment, &slot.second_moment)?;
            }
        }
        Ok(())
    }

    /// The state as the bytes of a safetensors file: `exp_avg.NAME` and `exp_avg_sq.NAME` in PyTorch's terms, and `step`.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let step = Tensor::new(self.steps as i64, &Device::Cpu)?;
        let moments = self.slots.iter().flat_map(|slot| {
            [
                (format!("exp_avg.{}", slot.name), slot.first_moment.as_tensor().clone()),
                (format!("exp_avg_sq.{}", slot.name), slot.second_moment.as_tensor().clone()),
            ]
        });
        serialize(moments.chain([("step".to_owned(), step)]))
    }

    /// Takes the state from the bytes of `file`, or lists everything that is wrong with them and changes nothing.
    pub fn load(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        let inner = || {
            let step = Var::new(0i64, &Device::Cpu)?;
            let moments = self.slots.iter().flat_map(|slot| {
                [
                    (format!("exp_avg.{}", slot.name), &slot.first_moment),
                    (format!("exp_avg_sq.{}", slot.name), &slot.second_moment),
                ]
            });
            let found = find(bytes, once(("step".to_owned(), &step)).chain(moments))?;
            let (_, step) = found.first().expect("as many are found as are looked for");
            let steps = u64::try_from(step.to_scalar::<i64>()?).context("step is negative")?;
            assign(found)?;
            anyhow::Ok(steps)
        };
        self.steps = inner().with_context(|| format!("cannot take the optimizer's state in {}", file.display()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::config::ModelConfig;
    use crate::data::DatasetInfo;
    use crate::model::Network;
    use crate::model::weights::deserialize;

    #[test]
    fn everything_wrong_with_the_state_is_listed_and_nothing_is_changed() -> Result<()> {
        let config = ModelConfig { channels: vec![2, 3, 4], hidden: 5, ..ModelConfig::default() };
        let cnn = Network::new(&config, &DatasetInfo::cifar10(), 1, &Device::Cpu)?;
        let mut adam = Adam::new(OptimizerConfig::default(), cnn.weights())?;
        let whole = adam.to_safetensors()?;
        adam.load(&whole, Path::new("whole"))?;

        let mut tensors = deserialize(&whole, &Device::Cpu)?;
        tensors.remove("step");
        tensors.insert("exp_avg.fc1.bias".into(), Tensor::ones(5, DType::F64, &Device::Cpu)?);
        tensors.insert("exp_avg.fc2.bias".into(), Tensor::ones(9, DType::F32, &Device::Cpu)?);
        tensors.insert("exp_avg_sq.conv1.bias".into(), Tensor::ones(2, DType::F32, &Device::Cpu)?);
        tensors.insert("momentum".into(), Tensor::ones(9, DType::F32, &Device::Cpu)?);
        let error = adam.load(&serialize(tensors)?, Path::new("optimizer.safetensors")).expect_err("four are wrong");
        let error = format!("{error:#}");
        for part in [
            "optimizer.safetensors",
            "step: missing",
            "exp_avg.fc1.bias: type F64, expected F32",
            "exp_avg.fc2.bias: shape [9], expected [10]",
            "momentum: not a tensor of this network",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(adam.to_safetensors()? == whole);

        let mut tensors = deserialize(&whole, &Device::Cpu)?;
        tensors.insert("step".into(), Tensor::new(-1i64, &Device::Cpu)?);
        tensors.insert("exp_avg.fc2.bias".into(), Tensor::ones(10, DType::F32, &Device::Cpu)?);
        let error = adam.load(&serialize(tensors)?, Path::new("negative")).expect_err("no step is negative");
        assert!(format!("{error:#}").contains("negative: step is negative"), "{error:#}");
        assert!(adam.to_safetensors()? == whole);
        Ok(())
    }
}
