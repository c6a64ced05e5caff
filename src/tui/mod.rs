//! The dashboard: a process of its own that follows a run's log and sends commands to its trainer.
//!
//! One loop takes keys, signals and updates, and draws. Whatever may block (reading the log, asking whether the trainer
//! lives, talking to it) has a thread, so a hung file system or trainer never freezes the keyboard.

pub mod app;
mod frame_rate;
pub mod input;
pub mod inspector;
pub mod keys;
pub mod layout;
mod notification;
mod terminal;
pub mod theme;
mod threads;
pub mod view;

use std::collections::VecDeque;
use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use jiff::tz::TimeZone;
use ratatui::crossterm::event::{Event as TerminalEvent, EventStream, KeyCode, KeyEvent, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use self::app::{App, Message, PauseIntent, Update};
use self::frame_rate::Frames;
use self::input::Effect;
use self::inspector::ProbeKey;
use self::notification::Notification;
use self::terminal::TerminalGuard;
use self::theme::Theme;
use self::threads::{read_probes, send_commands, watch};
use crate::run::dir::RunDir;
use crate::run::event::Outcome;
use crate::run::held_dir::HeldRunDir;
use crate::run::limits;
use crate::run::lock::Liveness;
use crate::run::log;
use crate::run::state::Phase;
use crate::terminal_image::{self, Detected, Images};

/// The shortest time between two frames.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);
/// The same for data from the trainer: half the bytes on a slow link.
const DATA_FRAME_INTERVAL: Duration = Duration::from_millis(200);
/// Those started here, and that of the terminal's events, which crossterm starts; and one more.
const THREADS: usize = 5;
/// How long leaving waits for commands that were just given.
const LAST_COMMANDS: Duration = Duration::from_secs(1);

/// A run to look at, and how.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub run: HeldRunDir,
    /// How images are wanted.
    pub images: Images,
    /// Asks whether the run has a live trainer: [`crate::run::lock::liveness`]. May block.
    pub liveness: fn(&RunDir) -> Liveness,
}

/// How the dashboard was left, and how the run was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// By key or SIGINT, from a run that has not ended.
    Detached(Standing),
    /// By key, after the run had ended.
    RunEnded { outcome: Outcome, message: String },
    /// By key, after the trainer had died.
    TrainerGone,
    /// The terminal is gone: there is nobody to print for.
    HungUp,
    /// By SIGTERM.
    Terminated,
}

/// How a run stands that is left before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    GoesOn,
    /// It was told to pause.
    Pausing,
    Paused,
    /// It is paused until it is told how to go on.
    Diverged,
    /// It was told to save and end.
    Stopping,
}

/// Shows the dashboard on the terminal at stdout until it is left. The terminal is as before when this returns, however
/// it returns.
pub fn run(attachment: Attachment) -> anyhow::Result<Departure> {
    limits::check_descriptors().and_then(|()| limits::check_threads(THREADS)).context("cannot start the dashboard")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the dashboard")?;
    runtime.block_on(dashboard(attachment))
}

async fn dashboard(attachment: Attachment) -> anyhow::Result<Departure> {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut suspend = signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?;
    let mut proceed = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?;

    let (updates_in, mut updates) = mpsc::channel(4);
    let (commands, commands_out) = std_mpsc::channel();
    let sender = {
        let (run, updates) = (attachment.run.clone(), updates_in.clone());
        thread::Builder::new().name("commands".into()).spawn(move || send_commands(commands_out, run, updates))?
    };
    let (wanted_probes, wanted_probes_out) = std_mpsc::channel();
    {
        let (run, updates) = (attachment.run.clone(), updates_in.clone());
        thread::Builder::new().name("probes".into()).spawn(move || read_probes(wanted_probes_out, run, updates))?;
    }
    {
        let (run, liveness) = (attachment.run.clone(), attachment.liveness);
        thread::Builder::new().name("watch".into()).spawn(move || watch(run, liveness, updates_in))?;
    }

    let (mut terminal, detected) = TerminalGuard::enter(attachment.images).context("cannot take the terminal")?;
    let mut terminal_events = EventStream::new();
    let mut app = App::new(attachment.run.name(), terminal::size()?, Theme::from_env(), TimeZone::system());
    app.draw_images_by(detected.backend);
    if detected.is_second_best {
        let text = format!("images are drawn as {}: {}", detected.backend, detected.why);
        app.ui.message = Some(Message::info(text));
    }
    // Pressed while the terminal was asked what it can draw.
    let mut keys: VecDeque<KeyEvent> = typed_keys(&detected).collect();
    let mut requested_probe: Option<ProbeKey> = None;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // A log of ordinary length is read before the first frame, which therefore is not empty.
    let mut frames = Frames::due_in(FRAME_INTERVAL / 2);

    let notification = Notification::from_env();
    let departure = 'attached: loop {
        if let Some(key) = keys.pop_front() {
            frames.request(FRAME_INTERVAL);
            match app.handle_key(key) {
                Some(Effect::Send(command)) => {
                    commands.send(command).context("the thread that sends commands ended")?;
                }
                Some(Effect::Leave) => break leave(&app),
                Some(Effect::Suspend) => terminal.suspend()?,
                None => {}
            }
            continue;
        }
        if let Some(wanted) = app.wanted_probe().filter(|wanted| requested_probe.as_ref() != Some(wanted)) {
            wanted_probes.send(wanted.clone()).context("the thread that reads probes ended")?;
            requested_probe = Some(wanted);
        }
        tokio::select! {
            biased;
            event = terminal_events.next() => match event {
                Some(Ok(TerminalEvent::Key(key))) => keys.push_back(key),
                Some(Ok(TerminalEvent::Resize(..))) => {
                    let Ok(size) = terminal::size() else { break Departure::HungUp };
                    app.update(Update::Resized(size));
                    terminal.recall_keys();
                    frames.request(FRAME_INTERVAL);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break Departure::HungUp,
            },
            _ = hang_up.recv() => break Departure::HungUp,
            _ = terminate.recv() => break Departure::Terminated,
            _ = interrupt.recv() => break leave(&app),
            _ = suspend.recv() => terminal.suspend()?,
            _ = proceed.recv() => {
                terminal.reenter()?;
                frames.request(FRAME_INTERVAL);
            }
            () = frames.wait() => {
                app.now_ms = log::now_ms();
                app.ui.size = match terminal::size() {
                    Ok(size) => size,
                    Err(_) => break Departure::HungUp,
                };
                app.ui.cell = terminal_image::cell_size();
                terminal.ensure_held()?;
                match terminal.draw(&app) {
                    Ok(None) => frames.drawn(),
                    Ok(Some(fault)) => {
                        frames.drawn();
                        let text = format!("an image cannot be drawn: {fault}");
                        app.ui.message = Some(Message::alarm(text));
                        frames.request(FRAME_INTERVAL);
                    }
                    Err(_) => break Departure::HungUp,
                }
            }
            update = updates.recv() => match update {
                Some(update) => {
                    app.update(update);
                    for text in app.take_news() {
                        if terminal.notify(notification, &app.name, &text).is_err() {
                            break 'attached Departure::HungUp;
                        }
                    }
                    frames.request(DATA_FRAME_INTERVAL);
                }
                None => bail!("the thread that reads the log ended"),
            },
            _ = second.tick() => {
                terminal.ensure_held()?;
                // crossterm does not report a terminal that is gone: its reader spins on the end of file.
                if rustix::termios::tcgetattr(std::io::stdout()).is_err() {
                    break Departure::HungUp;
                }
                if app.clock_runs() {
                    frames.request(FRAME_INTERVAL);
                }
            }
        }
    };
    drop(terminal);
    drop(commands);
    if departure != Departure::HungUp {
        wait_for(&sender).await;
    }
    Ok(departure)
}

/// Characters only: of other keys half the sequence may have been read.
fn typed_keys(detected: &Detected) -> impl Iterator<Item = KeyEvent> {
    const CTRL_C: u8 = 3;
    detected.typed.iter().filter_map(|&byte| match byte {
        CTRL_C => Some(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)),
        b' '..=b'~' => Some(KeyEvent::new(KeyCode::Char(byte.into()), KeyModifiers::NONE)),
        _ => None,
    })
}

fn leave(app: &App) -> Departure {
    match app.run.phase {
        Phase::Ended(outcome) => {
            Departure::RunEnded { outcome, message: app.run.end_message.clone().unwrap_or_default() }
        }
        _ if app.trainer_died() => Departure::TrainerGone,
        _ => Departure::Detached(standing(app)),
    }
}

fn standing(app: &App) -> Standing {
    match (app.ui.pending.pause, app.run.phase) {
        _ if app.ui.pending.stop => Standing::Stopping,
        _ if app.awaits_recovery() => Standing::Diverged,
        (Some(PauseIntent::Pause), _) => Standing::Pausing,
        (None, Phase::Paused) => Standing::Paused,
        (Some(PauseIntent::Resume) | None, _) => Standing::GoesOn,
    }
}

/// Waits until the commands that were given have been sent and answered, but not for long.
async fn wait_for(sender: &JoinHandle<()>) {
    let deadline = Instant::now() + LAST_COMMANDS;
    while !sender.is_finished() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
