//! What is done about a divergence: the step was not taken, and training does not go on by itself.

use anyhow::{Result, bail};

use super::commands::{Flow, Situation};
use super::divergence::Diverged;
use super::resume_point::ResumePoint;
use super::trainer::Trainer;
use crate::config::{LEARNING_RATES, OnDivergence};
use crate::run::event::{AlarmKind, CheckpointReason, Event, LearningRateReason};

impl Trainer {
    /// Raises the alarm, and does what `train.on_divergence` says; paused, what is commanded.
    ///
    /// # Errors
    /// The run is to end, or there is no checkpoint to go back to that can be loaded.
    pub fn recover(&mut self, diverged: Diverged) -> Result<Flow> {
        let (checkpoint, to_step) = match self.last_good() {
            Some((name, step)) => (format!("the last good checkpoint is {name}"), step),
            None => ("there is no checkpoint before it".to_owned(), 0),
        };
        let message = format!("{diverged}; {checkpoint}");
        self.raise_alarm(AlarmKind::Divergence, message.clone());
        match self.config.train.on_divergence {
            OnDivergence::Stop => bail!(message),
            OnDivergence::Rollback if self.rollbacks.allows(to_step) => {
                self.roll_back()?;
                return Ok(Flow::Continue);
            }
            OnDivergence::Rollback | OnDivergence::Pause => {}
        }
        self.recorder.record(Event::Paused { step: self.state.step });
        self.poll_commands(Situation::Diverged(diverged))
    }

    /// Goes back to the last good checkpoint, or to the beginning where there is none, and on from there with half the
    /// present learning rate.
    pub fn roll_back(&mut self) -> Result<()> {
        let from_step = self.state.step;
        let halved = (self.state.learning_rate / 2.0).max(*LEARNING_RATES.start());
        let dataset = &self.train_data.info;
        self.engine.make_room()?;
        let resume_point =
            ResumePoint::latest(&self.dir, &self.config, dataset, &self.origin, &self.schedule, &self.device)?;
        self.resume_from(resume_point)?;
        let (to_step, learning_rate) = (self.state.step, self.state.learning_rate);
        self.recorder.record(Event::RolledBack { from_step, to_step, learning_rate });
        self.set_learning_rate(halved, LearningRateReason::Rollback);
        self.save_checkpoint_or_alarm(CheckpointReason::Rollback);
        Ok(())
    }

    /// Counts the next batch as a step that moved nothing.
    ///
    /// # Errors
    /// It was no batch that diverged, or no batch of the epoch would be left that moved something.
    pub fn skip_batch(&mut self, diverged: Diverged) -> Result<()> {
        if let Diverged::Evaluation { .. } = diverged {
            bail!("{diverged}: there is no batch to skip")
        }
        let epoch = self.state.epoch;
        if self.state.epoch_so_far.skipped + 1 == self.steps_per_epoch() {
            bail!("every other batch of epoch {epoch} was skipped already")
        }
        self.state.epoch_so_far.skipped += 1;
        self.count_batch();
        self.recorder.record(Event::BatchSkipped { epoch, step: self.state.step });
        Ok(())
    }
}
