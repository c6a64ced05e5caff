//! The dashboard of a run, and the threads behind it, which end when it is left.

use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::Frame;
use ratatui::crossterm::event::{KeyEvent, MouseEvent};
use ratatui::layout::Size;
use tokio::sync::mpsc;

use super::app::{App, Message, PauseIntent, Update};
use super::departure::{Departure, Standing};
use super::input::Effect;
use super::inspector::ProbeKey;
use super::stage::{Heeded, Moment, News, Place, Request, Stage};
use super::threads::{find_other, read_probes, send_commands, watch};
use super::view;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::Command;
use crate::run::held_dir::HeldRunDir;
use crate::run::lock::Liveness;
use crate::run::state::Phase;
use crate::terminal_image::{Detected, Placed};

/// Images of the newest probe give way to those of a newer one no sooner than this, unless somebody asks: they may be 60 kB,
/// and a small run saves several probes a second.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

pub struct Watching {
    run: HeldRunDir,
    app: App,
    commands: std_mpsc::Sender<Command>,
    /// The thread that sends them.
    sender: JoinHandle<()>,
    wanted_probes: std_mpsc::Sender<ProbeKey>,
    requested_probe: Option<(ProbeKey, Instant)>,
    runs: RunsDir,
    updates: mpsc::Sender<Update>,
}

impl Watching {
    /// Starts the threads of a dashboard that begins as `app`.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        run: HeldRunDir,
        app: App,
        runs: RunsDir,
        liveness: fn(&RunDir) -> Liveness,
    ) -> anyhow::Result<(Self, mpsc::Receiver<Update>)> {
        let (updates, updates_out) = mpsc::channel(4);
        let (commands, commands_out) = std_mpsc::channel();
        let (wanted_probes, wanted_probes_out) = std_mpsc::channel();
        let sender = {
            let (run, updates) = (run.clone(), updates.clone());
            thread::Builder::new().name("commands".into()).spawn(move || send_commands(commands_out, run, updates))?
        };
        {
            let (run, updates) = (run.clone(), updates.clone());
            thread::Builder::new().name("probes".into()).spawn(move || read_probes(wanted_probes_out, run, updates))?;
        }
        {
            let (run, updates) = (run.clone(), updates.clone());
            thread::Builder::new().name("watch".into()).spawn(move || watch(run, liveness, updates))?;
        }
        let watching = Self { run, app, commands, sender, wanted_probes, requested_probe: None, runs, updates };
        Ok((watching, updates_out))
    }

    /// Where the run is, how it stands, and the thread that still sends the last commands.
    pub fn leave(self) -> (HeldRunDir, Departure, JoinHandle<()>) {
        let departure = match self.app.run.phase {
            Phase::Ended(outcome) => {
                Departure::RunEnded { outcome, message: self.app.run.end_message.clone().unwrap_or_default() }
            }
            _ if self.app.trainer_died() => Departure::TrainerGone,
            _ => Departure::Detached(standing(&self.app)),
        };
        (self.run, departure, self.sender)
    }

    /// What to say of the run where another is looked at now.
    pub fn parting_words(&self) -> String {
        let name = &self.app.name;
        match self.app.run.phase {
            _ if self.app.trainer_died() => format!("left run {name}, whose trainer is gone"),
            Phase::Ended(outcome) => format!("left run {name}: {}", Phase::Ended(outcome)),
            _ => {
                let how = match standing(&self.app) {
                    Standing::GoesOn => "goes on training",
                    Standing::Pausing => "pauses after the step it is in",
                    Standing::Paused => "stays paused",
                    Standing::Diverged => "has diverged and stays paused",
                    Standing::Stopping => "saves a checkpoint and ends",
                };
                format!("left run {name}, which {how}")
            }
        }
    }

    /// Of a probe that a key made the wanted one, or, no sooner than `since_last` after the last, the trainer.
    fn request_probe(&mut self, since_last: Duration) -> anyhow::Result<()> {
        let is_due = |last: &(ProbeKey, Instant)| last.1.elapsed() >= since_last;
        if !self.requested_probe.as_ref().is_none_or(is_due) {
            return Ok(());
        }
        let is_new = |wanted: &ProbeKey| self.requested_probe.as_ref().is_none_or(|(last, _)| last != wanted);
        if let Some(wanted) = self.app.wanted_probe().filter(is_new) {
            self.wanted_probes.send(wanted.clone()).context("the thread that reads probes ended")?;
            self.requested_probe = Some((wanted, Instant::now()));
        }
        Ok(())
    }

    fn find_other(&mut self, by: isize) -> anyhow::Result<()> {
        let (mut run, runs, updates) = (self.run.clone(), self.runs.clone(), self.updates.clone());
        thread::Builder::new().name("other run".into()).spawn(move || {
            // One that is gone has no place in the list.
            let _ = run.follow();
            // Fails when the dashboard was left meanwhile.
            let _ = updates.blocking_send(Update::OtherRun(find_other(&runs, &run, by)));
        })?;
        Ok(())
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

impl Stage for Watching {
    type Update = Update;

    fn handle_key(&mut self, key: KeyEvent) -> anyhow::Result<Option<Request>> {
        match self.app.handle_key(key) {
            Some(Effect::Send(command)) => {
                self.commands.send(command).context("the thread that sends commands ended")?;
            }
            Some(Effect::Leave) => return Ok(Some(Request::Leave)),
            Some(Effect::Suspend) => return Ok(Some(Request::Suspend)),
            Some(Effect::ListRuns) => return Ok(Some(Request::Go(Place::RunList))),
            Some(Effect::OtherRun(by)) => self.find_other(by)?,
            None => {}
        }
        self.request_probe(Duration::ZERO)?;
        Ok(None)
    }

    fn handle_mouse(&mut self, event: MouseEvent) -> anyhow::Result<Heeded> {
        let heeded = if self.app.handle_mouse(event) { Heeded::Changed } else { Heeded::Ignored };
        self.request_probe(Duration::ZERO)?;
        Ok(heeded)
    }

    fn update(&mut self, update: Update) -> anyhow::Result<Option<Request>> {
        self.app.update(update);
        self.request_probe(PROBE_INTERVAL)?;
        Ok(self.app.ui.other_run.take().map(|run| Request::Go(Place::Run(run))))
    }

    fn resized(&mut self, size: Size) {
        self.app.update(Update::Resized(size));
    }

    fn draw_images_by(&mut self, detected: &Detected) {
        self.app.draw_images_by(detected.backend);
        self.app.ui.image_advice.clone_from(&detected.advice);
    }

    fn say(&mut self, message: Message) {
        self.app.ui.message = Some(message);
    }

    fn clock_runs(&self) -> bool {
        self.app.clock_runs()
    }

    fn take_news(&mut self) -> Vec<News> {
        let news = self.app.take_news().into_iter();
        news.map(|text| News { run: self.app.name.clone(), text }).collect()
    }

    fn prepare(&mut self, moment: Moment) {
        self.app.now_ms = moment.now_ms;
        self.app.ui.size = moment.size;
        self.app.ui.cell = moment.cell;
    }

    fn render(&mut self, frame: &mut Frame) -> Vec<Placed> {
        view::render(&self.app, frame)
    }
}
