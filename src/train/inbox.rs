//! Requests to the trainer, as they come from the control socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::oneshot;

use crate::run::event::Command;
use crate::run::socket::{Reply, Request};

/// Whether the process was asked to end by a signal, and before the training began or after. Of the trainer that begins and
/// the signal that calls it off one comes first, and the other heeds it.
#[derive(Clone, Default)]
pub struct Interruption(Arc<AtomicU8>);

const STARTING: u8 = 0;
const TRAINING: u8 = 1;
const CALLED_OFF: u8 = 2;
const INTERRUPTED: u8 = 3;

/// What a signal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The training had not begun, and will not.
    Starting,
    /// It ends, when it hears of it: a stop request wakes a trainer that waits.
    Training,
}

impl Interruption {
    /// Tells of a signal.
    pub fn interrupt(&self) -> Found {
        let moved = |from, to| self.0.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if moved(STARTING, CALLED_OFF) {
            return Found::Starting;
        }
        moved(TRAINING, INTERRUPTED);
        Found::Training
    }

    fn begin(&self) -> Result<()> {
        match self.0.compare_exchange(STARTING, TRAINING, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(()),
            Err(_) => bail!("called off by a signal"),
        }
    }
}

pub struct Inbox {
    requests: Receiver<Request>,
    /// The next request, once it has been looked for.
    next: Option<Request>,
    interruption: Interruption,
    /// Those who asked for the end are answered when it has come.
    stopping: Vec<oneshot::Sender<Reply>>,
}

impl Inbox {
    pub fn new(requests: Receiver<Request>, interruption: Interruption) -> Self {
        Self { requests, next: None, interruption, stopping: vec![] }
    }

    /// Whether a request has come.
    pub fn has_request(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.requests.try_recv().ok();
        }
        self.next.is_some()
    }

    /// The next request that has come, if one has.
    pub fn next(&mut self) -> Option<Request> {
        self.next.take().or_else(|| self.requests.try_recv().ok())
    }

    /// # Errors
    /// None has come by then, or nobody is left who could ask.
    pub fn wait(&mut self, timeout: Duration) -> std::result::Result<Request, RecvTimeoutError> {
        self.next.take().map_or_else(|| self.requests.recv_timeout(timeout), Ok)
    }

    pub fn is_interrupted(&self) -> bool {
        self.interruption.0.load(Ordering::SeqCst) == INTERRUPTED
    }

    /// The training begins: a signal now ends it with a checkpoint.
    ///
    /// # Errors
    /// A signal came before, and whoever was told has given the run up: nothing more is to be written to it.
    pub fn begin(&self) -> Result<()> {
        self.interruption.begin()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_looked_for_is_the_next_one() {
        let (requests, received) = std::sync::mpsc::channel();
        let mut inbox = Inbox::new(received, Interruption::default());
        assert!(!inbox.has_request());
        for command in [Command::Pause, Command::Probe, Command::Resume, Command::Checkpoint] {
            requests.send(Request { command, reply: oneshot::channel().0 }).unwrap();
        }
        assert!(inbox.has_request() && inbox.has_request());
        assert_eq!(inbox.next().unwrap().command, Command::Pause);
        assert_eq!(inbox.next().unwrap().command, Command::Probe);
        assert!(inbox.has_request());
        assert_eq!(inbox.wait(Duration::ZERO).unwrap().command, Command::Resume);
        assert_eq!(inbox.wait(Duration::ZERO).unwrap().command, Command::Checkpoint);
        assert!(!inbox.has_request() && inbox.next().is_none());
        assert_eq!(inbox.wait(Duration::ZERO).err(), Some(RecvTimeoutError::Timeout));
    }

    #[test]
    fn of_a_beginning_and_a_signal_the_first_counts() {
        let called_off = Interruption::default();
        assert_eq!(called_off.interrupt(), Found::Starting);
        assert!(called_off.begin().is_err());
        let (_requests, received) = std::sync::mpsc::channel();
        let begun = Interruption::default();
        let inbox = Inbox::new(received, begun.clone());
        inbox.begin().unwrap();
        assert!(!inbox.is_interrupted());
        assert_eq!(begun.interrupt(), Found::Training);
        assert!(inbox.is_interrupted());
    }
}
