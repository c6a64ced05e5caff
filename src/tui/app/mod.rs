//! The dashboard's state, and how updates change it. No clock, no terminal, no input or output.

mod files;
mod message;
pub mod notices;
mod pending;
pub mod screens;
mod typed;

use std::collections::HashMap;

use jiff::tz::TimeZone;
use ratatui::layout::Size;

pub use self::files::Files;
pub use self::message::Message;
pub use self::pending::{PauseIntent, Pending};
use self::screens::{Screen, Screens};
pub use self::typed::{TypedName, TypedNumber};
use super::chart_page::ChartPage;
use super::classes::ClassesPage;
use super::configuration::ConfigurationPage;
use super::inspector::{Inspector, Loaded, Moment, ProbeKey, Subject};
use super::layout::{PanelName, Scroll};
use super::log_page::LogPage;
use super::theme::Theme;
use crate::config::Values;
use crate::run::checkpoints_on_disk::CheckpointOnDisk;
use crate::run::dir::RunDir;
use crate::run::event::{Command, EpochDone, Event, Record, Severity};
use crate::run::lock::Liveness;
use crate::run::state::{Phase, Probe, RunState};
use crate::run::trainer_log::TrainerLog;
use crate::terminal_image::ImageBackend;
use crate::terminal_image::half_blocks::{Palette, Symbols};

/// What the dashboard knows (`run`, from the log alone) and what it shows of it (`ui`).
#[derive(Debug)]
pub struct App {
    pub name: String,
    pub run: RunState,
    /// `None` until the first check.
    pub liveness: Option<Liveness>,
    /// What is wrong with the run's directory or log, if anything is.
    pub fault: Option<String>,
    pub files: Files,
    /// The present, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    pub ui: Ui,
}

#[derive(Debug)]
pub struct Ui {
    pub size: Size,
    /// Size of a character in pixels, where the terminal reports it.
    pub cell: Option<Size>,
    /// How images are drawn.
    pub backend: ImageBackend,
    /// What they are drawn with where that is characters.
    pub symbols: Symbols,
    /// How to get better ones.
    pub image_advice: Vec<String>,
    pub screens: Screens,
    pub inspector: Inspector,
    pub classes: ClassesPage,
    /// What the inspector showed before it was opened on a mistake.
    pub before_mistake: Option<(Subject, Moment)>,
    pub focus: PanelName,
    /// In the panel that has the focus, or had it.
    pub chosen_row: Option<ChosenRow>,
    /// The panels that were scrolled.
    pub scrolls: HashMap<PanelName, Scroll>,
    pub bars: Bars,
    /// The chart that fills the screen, or would.
    pub chart: ChartPage,
    /// Which chart comes first where there is no room for all panels.
    pub first_small_chart: usize,
    /// The first line of the help that is in view.
    pub first_help_line: usize,
    /// The first line of the alarms that is in view.
    pub first_alarm_line: usize,
    pub log: LogPage,
    pub configuration: ConfigurationPage,
    pub pending: Pending,
    /// On [`Screen::EnterLearningRate`].
    pub typed: TypedNumber,
    /// On [`Screen::FindClass`].
    pub typed_name: TypedName,
    /// What was told at first has been seen.
    pub has_pressed_key: bool,
    /// Such as the answer to a command; the next key takes it away.
    pub message: Option<Message>,
    pub theme: Theme,
    pub zone: TimeZone,
    /// The log was read to its end once.
    pub caught_up: bool,
    /// Events since then that call for attention.
    pub news: Vec<String>,
    /// The run to go on to.
    pub other_run: Option<RunDir>,
}

/// A line of a panel that stands for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenRow {
    pub panel: PanelName,
    /// What tells it from the others.
    pub key: String,
}

/// What the panel above the charts shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bars {
    #[default]
    BatchLoss,
    GradientNorm,
}

/// What comes in from outside, keys aside.
#[derive(Debug)]
pub enum Update {
    Records(Vec<Record>),
    /// The log has been read up to the moment of this check.
    Liveness(Liveness),
    /// Something is wrong with the run's directory or log.
    Fault(String),
    /// What was read of the log holds no longer: it is read again from its beginning.
    LogReplaced(String),
    /// The run's directory was renamed.
    Moved {
        name: String,
    },
    Answered {
        command: Command,
        /// What was done, or why not.
        answer: Result<String, String>,
    },
    Resized(Size),
    /// The answer to [`App::wanted_probe`].
    Probe(Loaded),
    /// The next or previous run, or why there is none.
    OtherRun(Result<RunDir, String>),
    /// The end of the trainer's own log, or why it cannot be read; likewise the others.
    TrainerLog(Result<TrainerLog, String>),
    Configuration(Result<Values, String>),
    Checkpoints(Result<Vec<CheckpointOnDisk>, String>),
}

impl App {
    pub fn new(name: impl Into<String>, size: Size, theme: Theme, zone: TimeZone) -> Self {
        Self {
            name: name.into(),
            run: RunState::default(),
            liveness: None,
            fault: None,
            files: Files::default(),
            now_ms: 0,
            ui: Ui {
                size,
                cell: None,
                backend: ImageBackend::Cells(if theme == Theme::Plain { Palette::Shades } else { Palette::TrueColour }),
                symbols: Symbols::default(),
                image_advice: vec![],
                screens: Screens::default(),
                inspector: Inspector::default(),
                classes: ClassesPage::default(),
                before_mistake: None,
                focus: PanelName::EPOCHS,
                chosen_row: None,
                scrolls: HashMap::new(),
                bars: Bars::default(),
                chart: ChartPage::default(),
                first_small_chart: 0,
                first_help_line: 0,
                first_alarm_line: 0,
                log: LogPage::default(),
                configuration: ConfigurationPage::default(),
                pending: Pending::default(),
                typed: TypedNumber::default(),
                typed_name: TypedName::default(),
                has_pressed_key: false,
                message: None,
                theme,
                zone,
                caught_up: false,
                news: Vec::new(),
                other_run: None,
            },
        }
    }

    /// The trainer ended without an end in the log.
    pub fn trainer_died(&self) -> bool {
        self.liveness == Some(Liveness::Dead) && !matches!(self.run.phase, Phase::Ended(_))
    }

    /// The present for a live trainer, else the time of its last event.
    pub fn trainer_now_ms(&self) -> u64 {
        if self.trainer_died() { self.run.last_activity_ms } else { self.now_ms }
    }

    /// Durations on the screen grow by themselves.
    pub fn clock_runs(&self) -> bool {
        self.run.started.is_some() && self.run.phase.is_active() && !self.trainer_died()
    }

    /// Since the trainer on this host last wrote to its log, where it should be at work. The clock of another host may be
    /// another one.
    pub fn long_silence_secs(&self) -> Option<f64> {
        // How often another program writes is its own affair.
        let is_here = self.liveness == Some(Liveness::Live) && self.clock_runs() && self.run.other_trainer().is_none();
        self.run.phase.long_silence_secs(self.run.last_activity_ms, self.now_ms).filter(|_| is_here)
    }

    pub fn scroll(&self, panel: PanelName) -> Scroll {
        self.ui.scrolls.get(&panel).copied().unwrap_or_default()
    }

    /// An epoch is under way that is not in the table yet.
    pub fn has_open_epoch(&self) -> bool {
        self.run.open_epoch.epoch > self.run.epochs.last().map_or(0, |epoch| epoch.epoch)
    }

    /// The run has diverged, and waits to be told how to go on.
    pub fn awaits_recovery(&self) -> bool {
        self.run.phase == Phase::Paused && self.run.divergence.is_some() && !self.trainer_died()
    }

    pub fn draw_images_by(&mut self, backend: ImageBackend) {
        self.ui.backend = match backend {
            ImageBackend::Cells(_) if self.ui.theme == Theme::Plain => ImageBackend::Cells(Palette::Shades),
            other => other,
        };
        if let ImageBackend::Cells(palette) = self.ui.backend {
            self.ui.inspector.set_colour_mode(palette.colour_mode());
        }
    }

    pub fn update(&mut self, update: Update) {
        match update {
            Update::Records(records) => {
                for record in &records {
                    self.run.apply(record);
                    // A later record may overtake this fact.
                    self.settle();
                    self.ui.news.extend(news(&record.event).filter(|_| self.ui.caught_up));
                }
            }
            Update::Liveness(liveness) => {
                self.ui.caught_up = true;
                self.liveness = Some(liveness);
            }
            Update::Fault(text) => self.fault = Some(text),
            Update::LogReplaced(text) => {
                // The log that is there now has none of the faults of the one before, and its trainer has raised an alarm.
                self.fault = None;
                self.ui.message = Some(Message::alarm(text));
                self.run = RunState::default();
                self.ui.caught_up = false;
            }
            Update::Moved { name } => self.name = name,
            Update::Answered { command, answer } => self.take_answer(command, answer),
            Update::Resized(size) => self.ui.size = size,
            Update::Probe(loaded) => self.ui.inspector.load(loaded),
            Update::OtherRun(Ok(run)) => self.ui.other_run = Some(run),
            Update::OtherRun(Err(why)) => self.ui.message = Some(Message::info(why)),
            Update::TrainerLog(log) => self.files.trainer_log = Some(log),
            Update::Configuration(values) => self.files.configuration = Some(values),
            Update::Checkpoints(checkpoints) => self.files.checkpoints = Some(checkpoints),
        }
        self.settle();
    }

    /// In the order of the labels; none until the run has begun.
    pub fn class_names(&self) -> &[String] {
        self.run.started.as_ref().map_or(&[], |started| &started.dataset.classes)
    }

    /// Events that call for attention, each once.
    pub fn take_news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ui.news)
    }

    /// Forgets intents that have become facts, or never can.
    fn settle(&mut self) {
        if matches!(self.run.phase, Phase::Ended(_)) || self.liveness == Some(Liveness::Dead) {
            self.ui.pending = Pending::default();
            if matches!(self.ui.screens.top(), Screen::ConfirmStop | Screen::EnterLearningRate) {
                self.ui.dismiss();
            }
        }
        self.ui.pending.settle(&self.run);
    }

    fn take_answer(&mut self, command: Command, answer: Result<String, String>) {
        self.ui.pending.answered(command, answer.is_err());
        if let (Command::Probe, Ok(text)) = (command, &answer) {
            self.ui.message = Some(Message::info(text));
        }
        if let Err(text) = answer {
            let what = match command {
                Command::Pause => "pause",
                Command::Resume => "resume",
                Command::Checkpoint => "checkpoint",
                Command::Probe => "probe",
                Command::Rollback => "roll back",
                Command::SkipBatch => "skip the batch",
                Command::Stop => "stop",
                Command::SetLearningRate { .. } => "learning rate",
            };
            self.ui.message = Some(Message::alarm(format!("{what}: {text}")));
        }
    }

    /// The probe that should be loaded next, if it is not already: the one that is looked at, or for mistakes the last one
    /// that knows any.
    pub fn wanted_probe(&self) -> Option<ProbeKey> {
        let inspector = &self.ui.inspector;
        let up_to = self.inspected_probe()?;
        let looks_at_mistakes =
            self.ui.screens.page() == Screen::Mistakes || matches!(inspector.subject, Subject::Mistake(_));
        let up_to = &self.run.probes[..=up_to];
        let wanted = if looks_at_mistakes { self.last_with_mistakes(up_to) } else { up_to.last() }?;
        let key = ProbeKey { file: wanted.saved.file.clone(), time_ms: wanted.time_ms };
        (inspector.loaded().is_none_or(|loaded| loaded.key != key)).then_some(key)
    }

    /// The last of these that follows an evaluation.
    pub fn last_with_mistakes<'a>(&self, probes: &'a [Probe]) -> Option<&'a Probe> {
        let evaluated = |step: u64| self.run.epochs.iter().any(|epoch| epoch.step == step);
        probes.iter().rev().find(|probe| evaluated(probe.saved.step))
    }

    /// The number of the probe that is looked at.
    pub fn inspected_probe(&self) -> Option<usize> {
        self.ui.inspector.wanted(self.run.probes.iter().map(|probe| probe.saved.step))
    }

    /// The epoch that is looked at.
    pub fn inspected_epoch(&self) -> Option<&EpochDone> {
        let number = self.ui.inspector.wanted(self.run.epochs.iter().map(|epoch| epoch.step))?;
        self.run.epochs.get(number)
    }
}

/// What of an event is worth calling somebody for.
fn news(event: &Event) -> Option<String> {
    match event {
        Event::AlarmRaised { kind, message, .. } if kind.severity() == Severity::Alarm => {
            Some(format!("{}: {message}", kind.name()))
        }
        Event::RunEnded { step, outcome, message } => {
            Some(format!("{} at step {step}: {message}", Phase::Ended(*outcome)))
        }
        _ => None,
    }
}

impl Ui {
    /// The colours that cells have beside images, and in place of them.
    pub fn palette(&self) -> Palette {
        match self.backend {
            _ if self.theme == Theme::Plain => Palette::Shades,
            ImageBackend::Cells(palette) => palette,
            ImageBackend::Protocol(_) => Palette::TrueColour,
            // Nobody asked what there is: these are nearly everywhere.
            ImageBackend::Nothing => Palette::Colours256,
        }
    }

    /// Shows a page: over what is in view, or back to it where it lies under that.
    pub fn show(&mut self, page: Screen) {
        if !self.screens.has_below(page) {
            return self.screens.open(page);
        }
        while self.screens.top() != page {
            self.dismiss();
        }
    }

    pub fn dismiss(&mut self) {
        let closed = self.screens.close();
        if closed == Screen::Mistakes {
            self.inspector.only = None;
        }
        if closed == Screen::Inspector {
            let inspector = &mut self.inspector;
            let (subject, moment) = self.before_mistake.take().unwrap_or((inspector.subject, inspector.moment));
            inspector.moment = moment;
            inspector.look_at(subject, inspector.view);
        }
    }
}
