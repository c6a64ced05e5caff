//! Requests to the trainer, as they come from the control socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::run::event::Command;
use crate::run::socket::{Reply, Request};

/// Set when the process is asked to end by a signal; a stop request follows, which wakes a trainer that waits.
pub type Interrupted = Arc<AtomicBool>;

pub struct Inbox {
    requests: Receiver<Request>,
    interrupted: Interrupted,
    /// Those who asked for the end are answered when it has come.
    stopping: Vec<oneshot::Sender<Reply>>,
}

impl Inbox {
    pub fn new(requests: Receiver<Request>, interrupted: Interrupted) -> Self {
        Self { requests, interrupted, stopping: vec![] }
    }

    /// The next request that has come, if one has.
    pub fn next(&self) -> Option<Request> {
        self.requests.try_recv().ok()
    }

    /// # Errors
    /// None has come by then, or nobody is left who could ask.
    pub fn wait(&self, timeout: Duration) -> Result<Request, RecvTimeoutError> {
        self.requests.recv_timeout(timeout)
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    pub fn answer_at_the_end(&mut self, asker: oneshot::Sender<Reply>) {
        self.stopping.push(asker);
    }

    /// Answers those who asked for the end, and those who ask too late.
    pub fn answer_the_end(&mut self, message: &str) {
        for asker in self.stopping.drain(..) {
            let _ = asker.send(Reply::Done { message: message.to_owned() });
        }
        while let Some(request) = self.next() {
            let reply = match request.command {
                Command::Stop => Reply::Done { message: message.to_owned() },
                _ => Reply::Error { message: format!("the run has ended: {message}") },
            };
            let _ = request.reply.send(reply);
        }
    }
}
