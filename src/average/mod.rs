//! The average of the weights over the steps of a run: beside the optimizer, which knows nothing of it.

mod ema;
mod lookahead;

use std::path::Path;

use anyhow::{Result, bail};
use candle_core::Device;
use strum::{IntoStaticStr, VariantArray};

pub use self::ema::Ema;
pub use self::lookahead::Lookahead;
use crate::config::{AverageKind, Config};
use crate::data::DatasetInfo;
use crate::model::Network;
use crate::model::weights::Weights;

pub enum Average {
    None,
    Ema {
        rule: Ema,
        /// Of the averaged weights.
        network: Box<Network>,
    },
    Lookahead(Lookahead),
}

/// Weights that a checkpoint has in a file of their own, beside those that the run is evaluated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Companion {
    /// Those that are trained, where their average is what is evaluated.
    Raw,
    /// Lookahead's slow weights.
    Slow,
}

impl Companion {
    pub const ALL: &'static [Self] = <Self as VariantArray>::VARIANTS;

    /// Such as `raw.safetensors`.
    pub fn file_name(self) -> String {
        format!("{}.safetensors", <&str>::from(self))
    }
}

impl Average {
    /// For a run that begins with the weights `raw` of the configured network.
    ///
    /// # Errors
    /// There is no memory on the device.
    pub fn new(config: &Config, dataset: &DatasetInfo, device: &Device, raw: &Weights) -> Result<Self> {
        Ok(match config.average.kind {
            AverageKind::None => Self::None,
            AverageKind::Ema => Self::Ema {
                rule: Ema::new(&config.average),
                network: Box::new(Network::new(&config.model, dataset, config.run.seed, device)?),
            },
            AverageKind::Lookahead => Self::Lookahead(Lookahead::new(&config.average, raw)?),
        })
    }

    /// Forgets all steps: training begins from `raw`.
    ///
    /// # Errors
    /// Those of the device, as of all that follow.
    pub fn begin(&mut self, raw: &Weights) -> candle_core::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Ema { rule, .. } => {
                rule.begin();
                Ok(())
            }
            Self::Lookahead(lookahead) => lookahead.begin(raw),
        }
    }

    /// Step `step`, from 1, of a run of `total_steps` has moved `raw`, which are finite.
    pub fn after_step(&mut self, step: u64, total_steps: u64, raw: &Weights) -> candle_core::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Ema { rule, network } => rule.after_step(step, raw, network.weights()),
            Self::Lookahead(lookahead) => lookahead.after_step(step, total_steps, raw),
        }
    }

    /// The network to evaluate in place of the trained one, once it is an average of something.
    pub fn network(&self) -> Option<&Network> {
        match self {
            Self::Ema { rule, network } if rule.has_begun() => Some(network),
            Self::None | Self::Ema { .. } | Self::Lookahead(_) => None,
        }
    }

    /// Whether every number of it is finite.
    pub fn is_finite(&self) -> candle_core::Result<bool> {
        match self {
            Self::None => Ok(true),
            Self::Ema { .. } => self.network().map_or(Ok(true), |network| network.weights().are_finite()),
            Self::Lookahead(lookahead) => lookahead.is_finite(),
        }
    }

    /// What a checkpoint needs beside the weights that are evaluated, if it needs anything, as the bytes of a safetensors file.
    pub fn companion(&self, raw: &Weights) -> Result<Option<(Companion, Vec<u8>)>> {
        Ok(match self {
            Self::None => None,
            Self::Ema { rule, .. } if !rule.has_begun() => None,
            Self::Ema { .. } => Some((Companion::Raw, raw.to_safetensors()?)),
            Self::Lookahead(lookahead) => Some((Companion::Slow, lookahead.to_safetensors()?)),
        })
    }

    /// Takes the averaged or the slow weights from the bytes of `file`, or lists everything that is wrong with them. The
    /// checkpoint has `companion`.
    pub fn load(&mut self, companion: Companion, bytes: &[u8], file: &Path) -> Result<()> {
        match (self, companion) {
            (Self::Ema { rule, network }, Companion::Raw) => {
                network.weights().load_bytes(bytes, file)?;
                rule.go_on();
                Ok(())
            }
            (Self::Lookahead(lookahead), Companion::Slow) => lookahead.load(bytes, file),
            _ => bail!("{}: the run that it is of has another average.kind", file.display()),
        }
    }
}

/// Bytes that a checkpoint takes for each trained number, beside its value and the optimizer's state.
pub fn checkpoint_bytes_per_parameter(kind: AverageKind) -> u64 {
    match kind {
        AverageKind::None => 0,
        AverageKind::Ema | AverageKind::Lookahead => size_of::<f32>() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AverageConfig;

    #[test]
    fn a_checkpoint_takes_as_many_more_bytes_as_are_told() -> Result<()> {
        for &kind in AverageKind::VARIANTS {
            let config =
                Config { average: AverageConfig { kind, every: 1, ..Default::default() }, ..Config::default() };
            let network = Network::new(&config.model, &DatasetInfo::cifar10(), 1, &Device::Cpu)?;
            let mut average = Average::new(&config, &DatasetInfo::cifar10(), &Device::Cpu, network.weights())?;
            average.after_step(1, 100, network.weights())?;
            let bytes = average.companion(network.weights())?.map_or(0, |(_, bytes)| bytes.len() as u64);
            let told = checkpoint_bytes_per_parameter(kind) * network.weights().parameter_count() as u64;
            // Names and running statistics are few.
            assert!((told..=told + told / 500).contains(&bytes), "{kind:?}: {bytes}, told {told}");
        }
        Ok(())
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() -> Result<()> {
        let averaged = |kind, threads: usize| -> Result<(Vec<u8>, Vec<u8>)> {
            let config =
                Config { average: AverageConfig { kind, every: 2, ..Default::default() }, ..Config::default() };
            let network = Network::new(&config.model, &DatasetInfo::cifar10(), 1, &Device::Cpu)?;
            let other = Network::new(&config.model, &DatasetInfo::cifar10(), 2, &Device::Cpu)?;
            let mut average = Average::new(&config, &DatasetInfo::cifar10(), &Device::Cpu, network.weights())?;
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            pool.install(|| -> candle_core::Result<()> {
                average.after_step(2, 9, network.weights())?;
                for (var, other) in network.weights().vars().zip(other.weights().vars()) {
                    var.set(other.as_tensor())?;
                }
                (4..=9).try_for_each(|step| average.after_step(step, 9, network.weights()))
            })?;
            let evaluated = average.network().unwrap_or(&network).weights().to_safetensors()?;
            Ok((evaluated, average.companion(network.weights())?.expect("one").1))
        };
        for kind in [AverageKind::Ema, AverageKind::Lookahead] {
            let one = averaged(kind, 1)?;
            assert!(averaged(kind, 2)? == one && averaged(kind, 5)? == one, "{kind:?}");
        }
        Ok(())
    }
}
