//! The dashboard's state and what changes it. No clock, no terminal, no input or output: keys and updates in, effects
//! out.

use jiff::tz::TimeZone;
use ratatui::crossterm::event::{KeyEvent, KeyEventKind};
use ratatui::layout::{Rect, Size};

use super::keys::{self, Action, Screen};
use super::layout::{Areas, Direction, Panel, Scroll};
use super::theme::Theme;
use crate::run::event::{Command, Record};
use crate::run::lock::Liveness;
use crate::run::state::{Phase, RunState, Weight};

/// A press of `+` or `-` multiplies or divides the learning rate by this.
const LEARNING_RATE_FACTOR: f64 = 2.0;

/// More would leave the smallest screen no room for its charts.
const MOST_NOTICES: usize = 2;

/// What the dashboard knows (`run`, from the log alone) and what it shows of it (`ui`).
#[derive(Debug)]
pub struct App {
    pub name: String,
    pub run: RunState,
    /// `None` until it was looked at.
    pub liveness: Option<Liveness>,
    /// What is wrong with the log, if anything is.
    pub log_fault: Option<String>,
    /// The present, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    pub ui: Ui,
}

#[derive(Debug)]
pub struct Ui {
    pub size: Size,
    pub screen: Screen,
    pub focus: Panel,
    pub scrolls: [Scroll; Panel::ALL.len()],
    pub pending: Pending,
    /// From the dashboard itself, such as the answer to a command; the next key takes it away.
    pub message: Option<Message>,
    pub theme: Theme,
    pub zone: TimeZone,
    /// The log was read to its end once.
    pub caught_up: bool,
}

/// What was asked of the trainer and is not a fact yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pending {
    pub pause: Option<PauseIntent>,
    pub checkpoint: bool,
    pub stop: bool,
    pub learning_rate: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseIntent {
    Pause,
    Resume,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub weight: Weight,
    pub text: String,
}

/// What comes in from outside, keys aside.
#[derive(Debug)]
pub enum Update {
    Records(Vec<Record>),
    /// Everything that was in the log when this was seen has been given.
    Liveness(Liveness),
    LogFault(String),
    Answered {
        command: Command,
        /// What was done, or why not.
        answer: Result<String, String>,
    },
    Resized(Size),
}

/// What a key wants done outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    Send(Command),
    Leave,
    Suspend,
}

impl App {
    pub fn new(name: impl Into<String>, size: Size, theme: Theme, zone: TimeZone) -> Self {
        Self {
            name: name.into(),
            run: RunState::default(),
            liveness: None,
            log_fault: None,
            now_ms: 0,
            ui: Ui {
                size,
                screen: Screen::default(),
                focus: Panel::default(),
                scrolls: Default::default(),
                pending: Pending::default(),
                message: None,
                theme,
                zone,
                caught_up: false,
            },
        }
    }

    /// The trainer ended without a word.
    pub fn trainer_died(&self) -> bool {
        self.liveness == Some(Liveness::Dead) && !matches!(self.run.phase, Phase::Ended(_))
    }

    /// The present for a live trainer, else the time of its last word.
    pub fn trainer_now_ms(&self) -> u64 {
        if self.trainer_died() { self.run.last_activity_ms } else { self.now_ms }
    }

    /// Durations on the screen grow by themselves.
    pub fn clock_runs(&self) -> bool {
        self.run.started.is_some() && self.run.phase.is_active() && !self.trainer_died()
    }

    /// Lines under the header: what someone must not miss.
    pub fn notices(&self) -> Vec<Message> {
        let mut notices = Vec::new();
        if let Some(text) = self.log_fault.clone() {
            notices.push(Message { weight: Weight::Alarm, text });
        }
        if self.trainer_died() {
            let text = format!(
                "the trainer ended without a word; to go on from its last checkpoint: taper resume {}",
                self.name
            );
            notices.push(Message { weight: Weight::Alarm, text });
        } else if let Some(Liveness::Elsewhere { host }) = &self.liveness
            && !matches!(self.run.phase, Phase::Ended(_))
        {
            let text = format!("the trainer is on {host}: it can be watched from here; to steer it, attach there");
            notices.push(Message { weight: Weight::Info, text });
        }
        if let Some(text) = self.run.started.as_ref().and_then(|started| started.notice.clone()) {
            notices.push(Message { weight: Weight::Info, text });
        }
        notices.truncate(MOST_NOTICES);
        notices
    }

    /// `None`: the screen is too small.
    pub fn areas(&self) -> Option<Areas> {
        let Size { width, height } = self.ui.size;
        Areas::of(Rect::new(0, 0, width, height), self.notices().len() as u16)
    }

    pub fn scroll(&self, panel: Panel) -> Scroll {
        self.ui.scrolls[panel as usize]
    }

    /// Lines of a panel, or columns of the batch losses, that one can scroll through.
    pub fn scroll_len(&self, panel: Panel) -> usize {
        match panel {
            Panel::BatchLoss => self.run.losses.len(),
            Panel::Epochs => self.run.epochs.len() + usize::from(self.has_open_epoch()),
            // The rate that the run began with comes first.
            Panel::LearningRate => self.run.learning_rate_changes.len() + 1,
            Panel::Checkpoints => self.run.checkpoints.len(),
            Panel::Events => self.run.notes.len(),
        }
    }

    /// An epoch is under way that is not in the table yet.
    pub fn has_open_epoch(&self) -> bool {
        self.run.open_epoch.epoch > self.run.epochs.last().map_or(0, |epoch| epoch.epoch)
    }

    pub fn handle_key(&mut self, event: KeyEvent) -> Option<Effect> {
        if event.kind != KeyEventKind::Press {
            return None;
        }
        self.ui.message = None;
        match keys::action(self.ui.screen, &event)? {
            Action::TogglePause => self.toggle_pause(),
            Action::Checkpoint => {
                let effect = self.command(Command::Checkpoint, "save a checkpoint");
                self.ui.pending.checkpoint |= effect.is_some();
                effect
            }
            Action::RaiseLearningRate => self.scale_learning_rate(LEARNING_RATE_FACTOR),
            Action::LowerLearningRate => self.scale_learning_rate(1.0 / LEARNING_RATE_FACTOR),
            Action::AskStop => {
                if self.command(Command::Stop, "stop").is_some() {
                    self.ui.screen = Screen::ConfirmStop;
                }
                None
            }
            Action::Stop => {
                self.ui.screen = Screen::Dashboard;
                let effect = self.command(Command::Stop, "stop");
                self.ui.pending.stop |= effect.is_some();
                effect
            }
            Action::NextPanel => self.move_focus(1),
            Action::PreviousPanel => self.move_focus(-1),
            Action::Move(direction) => self.move_in_panel(direction),
            Action::ShowHelp => {
                self.ui.screen = Screen::Help;
                None
            }
            Action::Dismiss => {
                self.ui.screen = Screen::Dashboard;
                None
            }
            Action::Leave => Some(Effect::Leave),
            Action::Suspend => Some(Effect::Suspend),
        }
    }

    pub fn update(&mut self, update: Update) {
        match update {
            Update::Records(records) => {
                for record in &records {
                    self.run.apply(record);
                }
            }
            Update::Liveness(liveness) => {
                self.ui.caught_up = true;
                self.liveness = Some(liveness);
            }
            Update::LogFault(text) => self.log_fault = Some(text),
            Update::Answered { command, answer } => self.take_answer(command, answer),
            Update::Resized(size) => self.ui.size = size,
        }
        self.settle();
    }

    /// Forgets intents that have become facts, or never can.
    fn settle(&mut self) {
        let pending = &mut self.ui.pending;
        if matches!(self.run.phase, Phase::Ended(_)) || self.liveness == Some(Liveness::Dead) {
            *pending = Pending::default();
            if self.ui.screen == Screen::ConfirmStop {
                self.ui.screen = Screen::Dashboard;
            }
            return;
        }
        let paused = self.run.phase == Phase::Paused;
        if pending.pause == Some(if paused { PauseIntent::Pause } else { PauseIntent::Resume }) {
            pending.pause = None;
        }
        if let (Some(wanted), Some(actual)) = (pending.learning_rate, self.run.learning_rate)
            && (wanted - actual).abs() <= 1e-9 * actual.abs()
        {
            pending.learning_rate = None;
        }
    }

    fn take_answer(&mut self, command: Command, answer: Result<String, String>) {
        let pending = &mut self.ui.pending;
        let failed = answer.is_err();
        match command {
            Command::Checkpoint => pending.checkpoint = false,
            Command::Pause | Command::Resume if failed => pending.pause = None,
            Command::Stop if failed => pending.stop = false,
            Command::SetLearningRate { .. } if failed => pending.learning_rate = None,
            // The log tells.
            Command::Pause | Command::Resume | Command::Stop | Command::SetLearningRate { .. } => {}
        }
        if let Err(text) = answer {
            let what = match command {
                Command::Pause => "pause",
                Command::Resume => "resume",
                Command::Checkpoint => "checkpoint",
                Command::Stop => "stop",
                Command::SetLearningRate { .. } => "learning rate",
            };
            self.ui.message = Some(Message { weight: Weight::Alarm, text: format!("{what}: {text}") });
        }
    }

    /// `command` as an effect, or a message why there is nobody to take it.
    fn command(&mut self, command: Command, what: &str) -> Option<Effect> {
        let why_not = if let Phase::Ended(_) = self.run.phase {
            "the run has ended"
        } else if self.trainer_died() {
            "the trainer is gone"
        } else {
            return Some(Effect::Send(command));
        };
        let text = format!("cannot {what}: {why_not}; to go on with it: taper resume {}", self.name);
        self.ui.message = Some(Message { weight: Weight::Info, text });
        None
    }

    fn toggle_pause(&mut self) -> Option<Effect> {
        let paused = match self.ui.pending.pause {
            Some(intent) => intent == PauseIntent::Pause,
            None => self.run.phase == Phase::Paused,
        };
        let (command, intent, what) = if paused {
            (Command::Resume, PauseIntent::Resume, "resume")
        } else {
            (Command::Pause, PauseIntent::Pause, "pause")
        };
        let effect = self.command(command, what)?;
        self.ui.pending.pause = Some(intent);
        Some(effect)
    }

    fn scale_learning_rate(&mut self, factor: f64) -> Option<Effect> {
        let Some(present) = self.ui.pending.learning_rate.or(self.run.learning_rate) else {
            let text = "cannot change the learning rate: the trainer has not said it yet".to_owned();
            self.ui.message = Some(Message { weight: Weight::Info, text });
            return None;
        };
        let learning_rate = present * factor;
        let effect = self.command(Command::SetLearningRate { learning_rate }, "change the learning rate")?;
        self.ui.pending.learning_rate = Some(learning_rate);
        Some(effect)
    }

    fn move_focus(&mut self, by: isize) -> Option<Effect> {
        let areas = self.areas()?;
        let shown: Vec<Panel> = Panel::ALL.into_iter().filter(|&panel| !areas.panel(panel).is_empty()).collect();
        let present = shown.iter().position(|&panel| panel == self.ui.focus).unwrap_or(0);
        let next = (present as isize + by).rem_euclid(shown.len() as isize);
        self.ui.focus = shown[next as usize];
        None
    }

    fn move_in_panel(&mut self, direction: Direction) -> Option<Effect> {
        let panel = self.ui.focus;
        let page = self.areas()?.page(panel);
        let across = panel == Panel::BatchLoss;
        let page_step = page.max(1) as isize;
        let by = match direction {
            Direction::Up if !across => -1,
            Direction::Down if !across => 1,
            Direction::Left if across => -(page_step / 4).max(1),
            Direction::Right if across => (page_step / 4).max(1),
            Direction::PageUp => -page_step,
            Direction::PageDown => page_step,
            Direction::Start => isize::MIN,
            Direction::Latest => isize::MAX,
            Direction::Up | Direction::Down | Direction::Left | Direction::Right => return None,
        };
        let len = self.scroll_len(panel);
        let scroll = &mut self.ui.scrolls[panel as usize];
        *scroll = scroll.moved(by, len, page);
        None
    }
}
