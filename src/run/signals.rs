//! SIGINT and SIGTERM as events. From when they are listened for, one that comes before it is asked for is kept.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{self, SignalKind, signal};

use super::dir::RunDir;
use super::limits;

/// Signals within this time of the first one ask for the same thing, as of a supervisor that signals a process and its
/// group.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// The training of a run was called off by a signal before it began.
#[derive(Debug, Error)]
#[error("run {run} was {verb} by SIG{signal} before it began to train", verb = verb(*.signal), signal = name(*.signal))]
pub struct CalledOff {
    run: String,
    signal: Signal,
}

impl CalledOff {
    pub fn new(dir: &RunDir, signal: Signal) -> Self {
        Self { run: dir.name(), signal }
    }

    pub fn exit_code(&self) -> u8 {
        exit_code(self.signal)
    }
}

/// As a shell tells that a signal ended a process.
pub fn exit_code(signal: Signal) -> u8 {
    128 + signal.as_raw() as u8
}

fn verb(signal: Signal) -> &'static str {
    if signal == Signal::TERM { "terminated" } else { "interrupted" }
}

fn name(signal: Signal) -> &'static str {
    if signal == Signal::TERM { "TERM" } else { "INT" }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To end in good order.
    ToEnd(Signal),
    /// To end at once.
    AtOnce(Signal),
}

/// The runtime that hears of signals while it runs, and what it has heard.
pub struct Listening {
    pub runtime: Runtime,
    pub signals: Signals,
}

pub struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    first: Option<(Signal, Instant)>,
}

impl Listening {
    /// From here on SIGINT and SIGTERM end the process no more: whoever asks for [`Signals::next`] does.
    pub fn begin() -> io::Result<Self> {
        limits::check_descriptors()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _entered = runtime.enter();
            let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            Signals { interrupt, terminate, first: None }
        };
        Ok(Self { runtime, signals })
    }
}

impl Signals {
    /// Waits until a signal asks for something that none has asked for before.
    pub async fn next(&mut self) -> Asked {
        loop {
            let received = tokio::select! {
                _ = self.interrupt.recv() => Signal::INT,
                _ = self.terminate.recv() => Signal::TERM,
            };
            match self.first {
                None => {
                    self.first = Some((received, Instant::now()));
                    return Asked::ToEnd(received);
                }
                Some((_, at)) if at.elapsed() >= SAME_REQUEST => return Asked::AtOnce(received),
                Some(_) => {}
            }
        }
    }

    /// The first signal that came, if one did.
    pub fn first(&self) -> Option<Signal> {
        self.first.map(|(signal, _)| signal)
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpid, kill_process};

    use super::*;

    #[test]
    fn a_signal_that_comes_before_it_is_asked_for_is_kept() {
        let Listening { runtime, mut signals } = Listening::begin().unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        assert_eq!(runtime.block_on(signals.next()), Asked::ToEnd(Signal::TERM));
        assert_eq!(signals.first(), Some(Signal::TERM));
    }

    #[test]
    fn what_was_called_off_is_one_line() {
        let called_off = CalledOff::new(&RunDir::at("runs/far"), Signal::TERM);
        assert_eq!(called_off.to_string(), "run far was terminated by SIGTERM before it began to train");
        assert_eq!(called_off.exit_code(), 143);
        assert_eq!(exit_code(Signal::INT), 130);
    }
}
