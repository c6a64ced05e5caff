//! The trainer process: the loop on a thread of its own, and beside it a small tokio runtime for socket and signals.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, mpsc};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::inbox::{Found, Inbox, Interruption};
use super::leader::Leader;
use super::notify::Notifier;
use super::trainer::Trainer;
use crate::config::Config;
use crate::run::describe;
use crate::run::dir::RunDir;
use crate::run::event::{CheckpointReason, Command, Event, Outcome, Record};
use crate::run::held_dir::HeldRunDir;
use crate::run::lock::RunLock;
use crate::run::log::EventLog;
use crate::run::signals::{self, Asked, CalledOff, Listening};
use crate::run::socket::{self, Request};

/// How a trainer process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    Outcome(Outcome),
    /// By SIGINT or SIGTERM, after a checkpoint.
    Signal(Signal),
}

/// Trains a run to its end in this process, from its latest checkpoint if it has one.
///
/// `reporter` is shown every event; `ready` is called when the run has begun, that is when nothing that can be wrong
/// with configuration, data or device is wrong. The first SIGINT or SIGTERM saves and ends, or calls off a training that
/// has not begun; one that comes at least a second later ends at once.
///
/// # Errors
/// What kept training from beginning, or what ended it. After a [`CalledOff`] the process is to end: the thread that was
/// to train may still be reading.
pub fn run(
    dir: &RunDir,
    config: Config,
    listening: Listening,
    leader: Option<Arc<Leader>>,
    reporter: impl FnMut(&Record) + Send + 'static,
    ready: impl FnOnce() + Send + 'static,
) -> Result<ExitReason> {
    let lock = RunLock::acquire(dir)?;
    dir.remove_unfinished().with_context(|| dir.path().display().to_string())?;
    let dir = HeldRunDir::hold(dir).with_context(|| dir.path().display().to_string())?;
    let Listening { runtime, mut signals } = listening;
    let ended: Result<ExitReason> = runtime.block_on(async {
        let listener = socket::bind(dir.clone());
        // Training goes on without being commanded.
        let notice = listener.as_ref().err().map(|error| {
            format!("{error:#}: no command reaches this run; to save and end it: kill -TERM {}", std::process::id())
        });
        // Handled, so that a hang-up does not end the process.
        let _hang_up = signal(SignalKind::hangup())?;
        // As well: beyond `ulimit -f` a write then fails, as on a full disk, instead of ending the process.
        let _file_size = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;

        let (requests, received) = mpsc::channel();
        let interruption = Interruption::default();
        let inbox = Inbox::new(received, interruption.clone());
        let (ended, mut has_ended) = oneshot::channel();
        let (stop_serving, serving_stopped) = oneshot::channel::<()>();
        let trainer = {
            let dir = dir.clone();
            let trainer = std::thread::Builder::new().name("trainer".into()).spawn(move || {
                let result = trainer_thread(dir, config, inbox, reporter, ready, notice, leader);
                // The receiver lives until it has heard this.
                let _ = ended.send(result);
            });
            trainer.context("cannot start the thread that trains")?
        };

        let serving_requests = requests.clone();
        let serving = tokio::spawn(async move {
            let Ok(listener) = listener else { return Ok(()) };
            let stopped = async {
                // An error means that the sender is gone, which is as good a reason to stop.
                let _ = serving_stopped.await;
            };
            socket::serve(listener, serving_requests, stopped).await
        });
        let result = loop {
            let asked = tokio::select! {
                result = &mut has_ended => break result,
                asked = signals.next() => asked,
            };
            match asked {
                Asked::AtOnce(signal) => std::process::exit(signals::exit_code(signal).into()),
                Asked::ToEnd(signal) if interruption.interrupt() == Found::Starting => {
                    return Err(CalledOff::new(&dir, signal).into());
                }
                Asked::ToEnd(_) => {}
            }
            // Wakes a paused loop; it sees the flag, and takes no further notice of the request.
            let (reply, _) = oneshot::channel();
            let _ = requests.send(Request { command: Command::Stop, reply });
        };
        let _ = stop_serving.send(());
        match serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!("control socket: {error}"),
            Err(error) => tracing::error!("control socket: {error}"),
        }
        trainer.join().map_err(|_| anyhow!("the trainer thread panicked"))?;
        let outcome = result.context("the trainer thread exited unexpectedly")??;
        Ok(match (outcome, signals.first()) {
            (Outcome::Interrupted, Some(signal)) => ExitReason::Signal(signal),
            (outcome, _) => ExitReason::Outcome(outcome),
        })
    });
    if ended.as_ref().is_err_and(|error| error.is::<CalledOff>()) {
        // The run is ours as long as that thread is there.
        std::mem::forget(lock);
    }
    ended
}

/// Everything that touches the device happens on this thread: CUDA streams are kept by thread.
fn trainer_thread(
    dir: HeldRunDir,
    config: Config,
    inbox: Inbox,
    mut reporter: impl FnMut(&Record) + Send + 'static,
    ready: impl FnOnce(),
    notice: Option<String>,
    leader: Option<Arc<Leader>>,
) -> Result<Outcome> {
    let log = EventLog::open(&dir.events()).with_context(|| format!("cannot open {}", dir.events().display()))?;
    let notifier = config.notify.command.as_deref().map(|command| Notifier::start(command, &dir)).transpose()?;
    let reporter = move |record: &Record| {
        if let Some(notifier) = &notifier {
            notifier.tell(record);
        }
        reporter(record);
    };
    let mut trainer = Trainer::open(dir, config, log, Box::new(reporter), inbox, notice, leader.as_ref())?;
    ready();

    let trained = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let outcome = trainer.train()?;
        let checkpoint = trainer.save_checkpoint(CheckpointReason::End)?;
        Ok((outcome, checkpoint))
    }))
    .unwrap_or_else(|panic| Err(anyhow!("the trainer panicked: {}", panic_message(panic.as_ref()))));

    let step = trainer.state.step;
    let (outcome, message) = match &trained {
        Ok((outcome, checkpoint)) => {
            let saved = format!("saved as {checkpoint}");
            let early = trainer.stopped_early().filter(|_| *outcome == Outcome::Completed);
            (*outcome, early.map_or(saved.clone(), |early| format!("{early}; {saved}")))
        }
        Err(error) => {
            tracing::error!("{error:#}");
            (Outcome::Failed, format!("{error:#}"))
        }
    };
    let answer = format!("{} at step {step}, {message}", describe::outcome(outcome));
    trainer.recorder.record(Event::RunEnded { step, outcome, message });
    trainer.inbox.answer_the_end(&answer);
    let (outcome, _) = trained?;
    match trainer.recorder.unwritten() {
        0 => Ok(outcome),
        events => {
            bail!("{answer}; but the last {events} events cannot be written to {}", trainer.dir.events().display())
        }
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
