//! Commands, as the loop obeys them: between two batches, each answered when it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};

use anyhow::Result;
use tokio::sync::oneshot;

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
                Phase::Paused => match self.requests.recv_timeout(RETRY_INTERVAL) {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Timeout) => {
                        recorder.retry();
                        continue;
                    }
                    // Nobody is left who could resume the run.
                    Err(RecvTimeoutError::Disconnected) => return Ok(Flow::End(Outcome::Interrupted)),
                },
            };
            let step = session.state.step;
            if self.interrupted.load(Ordering::SeqCst) {
                return Ok(Flow::End(Outcome::Interrupted));
            }
            recorder.record(Event::CommandReceived { step, command: request.command })?;
            let message = match (request.command, &phase) {
                (Command::Pause, Phase::Paused) => format!("already paused at step {step}"),
                (Command::Pause, Phase::Running) => {
                    phase = Phase::Paused;
                    recorder.record(Event::Paused { step })?;
                    format!("paused at step {step}")
                }
                (Command::Resume, Phase::Running) => format!("already running, at step {step}"),
                (Command::Resume, Phase::Paused) => {
                    phase = Phase::Running;
                    recorder.record(Event::Resumed { step })?;
                    format!("resumed at step {step}")
                }
                (Command::Checkpoint, _) => match session.checkpoint(CheckpointReason::Command, recorder) {
                    Ok(name) => format!("saved checkpoint {name}"),
                    Err(error) => {
                        // The asker may have gone by now.
                        let _ = request.reply.send(Reply::Error { message: format!("{error:#}") });
                        continue;
                    }
                },
                (Command::Probe, _) => match save_probe(session, &[], recorder) {
                    Ok(name) => format!("saved probe {name}"),
                    Err(error) => {
                        let _ = request.reply.send(Reply::Error { message: format!("{error:#}") });
                        continue;
                    }
                },
                (Command::SetLearningRate { learning_rate }, _) => {
                    session.set_learning_rate(learning_rate, LearningRateReason::Command, recorder)?;
                    format!("learning rate {learning_rate} from step {}", step + 1)
                }
                (Command::Stop, _) => {
                    self.stopping.push(request.reply);
                    return Ok(Flow::End(Outcome::Stopped));
                }
            };
            let _ = request.reply.send(Reply::Done { message });
        }
        Ok(Flow::Continue)
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
