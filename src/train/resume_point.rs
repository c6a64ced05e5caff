//! What training goes on from: the latest whole checkpoint, or the beginning.

use anyhow::Result;

use super::checkpoint::{self, Checkpoint};
use super::device::Device;
use super::engine::Engine;
use super::origin::Origin;
use super::state::TrainState;
use crate::config::{Change, Config};
use crate::data::DatasetInfo;
use crate::model::initial_weights::InitialWeights;
use crate::run::dir::RunDir;
use crate::run::replay::outline;
use crate::schedule::Schedule;

pub struct ResumePoint {
    pub engine: Engine,
    pub state: TrainState,
    /// The checkpoint that holds it; none of the beginning.
    pub checkpoint: Option<String>,
    /// What the configuration has changed since the checkpoint was saved.
    pub changes: Vec<Change>,
    /// The learning rate of the next step as the checkpoint has it.
    pub saved_learning_rate: f64,
    /// What is wrong with each later checkpoint.
    pub passed_over: Vec<anyhow::Error>,
    /// What was done to the initial weights.
    pub notice: Option<String>,
}

impl ResumePoint {
    /// # Errors
    /// No checkpoint is whole though there are some, it does not fit the configured network, or its steps were of other
    /// images or settings.
    pub fn latest(
        dir: &RunDir,
        config: &Config,
        dataset: &DatasetInfo,
        origin: &Origin,
        schedule: &Schedule,
        device: &Device,
    ) -> Result<Self> {
        let (latest, passed_over) = checkpoint::latest_whole(dir)?;
        let Some(latest) = latest else {
            let (engine, notice) = initial_engine(config, dataset, device)?;
            let state = TrainState::new(schedule);
            let saved_learning_rate = state.learning_rate;
            return Ok(Self {
                engine,
                state,
                checkpoint: None,
                changes: vec![],
                saved_learning_rate,
                passed_over,
                notice,
            });
        };
        let changes = changes(&latest, dir, origin)?;
        let mut engine = Engine::new(config, dataset, device)?;
        latest.load(&mut engine)?;
        let state = latest.state.clone().resumed(schedule, base_change(&changes));
        let saved_learning_rate = latest.state.learning_rate;
        let checkpoint = Some(latest.name());
        Ok(Self { engine, state, checkpoint, changes, saved_learning_rate, passed_over, notice: None })
    }
}

/// An engine with the weights that a run begins with, and what was done to them.
///
/// # Errors
/// The network cannot be built, or `model.init` does not fit it.
pub fn initial_engine(config: &Config, dataset: &DatasetInfo, device: &Device) -> Result<(Engine, Option<String>)> {
    let mut engine = Engine::new(config, dataset, device)?;
    let Some(file) = &config.model.init else { return Ok((engine, None)) };
    let initial = InitialWeights::read(file)?;
    engine.load_weights(&initial.bytes, file)?;
    Ok((engine, initial.notice))
}

fn changes(latest: &Checkpoint, dir: &RunDir, now: &Origin) -> Result<Vec<Change>> {
    if let Some(then) = &latest.origin {
        return Ok(then.changes(now, dir, &latest.weights_file())?);
    }
    match outline(dir) {
        Ok(logged) => {
            if let Some(started) = &logged.started {
                now.check_logged(started, dir, &latest.weights_file())?;
            }
        }
        Err(error) => tracing::warn!("an older checkpoint, and no log to compare it with: {error}"),
    }
    Ok(vec![])
}

/// The configured learning rate before and now, where it has changed.
fn base_change(changes: &[Change]) -> Option<(f64, f64)> {
    let change = changes.iter().find(|change| change.key == "optimizer.learning_rate")?;
    Some((change.from.as_ref()?.parse().ok()?, change.to.as_ref()?.parse().ok()?))
}
