//! Training: the loop, and what it needs. Knows no terminal.

mod alarms;
mod backlog;
pub mod bench;
pub mod checkpoint;
mod commands;
mod cpu;
pub mod device;
mod divergence;
pub mod engine;
mod epoch;
pub mod evaluate;
mod inbox;
pub mod leader;
mod notify;
mod on_divergence;
pub mod origin;
mod probe;
pub mod process;
pub mod range_test;
mod rank_times;
mod recorder;
mod resume_point;
pub mod selftest;
mod standing;
pub mod state;
mod step_result;
mod trainer;

use std::time::Instant;

use anyhow::Result;

use self::commands::{Flow, Situation};
use self::divergence::Diverged;
use self::engine::TakenStep;
use self::evaluate::Evaluation;
use self::trainer::Trainer;
use crate::config::{TestTimeAugmentation, TrainConfig};
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
            let end = self.train_epoch()?;
            self.engine.leave_epoch();
            match end {
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
        self.begin_epoch()?;
        while self.has_steps_left() {
            self.follow_dir_now_and_then()?;
            if self.inbox.has_request() {
                // What is asked for is asked of the state after the steps that are under way.
                if let Some(diverged) = self.finish_started()? {
                    return Ok(EpochEnd::Diverged(diverged));
                }
                if let Flow::End(outcome) = self.poll_commands(Situation::Running)? {
                    return Ok(EpochEnd::Ended(outcome));
                }
                if !self.has_steps_left() {
                    break;
                }
            }
            let began = Instant::now();
            let Some(taken) = self.next_step()? else { break };
            if let Some(diverged) = self.accept_step(&taken, began) {
                return Ok(EpochEnd::Diverged(diverged));
            }
            if self.engine.is_interrupted() {
                return Ok(EpochEnd::Ended(Outcome::Interrupted));
            }
        }
        if !self.epoch_is_trained() {
            return Ok(EpochEnd::Ended(Outcome::Completed));
        }

        let (epoch, step) = (self.state.epoch, self.state.step);
        self.recorder.record(Event::EvaluationStarted { epoch, step });
        let TrainConfig { eval_batch_size, test_time_augmentation, .. } = self.config.train;
        let augmentation = if self.has_steps_left() { TestTimeAugmentation::None } else { test_time_augmentation };
        let mut evaluation = Evaluation::new(self.evaluation_data.info.classes.len(), eval_batch_size, augmentation);
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

    /// Finishes the steps that are under way, so that weights, counters and log are those of one step.
    fn finish_started(&mut self) -> Result<Option<Diverged>> {
        loop {
            let began = Instant::now();
            let Some(taken) = self.engine.finish_started()? else { return Ok(None) };
            if let Some(diverged) = self.accept_step(&taken, began) {
                return Ok(Some(diverged));
            }
        }
    }

    /// Counts the next step, which was waited for since `began`, unless it diverged.
    fn accept_step(&mut self, taken: &TakenStep, began: Instant) -> Option<Diverged> {
        if !taken.is_finite() {
            let &TakenStep { loss, gradient_norm, .. } = taken;
            return Some(Diverged::Batch { step: self.state.step + 1, loss, gradient_norm });
        }
        self.finish_step(taken, began);
        None
    }
}
