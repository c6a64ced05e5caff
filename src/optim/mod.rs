//! Optimizers: from gradients to weights, with their state by name.
//!
//! A new optimizer is a file beside these, a variant here, and a word in the configuration.

mod adam;
mod adamw;
mod muon;
mod sgd;

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Tensor, Var};

use self::adam::Adam;
use self::adamw::AdamW;
use self::muon::Muon;
use self::sgd::Sgd;
use crate::config::{OptimizerConfig, OptimizerKind};
use crate::model::weights::{assign, find, serialize};

pub enum Optimizer {
    Adam(Adam),
    AdamW(AdamW),
    Sgd(Sgd),
    Muon(Muon),
}

impl Optimizer {
    /// For the named parameters of a network.
    pub fn new(config: &OptimizerConfig, parameters: &[(String, Var)]) -> candle_core::Result<Self> {
        Ok(match config.kind {
            OptimizerKind::Adam => Self::Adam(Adam::new(config, parameters)?),
            OptimizerKind::AdamW => Self::AdamW(AdamW::new(config, parameters)?),
            OptimizerKind::Sgd => Self::Sgd(Sgd::new(config, parameters)?),
            OptimizerKind::Muon => Self::Muon(Muon::new(config, parameters)?),
        })
    }

    /// Moves every parameter by its gradient; these are in the order of the parameters. One that has none, because it is frozen,
    /// stays, and so does its state.
    pub fn step(&mut self, gradients: &[Option<Tensor>], learning_rate: f64) -> candle_core::Result<()> {
        match self {
            Self::Adam(adam) => adam.step(gradients, learning_rate),
            Self::AdamW(adamw) => adamw.step(gradients, learning_rate),
            Self::Sgd(sgd) => sgd.step(gradients, learning_rate),
            Self::Muon(muon) => muon.step(gradients, learning_rate),
        }
    }

    /// Everything that the next step depends on besides parameters and gradients: f32 tensors, and counts as i64.
    pub fn state(&self) -> Vec<(String, Var)> {
        match self {
            Self::Adam(adam) => adam.state(),
            Self::AdamW(adamw) => adamw.state(),
            Self::Sgd(sgd) => sgd.state(),
            Self::Muon(muon) => muon.state(),
        }
    }

    /// The state as the bytes of a safetensors file.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        serialize(self.state().into_iter().map(|(name, var)| (name, var.as_tensor().clone())))
    }

    /// Takes the state from the bytes of `file`, or lists everything that is wrong with them and changes nothing.
    pub fn load(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        let take = || {
            let state = self.state();
            let found = find(bytes, state.iter().map(|(name, var)| (name.clone(), var)))?;
            for ((name, _), (_, tensor)) in state.iter().zip(&found) {
                if tensor.dtype() == DType::I64 && tensor.to_scalar::<i64>()? < 0 {
                    bail!("{name} is negative")
                }
            }
            Ok(assign(found)?)
        };
        take().with_context(|| format!("cannot take the optimizer's state in {}", file.display()))
    }
}

/// Bytes that a checkpoint takes for each trained number: its value and the optimizer's state beside it.
pub fn checkpoint_bytes_per_parameter(kind: OptimizerKind) -> u64 {
    let state_tensors = match kind {
        OptimizerKind::Adam | OptimizerKind::AdamW => adam::STATE_TENSORS,
        OptimizerKind::Sgd | OptimizerKind::Muon => sgd::STATE_TENSORS,
    };
    (1 + state_tensors) * size_of::<f32>() as u64
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use strum::VariantArray;

    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::data::DatasetInfo;
    use crate::model::Network;
    use crate::model::weights::deserialize;

    #[test]
    fn everything_wrong_with_the_state_is_listed_and_nothing_is_changed() -> Result<()> {
        let config = ModelConfig { channels: vec![2, 3, 4], hidden: 5, ..ModelConfig::default() };
        let network = Network::new(&config, &DatasetInfo::cifar10(), 1, &Device::Cpu)?;
        let mut optimizer = Optimizer::new(&OptimizerConfig::default(), &network.weights().parameters)?;
        let whole = optimizer.to_safetensors()?;
        optimizer.load(&whole, Path::new("whole"))?;

        let mut tensors = deserialize(&whole, &Device::Cpu)?;
        tensors.remove("step");
        tensors.insert("exp_avg.fc1.bias".into(), Tensor::ones(5, DType::F64, &Device::Cpu)?);
        tensors.insert("exp_avg.fc2.bias".into(), Tensor::ones(9, DType::F32, &Device::Cpu)?);
        tensors.insert("exp_avg_sq.conv1.bias".into(), Tensor::ones(2, DType::F32, &Device::Cpu)?);
        tensors.insert("momentum".into(), Tensor::ones(9, DType::F32, &Device::Cpu)?);
        let error =
            optimizer.load(&serialize(tensors)?, Path::new("optimizer.safetensors")).expect_err("four are wrong");
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
        assert!(optimizer.to_safetensors()? == whole);

        let mut tensors = deserialize(&whole, &Device::Cpu)?;
        tensors.insert("step".into(), Tensor::new(-1i64, &Device::Cpu)?);
        tensors.insert("exp_avg.fc2.bias".into(), Tensor::ones(10, DType::F32, &Device::Cpu)?);
        let error = optimizer.load(&serialize(tensors)?, Path::new("negative")).expect_err("no step is negative");
        assert!(format!("{error:#}").contains("negative: step is negative"), "{error:#}");
        assert!(optimizer.to_safetensors()? == whole);
        Ok(())
    }

    #[test]
    fn a_checkpoint_takes_as_many_bytes_as_are_told() -> Result<()> {
        let network = Network::new(&ModelConfig::default(), &DatasetInfo::cifar10(), 1, &Device::Cpu)?;
        for &kind in OptimizerKind::VARIANTS {
            let config = OptimizerConfig { kind, ..OptimizerConfig::default() };
            let optimizer = Optimizer::new(&config, &network.weights().parameters)?;
            let told = checkpoint_bytes_per_parameter(kind) * network.weights().parameter_count() as u64;
            let bytes = (optimizer.to_safetensors()?.len() + network.weights().to_safetensors()?.len()) as u64;
            // Names and running statistics are few.
            assert!((told..told + told / 500).contains(&bytes), "{kind:?}: {bytes}, told {told}");
        }
        Ok(())
    }

    /// Some steps of every kind of optimizer, on gradients that are no multiples of each other.
    fn trained(kind: OptimizerKind, steps: std::ops::Range<u64>, saved: Option<&[Vec<u8>; 2]>) -> Result<[Vec<u8>; 2]> {
        let config =
            ModelConfig { channels: vec![16, 33], hidden: 5, attention: AttentionKind::Cbam, ..Default::default() };
        let network = Network::new(&config, &DatasetInfo::cifar10(), 1, &Device::Cpu)?;
        let config = OptimizerConfig { kind, ..OptimizerConfig::default() };
        let mut optimizer = Optimizer::new(&config, &network.weights().parameters)?;
        if let Some([weights, state]) = saved {
            network.weights().load_bytes(weights, Path::new("weights"))?;
            optimizer.load(state, Path::new("state"))?;
        }
        for step in steps {
            let gradient = |(number, (_, parameter)): (usize, &(String, Var))| -> candle_core::Result<Option<Tensor>> {
                let phases = Tensor::arange(0f32, parameter.elem_count() as f32, &Device::Cpu)?;
                let phases = (phases * (0.37 + 0.11 * step as f64 + number as f64))?;
                Ok(Some((phases.sin()? * 0.01)?.reshape(parameter.shape())?))
            };
            let gradients: Vec<Option<Tensor>> =
                network.weights().parameters.iter().enumerate().map(gradient).collect::<candle_core::Result<_>>()?;
            optimizer.step(&gradients, 0.01 / step as f64)?;
        }
        Ok([network.weights().to_safetensors()?, optimizer.to_safetensors()?])
    }

    #[test]
    fn neither_a_break_nor_the_number_of_threads_changes_a_byte() -> Result<()> {
        for &kind in OptimizerKind::VARIANTS {
            let on = |threads: usize| -> Result<[Vec<u8>; 2]> {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
                pool.install(|| trained(kind, 1..5, None))
            };
            let whole = on(1)?;
            assert!(on(2)? == whole && on(5)? == whole, "{kind:?}");
            let first = trained(kind, 1..3, None)?;
            assert!(trained(kind, 3..5, Some(&first))? == whole, "{kind:?}");
            assert!(first != whole, "{kind:?}");
        }
        Ok(())
    }
}
