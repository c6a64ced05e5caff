//! Looks at the machine each second, on a thread of its own: a driver that hangs holds up nobody.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::cards::{CardId, Cards};
use super::host::Host;
use crate::run::held_dir::HeldRunDir;
use crate::run::system_sample::SystemSample;

const INTERVAL: Duration = Duration::from_secs(1);
/// How long the end waits for a look that is under way: a library must not be unloaded under a call.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// The latest sample, until it is taken. Dropped, it ends the thread.
pub struct Sampler {
    latest: Arc<Mutex<Option<SystemSample>>>,
    stop: Option<mpsc::Sender<()>>,
    /// Hears that the thread has ended.
    ended: mpsc::Receiver<()>,
}

impl Sampler {
    /// Of the machine, of the disk of the run in `dir`, and of the card that it is on.
    pub fn start(dir: HeldRunDir, card: Option<CardId>) -> Self {
        Self::with(dir, INTERVAL, move || {
            let card = card?;
            match Cards::open() {
                Ok(cards) => Some((cards, card)),
                Err(error) => {
                    tracing::warn!("{error}: the log does not tell what the GPU does");
                    None
                }
            }
        })
    }

    /// `open` opens the driver, on the thread that looks.
    pub fn with(
        dir: HeldRunDir,
        interval: Duration,
        open: impl FnOnce() -> Option<(Cards, CardId)> + Send + 'static,
    ) -> Self {
        let latest = Arc::new(Mutex::new(None));
        let (stop, stopped) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let shared = latest.clone();
        let looks = move || {
            // Dropped last.
            let _ends: mpsc::Sender<()> = ends;
            let mut host = Host::open();
            let card = open();
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let sample = SystemSample {
                    disk_free_bytes: dir.free_bytes().ok(),
                    card: card.as_ref().and_then(|(cards, id)| cards.look(id)),
                    ..host.as_mut().map(Host::look).unwrap_or_default()
                };
                if let Ok(mut latest) = shared.lock() {
                    *latest = Some(sample);
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("sampler".into()).spawn(looks) {
            tracing::warn!("cannot start the thread that looks at the machine: {error}");
        }
        Self { latest, stop: Some(stop), ended }
    }

    /// What was seen since the last call, if anything was. Never waits.
    pub fn take(&self) -> Option<SystemSample> {
        self.latest.try_lock().ok()?.take()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop = None;
        // That nothing more comes is what is waited for.
        let _ = self.ended.recv_timeout(LAST_LOOK);
    }
}
