//! SIGINT and SIGTERM while a test runs: it ends in good order, with what it has measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::{io, process, thread};

use rustix::process::Signal;

use crate::run::signals::{Asked, Listening, exit_code};

#[derive(Debug, Default)]
pub struct Interruption {
    /// Whether there is something that ending at once would lose.
    has_begun: AtomicBool,
    signal: OnceLock<Signal>,
}

impl Interruption {
    /// From here on a signal ends the process until [`Interruption::begin`]; then the first is noted, and a later one ends it.
    pub fn listen() -> io::Result<Arc<Self>> {
        let Listening { runtime, mut signals } = Listening::begin()?;
        let interruption = Arc::new(Self::default());
        let told = Arc::clone(&interruption);
        thread::Builder::new().name("signals".into()).spawn(move || {
            loop {
                match runtime.block_on(signals.next()) {
                    Asked::ToEnd(signal) if told.has_begun.load(Ordering::SeqCst) => drop(told.signal.set(signal)),
                    Asked::ToEnd(signal) | Asked::AtOnce(signal) => process::exit(exit_code(signal).into()),
                }
            }
        })?;
        Ok(interruption)
    }

    pub fn begin(&self) {
        self.has_begun.store(true, Ordering::SeqCst);
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<Signal> {
        self.signal.get().copied()
    }
}
