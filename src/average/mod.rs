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
