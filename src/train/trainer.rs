//! The trainer of a run: what it owns, and the verbs that the loop is made of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::alarms::{Alarms, Raised};
use super::checkpoint::Checkpoints;
use super::device::{self, Device};
use super::divergence::RollbackBudget;
use super::engine::{Engine, TakenStep};
use super::inbox::Inbox;
use super::leader::Leader;
use super::origin::Origin;
use super::recorder::{Recorder, Reporter};
use super::resume_point::ResumePoint;
use super::selftest;
use super::state::TrainState;
use super::step_result::StepResult;
use crate::average;
use crate::config::{AverageKind, BestBy, Change, Config, TrainConfig};
use crate::data::info::ImageSize;
use crate::data::loader::EpochPlan;
use crate::data::{self, Dataset, DatasetInfo, Split};
use crate::optim::checkpoint_bytes_per_parameter;
use crate::run::event::{
    AlarmKind, CheckpointReason, EvaluatedWeights, Event, FORMAT_VERSION, LearningRateReason, RunStarted,
};
use crate::run::events_index::Indexer;
use crate::run::held_dir::HeldRunDir;
use crate::run::log::EventLog;
use crate::run::process;
use crate::run::replay::outline;
use crate::schedule::Schedule;
use crate::system::{Host, Sampler};
use crate::version::Build;

/// Between two looks for the run's directory, while nothing is saved.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

const OF_AVERAGE: &str = "the run is judged by the average of its weights (average.kind = ema)";

pub struct Trainer {
    pub dir: HeldRunDir,
    pub config: Config,
    pub device: Device,
    pub origin: Origin,
    pub train_data: Arc<Dataset>,
    /// What the run is judged by.
    pub evaluation_data: Dataset,
    pub judged_by: Split,
    pub engine: Engine,
    pub schedule: Schedule,
    pub state: TrainState,
    pub alarms: Alarms,
    pub rollbacks: RollbackBudget,
    pub recorder: Recorder,
    pub inbox: Inbox,
    checkpoints: Checkpoints,
    /// What the last checkpoint holds, and its name: asked for again, it is not written again.
    last_saved: Option<(TrainState, String)>,
    /// When the run's directory was last looked for.
    looked_at: Instant,
    indexer: Indexer,
}

impl Trainer {
    /// Reads the data, builds the network, takes up the latest checkpoint if the run has one, and begins the log.
    /// `notice`: something more that the user should know. `leader`: has the other ranks, if it trains with some.
    pub fn open(
        dir: HeldRunDir,
        config: Config,
        log: EventLog,
        reporter: Reporter,
        inbox: Inbox,
        notice: Option<String>,
        leader: Option<&Arc<Leader>>,
    ) -> Result<Self> {
        let source = data::source::open(&config.data, config.run.seed)?;
        let checkpoints = Checkpoints::open(&dir, config.checkpoint.keep_last)?;
        let steps_per_epoch = config.train.steps_per_epoch(source.train.len());
        let total_steps = config.train.total_steps(steps_per_epoch);
        let schedule = Schedule::new(&config.schedule, config.optimizer.learning_rate, total_steps);
        let origin = Origin::new(&config, &source);
        if let Some(leader) = leader {
            leader.join(&config, &origin.data)?;
        }
        let (judged_by, train_info) = (source.judged_by(), source.train.info.clone());
        let (data, data_origin, notice) =
            (source.name.clone(), source.origin.clone(), joined([notice, source.notice.clone()]));
        let (train_data, evaluation_data) = source.into_parts();
        let train_data = Arc::new(train_data);
        let (device, (checked, resume_point)) = device::begin_on(&config, leader, |device| {
            let checked = selftest::ensure_passed(device)?;
            let prepared = ResumePoint::latest(&dir, &config, &train_info, &origin, &schedule, device)
                .and_then(|mut point| point.engine.prepare(&train_data).map(|()| point));
            match prepared {
                Ok(point) => Ok((checked, point)),
                Err(error) => Err(Engine::with_fitting_batch_size(error, &config, &train_data, device)),
            }
        })?;
        let ResumePoint { engine, state, checkpoint, changes, saved_learning_rate, passed_over, notice: of_weights } =
            resume_point;
        let (evaluated_weights, of_average) = match config.average.kind {
            AverageKind::Ema => (EvaluatedWeights::Averaged, Some(OF_AVERAGE.to_owned())),
            AverageKind::None | AverageKind::Lookahead => (EvaluatedWeights::Raw, None),
        };
        let of_images = progressive_notice(&config.train, &train_info);
        let notice = joined([of_images, checked, of_weights, of_average, notice]);
        // An empty log is a new run; a run that was killed before its first checkpoint begins again.
        let is_new = std::fs::metadata(dir.events()).map_or(true, |log| log.len() == 0);
        if is_new {
            dir.check_space(&config, checkpoint_bytes(&config, &engine))?;
        }
        let started = RunStarted {
            version: FORMAT_VERSION,
            trainer: None,
            taper: Some(Build::own()),
            machine: Host::cpu().map(|cpu| cpu.to_string()),
            thinned: false,
            run: dir.name(),
            model: engine.summary(),
            parameters: engine.shape().parameter_count(),
            device: device.describe(),
            data,
            dataset: DatasetInfo::clone(&train_info),
            data_origin,
            notice,
            train_samples: train_data.len() as u64,
            judged_by,
            test_samples: evaluation_data.len() as u64,
            evaluated_weights,
            epochs: config.train.epochs,
            batch_size: config.train.batch_size as u64,
            steps_per_epoch,
            total_steps,
            learning_rate: state.learning_rate,
            seed: config.run.seed,
            host: process::host(),
            pid: std::process::id(),
            start_ticks: None,
            ranks: engine.ranks(),
            continued_from: (!is_new || state.step > 0).then_some(state.step),
        };
        let alarms = alarms(&dir, &config, &state, &engine);
        // All that takes long is done, and nothing of it changed the run.
        inbox.begin()?;
        if Config::load(Some(&dir.config()), &[]).as_ref() != Ok(&config) {
            dir.write_config(&config).with_context(|| dir.config().display().to_string())?;
        }
        // The log and the folder of checkpoints may be new.
        dir.sync().with_context(|| dir.path().display().to_string())?;
        let sampler = Sampler::start(dir.clone(), device.card());
        let recorder = Recorder::begin(log, reporter, sampler, Box::new(started))
            .with_context(|| format!("cannot write {}", dir.events().display()))?;
        let mut trainer = Self {
            dir,
            config,
            device,
            origin,
            train_data,
            evaluation_data,
            judged_by,
            engine,
            schedule,
            last_saved: checkpoint.map(|name| (state.clone(), name)),
            state,
            alarms,
            rollbacks: RollbackBudget::default(),
            recorder,
            inbox,
            checkpoints,
            looked_at: Instant::now(),
            indexer: Indexer::default(),
        };
        for Change { key, from, to } in changes {
            let step = trainer.state.step;
            trainer.recorder.record(Event::SettingChanged { step, key: key.to_owned(), from, to });
        }
        trainer.change_learning_rate(saved_learning_rate, LearningRateReason::Configuration);
        for fault in passed_over {
            trainer.raise_alarm(AlarmKind::Checkpoint, format!("a later checkpoint was passed over: {fault:#}"));
        }
        Ok(trainer)
    }

    /// Looks for the run's directory now and then.
    ///
    /// # Errors
    /// As [`Trainer::follow_dir`].
    pub fn follow_dir_now_and_then(&mut self) -> Result<()> {
        if self.looked_at.elapsed() < LOOK_INTERVAL { Ok(()) } else { self.follow_dir() }
    }

    /// Looks for the run's directory, and goes on where it is now.
    ///
    /// # Errors
    /// It is gone: nothing more can be saved.
    pub fn follow_dir(&mut self) -> Result<()> {
        let has_moved = self.dir.follow().context("the run's directory is gone, and with it all that was saved")?;
        // After it was found: whoever goes on without a checkpoint is soon told again.
        self.looked_at = Instant::now();
        if has_moved {
            self.checkpoints.move_to(&self.dir);
            let path = self.dir.path().display().to_string();
            tracing::info!("the run's directory is {path} now");
            self.recorder.record(Event::DirectoryMoved { step: self.state.step, path });
        }
        Ok(())
    }

    /// Goes on from there; alarms that count steps start over.
    ///
    /// # Errors
    /// As [`Engine::prepare`].
    pub fn resume_from(&mut self, ResumePoint { engine, state, checkpoint, .. }: ResumePoint) -> Result<()> {
        self.alarms = alarms(&self.dir, &self.config, &state, &engine);
        self.last_saved = checkpoint.map(|name| (state.clone(), name));
        (self.engine, self.state) = (engine, state);
        self.engine.prepare(&self.train_data)
    }

    pub fn steps_per_epoch(&self) -> u64 {
        self.config.train.steps_per_epoch(self.train_data.len())
    }

    /// The step at which the run ends.
    pub fn total_steps(&self) -> u64 {
        self.config.train.total_steps(self.steps_per_epoch())
    }

    pub fn has_steps_left(&self) -> bool {
        self.state.step < self.total_steps()
    }

    pub fn has_epochs_left(&self) -> bool {
        self.state.epoch <= self.config.train.epochs && self.stopped_early().is_none()
    }

    /// Its evaluation is next.
    pub fn epoch_is_trained(&self) -> bool {
        self.state.batches_done == self.steps_per_epoch()
    }

    /// Takes the engine to the batches of the present epoch that are not done.
    pub fn begin_epoch(&mut self) -> Result<()> {
        let plan = EpochPlan::of(&self.config, self.state.epoch, self.state.batches_done as usize);
        self.engine.begin_epoch(&self.train_data, plan, self.state.step + 1)
    }

    /// The result of the next step; None at the end of the epoch's batches. The engine may start steps ahead as far as
    /// nothing else is due between them.
    pub fn next_step(&mut self) -> Result<Option<TakenStep>> {
        let every_steps = self.config.checkpoint.every_steps;
        let last = self.state.next_stop(self.steps_per_epoch(), self.total_steps(), every_steps);
        let Self { engine, schedule, state, .. } = self;
        engine.next_step(last, &|step| schedule.learning_rate(step, &state.schedule))
    }

    /// Counts a step that was taken, whose result was waited for since `began`.
    pub fn finish_step(&mut self, taken: &TakenStep, began: Instant) {
        debug_assert_eq!(taken.learning_rate, self.state.learning_rate, "the state's is that of its next step");
        self.count_batch();
        let result = StepResult {
            epoch: self.state.epoch,
            step: self.state.step,
            loss: taken.loss,
            gradient_norm: taken.gradient_norm,
            correct: taken.correct,
            samples: taken.samples,
            time: taken.time,
            train_secs: began.elapsed().as_secs_f64(),
            moving_learning_rate: self.schedule.moves_each_step().then_some(taken.learning_rate),
            rank_secs: taken.rank_secs.clone(),
        };
        self.state.epoch_so_far.add(&result);
        let raised = self.alarms.after_step(&result, self.recorder.room());
        self.recorder.record_step(&result);
        self.raise_alarms(raised);
        let every_steps = self.config.checkpoint.every_steps;
        if every_steps > 0 && self.state.step.is_multiple_of(every_steps) && !self.epoch_is_trained() {
            self.save_checkpoint_or_alarm(CheckpointReason::Interval);
        }
    }

    /// A batch of the epoch is done, with or without effect.
    pub fn count_batch(&mut self) {
        self.state.step += 1;
        self.state.batches_done += 1;
        self.state.update_learning_rate(&self.schedule);
    }

    /// Sets the user's factor so that the next step is taken with this rate.
    pub fn set_learning_rate(&mut self, wanted: f64, reason: LearningRateReason) {
        let from = self.state.learning_rate;
        if from != wanted {
            self.schedule.set_learning_rate(self.state.step + 1, &mut self.state.schedule, wanted);
            self.change_learning_rate(from, reason);
        }
    }

    /// Shows the schedule an epoch's mean test loss.
    pub fn step_schedule(&mut self, test_loss: f64) {
        let from = self.state.learning_rate;
        self.schedule.after_epoch(&mut self.state.schedule, test_loss);
        self.change_learning_rate(from, LearningRateReason::Plateau);
    }

    fn change_learning_rate(&mut self, from: f64, reason: LearningRateReason) {
        self.state.update_learning_rate(&self.schedule);
        let &TrainState { epoch, step, learning_rate: to, .. } = &self.state;
        if from != to {
            self.recorder.record(Event::LearningRateChanged { epoch, step, from, to, reason });
        }
    }

    /// Saves, unless the last checkpoint holds the same; returns the checkpoint's name.
    pub fn save_checkpoint(&mut self, reason: CheckpointReason) -> Result<String> {
        match &self.last_saved {
            Some((state, name)) if *state == self.state => Ok(name.clone()),
            _ => {
                let name = self.free_checkpoint_name();
                self.save_checkpoint_as(&name, self.state.clone(), reason)?;
                Ok(name)
            }
        }
    }

    pub fn free_checkpoint_name(&self) -> String {
        self.checkpoints.free_name(&self.state)
    }

    /// Saves `state`, which becomes the present one, under a name that [`Trainer::free_checkpoint_name`] gave.
    ///
    /// # Errors
    /// Nothing is saved, and the present state stays.
    pub fn save_checkpoint_as(&mut self, name: &str, state: TrainState, reason: CheckpointReason) -> Result<()> {
        if !self.engine.weights_are_finite()? {
            let last =
                self.last_good().map_or("there is none".to_owned(), |(name, _)| format!("the last good one is {name}"));
            bail!("checkpoint {name}: not saved, because the weights are not finite; {last}")
        }
        self.follow_dir()?;
        self.recorder.sync_to_disk();
        let saved = self.checkpoints.save(&self.engine, &state, &self.origin, name, reason).context("checkpoint")?;
        self.last_saved = Some((state.clone(), name.to_owned()));
        self.state = state;
        self.recorder.record(Event::CheckpointSaved(saved));
        if let Err(error) = self.indexer.extend(&self.dir) {
            // Whoever lists runs reads the log instead.
            tracing::warn!("{}: {error}", self.dir.events_index().display());
        }
        Ok(())
    }

    /// A checkpoint that cannot be saved (a full disk) is no reason to stop training.
    pub fn save_checkpoint_or_alarm(&mut self, reason: CheckpointReason) {
        let saved = self.save_checkpoint(reason);
        self.alarm_unless_saved(AlarmKind::Checkpoint, saved);
    }

    pub fn alarm_unless_saved<T>(&mut self, kind: AlarmKind, saved: Result<T>) {
        let raised = self.alarms.after_saving(kind, saved);
        self.raise_alarms(raised);
    }

    /// The checkpoint that was saved or taken up last, and its step. Its weights are finite.
    pub fn last_good(&self) -> Option<(&str, u64)> {
        self.last_saved.as_ref().map(|(state, name)| (name.as_str(), state.step))
    }

    pub fn raise_alarms(&mut self, raised: Raised) {
        raised.into_iter().for_each(|(kind, message)| self.raise_alarm(kind, message));
    }

    pub fn raise_alarm(&mut self, kind: AlarmKind, message: String) {
        self.recorder.raise_alarm(self.state.step, kind, message);
    }

    /// Why the run ends before its last epoch, if it does.
    pub fn stopped_early(&self) -> Option<String> {
        let patience = self.config.train.early_stop;
        let best = self.state.best_score()?;
        if patience == 0 || self.state.batches_done > 0 || self.state.epochs_since_best() < patience {
            return None;
        }
        let what = match (self.config.train.best, best.test_loss) {
            (BestBy::Loss, Some(loss)) => format!("{} loss of {loss:.4}", self.judged_by),
            (BestBy::Loss, None) | (BestBy::Accuracy, _) => {
                format!(
                    "{} accuracy of {:.2} %{}",
                    self.judged_by,
                    best.test_accuracy,
                    best.test_time_augmentation.suffix()
                )
            }
        };
        let (epoch, epochs) = (best.epoch, self.state.epochs_since_best());
        Some(format!("stopped early: epoch {epoch} had the best {what}, {epochs} epochs ago (train.early_stop)"))
    }
}

/// That training is of smaller images at first.
fn progressive_notice(train: &TrainConfig, dataset: &DatasetInfo) -> Option<String> {
    let first = dataset.size().scaled(train.image_scale(1));
    (first != dataset.size()).then(|| {
        let (epochs, ImageSize { width, height, .. }) = (train.progressive_epochs, first);
        let until = if epochs == 1 { "in epoch 1".to_owned() } else { format!("in epochs 1 to {epochs}") };
        format!(
            "{until} training is of smaller images, of {width} x {height} pixels at first (train.progressive_epochs)"
        )
    })
}

fn joined<const N: usize>(notices: [Option<String>; N]) -> Option<String> {
    let there: Vec<String> = notices.into_iter().flatten().collect();
    (!there.is_empty()).then(|| there.join("; "))
}

/// The configured alarms, as they stand in `state`.
fn alarms(dir: &HeldRunDir, config: &Config, state: &TrainState, engine: &Engine) -> Alarms {
    let mut alarms = Alarms::new(config, dir, checkpoint_bytes(config, engine), &engine.ranks());
    match &state.alarms {
        Some(counters) => alarms.restore(counters),
        // An older checkpoint: the log tells.
        None if state.epoch > 1 => match outline(dir) {
            Ok(mut logged) => {
                // A rollback may not be in the log yet, if the disk is full.
                logged.epochs.retain(|epoch| epoch.step <= state.step);
                alarms.replay(&logged.epochs, state.learning_rate);
            }
            Err(error) => tracing::warn!("the alarms count epochs anew: {error}"),
        },
        None => {}
    }
    alarms
}

fn checkpoint_bytes(config: &Config, engine: &Engine) -> u64 {
    let of_average = average::checkpoint_bytes_per_parameter(config.average.kind);
    engine.shape().parameter_count() * (checkpoint_bytes_per_parameter(config.optimizer.kind) + of_average)
}
