//! Commands, as the loop obeys them: between two batches, each answered when it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};

use anyhow::{Result, anyhow};
use tokio::sync::oneshot;

use super::divergence::{Diverged, Recovery};
use super::probe::save_probe;
use super::recorder::{RETRY_INTERVAL, Recorder};
use super::session::Session;
use crate::run::event::{CheckpointReason, Command, Event, LearningRateReason, Outcome};
use crate::run::socket::{Reply, Request};

/// Set when the process is asked to end by a signal; a stop request follows, which wakes a paused loop.
pub type Interrupted = Arc<AtomicBool>;

/// Between two batches: whoever floods the socket does not keep the run from training.
const COMMANDS_AT_ONCE: usize = 16;

pub struct Control {
    requests: Receiver<Request>,
    interrupted: Interrupted,
    /// The stop command's answer, due when the run has ended.
    stopping: Vec<oneshot::Sender<Reply>>,
}

/// What the loop does next.
pub enum Flow {
    Continue,
    End(Outcome),
}

enum Phase {
    Running,
    Paused,
}

impl Control {
    pub fn new(requests: Receiver<Request>, interrupted: Interrupted) -> Self {
        Self { requests, interrupted, stopping: vec![] }
    }

    /// Carries out what was asked since the last call; returns when the run is to go on, or to end.
    pub fn obey(&mut self, session: &mut Session, recorder: &mut Recorder) -> Result<Flow> {
        let mut phase = Phase::Running;
        for number in 0.. {
            if number >= COMMANDS_AT_ONCE && matches!(phase, Phase::Running) {
                break;
            }
            let request = match phase {
                Phase::Running => match self.requests.try_recv() {
                    Ok(request) => request,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(Flow::Continue),
                },
                Phase::Paused => match self.wait(recorder) {
                    Some(request) => request,
                    // Nobody is left who could resume the run.
                    None => return Ok(Flow::End(Outcome::Interrupted)),
                },
            };
            let step = session.state.step;
            if self.interrupted.load(Ordering::SeqCst) {
                return Ok(Flow::End(Outcome::Interrupted));
            }
            recorder.record(Event::CommandReceived { step, command: request.command })?;
            let answer = match (request.command, &phase) {
                (Command::Pause, Phase::Paused) => Ok(format!("already paused at step {step}")),
                (Command::Pause, Phase::Running) => {
                    phase = Phase::Paused;
                    recorder.record(Event::Paused { step })?;
                    Ok(format!("paused at step {step}"))
                }
                (Command::Resume, Phase::Running) => Ok(format!("already running, at step {step}")),
                (Command::Resume, Phase::Paused) => {
                    phase = Phase::Running;
                    recorder.record(Event::Resumed { step })?;
                    Ok(format!("resumed at step {step}"))
                }
                (Command::Rollback | Command::SkipBatch, _) => {
                    Err(anyhow!("the run has not diverged: there is nothing to go back from, and nothing to skip"))
                }
                (Command::Checkpoint, _) => save_now(session, recorder),
                (Command::Probe, _) => probe_now(session, recorder),
                (Command::SetLearningRate { learning_rate }, _) => set(learning_rate, session, recorder),
                (Command::Stop, _) => {
                    self.stopping.push(request.reply);
                    return Ok(Flow::End(Outcome::Stopped));
                }
            };
            reply(request.reply, answer);
        }
        Ok(Flow::Continue)
    }

    /// For the next request; meanwhile the log may become writable again.
    fn wait(&self, recorder: &mut Recorder) -> Option<Request> {
        loop {
            match self.requests.recv_timeout(RETRY_INTERVAL) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Timeout) => recorder.retry(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Carries out what is asked of a run that has diverged, until it is told how to go on, or to end.
    pub fn wait_for_recovery(
        &mut self,
        diverged: Diverged,
        session: &mut Session,
        recorder: &mut Recorder,
    ) -> Result<Recovery> {
        loop {
            // Nobody is left who could say how to go on.
            let Some(request) = self.wait(recorder) else { return Ok(Recovery::End(Outcome::Interrupted)) };
            if self.interrupted.load(Ordering::SeqCst) {
                return Ok(Recovery::End(Outcome::Interrupted));
            }
            let step = session.state.step;
            recorder.record(Event::CommandReceived { step, command: request.command })?;
            let (answer, recovery) = match (request.command, diverged) {
                (Command::Rollback, _) => match session.roll_back(recorder) {
                    Ok(()) => (Ok(gone_back(session)), Some(Recovery::RolledBack)),
                    Err(error) => (Err(error), None),
                },
                (Command::SkipBatch, Diverged::Batch { .. }) => match session.skip_batch(recorder) {
                    Ok(()) => (Ok(format!("skipped the batch of step {}", step + 1)), Some(Recovery::Skipped)),
                    Err(error) => (Err(error), None),
                },
                (Command::SkipBatch, Diverged::Evaluation { .. }) => {
                    (Err(anyhow!("{diverged}: there is no batch to skip")), None)
                }
                (Command::Resume, _) => {
                    let run = session.dir.name();
                    let recoveries = format!("taper rollback {run}, taper skip-batch {run} or taper stop {run}");
                    (Err(anyhow!("{diverged}; to go on: {recoveries}")), None)
                }
                (Command::Pause, _) => (Ok(format!("already paused at step {step}")), None),
                (Command::Checkpoint, _) => (save_now(session, recorder), None),
                (Command::Probe, _) => (probe_now(session, recorder), None),
                (Command::SetLearningRate { learning_rate }, _) => (set(learning_rate, session, recorder), None),
                (Command::Stop, _) => {
                    self.stopping.push(request.reply);
                    return Ok(Recovery::End(Outcome::Stopped));
                }
            };
            reply(request.reply, answer);
            if let Some(recovery) = recovery {
                return Ok(recovery);
            }
        }
    }

    /// Answers who asked for the end, and whoever asks too late.
    pub fn answer_the_end(&mut self, message: &str) {
        for reply in self.stopping.drain(..) {
            let _ = reply.send(Reply::Done { message: message.to_owned() });
        }
        while let Ok(request) = self.requests.try_recv() {
            let reply = match request.command {
                Command::Stop => Reply::Done { message: message.to_owned() },
                _ => Reply::Error { message: format!("the run has ended: {message}") },
            };
            let _ = request.reply.send(reply);
        }
    }
}

fn save_now(session: &mut Session, recorder: &mut Recorder) -> Result<String> {
    session.checkpoint(CheckpointReason::Command, recorder).map(|name| format!("saved checkpoint {name}"))
}

fn probe_now(session: &Session, recorder: &mut Recorder) -> Result<String> {
    save_probe(session, &[], recorder).map(|name| format!("saved probe {name}"))
}

fn set(learning_rate: f64, session: &mut Session, recorder: &mut Recorder) -> Result<String> {
    session.set_learning_rate(learning_rate, LearningRateReason::Command, recorder)?;
    Ok(format!("learning rate {learning_rate} from step {}", session.state.step + 1))
}

fn gone_back(session: &Session) -> String {
    let (step, learning_rate) = (session.state.step, session.state.learning_rate);
    format!("back at step {step}, with learning rate {learning_rate}")
}

/// The asker may have gone by now.
fn reply(asker: oneshot::Sender<Reply>, answer: Result<String>) {
    let _ = asker.send(match answer {
        Ok(message) => Reply::Done { message },
        Err(error) => Reply::Error { message: format!("{error:#}") },
    });
}
