//! Commands, carried out between two batches and answered when they are done.

use std::sync::mpsc::RecvTimeoutError;

use anyhow::{Result, anyhow};
use tokio::sync::oneshot;

use super::divergence;
use super::recorder::RETRY_INTERVAL;
use super::trainer::Trainer;
use crate::run::event::{CheckpointReason, Command, Event, LearningRateReason, Outcome};
use crate::run::socket::{Reply, Request};

/// Commands that a running trainer carries out between two batches: a flood of them does not keep it from training.
const COMMANDS_AT_ONCE: usize = 16;

/// What a trainer is doing when it looks at its commands. Only one that is running goes on by itself.
#[derive(Clone, Copy, Debug)]
pub enum Situation {
    Running,
    Paused,
    Diverged(divergence::Diverged),
}

/// What the loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Goes on from where the state is: a command may have moved it.
    Continue,
    End(Outcome),
}

impl Trainer {
    /// Carries out what was asked since the last call; returns when the run is to go on, or to end. No step is to be under
    /// way.
    ///
    /// # Errors
    /// The run's directory is gone.
    pub fn poll_commands(&mut self, mut situation: Situation) -> Result<Flow> {
        use Situation::{Diverged, Paused, Running};
        if let Running = situation {
            self.recorder.record_system(self.state.step);
        }
        let mut polled = 0;
        loop {
            self.follow_dir_now_and_then()?;
            let request = match situation {
                Running if polled >= COMMANDS_AT_ONCE => return Ok(Flow::Continue),
                Running => match self.inbox.next() {
                    Some(request) => request,
                    None => return Ok(Flow::Continue),
                },
                Paused | Diverged(_) => match self.wait_for_request()? {
                    Some(request) => request,
                    // Nobody is left who could say how to go on.
                    None => return Ok(Flow::End(Outcome::Interrupted)),
                },
            };
            if self.inbox.is_interrupted() {
                return Ok(Flow::End(Outcome::Interrupted));
            }
            polled += 1;
            let (step, command) = (self.state.step, request.command);
            self.recorder.record(Event::CommandReceived { step, command });
            let answer = match (command, situation) {
                (Command::Pause, Running) => {
                    situation = Paused;
                    self.recorder.record(Event::Paused { step });
                    Ok(format!("paused at step {step}"))
                }
                (Command::Pause, Paused | Diverged(_)) => Ok(format!("already paused at step {step}")),
                (Command::Resume, Running) => Ok(format!("already running, at step {step}")),
                (Command::Resume, Paused) => {
                    situation = Running;
                    self.recorder.record(Event::Resumed { step });
                    Ok(format!("resumed at step {step}"))
                }
                (Command::Resume, Diverged(diverged)) => {
                    let run = self.dir.name();
                    let recoveries = format!("taper rollback {run}, taper skip-batch {run} or taper stop {run}");
                    Err(anyhow!("{diverged}; to go on: {recoveries}"))
                }
                (Command::Rollback, Diverged(_)) => self.roll_back().map(|()| {
                    situation = Running;
                    format!("back at step {}, with learning rate {}", self.state.step, self.state.learning_rate)
                }),
                (Command::SkipBatch, Diverged(diverged)) => self.skip_batch(diverged).map(|()| {
                    situation = Running;
                    format!("skipped the batch of step {}", self.state.step)
                }),
                (Command::Rollback | Command::SkipBatch, Running | Paused) => {
                    Err(anyhow!("the run has not diverged: there is nothing to go back from, and nothing to skip"))
                }
                (Command::Checkpoint, _) => {
                    self.save_checkpoint(CheckpointReason::Command).map(|name| format!("saved checkpoint {name}"))
                }
                (Command::Probe, _) => self.save_probe(&[], &[]).map(|name| format!("saved probe {name}")),
                (Command::SetLearningRate { learning_rate }, _) => {
                    self.set_learning_rate(learning_rate, LearningRateReason::Command);
                    Ok(format!("learning rate {learning_rate} from step {}", step + 1))
                }
                (Command::Stop, _) => {
                    self.inbox.answer_at_the_end(request.reply);
                    return Ok(Flow::End(Outcome::Stopped));
                }
            };
            answer_to(request.reply, answer);
        }
    }

    /// Meanwhile the log may become writable again, and the run's directory move.
    fn wait_for_request(&mut self) -> Result<Option<Request>> {
        loop {
            match self.inbox.wait(RETRY_INTERVAL) {
                Ok(request) => return Ok(Some(request)),
                Err(RecvTimeoutError::Timeout) => {
                    self.follow_dir_now_and_then()?;
                    self.recorder.retry_backlog();
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }
}

/// The asker may have gone by now.
fn answer_to(asker: oneshot::Sender<Reply>, answer: Result<String>) {
    let _ = asker.send(match answer {
        Ok(message) => Reply::Done { message },
        Err(error) => Reply::Error { message: format!("{error:#}") },
    });
}
