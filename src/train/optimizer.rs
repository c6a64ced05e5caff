//! Adam over the parameters of a network, with its state by parameter name.

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor, Var};

use crate::config::OptimizerConfig;
use crate::model::weights::{Weights, deserialize, serialize};
use crate::ops::tape::Gradients;
use crate::ops::{AdamStep, norm};

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
        norm(self.slots.iter().filter_map(|slot| gradients.get(&slot.parameter)))
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

    /// Takes the state from the bytes of `file`.
    pub fn load(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        let inner = || {
            let mut found = deserialize(bytes, &Device::Cpu)?;
            let mut take = |name: &str| found.remove(name).with_context(|| format!("{name} is missing"));
            let steps = take("step")?.to_scalar::<i64>()?;
            for slot in &self.slots {
                for (kind, moment) in [("exp_avg", &slot.first_moment), ("exp_avg_sq", &slot.second_moment)] {
                    let name = format!("{kind}.{}", slot.name);
                    let tensor = take(&name)?;
                    if tensor.dims() != moment.dims() || tensor.dtype() != moment.dtype() {
                        bail!("{name} is {:?} {:?}, expected {:?}", tensor.dtype(), tensor.dims(), moment.dims())
                    }
                    moment.set(&tensor.to_device(moment.device())?)?;
                }
            }
            u64::try_from(steps).context("step is negative")
        };
        self.steps = inner().with_context(|| format!("cannot take the optimizer's state in {}", file.display()))?;
        Ok(())
    }
}
