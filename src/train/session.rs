//! Everything that a run trains with: data, network, optimizer, and where it is.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::Device;

use super::alarms::Alarms;
use super::checkpoint::{self, Checkpoints, TrainState};
use super::device;
use super::recorder::Recorder;
use crate::config::{BestBy, Config, LEARNING_RATES};
use crate::data::{self, Dataset, DatasetInfo};
use crate::model::Network;
use crate::optim::Adam;
use crate::run::dir::RunDir;
use crate::run::event::{CheckpointReason, Event, FORMAT_VERSION, LearningRateReason, RunStarted};
use crate::run::process;
use crate::run::replay::replay;

pub struct Session {
    pub dir: RunDir,
    pub config: Config,
    pub train_data: Arc<Dataset>,
    pub test_data: Dataset,
    pub device: Device,
    pub cnn: Network,
    pub adam: Adam,
    pub state: TrainState,
    checkpoints: Checkpoints,
    /// What is wrong with each checkpoint that is later than the one that was continued from.
    pub passed_over: Vec<String>,
    /// What the last checkpoint holds: asked for again, it is not written again.
    last_saved: LastSaved,
}

type LastSaved = Option<(TrainState, String)>;

/// What training goes on from.
struct Beginning {
    cnn: Network,
    adam: Adam,
    state: TrainState,
    last_saved: LastSaved,
}

/// The run's latest checkpoint that is whole, or what the run begins with; and what is wrong with those passed over.
fn latest_or_beginning(dir: &RunDir, config: &Config, device: &Device) -> Result<(Beginning, Vec<anyhow::Error>)> {
    let cnn = Network::new(&config.model, &DatasetInfo::cifar10(), config.run.seed, device)?;
    let mut adam = Adam::new(config.optimizer.clone(), cnn.weights())?;
    let (latest, passed_over) = checkpoint::latest_whole(dir)?;
    let mut state = TrainState::new(config.optimizer.learning_rate);
    let mut last_saved = None;
    if let Some(latest) = latest {
        latest.load(&cnn, &mut adam)?;
        state = latest.state.clone();
        last_saved = Some((state.clone(), latest.name()));
    } else if let Some(file) = &config.model.init {
        cnn.weights().load(file)?;
    }
    Ok((Beginning { cnn, adam, state, last_saved }, passed_over))
}

impl Session {
    /// Reads the data and builds the network, from the latest checkpoint if the run has one. Returns what to announce.
    pub fn open(dir: &RunDir, config: Config) -> Result<(Self, RunStarted)> {
        let source = data::source::open(&config.data, config.run.seed)?;
        let device = device::open(&config.run.device)?;
        let checkpoints = Checkpoints::open(dir, config.checkpoint.keep_last)?;
        let (Beginning { cnn, adam, state, last_saved }, passed_over) = latest_or_beginning(dir, &config, &device)?;
        // An empty log is a new run; a run that was killed before its first checkpoint begins again.
        let is_new = std::fs::metadata(dir.events()).map_or(true, |log| log.len() == 0);

        let session = Self {
            dir: dir.clone(),
            train_data: Arc::new(source.train),
            test_data: source.test,
            device,
            cnn,
            adam,
            state,
            checkpoints,
            passed_over: passed_over.iter().map(|error| format!("{error:#}")).collect(),
            last_saved,
            config,
        };
        let started = RunStarted {
            version: FORMAT_VERSION,
            run: dir.name(),
            model: session.cnn.summary(),
            parameters: session.cnn.weights().parameter_count() as u64,
            device: device::describe(&session.device),
            data: source.name,
            dataset: DatasetInfo::clone(&session.train_data.info),
            data_origin: source.origin,
            notice: source.notice,
            train_samples: session.train_data.len() as u64,
            test_samples: session.test_data.len() as u64,
            epochs: session.config.train.epochs,
            batch_size: session.config.train.batch_size as u64,
            steps_per_epoch: session.steps_per_epoch(),
            total_steps: session.total_steps(),
            learning_rate: session.state.learning_rate,
            seed: session.config.run.seed,
            host: process::host(),
            pid: std::process::id(),
            continued_from: (!is_new || session.state.step > 0).then_some(session.state.step),
        };
        Ok((session, started))
    }

    /// The detectors of the configuration, which have seen the epochs up to here.
    pub fn alarms(&self) -> Alarms {
        // f32, with the two moments of Adam beside each.
        let checkpoint_bytes = 12 * self.cnn.weights().parameter_count() as u64;
        let mut alarms = Alarms::new(&self.config, &self.dir, checkpoint_bytes);
        if self.state.epoch > 1 {
            match replay(&self.dir) {
                Ok(mut logged) => {
                    // A rollback may not be in the log yet, if the disk is full.
                    logged.epochs.retain(|epoch| epoch.step <= self.state.step);
                    alarms.restore(&logged.epochs, self.state.learning_rate);
                }
                Err(error) => tracing::warn!("the alarms count epochs anew: {error}"),
            }
        }
        alarms
    }

    pub fn steps_per_epoch(&self) -> u64 {
        self.train_data.len().div_ceil(self.config.train.batch_size) as u64
    }

    /// The step at which the run ends.
    pub fn total_steps(&self) -> u64 {
        self.config.train.total_steps(self.steps_per_epoch())
    }

    pub fn epoch_is_trained(&self) -> bool {
        self.state.batches_done == self.steps_per_epoch()
    }

    /// Saves, unless the last checkpoint holds the same; returns the checkpoint's name.
    pub fn checkpoint(&mut self, reason: CheckpointReason, recorder: &mut Recorder) -> Result<String> {
        let name = match &self.last_saved {
            Some((state, name)) if *state == self.state => return Ok(name.clone()),
            _ => self.checkpoints.free_name(&self.state),
        };
        self.checkpoint_as(&name, reason, recorder)?;
        Ok(name)
    }

    /// Saves under a name that [`Session::free_checkpoint_name`] gave.
    pub fn checkpoint_as(&mut self, name: &str, reason: CheckpointReason, recorder: &mut Recorder) -> Result<()> {
        if !self.cnn.weights().are_finite()? {
            let last =
                self.last_good().map_or("there is none".to_owned(), |(name, _)| format!("the last good one is {name}"));
            bail!("checkpoint {name}: not saved, because the weights are not finite; {last}")
        }
        recorder.sync();
        let saved = self.checkpoints.save(&self.cnn, &self.adam, &self.state, name, reason).context("checkpoint")?;
        self.last_saved = Some((self.state.clone(), name.to_owned()));
        recorder.record(Event::CheckpointSaved(saved))?;
        Ok(())
    }

    /// Why the run ends before its last epoch, if it does.
    pub fn stopped_early(&self) -> Option<String> {
        let patience = self.config.train.early_stop;
        let best = self.state.best.as_ref()?;
        if patience == 0 || self.state.batches_done > 0 || self.state.epochs_since_best() < patience {
            return None;
        }
        let what = match (self.config.train.best, best.test_loss) {
            (BestBy::Loss, Some(loss)) => format!("test loss of {loss:.4}"),
            (BestBy::Loss, None) | (BestBy::Accuracy, _) => format!("test accuracy of {:.2} %", best.test_accuracy),
        };
        let (epoch, epochs) = (best.epoch, self.state.epochs_since_best());
        Some(format!("stopped early: epoch {epoch} had the best {what}, {epochs} epochs ago (train.early_stop)"))
    }

    /// The checkpoint that was saved or taken up last, and its step. Its weights are finite.
    pub fn last_good(&self) -> Option<(&str, u64)> {
        self.last_saved.as_ref().map(|(state, name)| (name.as_str(), state.step))
    }

    /// Goes back to the last good checkpoint, or to the beginning where there is none, and on from there with half the
    /// learning rate of now.
    pub fn roll_back(&mut self, recorder: &mut Recorder) -> Result<()> {
        let from_step = self.state.step;
        let learning_rate = (self.state.learning_rate / 2.0).max(*LEARNING_RATES.start());
        let (Beginning { cnn, adam, state, last_saved }, _) =
            latest_or_beginning(&self.dir, &self.config, &self.device)?;
        (self.cnn, self.adam, self.state, self.last_saved) = (cnn, adam, state, last_saved);
        let TrainState { step: to_step, learning_rate: of_checkpoint, .. } = self.state;
        recorder.record(Event::RolledBack { from_step, to_step, learning_rate: of_checkpoint })?;
        self.set_learning_rate(learning_rate, LearningRateReason::Rollback, recorder)
    }

    /// Counts the next batch as a step that moved nothing.
    ///
    /// # Errors
    /// No batch of the epoch would be left that did.
    pub fn skip_batch(&mut self, recorder: &mut Recorder) -> Result<()> {
        let TrainState { epoch, epoch_so_far, .. } = &mut self.state;
        if epoch_so_far.skipped + 1 == self.train_data.len().div_ceil(self.config.train.batch_size) as u64 {
            bail!("every other batch of epoch {epoch} was skipped already")
        }
        epoch_so_far.skipped += 1;
        self.state.batches_done += 1;
        self.state.step += 1;
        recorder.record(Event::BatchSkipped { epoch: self.state.epoch, step: self.state.step })?;
        Ok(())
    }

    pub fn free_checkpoint_name(&self) -> String {
        self.checkpoints.free_name(&self.state)
    }

    pub fn set_learning_rate(
        &mut self,
        learning_rate: f64,
        reason: LearningRateReason,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let from = self.state.learning_rate;
        if from != learning_rate {
            self.state.learning_rate = learning_rate;
            let (epoch, step) = (self.state.epoch, self.state.step);
            recorder.record(Event::LearningRateChanged { epoch, step, from, to: learning_rate, reason })?;
        }
        Ok(())
    }
}
