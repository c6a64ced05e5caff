//! The engine: what computes, apart from when and why. It takes the batches of an epoch from the data itself, so that it can
//! have several steps under way, and gives back host numbers; where it keeps weights and optimizer state, and when it waits
//! for a device, is its own affair.
//!
//! Another engine is a file beside [`candle`] and a variant here.

mod candle;
mod computed;
mod cuda;
mod follower;
mod ranked;
mod views;
mod weights_file;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};

use self::candle::CandleEngine;
pub use self::computed::{EvaluatedBatch, TakenStep};
use self::cuda::CudaEngine;
pub use self::follower::follow;
use self::ranked::RankedEngine;
use self::views::evaluate_views;
pub use self::weights_file::WeightsFile;
use super::device::Device;
use crate::average::Companion;
use crate::config::{Config, TestTimeAugmentation};
use crate::data::loader::{Batch, EpochPlan, evaluation_batch};
use crate::data::{Dataset, DatasetInfo};
use crate::model::{ActiveChannels, Network, NetworkShape};
use crate::run::event::RankStarted;

/// Steps are taken in an epoch, which [`Engine::begin_epoch`] enters and [`Engine::leave_epoch`] leaves. A step is under
/// way from when the engine starts it until its result is returned. Everything but steps ([`Engine::evaluate`], weights and
/// optimizer to be read or loaded, another epoch) is asked for only while none is: after [`Engine::finish_started`] has
/// returned None, the last step that was allowed, a step that was not finite, or [`Engine::next_step`] returned None.
pub enum Engine {
    Candle(Box<CandleEngine>),
    Cuda(Box<CudaEngine>),
    Ranked(Box<RankedEngine>),
}

impl Engine {
    /// For the images and classes of a data set, with the initial weights of the configuration's seed.
    ///
    /// # Errors
    /// The network cannot be built for such images, or the device has no memory for it.
    pub fn new(config: &Config, dataset: &DatasetInfo, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu(_) | Device::CandleCuda(_) => {
                Ok(Self::Candle(Box::new(CandleEngine::new(config, dataset, device.candle())?)))
            }
            Device::Cuda(context) => Ok(Self::Cuda(Box::new(CudaEngine::new(config, dataset, context)?))),
            Device::Ranks(leader) => Ok(Self::Ranked(Box::new(RankedEngine::new(config, dataset, leader)?))),
        }
    }

    /// Brings `data` to the device, so that what can be wrong with that is wrong before the first epoch is entered; and makes
    /// of it what the network has of the training images, unless weights were loaded.
    ///
    /// # Errors
    /// The device cannot take the data.
    pub fn prepare(&mut self, data: &Arc<Dataset>) -> Result<()> {
        match self {
            Self::Candle(engine) => engine.prepare(data),
            Self::Cuda(engine) => engine.prepare(data),
            Self::Ranked(engine) => engine.prepare(data),
        }
    }

    /// Gives back what it has of the device's memory, as far as it can, to an engine that is to take its place. It still has
    /// its weights and optimizer; the next epoch that is entered takes the memory again.
    ///
    /// # Errors
    /// Those of the device.
    pub fn make_room(&mut self) -> Result<()> {
        match self {
            Self::Candle(_) | Self::Ranked(_) => Ok(()),
            Self::Cuda(engine) => engine.make_room(),
        }
    }

    /// `error`; where it is of the device's memory, with the batch size for which that would suffice. No engine of the run
    /// is to be there any more.
    pub fn with_fitting_batch_size(
        error: anyhow::Error,
        config: &Config,
        data: &Arc<Dataset>,
        device: &Device,
    ) -> anyhow::Error {
        match device {
            Device::Cpu(_) | Device::CandleCuda(_) | Device::Ranks(_) => error,
            Device::Cuda(context) => cuda::with_fitting_batch_size(error, config, data, context),
        }
    }

    /// Enters an epoch: the next steps are those of the plan's batches from `plan.first_batch` on, and have the numbers
    /// `first_step`, `first_step` + 1, … of the run, which count from 1. An epoch that was entered before is left.
    ///
    /// # Errors
    /// The device cannot take the data.
    pub fn begin_epoch(&mut self, data: &Arc<Dataset>, plan: EpochPlan, first_step: u64) -> Result<()> {
        match self {
            Self::Candle(engine) => engine.begin_epoch(data, plan, first_step),
            Self::Cuda(engine) => engine.begin_epoch(data, plan, first_step),
            Self::Ranked(engine) => engine.begin_epoch(data, plan, first_step),
        }
    }

    /// Leaves the epoch, wherever in it: ends the threads that make its batches. Nothing is to be under way.
    pub fn leave_epoch(&mut self) {
        match self {
            Self::Candle(engine) => engine.leave_epoch(),
            Self::Cuda(engine) => engine.leave_epoch(),
            Self::Ranked(engine) => engine.leave_epoch(),
        }
    }

    /// Kernels that a whole batch's step launches; None where no graph of it was made.
    pub fn launches(&self) -> Option<usize> {
        match self {
            Self::Candle(_) | Self::Ranked(_) => None,
            Self::Cuda(engine) => engine.launches(),
        }
    }

    /// The result of the next step, in the order of their numbers; None when the epoch has no more batches.
    ///
    /// A step moves the weights by the gradient of its batch's mean loss. A loss or gradient that is not finite never
    /// reaches weights, running statistics or optimizer: all is as it was before that step, the steps that were started
    /// after it had no effect either, and the next step is that of an epoch that is begun anew.
    ///
    /// The engine may start later steps of the epoch ahead, but none beyond step `last`, which is not before the next one.
    /// `learning_rate` is the rate of a step of that number; what it gives must not change while steps are under way.
    ///
    /// # Errors
    /// Those of the device: then nothing is known of the weights.
    pub fn next_step(&mut self, last: u64, learning_rate: &dyn Fn(u64) -> f64) -> Result<Option<TakenStep>> {
        match self {
            Self::Candle(engine) => engine.next_step(last, learning_rate),
            Self::Cuda(engine) => engine.next_step(last, learning_rate),
            Self::Ranked(engine) => engine.next_step(last, learning_rate),
        }
    }

    /// As [`Engine::next_step`], but starts nothing: None when no step is under way.
    pub fn finish_started(&mut self) -> Result<Option<TakenStep>> {
        match self {
            // It has taken every step that it started.
            Self::Candle(_) | Self::Ranked(_) => Ok(None),
            Self::Cuda(engine) => engine.finish_started(),
        }
    }

    /// The batch in evaluation mode. Notes in `active` which channels are; changes nothing else.
    pub fn evaluate(&self, batch: &Batch, active: &mut ActiveChannels) -> Result<EvaluatedBatch> {
        match self {
            Self::Candle(engine) => engine.evaluate(batch, active),
            Self::Cuda(engine) => engine.evaluate(batch, active),
            Self::Ranked(engine) => engine.own().evaluate(batch, active),
        }
    }

    /// Some images of the data set in evaluation mode, each by the mean of its views. Notes in `active` which channels are, of the
    /// images as they are; changes nothing else.
    pub fn evaluate_images(
        &self,
        dataset: &Dataset,
        images: Range<usize>,
        augmentation: TestTimeAugmentation,
        active: &mut ActiveChannels,
    ) -> Result<EvaluatedBatch> {
        match self {
            Self::Candle(_) | Self::Cuda(_) => {
                let batch = evaluation_batch(dataset, images)?;
                evaluate_views(&batch, augmentation, active, |batch, active| self.evaluate(batch, active))
            }
            Self::Ranked(engine) => engine.evaluate_images(dataset, images, augmentation, active),
        }
    }

    /// The processes that compute together; none of one that does by itself.
    pub fn ranks(&self) -> Vec<RankStarted> {
        match self {
            Self::Candle(_) | Self::Cuda(_) => vec![],
            Self::Ranked(engine) => engine.leader().ranks(),
        }
    }

    /// Whether one of the other ranks was asked to end, by a signal.
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Candle(_) | Self::Cuda(_) => false,
            Self::Ranked(engine) => engine.own().is_interrupted(),
        }
    }

    /// What the network is, without its weights.
    pub fn shape(&self) -> NetworkShape {
        match self {
            Self::Candle(engine) => engine.network().shape(),
            Self::Cuda(engine) => engine.described().shape(),
            Self::Ranked(engine) => engine.network().shape(),
        }
    }

    /// The network in a few words, such as `cnn 32-64-128`.
    pub fn summary(&self) -> String {
        match self {
            Self::Candle(engine) => engine.network().summary(),
            Self::Cuda(engine) => engine.described().summary(),
            Self::Ranked(engine) => engine.network().summary(),
        }
    }

    /// The network with the present weights, on [`Device::candle`]: to explain, and to save. Where the run averages its weights,
    /// it has the averaged ones. Others are loaded by [`Engine::load_weights`] and [`Engine::load_weights_and`] alone.
    ///
    /// # Errors
    /// The weights cannot be brought from where the engine has them.
    pub fn network(&self) -> Result<&Network> {
        match self {
            Self::Candle(engine) => Ok(engine.network()),
            Self::Cuda(engine) => engine.network(),
            Self::Ranked(engine) => Ok(engine.network()),
        }
    }

    /// Takes the weights from the bytes of `file`, or says what is wrong with them and keeps its own.
    pub fn load_weights(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        match self {
            Self::Candle(engine) => engine.load_weights(bytes, file),
            Self::Cuda(engine) => engine.load_weights(bytes, file),
            Self::Ranked(engine) => engine.load_weights(bytes, file),
        }
    }

    /// Takes the weights of a checkpoint whose run averages its weights: those that [`Engine::network`] had, and those that
    /// [`Engine::companion_to_safetensors`] gave. Or says what is wrong with them; then nothing is known of the weights.
    pub fn load_weights_and(&mut self, model: WeightsFile, companion: Companion, beside: WeightsFile) -> Result<()> {
        match self {
            Self::Candle(engine) => engine.load_weights_and(model, companion, beside),
            Self::Ranked(engine) => engine.load_weights_and(model, companion, beside),
            Self::Cuda(_) => bail!("{}: a GPU does not average weights yet; take --device cpu", beside.path.display()),
        }
    }

    /// What training needs to go on beside the weights of [`Engine::network`] and the optimizer, if anything, as the bytes of a
    /// safetensors file.
    pub fn companion_to_safetensors(&self) -> Result<Option<(Companion, Vec<u8>)>> {
        match self {
            Self::Candle(engine) => engine.companion_to_safetensors(),
            Self::Ranked(engine) => engine.own().companion_to_safetensors(),
            Self::Cuda(_) => Ok(None),
        }
    }

    /// Whether every weight and running estimate is finite, averaged or not.
    pub fn weights_are_finite(&self) -> Result<bool> {
        match self {
            Self::Candle(engine) => engine.weights_are_finite(),
            Self::Cuda(engine) => Ok(engine.network()?.weights().are_finite()?),
            Self::Ranked(engine) => engine.own().weights_are_finite(),
        }
    }

    /// The optimizer's state as the bytes of a safetensors file.
    pub fn optimizer_to_safetensors(&self) -> Result<Vec<u8>> {
        match self {
            Self::Candle(engine) => engine.optimizer_to_safetensors(),
            Self::Cuda(engine) => engine.optimizer_to_safetensors(),
            Self::Ranked(engine) => engine.own().optimizer_to_safetensors(),
        }
    }

    /// Takes the optimizer's state from the bytes of `file`, or says what is wrong with them.
    pub fn load_optimizer(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        match self {
            Self::Candle(engine) => engine.load_optimizer(bytes, file),
            Self::Cuda(engine) => engine.load_optimizer(bytes, file),
            Self::Ranked(engine) => engine.load_optimizer(bytes, file),
        }
    }
}
