//! The dashboard: a process of its own that follows a run's log and sends commands to its trainer; the list of runs, and
//! several compared. One session holds the terminal and shows one of them at a time.
//!
//! One loop takes keys, signals and updates, and draws. Whatever may block (reading the log, asking whether the trainer
//! lives, talking to it) has a thread, so a hung file system or trainer never freezes the keyboard.

pub mod app;
mod ascii;
mod backend;
pub mod chart;
pub mod chart_page;
pub mod classes;
pub mod compare;
pub mod configuration;
mod departure;
mod frame_rate;
pub mod input;
pub mod inspector;
mod key_table;
pub mod keys;
pub mod layout;
pub mod log_page;
mod notification;
mod run_files;
pub mod run_list;
mod stage;
mod terminal;
pub mod theme;
mod threads;
pub mod view;
mod watching;

use std::collections::VecDeque;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use jiff::tz::TimeZone;
use ratatui::crossterm::event::{Event as TerminalEvent, EventStream, KeyCode, KeyEvent, KeyModifiers};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use self::app::{App, Message};
pub use self::ascii::simplify;
use self::compare::Comparing;
pub use self::departure::{Departure, Left, Standing};
use self::frame_rate::{Frames, Occasion};
use self::notification::Notification;
use self::run_list::{Kept, Listing};
pub use self::stage::{Comparison, Heeded, Place, Request};
use self::stage::{Moment, Stage};
use self::terminal::{Drawn, TerminalGuard};
use self::theme::{Theme, ThemeChoice};
use self::threads::{PaneUpdate, watch_pane};
use self::watching::Watching;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::held_dir::HeldRunDir;
use crate::run::limits;
use crate::run::lock::Liveness;
use crate::run::log;
use crate::terminal_image::{self, Detected, Images};

/// Those of a dashboard, that of the terminal's events, which crossterm starts, and inside tmux that of the pane; and one more.
const THREADS: usize = 6;
/// How long leaving waits for commands that were just given.
const LAST_COMMANDS: Duration = Duration::from_secs(1);

/// What to look at, and how.
#[derive(Clone, Debug)]
pub struct Session {
    /// The runs that are listed.
    pub runs: RunsDir,
    /// What is shown first.
    pub first: Place,
    /// How images are wanted.
    pub images: Images,
    /// How colours are wanted.
    pub theme: ThemeChoice,
    /// Whether the mouse is taken from the terminal.
    pub mouse: bool,
    /// Asks whether a run has a live trainer: [`crate::run::lock::liveness`]. May block.
    pub liveness: fn(&RunDir) -> Liveness,
}

/// Shows one place after the other on the terminal at stdout until that is left. The terminal is as before when this
/// returns, however it returns.
pub fn run(session: Session) -> anyhow::Result<Left> {
    limits::check_descriptors().and_then(|()| limits::check_threads(THREADS)).context("cannot start the dashboard")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the dashboard")?;
    runtime.block_on(show_places(session))
}

/// How a stage was left.
enum Exit {
    Go(Place),
    Leave,
    HungUp,
    Terminated,
}

async fn show_places(session: Session) -> anyhow::Result<Left> {
    let Session { runs, first, images, theme, mouse, liveness } = session;
    // Before the terminal is taken: a run that is not there is told in the shell.
    if let Place::Run(run) = &first {
        hold(run)?;
    }
    let mut screen = TakenTerminal::take(images, theme, mouse)?;
    let mut senders: Vec<JoinHandle<()>> = Vec::new();
    let mut watched: Option<(HeldRunDir, Departure)> = None;
    let mut kept_list = Kept::default();
    // What the next stage has to say.
    let mut message = screen.second_best();
    let mut place = first;
    let exit = loop {
        let exit = match place {
            Place::RunList => {
                let (mut list, updates) = Listing::start(runs.clone(), kept_list, screen.theme)?;
                message.take().into_iter().for_each(|message| list.say(message));
                let exit = screen.show(&mut list, updates).await?;
                kept_list = list.leave();
                exit
            }
            Place::Compare(compared) => {
                let (mut comparing, updates) = Comparing::start(compared, liveness, screen.theme)?;
                message.take().into_iter().for_each(|message| comparing.say(message));
                screen.show(&mut comparing, updates).await?
            }
            Place::Run(run) => match hold(&run) {
                Ok(held) => {
                    let mut app = App::new(held.name(), terminal::size()?, screen.theme, TimeZone::system());
                    app.draw_images_by(screen.detected.backend);
                    app.ui.symbols = screen.guard.symbols();
                    app.ui.image_advice.clone_from(&screen.detected.advice);
                    app.ui.message = message.take();
                    let (mut watching, updates) = Watching::start(held, app, runs.clone(), liveness)?;
                    let exit = screen.show(&mut watching, updates).await?;
                    message = Some(Message::info(watching.parting_words()));
                    let (run, departure, sender) = watching.leave();
                    senders.retain(|sender| !sender.is_finished());
                    senders.push(sender);
                    watched = Some((run, departure));
                    exit
                }
                Err(error) => {
                    message = Some(Message::alarm(format!("{error:#}")));
                    Exit::Go(Place::RunList)
                }
            },
        };
        match exit {
            Exit::Go(next) => place = next,
            exit => break exit,
        }
    };
    drop(screen);
    let (run, departure) =
        watched.map_or((None, Departure::Detached(Standing::GoesOn)), |(run, departure)| (Some(run), departure));
    let departure = match exit {
        Exit::HungUp => Departure::HungUp,
        Exit::Terminated => Departure::Terminated,
        Exit::Leave | Exit::Go(_) => departure,
    };
    if departure != Departure::HungUp {
        wait_for(&senders).await;
    }
    Ok(Left { departure, last_watched: run })
}

fn hold(run: &RunDir) -> anyhow::Result<HeldRunDir> {
    HeldRunDir::hold(run).with_context(|| run.path().display().to_string())
}

/// The terminal, its keys, and the signals of the process.
struct TakenTerminal {
    guard: TerminalGuard,
    events: EventStream,
    detected: Detected,
    /// Inside tmux: what becomes of the pane.
    panes: mpsc::Receiver<PaneUpdate>,
    theme: Theme,
    notification: Notification,
    /// Pressed, and not heeded yet.
    keys: VecDeque<KeyEvent>,
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
    suspend: Signal,
    proceed: Signal,
}

impl TakenTerminal {
    fn take(images: Images, theme: ThemeChoice, mouse: bool) -> anyhow::Result<Self> {
        let hang_up = signal(SignalKind::hangup())?;
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let suspend = signal(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?;
        let proceed = signal(SignalKind::from_raw(rustix::process::Signal::CONT.as_raw()))?;
        let (guard, detected, theme) =
            TerminalGuard::enter(images, theme, mouse).context("cannot take the terminal")?;
        let (panes_in, panes) = mpsc::channel(1);
        if let Some(pane) = detected.tmux.clone() {
            let backend = detected.backend;
            thread::Builder::new().name("tmux".into()).spawn(move || watch_pane(pane, backend, panes_in))?;
        }
        Ok(Self {
            guard,
            events: EventStream::new(),
            // Pressed while the terminal was asked what it can draw.
            keys: typed_keys(&detected).collect(),
            detected,
            panes,
            theme,
            notification: Notification::from_env(),
            hang_up,
            terminate,
            interrupt,
            suspend,
            proceed,
        })
    }

    /// What to say where images could be drawn better.
    fn second_best(&self) -> Option<Message> {
        let Detected { backend, why, .. } = &self.detected;
        self.detected.is_second_best.then(|| Message::info(format!("images are drawn as {backend}: {why}")))
    }

    /// Gives keys and updates to the stage, and draws it, until it is left.
    async fn show<S: Stage>(&mut self, stage: &mut S, mut updates: mpsc::Receiver<S::Update>) -> anyhow::Result<Exit> {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut frames = Frames::first_due(Instant::now());
        loop {
            let mut request = None;
            if let Some(key) = self.keys.pop_front() {
                frames.request(Occasion::Prompt);
                request = stage.handle_key(key)?;
            } else {
                tokio::select! {
                    biased;
                    event = self.events.next() => match event {
                        Some(Ok(TerminalEvent::Key(key))) => self.keys.push_back(key),
                        Some(Ok(TerminalEvent::Resize(..))) => {
                            let Ok(size) = terminal::size() else { return Ok(Exit::HungUp) };
                            stage.resized(size);
                            self.guard.recall_keys();
                            frames.request(Occasion::Prompt);
                        }
                        Some(Ok(TerminalEvent::Mouse(event))) => match stage.handle_mouse(event)? {
                            Heeded::Ignored => {}
                            Heeded::Changed => frames.request(Occasion::Prompt),
                            Heeded::Asked(asked) => request = Some(asked),
                        },
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return Ok(Exit::HungUp),
                    },
                    _ = self.hang_up.recv() => return Ok(Exit::HungUp),
                    _ = self.terminate.recv() => return Ok(Exit::Terminated),
                    _ = self.interrupt.recv() => return Ok(Exit::Leave),
                    _ = self.suspend.recv() => self.guard.suspend()?,
                    _ = self.proceed.recv() => {
                        self.guard.reenter()?;
                        frames.request(Occasion::Prompt);
                    }
                    () = frames.wait() => {
                        let Ok(size) = terminal::size() else { return Ok(Exit::HungUp) };
                        let cell = terminal_image::cell_size();
                        stage.prepare(Moment { now_ms: log::now_ms(), size, cell });
                        self.guard.ensure_held()?;
                        let Ok(Drawn { bytes, fault }) = self.guard.draw(cell, |frame| stage.render(frame)) else {
                            return Ok(Exit::HungUp);
                        };
                        frames.drawn(Instant::now(), bytes);
                        if let Some(fault) = fault {
                            stage.say(Message::alarm(format!("an image cannot be drawn: {fault}")));
                            frames.request(Occasion::Prompt);
                        }
                    }
                    update = updates.recv() => match update {
                        Some(update) => {
                            request = stage.update(update)?;
                            for news in stage.take_news() {
                                if self.guard.notify(self.notification, &news.run, &news.text).is_err() {
                                    return Ok(Exit::HungUp);
                                }
                            }
                            frames.request(Occasion::News);
                        }
                        None => bail!("the thread that reads the log ended"),
                    },
                    Some(update) = self.panes.recv() => {
                        let is_frame_due = match update {
                            PaneUpdate::OtherTerminals(detected) => {
                                if self.guard.draw_images_by(detected.backend).is_err() {
                                    return Ok(Exit::HungUp);
                                }
                                stage.draw_images_by(&detected);
                                self.detected = *detected;
                                true
                            }
                            PaneUpdate::Visible => true,
                            PaneUpdate::Place(place) => self.guard.found_at(place),
                        };
                        if is_frame_due {
                            frames.request(Occasion::Prompt);
                        }
                    }
                    _ = second.tick() => {
                        self.guard.ensure_held()?;
                        // crossterm does not report a terminal that is gone: its reader spins on the end of file.
                        if rustix::termios::tcgetattr(std::io::stdout()).is_err() {
                            return Ok(Exit::HungUp);
                        }
                        if stage.clock_runs() {
                            frames.request(Occasion::News);
                        }
                    }
                }
            }
            match request {
                Some(Request::Go(place)) => return Ok(Exit::Go(place)),
                Some(Request::Leave) => return Ok(Exit::Leave),
                Some(Request::Suspend) => self.guard.suspend()?,
                None => {}
            }
        }
    }
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

/// Waits until the commands that were given have been sent and answered, but not for long.
async fn wait_for(senders: &[JoinHandle<()>]) {
    let deadline = Instant::now() + LAST_COMMANDS;
    while senders.iter().any(|sender| !sender.is_finished()) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
