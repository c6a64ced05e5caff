//! The engine of rank 0, which the other ranks compute with: on the CPUs of all of them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::candle::CandleEngine;
use super::computed::{EvaluatedBatch, TakenStep};
use super::weights_file::WeightsFile;
use crate::average::Companion;
use crate::config::{Config, TestTimeAugmentation};
use crate::data::loader::EpochPlan;
use crate::data::{Dataset, DatasetInfo};
use crate::model::{ActiveChannels, Network};
use crate::train::leader::{Call, Leader};

pub struct RankedEngine {
    leader: Arc<Leader>,
    engine: CandleEngine,
}

impl RankedEngine {
    pub fn new(config: &Config, dataset: &DatasetInfo, leader: &Arc<Leader>) -> Result<Self> {
        let engine = CandleEngine::new(config, dataset, &candle_core::Device::Cpu)?;
        leader.tell(&Call::NewEngine, &[])?;
        let engine = engine.on_ranks(Arc::clone(&leader.communicator));
        Ok(Self { leader: Arc::clone(leader), engine })
    }

    pub fn leader(&self) -> &Leader {
        &self.leader
    }

    /// This rank's, which has what every rank has.
    pub fn own(&self) -> &CandleEngine {
        &self.engine
    }

    pub fn prepare(&mut self, data: &Dataset) -> Result<()> {
        self.engine.prepare(data)?;
        self.leader.tell(&Call::Prepare, &[])
    }

    /// As [`super::Engine::begin_epoch`].
    pub fn begin_epoch(&mut self, data: &Arc<Dataset>, plan: EpochPlan, first_step: u64) -> Result<()> {
        let EpochPlan { epoch, first_batch, .. } = plan;
        self.engine.begin_epoch(data, plan, first_step)?;
        self.leader.tell(&Call::BeginEpoch { epoch, first_batch, first_step }, &[])
    }

    /// The others leave it when they enter the next.
    pub fn leave_epoch(&mut self) {
        self.engine.leave_epoch();
    }

    pub fn next_step(&mut self, last: u64, learning_rate: &dyn Fn(u64) -> f64) -> Result<Option<TakenStep>> {
        let Self { leader, engine } = self;
        let Some(number) = engine.next_number() else { return Ok(None) };
        let learning_rate = learning_rate(number);
        leader.together(&Call::Step { learning_rate }, || engine.next_step(last, &|_| learning_rate))
    }

    /// As [`super::Engine::evaluate_images`].
    pub fn evaluate_images(
        &self,
        dataset: &Dataset,
        images: Range<usize>,
        augmentation: TestTimeAugmentation,
        active: &mut ActiveChannels,
    ) -> Result<EvaluatedBatch> {
        let call = Call::Evaluate { images: images.clone(), augmentation };
        self.leader.together(&call, || self.engine.evaluate_together(dataset, images, augmentation, active))
    }

    pub fn network(&self) -> &Network {
        self.engine.network()
    }

    pub fn load_weights(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        self.engine.load_weights(bytes, file)?;
        self.leader.tell(&Call::LoadWeights { companion: None }, &[bytes])
    }

    pub fn load_weights_and(&mut self, model: WeightsFile, companion: Companion, beside: WeightsFile) -> Result<()> {
        let bytes = [model.bytes, beside.bytes];
        self.engine.load_weights_and(model, companion, beside)?;
        let companion = <&str>::from(companion).to_owned();
        self.leader.tell(&Call::LoadWeights { companion: Some(companion) }, &bytes)
    }

    pub fn load_optimizer(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        self.engine.load_optimizer(bytes, file)?;
        self.leader.tell(&Call::LoadOptimizer, &[bytes])
    }
}
