//! Training: the loop, and what it needs. Knows no terminal.

mod alarms;
mod backlog;
pub mod bench;
pub mod checkpoint;
mod commands;
pub mod device;
mod divergence;
pub mod engine;
mod epoch;
pub mod evaluate;
mod inbox;
mod notify;
mod on_divergence;
pub mod origin;
mod probe;
pub mod process;
mod recorder;
mod resume_point;
mod standing;
pub mod state;
mod trainer;

use std::time::Instant;

use anyhow::Result;

use self::commands::{Flow, Situation};
use self::divergence::Diverged;
use self::evaluate::Evaluation;
use self::trainer::Trainer;
use crate::run::event::{Event, Outcome};

/// How an epoch came to its end, or was left.
enum EpochEnd {
    Finished,
    Diverged(Diverged),
    Ended(Outcome),
}

impl Trainer {
    /// Trains until the last epoch or step, or until told to end, from wherever the state is.
    pub fn train(&mut self) -> Result<Outcome> {
        self.report_missing_images();
        while self.has_epochs_left() {
            match self.train_epoch()? {
                EpochEnd::Finished => {}
                EpochEnd::Ended(outcome) => return Ok(outcome),
                EpochEnd::Diverged(diverged) => {
                    if let Flow::End(outcome) = self.recover(diverged)? {
                        return Ok(outcome);
                    }
                }
            }
        }
        Ok(Outcome::Completed)
    }

    /// Trains on what is left of the epoch, and evaluates.
    fn train_epoch(&mut self) -> Result<EpochEnd> {
        let mut batches = self.remaining_batches();
        while self.has_steps_left() {
            if let Flow::End(outcome) = self.poll_commands(Situation::Running)? {
                return Ok(EpochEnd::Ended(outcome));
            }
            let began = Instant::now();
            let Some(batch) = batches.next() else { break };
            let waited_secs = began.elapsed().as_secs_f64();

            let step = self.state.step + 1;
            let mut taken = self.engine.take_step(&batch, self.state.learning_rate, step)?;
            taken.time.data_secs += waited_secs;
            if !taken.is_finite() {
                let (loss, gradient_norm) = (taken.loss, taken.gradient_norm);
                return Ok(EpochEnd::Diverged(Diverged::Batch { step, loss, gradient_norm }));
            }
            self.finish_step(&taken, batch.labels.len(), began);
        }
        if !self.epoch_is_trained() {
            return Ok(EpochEnd::Ended(Outcome::Completed));
        }

        let (epoch, step) = (self.state.epoch, self.state.step);
        self.recorder.record(Event::EvaluationStarted { epoch, step });
        let mut evaluation =
            Evaluation::new(self.evaluation_data.info.classes.len(), self.config.train.eval_batch_size);
        while !evaluation.is_complete(&self.evaluation_data) {
            if let Flow::End(outcome) = self.poll_commands(Situation::Running)? {
                return Ok(EpochEnd::Ended(outcome));
            }
            evaluation.add_next_batch(&self.engine, &self.evaluation_data)?;
        }
        let loss = evaluation.mean_loss();
        if !loss.is_finite() {
            return Ok(EpochEnd::Diverged(Diverged::Evaluation { epoch, loss }));
        }
        self.finish_epoch(&evaluation);
        Ok(EpochEnd::Finished)
    }
}
