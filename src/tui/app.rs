//! The dashboard's state and what changes it. No clock, no terminal, no input or output: keys and updates in, effects
//! out.

use jiff::tz::TimeZone;
use ratatui::crossterm::event::{KeyEvent, KeyEventKind};
use ratatui::layout::{Rect, Size};

use super::inspector::{Inspector, Loaded, Moment, ProbeKey, Subject, View};
use super::keys::{self, Action, Look, Screen};
use super::layout::{Areas, Direction, Panel, Scroll, With, alarm_list};
use super::theme::Theme;
use super::view::gallery_columns;
use crate::config::check_learning_rate;
use crate::run::event::{Command, EpochDone, Event, Record, Severity};
use crate::run::lock::Liveness;
use crate::run::state::{Alarm, Phase, Probe, RunState};
use crate::terminal_image::ImageBackend;
use crate::terminal_image::cells::Palette;

/// A press of `+` or `-` multiplies or divides the learning rate by this.
const LEARNING_RATE_FACTOR: f64 = 2.0;

/// More would leave the smallest screen no room for its charts.
const MOST_NOTICE_LINES: usize = 3;
/// Columns beside a notice.
const NOTICE_MARGIN: usize = 4;

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
    /// Of a character, in pixels, where the terminal tells.
    pub cell: Option<Size>,
    /// How images are drawn.
    pub backend: ImageBackend,
    pub screen: Screen,
    /// Those that lie under it.
    behind: Vec<Screen>,
    pub inspector: Inspector,
    /// What was looked at before a mistake was.
    before_mistake: Option<(Subject, Moment)>,
    pub focus: Panel,
    pub scrolls: [Scroll; Panel::ALL.len()],
    pub bars: Bars,
    /// The first line of the alarms that is seen.
    pub first_alarm_line: usize,
    pub pending: Pending,
    /// From the dashboard itself, such as the answer to a command; the next key takes it away.
    pub message: Option<Message>,
    pub theme: Theme,
    pub zone: TimeZone,
    /// The log was read to its end once.
    pub caught_up: bool,
    /// What happened since, and calls for attention.
    pub news: Vec<String>,
}

/// A line of the list of alarms.
#[derive(Clone, Debug, PartialEq)]
pub enum AlarmLine<'a> {
    Heading(&'a Alarm),
    Message(String),
}

/// What the bars of the panel above the charts are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bars {
    #[default]
    BatchLoss,
    GradientNorm,
}

/// What was asked of the trainer and is not a fact yet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pending {
    pub pause: Option<PauseIntent>,
    pub checkpoint: bool,
    pub probe: bool,
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
    pub severity: Severity,
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
    /// A probe that was wanted.
    Probe(Loaded),
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
                cell: None,
                backend: ImageBackend::Cells(if theme == Theme::Plain { Palette::Shades } else { Palette::TrueColour }),
                screen: Screen::default(),
                behind: vec![],
                inspector: Inspector::default(),
                before_mistake: None,
                focus: Panel::default(),
                scrolls: Default::default(),
                bars: Bars::default(),
                first_alarm_line: 0,
                pending: Pending::default(),
                message: None,
                theme,
                zone,
                caught_up: false,
                news: Vec::new(),
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

    /// Lines under the header of a screen that is `width` wide: what someone must not miss.
    pub fn notices(&self, width: u16) -> Vec<Message> {
        let mut notices = Vec::new();
        let mut notice = |severity, text| notices.push(Message { severity, text });
        if let Some(fault) = &self.log_fault {
            notice(Severity::Alarm, fault.clone());
        }
        if let Some(divergence) = self.run.divergence.as_ref().filter(|_| self.awaits_recovery()) {
            let stop = keys::bindings(Screen::Dashboard).filter(|binding| binding.action == Action::AskStop);
            let recoveries = keys::bindings(Screen::Diverged).chain(stop);
            let recoveries: Vec<String> =
                recoveries.map(|binding| format!("{} {}", binding.keys[0], binding.label)).collect();
            notice(Severity::Alarm, divergence.clone());
            notice(Severity::Alarm, recoveries.join(" · "));
        }
        if self.trainer_died() {
            notice(Severity::Alarm, format!("the trainer is gone; to go on: taper resume {}", self.name));
        } else if let Some(Liveness::Elsewhere { host }) = &self.liveness
            && !matches!(self.run.phase, Phase::Ended(_))
        {
            notice(Severity::Info, format!("the trainer is on {host}: to steer it, attach there"));
        }
        if let Some(text) = self.run.started.as_ref().and_then(|started| started.notice.clone()) {
            notice(Severity::Info, text);
        }
        let width = usize::from(width).saturating_sub(NOTICE_MARGIN);
        let lines = notices.into_iter().flat_map(|notice| {
            wrap(&notice.text, width).into_iter().map(move |text| Message { severity: notice.severity, text })
        });
        lines.take(MOST_NOTICE_LINES).collect()
    }

    /// `None`: the screen is too small.
    pub fn areas(&self, screen: Rect) -> Option<Areas> {
        let with = With {
            notice_lines: self.notices(screen.width).len() as u16,
            step_time: self.run.recent_step_time().is_some(),
            images: self.ui.backend != ImageBackend::Nothing,
        };
        Areas::of(screen, with)
    }

    fn present_areas(&self) -> Option<Areas> {
        self.areas(Rect::new(0, 0, self.ui.size.width, self.ui.size.height))
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

    /// The run has diverged, and waits to be told how to go on.
    fn awaits_recovery(&self) -> bool {
        self.run.phase == Phase::Paused && self.run.divergence.is_some() && !self.trainer_died()
    }

    pub fn draw_images_by(&mut self, backend: ImageBackend) {
        self.ui.backend = backend;
        if let ImageBackend::Cells(palette) = backend {
            self.ui.inspector.set_colour_mode(palette.colour_mode());
        }
    }

    pub fn handle_key(&mut self, event: KeyEvent) -> Option<Effect> {
        if event.kind != KeyEventKind::Press {
            return None;
        }
        self.ui.message = None;
        let is_page = self.ui.screen == self.ui.page();
        let recovery = keys::action(Screen::Diverged, &event).filter(|_| is_page && self.awaits_recovery());
        let action = recovery.or_else(|| keys::action(self.ui.screen, &event))?;
        match action {
            Action::TogglePause => self.toggle_pause(),
            Action::Checkpoint => {
                let effect = self.command(Command::Checkpoint);
                self.ui.pending.checkpoint |= effect.is_some();
                effect
            }
            Action::RaiseLearningRate => self.scale_learning_rate(LEARNING_RATE_FACTOR),
            Action::LowerLearningRate => self.scale_learning_rate(1.0 / LEARNING_RATE_FACTOR),
            Action::AskStop => {
                if self.command(Command::Stop).is_some() {
                    self.ui.open(Screen::ConfirmStop);
                }
                None
            }
            Action::Stop => {
                self.ui.dismiss();
                let effect = self.command(Command::Stop);
                self.ui.pending.stop |= effect.is_some();
                effect
            }
            Action::RollBack => self.command(Command::Rollback),
            Action::SkipBatch => self.command(Command::SkipBatch),
            Action::NextPanel => self.move_focus(1),
            Action::PreviousPanel => self.move_focus(-1),
            Action::Move(direction) if self.ui.screen == Screen::Alarms => self.move_in_alarms(direction),
            Action::Move(direction) => self.move_in_panel(direction),
            Action::ToggleGradient => {
                self.ui.bars = match self.ui.bars {
                    Bars::BatchLoss => Bars::GradientNorm,
                    Bars::GradientNorm => Bars::BatchLoss,
                };
                None
            }
            Action::ShowAlarms => {
                self.ui.open(Screen::Alarms);
                self.ui.first_alarm_line = 0;
                None
            }
            Action::ShowHelp => {
                self.ui.open(Screen::Help);
                None
            }
            Action::Dismiss => {
                self.ui.dismiss();
                None
            }
            Action::ProbeNow => {
                let effect = self.command(Command::Probe);
                self.ui.pending.probe |= effect.is_some();
                effect
            }
            Action::Inspect(look) => {
                self.inspect(look);
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
                    // A later one may overtake it.
                    self.settle();
                    self.ui.news.extend(news(&record.event).filter(|_| self.ui.caught_up));
                }
            }
            Update::Liveness(liveness) => {
                self.ui.caught_up = true;
                self.liveness = Some(liveness);
            }
            Update::LogFault(text) => self.log_fault = Some(text),
            Update::Answered { command, answer } => self.take_answer(command, answer),
            Update::Resized(size) => self.ui.size = size,
            Update::Probe(loaded) => self.ui.inspector.load(loaded),
        }
        self.settle();
    }

    /// What calls for attention and was not told yet.
    pub fn take_news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ui.news)
    }

    /// Forgets intents that have become facts, or never can.
    fn settle(&mut self) {
        let pending = &mut self.ui.pending;
        if matches!(self.run.phase, Phase::Ended(_)) || self.liveness == Some(Liveness::Dead) {
            *pending = Pending::default();
            if self.ui.screen == Screen::ConfirmStop {
                self.ui.dismiss();
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
            Command::Probe => pending.probe = false,
            Command::Pause if failed && pending.pause == Some(PauseIntent::Pause) => pending.pause = None,
            Command::Resume if failed && pending.pause == Some(PauseIntent::Resume) => pending.pause = None,
            Command::Stop if failed => pending.stop = false,
            Command::SetLearningRate { learning_rate } if failed && pending.learning_rate == Some(learning_rate) => {
                pending.learning_rate = None;
            }
            // The log tells.
            Command::Pause
            | Command::Resume
            | Command::Stop
            | Command::SetLearningRate { .. }
            | Command::Rollback
            | Command::SkipBatch => {}
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
            self.ui.message = Some(Message { severity: Severity::Alarm, text: format!("{what}: {text}") });
        }
    }

    /// `command` as an effect, or a message why there is nobody to take it.
    fn command(&mut self, command: Command) -> Option<Effect> {
        let why_not = if let Phase::Ended(_) = self.run.phase {
            "the run has ended"
        } else if self.trainer_died() {
            "the trainer is gone"
        } else {
            return Some(Effect::Send(command));
        };
        let text = format!("{why_not}; to go on: taper resume {}", self.name);
        self.ui.message = Some(Message { severity: Severity::Info, text });
        None
    }

    fn toggle_pause(&mut self) -> Option<Effect> {
        let paused = match self.ui.pending.pause {
            Some(intent) => intent == PauseIntent::Pause,
            None => self.run.phase == Phase::Paused,
        };
        let (command, intent) =
            if paused { (Command::Resume, PauseIntent::Resume) } else { (Command::Pause, PauseIntent::Pause) };
        let effect = self.command(command)?;
        self.ui.pending.pause = Some(intent);
        Some(effect)
    }

    fn scale_learning_rate(&mut self, factor: f64) -> Option<Effect> {
        let Some(present) = self.ui.pending.learning_rate.or(self.run.learning_rate) else {
            let text = "cannot change the learning rate: the trainer has not said it yet".to_owned();
            self.ui.message = Some(Message { severity: Severity::Info, text });
            return None;
        };
        let learning_rate = present * factor;
        if let Err(text) = check_learning_rate(learning_rate) {
            self.ui.message = Some(Message { severity: Severity::Alarm, text });
            return None;
        }
        let effect = self.command(Command::SetLearningRate { learning_rate })?;
        self.ui.pending.learning_rate = Some(learning_rate);
        Some(effect)
    }

    /// The probe that should be loaded next, if it is not already: the one that is looked at, or for mistakes the last one
    /// that knows any.
    pub fn wanted_probe(&self) -> Option<ProbeKey> {
        let inspector = &self.ui.inspector;
        let up_to = self.inspected_probe()?;
        let looks_at_mistakes = self.ui.page() == Screen::Mistakes || matches!(inspector.subject, Subject::Mistake(_));
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

    /// Through probes, and where only epochs are shown through those.
    fn scrub(&mut self, by: isize) {
        let inspector = &mut self.ui.inspector;
        if self.ui.screen == Screen::Classes {
            inspector.scrub(by, self.run.epochs.iter().map(|epoch| epoch.step));
        } else {
            inspector.scrub(by, self.run.probes.iter().map(|probe| probe.saved.step));
        }
    }

    fn inspect(&mut self, look: Look) {
        let inspector = &mut self.ui.inspector;
        match look {
            Look::OpenInspector => self.ui.show(Screen::Inspector),
            Look::OpenMistakes => self.ui.show(Screen::Mistakes),
            Look::OpenClasses => self.ui.show(Screen::Classes),
            Look::OpenMistake => {
                let Some(step) = inspector.probe().filter(|probe| !probe.mistakes.is_empty()).map(|probe| probe.step)
                else {
                    return;
                };
                self.ui.before_mistake.get_or_insert((inspector.subject, inspector.moment));
                // Or the next epoch would put another mistake in its place.
                inspector.moment = Moment::Step(step);
                inspector.look_at(Subject::Mistake(inspector.chosen_mistake), View::GradCam);
                self.ui.open(Screen::Inspector);
            }
            Look::NextImage => inspector.step_image(1),
            Look::PreviousImage => inspector.step_image(-1),
            Look::ShowLayer(layer) => inspector.set_layer(layer),
            Look::NextView => inspector.next_view(),
            Look::NextClass => inspector.step_class(1),
            Look::PreviousClass => inspector.step_class(-1),
            Look::Earlier => self.scrub(-1),
            Look::Later => self.scrub(1),
            Look::Enlarge => inspector.toggle_enlarged(),
            Look::Choose(direction) => self.choose(direction),
        }
    }

    fn choose(&mut self, direction: Direction) {
        let (across, down) = match direction {
            Direction::Left => (-1, 0),
            Direction::Right => (1, 0),
            Direction::Up => (0, -1),
            Direction::Down => (0, 1),
            Direction::PageUp | Direction::PageDown | Direction::Start | Direction::Latest => return,
        };
        let columns = gallery_columns(self) as isize;
        let inspector = &mut self.ui.inspector;
        if self.ui.screen == Screen::Mistakes {
            let count = inspector.gallery().len();
            let chosen = inspector.chosen_mistake.saturating_add_signed(across + down * columns);
            if chosen < count {
                inspector.chosen_mistake = chosen;
            }
        } else if inspector.enlarged.is_some() {
            inspector.step_tile(across);
        } else {
            inspector.step_position(across, down);
        }
    }

    fn move_focus(&mut self, by: isize) -> Option<Effect> {
        let areas = self.present_areas()?;
        let shown: Vec<Panel> = Panel::ALL.into_iter().filter(|&panel| !areas.panel(panel).is_empty()).collect();
        let present = shown.iter().position(|&panel| panel == self.ui.focus).unwrap_or(0);
        let next = (present as isize + by).rem_euclid(shown.len() as isize);
        self.ui.focus = shown[next as usize];
        None
    }

    /// The alarms, the newest first, in lines of at most `width`: a heading for each, and its message.
    pub fn alarm_lines(&self, width: u16) -> Vec<AlarmLine<'_>> {
        let lines = self.run.alarms.iter().rev().flat_map(|alarm| {
            let message = wrap(&alarm.message, usize::from(width)).into_iter().map(AlarmLine::Message);
            std::iter::once(AlarmLine::Heading(alarm)).chain(message)
        });
        lines.collect()
    }

    fn move_in_alarms(&mut self, direction: Direction) -> Option<Effect> {
        let list = alarm_list(Rect::new(0, 0, self.ui.size.width, self.ui.size.height));
        let page = usize::from(list.height);
        let last_start = self.alarm_lines(list.width).len().saturating_sub(page);
        let first = self.ui.first_alarm_line.min(last_start);
        let moved = match direction {
            Direction::Up => first.saturating_sub(1),
            Direction::Down => first + 1,
            Direction::PageUp => first.saturating_sub(page),
            Direction::PageDown => first + page,
            Direction::Start => 0,
            Direction::Latest => last_start,
            Direction::Left | Direction::Right => first,
        };
        self.ui.first_alarm_line = moved.min(last_start);
        None
    }

    fn move_in_panel(&mut self, direction: Direction) -> Option<Effect> {
        let panel = self.ui.focus;
        let page = self.present_areas()?.page_of(panel);
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
    /// The page, whatever lies over it.
    pub fn page(&self) -> Screen {
        let is_page = |screen: &Screen| !matches!(screen, Screen::Help | Screen::Alarms | Screen::ConfirmStop);
        std::iter::once(&self.screen).chain(self.behind.iter().rev()).copied().find(is_page).unwrap_or_default()
    }

    fn open(&mut self, screen: Screen) {
        self.behind.push(std::mem::replace(&mut self.screen, screen));
    }

    /// A page: over what is seen, or back to it where it lies under that.
    fn show(&mut self, page: Screen) {
        if !self.behind.contains(&page) {
            return self.open(page);
        }
        while self.screen != page {
            self.dismiss();
        }
    }

    fn dismiss(&mut self) {
        let left = std::mem::replace(&mut self.screen, self.behind.pop().unwrap_or_default());
        if left == Screen::Inspector {
            let inspector = &mut self.inspector;
            let (subject, moment) = self.before_mistake.take().unwrap_or((inspector.subject, inspector.moment));
            inspector.moment = moment;
            inspector.look_at(subject, inspector.view);
        }
    }
}

/// `text` in lines of at most `width`, broken between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::{KeyCode, KeyModifiers};

    use super::*;
    use crate::run::event::{AlarmKind, LearningRateReason, Outcome, RunStarted, StepsDone};

    fn started() -> Event {
        Event::RunStarted(Box::new(RunStarted {
            run: "night".into(),
            notice: None,
            epochs: 50,
            steps_per_epoch: 782,
            total_steps: 39_100,
            ..RunStarted::example()
        }))
    }

    fn steps(first_step: u64, count: u64) -> Event {
        Event::StepsDone(StepsDone {
            epoch: 1,
            first_step,
            losses: vec![2.0; count as usize],
            gradient_norms: vec![],
            correct: 10,
            samples: 64 * count,
            train_secs: 0.5,
            split_us: None,
            learning_rate: None,
        })
    }

    fn app(events: impl IntoIterator<Item = Event>) -> App {
        let mut app = App::new("night", Size::new(80, 24), Theme::Plain, TimeZone::UTC);
        tell(&mut app, started());
        tell(&mut app, steps(1, 1));
        events.into_iter().for_each(|event| tell(&mut app, event));
        app.update(Update::Liveness(Liveness::Live));
        app
    }

    fn tell(app: &mut App, event: Event) {
        app.update(Update::Records(vec![Record { time_ms: 1000, event }]));
    }

    fn press(app: &mut App, code: KeyCode) -> Option<Effect> {
        app.handle_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn char(app: &mut App, char: char) -> Option<Effect> {
        press(app, KeyCode::Char(char))
    }

    fn changed(from: f64, to: f64) -> Event {
        let reason = LearningRateReason::Command;
        Event::LearningRateChanged { epoch: 1, step: 1, from, to, reason }
    }

    #[test]
    fn paused_is_what_the_log_says_and_pausing_what_the_key_asked() {
        let mut app = app([]);
        assert_eq!(char(&mut app, ' '), Some(Effect::Send(Command::Pause)));
        assert_eq!(app.run.phase, Phase::Training);
        assert_eq!(app.ui.pending.pause, Some(PauseIntent::Pause));
        app.update(Update::Answered { command: Command::Pause, answer: Ok("paused".into()) });
        assert_eq!(app.ui.pending.pause, Some(PauseIntent::Pause), "the answer came before the event");
        tell(&mut app, Event::Paused { step: 1 });
        assert_eq!((app.run.phase, app.ui.pending.pause), (Phase::Paused, None));
        assert_eq!(char(&mut app, ' '), Some(Effect::Send(Command::Resume)));
        assert_eq!(app.ui.pending.pause, Some(PauseIntent::Resume));
        tell(&mut app, Event::Resumed { step: 1 });
        assert_eq!((app.run.phase, app.ui.pending.pause), (Phase::Training, None));
    }

    #[test]
    fn space_while_pausing_asks_to_go_on() {
        let mut app = app([]);
        char(&mut app, ' ');
        assert_eq!(char(&mut app, ' '), Some(Effect::Send(Command::Resume)));
    }

    #[test]
    fn a_refused_command_is_no_longer_pending_and_says_why() {
        let mut app = app([]);
        char(&mut app, ' ');
        app.update(Update::Answered { command: Command::Pause, answer: Err("no answer".into()) });
        assert_eq!(app.ui.pending, Pending::default());
        let message = app.ui.message.clone().unwrap();
        assert_eq!((message.severity, message.text.as_str()), (Severity::Alarm, "pause: no answer"));
        press(&mut app, KeyCode::Tab);
        assert_eq!(app.ui.message, None, "the next key takes it away");
    }

    #[test]
    fn presses_before_the_answer_accumulate_on_the_pending_learning_rate() {
        let mut app = app([]);
        let set = |learning_rate| Some(Effect::Send(Command::SetLearningRate { learning_rate }));
        assert_eq!(char(&mut app, '+'), set(0.002));
        assert_eq!(char(&mut app, '='), set(0.004));
        assert_eq!(char(&mut app, '-'), set(0.002));
        assert_eq!(char(&mut app, '+'), set(0.004));
        tell(&mut app, changed(0.001, 0.002));
        assert_eq!(app.ui.pending.learning_rate, Some(0.004), "the first of them is no answer to the last");
        tell(&mut app, changed(0.002, 0.004));
        assert_eq!(app.ui.pending.learning_rate, None);
        assert_eq!(char(&mut app, '-'), set(0.002));
    }

    /// As after Ctrl-Z, or on a slow link.
    fn tell_at_once(app: &mut App, events: impl IntoIterator<Item = Event>) {
        let records = events.into_iter().map(|event| Record { time_ms: 1000, event });
        app.update(Update::Records(records.collect()));
    }

    #[test]
    fn a_fact_that_is_overtaken_within_its_batch_settles_the_rate() {
        let mut app = app([]);
        char(&mut app, '+');
        let plateau = LearningRateReason::Plateau;
        let lowered = Event::LearningRateChanged { epoch: 1, step: 1, from: 0.002, to: 0.0005, reason: plateau };
        tell_at_once(&mut app, [changed(0.001, 0.002), lowered]);
        assert_eq!(app.ui.pending.learning_rate, None);
        let doubled = Command::SetLearningRate { learning_rate: 0.001 };
        assert_eq!(char(&mut app, '+'), Some(Effect::Send(doubled)));
    }

    #[test]
    fn a_fact_that_is_overtaken_within_its_batch_settles_the_pause() {
        let mut app = app([]);
        char(&mut app, ' ');
        tell_at_once(&mut app, [Event::Paused { step: 1 }, Event::Resumed { step: 1 }]);
        assert_eq!(app.ui.pending.pause, None);
        assert_eq!(char(&mut app, ' '), Some(Effect::Send(Command::Pause)));
    }

    #[test]
    fn a_rate_beyond_the_limits_is_refused_at_once() {
        let mut app = app([changed(0.001, 8.0)]);
        assert_eq!(char(&mut app, '+'), None);
        let message = app.ui.message.clone().unwrap();
        assert_eq!(message.text, "learning rate 16: must be a number from 1e-12 to 10");
        assert_eq!(app.ui.pending, Pending::default());
        assert!(char(&mut app, '-').is_some());
    }

    #[test]
    fn a_refusal_clears_only_what_was_refused() {
        let mut app = app([]);
        char(&mut app, '+');
        char(&mut app, '+');
        let first = Command::SetLearningRate { learning_rate: 0.002 };
        app.update(Update::Answered { command: first, answer: Err("busy".into()) });
        assert_eq!(app.ui.pending.learning_rate, Some(0.004));
    }

    #[test]
    fn stopping_asks_first() {
        let mut app = app([]);
        assert_eq!(char(&mut app, 's'), None);
        assert_eq!(app.ui.screen, Screen::ConfirmStop);
        assert_eq!(char(&mut app, 'n'), None);
        assert_eq!((app.ui.screen, app.ui.pending.stop), (Screen::Dashboard, false));
        char(&mut app, 's');
        assert_eq!(char(&mut app, ' '), None, "other keys do nothing there");
        assert_eq!(char(&mut app, 'y'), Some(Effect::Send(Command::Stop)));
        assert_eq!((app.ui.screen, app.ui.pending.stop), (Screen::Dashboard, true));
    }

    #[test]
    fn a_run_that_ends_meanwhile_takes_the_question_back() {
        let mut app = app([]);
        char(&mut app, 's');
        tell(&mut app, Event::RunEnded { step: 1, outcome: Outcome::Completed, message: "done".into() });
        assert_eq!(app.ui.screen, Screen::Dashboard);
    }

    #[test]
    fn keys_that_need_a_trainer_explain_themselves_without_one() {
        let end = Event::RunEnded { step: 1, outcome: Outcome::Completed, message: "done".into() };
        let mut ended = app([end]);
        let mut dead = app([]);
        dead.update(Update::Liveness(Liveness::Dead));
        for (app, why) in [(&mut ended, "the run has ended"), (&mut dead, "the trainer is gone")] {
            for key in [' ', 'c', '+', '-', 's'] {
                assert_eq!(char(app, key), None);
                let text = &app.ui.message.as_ref().unwrap().text;
                assert!(text.contains(why) && text.contains("taper resume night"), "{text}");
                assert_eq!((app.ui.pending, app.ui.screen), (Pending::default(), Screen::Dashboard));
            }
        }
    }

    #[test]
    fn a_diverged_run_offers_its_remedies_until_one_is_taken() {
        let diverged = || {
            let message = "the loss of step 2 is NaN: the step was not taken; there is no checkpoint before it".into();
            [Event::AlarmRaised { step: 1, kind: AlarmKind::Divergence, message }, Event::Paused { step: 1 }]
        };
        let mut plain = app([]);
        assert_eq!((char(&mut plain, 'r'), char(&mut plain, 'b')), (None, None));
        let recoveries = [
            ('r', Command::Rollback, Event::RolledBack { from_step: 1, to_step: 0, learning_rate: 0.001 }),
            ('b', Command::SkipBatch, Event::BatchSkipped { epoch: 1, step: 2 }),
        ];
        for (key, command, event) in recoveries {
            let mut app = app(diverged());
            let notices = app.notices(80);
            assert!(
                notices.len() == 3 && notices.iter().all(|notice| notice.severity == Severity::Alarm),
                "{notices:?}"
            );
            assert!(
                notices[2].text.starts_with("r go back to it") && notices[2].text.ends_with("s stop"),
                "{notices:?}"
            );
            assert_eq!(char(&mut app, key), Some(Effect::Send(command)));
            assert_eq!(char(&mut app, 'c'), Some(Effect::Send(Command::Checkpoint)), "the other keys work as ever");
            tell(&mut app, event);
            assert_eq!((app.run.phase, app.notices(80).len()), (Phase::Training, 0));
            assert_eq!(char(&mut app, key), None);
            assert_eq!(app.run.alarms.len(), 1, "why it went back stays known");
        }
    }

    #[test]
    fn what_happens_while_somebody_looks_is_news_and_history_is_not() {
        let alarm = |kind| Event::AlarmRaised { step: 1, kind, message: "see there".into() };
        let mut app = App::new("night", Size::new(80, 24), Theme::Plain, TimeZone::UTC);
        tell(&mut app, started());
        tell(&mut app, alarm(AlarmKind::Overfitting));
        app.update(Update::Liveness(Liveness::Live));
        assert!(app.take_news().is_empty());
        tell(&mut app, alarm(AlarmKind::Overfitting));
        tell(&mut app, alarm(AlarmKind::Plateau));
        tell(&mut app, Event::RunEnded { step: 1, outcome: Outcome::Failed, message: "it broke".into() });
        assert_eq!(app.take_news(), ["overfitting: see there", "failed at step 1: it broke"]);
        assert!(app.take_news().is_empty());
    }

    #[test]
    fn a_dead_trainer_is_told_from_an_ended_run() {
        let mut app = app([]);
        assert!(!app.trainer_died() && app.notices(80).is_empty());
        app.update(Update::Liveness(Liveness::Dead));
        assert!(app.trainer_died());
        assert!(app.notices(80)[0].text.contains("taper resume night"));
        tell(&mut app, Event::RunEnded { step: 1, outcome: Outcome::Stopped, message: "asked to".into() });
        assert!(!app.trainer_died() && app.notices(80).is_empty());
    }

    #[test]
    fn notices_are_broken_between_words() {
        assert_eq!(wrap("to go on: taper resume night", 12), ["to go on:", "taper resume", "night"]);
        assert_eq!(wrap("aWordThatIsTooLong x", 5), ["aWordThatIsTooLong", "x"]);
        assert_eq!(wrap("", 5), [""; 0]);
    }

    #[test]
    fn leaving_works_on_every_screen() {
        for open in [None, Some('?'), Some('s')] {
            let mut app = app([]);
            open.map(|key| char(&mut app, key));
            let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
            assert_eq!(app.handle_key(ctrl_c), Some(Effect::Leave));
        }
        assert_eq!(char(&mut app([]), 'q'), Some(Effect::Leave));
    }

    #[test]
    fn only_presses_count() {
        let mut app = app([]);
        let release = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
        let repeat = KeyEvent::new_with_kind(KeyCode::Char('+'), KeyModifiers::NONE, KeyEventKind::Repeat);
        assert_eq!((app.handle_key(release), app.handle_key(repeat)), (None, None));
    }

    #[test]
    fn the_focus_goes_round_the_panels_that_are_shown() {
        let mut app = app([]);
        let round = |app: &mut App, code| -> Vec<Panel> {
            (0..5)
                .map(|_| {
                    press(app, code);
                    app.ui.focus
                })
                .collect()
        };
        use Panel::*;
        assert_eq!(round(&mut app, KeyCode::Tab), [LearningRate, Events, BatchLoss, Epochs, LearningRate]);
        assert_eq!(round(&mut app, KeyCode::BackTab), [Epochs, BatchLoss, Events, LearningRate, Epochs]);
        app.update(Update::Resized(Size::new(200, 50)));
        assert_eq!(round(&mut app, KeyCode::Tab), [LearningRate, Checkpoints, Events, BatchLoss, Epochs]);
    }

    #[test]
    fn the_batch_losses_are_moved_through_sideways() {
        let mut app = app([steps(2, 999)]);
        press(&mut app, KeyCode::BackTab);
        assert_eq!(app.ui.focus, Panel::BatchLoss);
        press(&mut app, KeyCode::Up);
        assert_eq!(app.scroll(Panel::BatchLoss), Scroll::Latest);
        char(&mut app, 'h');
        assert_eq!(app.scroll(Panel::BatchLoss), Scroll::From(1000 - 73 - 18));
        press(&mut app, KeyCode::Home);
        assert_eq!(app.scroll(Panel::BatchLoss), Scroll::From(0));
        press(&mut app, KeyCode::PageDown);
        assert_eq!(app.scroll(Panel::BatchLoss), Scroll::From(73));
        press(&mut app, KeyCode::End);
        assert_eq!(app.scroll(Panel::BatchLoss), Scroll::Latest);
    }
}
