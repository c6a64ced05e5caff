//! The engine: what computes, apart from when and why. It takes batches in host memory and gives back host numbers; where
//! it keeps weights and optimizer state, and when it waits for a device, is its own affair.
//!
//! Another engine is a file beside [`candle`] and a variant here.

mod candle;
mod computed;

use std::path::Path;

use anyhow::Result;

use self::candle::CandleEngine;
pub use self::computed::{EvaluatedBatch, TakenStep};
use super::device::Device;
use crate::config::Config;
use crate::data::DatasetInfo;
use crate::data::loader::Batch;
use crate::model::{ActiveChannels, Network};

pub enum Engine {
    Candle(CandleEngine),
}

impl Engine {
    /// For the images and classes of a data set, with the initial weights of the configuration's seed.
    pub fn new(config: &Config, dataset: &DatasetInfo, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu | Device::CandleCuda(_) => {
                Ok(Self::Candle(CandleEngine::new(config, dataset, device.candle())?))
            }
        }
    }

    /// Moves the weights by the gradient of the batch's mean loss; `number` counts the run's steps from 1. A loss or
    /// gradient that is not finite never reaches weights, running statistics or optimizer: all is as it was.
    pub fn take_step(&mut self, batch: &Batch, learning_rate: f64, number: u64) -> Result<TakenStep> {
        match self {
            Self::Candle(engine) => engine.take_step(batch, learning_rate, number),
        }
    }

    /// The batch in evaluation mode. Notes in `active` which channels are; changes nothing else.
    pub fn evaluate(&self, batch: &Batch, active: &mut ActiveChannels) -> Result<EvaluatedBatch> {
        match self {
            Self::Candle(engine) => engine.evaluate(batch, active),
        }
    }

    /// The network with the present weights: to explain, to save, and to load others before the first step.
    pub fn network(&self) -> &Network {
        match self {
            Self::Candle(engine) => engine.network(),
        }
    }

    /// The optimizer's state as the bytes of a safetensors file.
    pub fn optimizer_to_safetensors(&self) -> Result<Vec<u8>> {
        match self {
            Self::Candle(engine) => engine.optimizer_to_safetensors(),
        }
    }

    /// Takes the optimizer's state from the bytes of `file`, or says what is wrong with them.
    pub fn load_optimizer(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        match self {
            Self::Candle(engine) => engine.load_optimizer(bytes, file),
        }
    }
}
