//! What training goes on from: the latest whole checkpoint, or the beginning.

use anyhow::Result;
use candle_core::Device;

use super::checkpoint;
use super::engine::Engine;
use super::state::TrainState;
use crate::config::Config;
use crate::data::DatasetInfo;
use crate::run::dir::RunDir;
use crate::schedule::Schedule;

pub struct ResumePoint {
    pub engine: Engine,
    pub state: TrainState,
    /// The checkpoint that holds it; none of the beginning.
    pub checkpoint: Option<String>,
}

impl ResumePoint {
    /// Also what is wrong with each later checkpoint.
    ///
    /// # Errors
    /// No checkpoint is whole though there are some, or it does not fit the configured network.
    pub fn latest(
        dir: &RunDir,
        config: &Config,
        dataset: &DatasetInfo,
        schedule: &Schedule,
        device: &Device,
    ) -> Result<(Self, Vec<anyhow::Error>)> {
        let mut engine = Engine::new(config, dataset, device)?;
        let (latest, passed_over) = checkpoint::latest_whole(dir)?;
        let resume_point = match latest {
            Some(latest) => {
                latest.load(&mut engine)?;
                let state = latest.state.clone().resumed(schedule);
                Self { engine, state, checkpoint: Some(latest.name()) }
            }
            None => {
                if let Some(file) = &config.model.init {
                    engine.network().weights().load(file)?;
                }
                Self { engine, state: TrainState::new(schedule), checkpoint: None }
            }
        };
        Ok((resume_point, passed_over))
    }
}
