//! The keys: one table that drives dispatch, the footer and the help.

use std::fmt;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::screens::Screen;
use super::chart_page::ChartKind;
use super::layout::Direction;
use crate::run::event::Command;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    Send(Command),
    TogglePause,
    /// Multiplies the learning rate.
    ScaleLearningRate(f64),
    /// Sets the learning rate that is typed.
    EnterLearningRate,
    /// To the next class whose name has what is typed.
    FindNextClass,
    /// Sets the learning rate that there was before the last change.
    UndoLearningRate,
    Open(Screen),
    /// Closes the screen and shows what lies under it.
    Dismiss,
    /// By that many panels.
    MoveFocus(isize),
    Scroll(Direction),
    /// Between batch losses and gradient norms.
    ToggleGradient,
    /// Between every key of the configuration and those that differ from the default.
    ToggleDefaults,
    Inspect(Look),
    /// The n-th key of the binding opens the chart with that number.
    OpenChart(ChartKind),
    /// What the panel that has the focus has to show on the whole screen.
    OpenPanel,
    Chart(ChartMove),
    Leave,
    Suspend,
    ListRuns,
    /// By that many runs in their list.
    OtherRun(isize),
}

impl Action {
    /// It is a command to the trainer, or leads to one.
    fn needs_trainer(self) -> bool {
        match self {
            Self::Send(_) | Self::TogglePause | Self::ScaleLearningRate(_) => true,
            Self::EnterLearningRate | Self::UndoLearningRate => true,
            Self::Open(screen) => matches!(screen, Screen::ConfirmStop | Screen::EnterLearningRate),
            _ => false,
        }
    }
}

/// Which commands the run takes: it decides which keys there are, and what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    Running,
    Paused,
    Ended,
    TrainerGone,
    /// Another program, which takes none.
    OtherTrainer,
}

impl Steering {
    fn takes_commands(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// `taper resume` is the way to go on.
    pub fn needs_resume(self) -> bool {
        matches!(self, Self::Ended | Self::TrainerGone)
    }
}

/// What to look at inside the network. A signed number moves that many on, or back where it is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Image(isize),
    /// By index; the n-th key of the binding chooses the n-th layer.
    Layer(usize),
    NextView,
    Class(isize),
    /// To a later or earlier moment of the training.
    Moment(isize),
    Enlarge,
    /// The tile, position or mistake that lies in that direction.
    Choose(Direction),
    /// Opens the mistake that is chosen in the gallery.
    Mistake,
    /// Opens the gallery of the cell that is chosen in the confusion matrix.
    Confused,
    /// By the next column.
    Sort,
    /// The order of the classes.
    Reverse,
}

/// What to do with the chart on the whole screen. A signed number goes back where it is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartMove {
    /// To another one.
    Chart(isize),
    /// Closer.
    Zoom(i32),
    /// By columns.
    Cursor(i32),
    Page(i32),
    Start,
    Follow,
    Whole,
    Axis,
    Scale,
    Smoothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    ctrl: bool,
}

impl Key {
    pub const fn plain(code: KeyCode) -> Self {
        Self { code, ctrl: false }
    }

    pub const fn char(char: char) -> Self {
        Self::plain(KeyCode::Char(char))
    }

    pub const fn ctrl(char: char) -> Self {
        Self { code: KeyCode::Char(char), ctrl: true }
    }

    pub fn matches(self, event: &KeyEvent) -> bool {
        // Shift is part of the character; what Alt makes of a key is another key.
        self.code == event.code
            && self.ctrl == event.modifiers.contains(KeyModifiers::CONTROL)
            && !event.modifiers.contains(KeyModifiers::ALT)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        if self.ctrl {
            formatter.write_str("ctrl-")?;
        }
        match self.code {
            KeyCode::Char(' ') => formatter.write_str("space"),
            KeyCode::Char(char) => write!(formatter, "{char}"),
            KeyCode::Up => formatter.write_str("↑"),
            KeyCode::Down => formatter.write_str("↓"),
            KeyCode::Left => formatter.write_str("←"),
            KeyCode::Right => formatter.write_str("→"),
            KeyCode::BackTab => formatter.write_str("shift-tab"),
            KeyCode::PageUp => formatter.write_str("pgup"),
            KeyCode::PageDown => formatter.write_str("pgdn"),
            other => formatter.write_str(&other.to_string().to_lowercase()),
        }
    }
}

/// They choose convolutions or charts by number.
const DIGITS: [Key; 9] = [
    Key::char('1'),
    Key::char('2'),
    Key::char('3'),
    Key::char('4'),
    Key::char('5'),
    Key::char('6'),
    Key::char('7'),
    Key::char('8'),
    Key::char('9'),
];

#[derive(Clone, Copy, Debug)]
pub struct Binding {
    pub screens: &'static [Screen],
    /// The footer shows the first.
    pub keys: &'static [Key],
    pub action: Action,
    /// A word or two for the footer; empty where only the help shows it.
    pub label: &'static str,
    /// What it does, for the help; empty where the text of the binding before covers it.
    pub help: &'static str,
}

impl Binding {
    /// Whether its keys do anything.
    pub fn is_offered(&self, steering: Steering) -> bool {
        steering.takes_commands() || !self.action.needs_trainer()
    }

    /// Its label in the footer, if it has one.
    pub fn label_in(&self, steering: Steering) -> &'static str {
        match (self.action, steering) {
            (Action::TogglePause, Steering::Paused) if !self.label.is_empty() => "resume",
            _ => self.label,
        }
    }

    /// Its text in the help.
    pub fn help_in(&self, steering: Steering) -> &'static str {
        match (self.action, steering) {
            (Action::TogglePause, Steering::Running) => "pause training",
            (Action::TogglePause, Steering::Paused) => "resume training",
            (Action::Leave, Steering::Paused) => "leave the dashboard; the run stays paused",
            (Action::Leave, Steering::Ended | Steering::TrainerGone | Steering::OtherTrainer) => "leave the dashboard",
            _ => self.help,
        }
    }

    /// Its keys for people. Digits are those that choose one of `layers`, which is 0 where their number is not known.
    pub fn key_names(&self, layers: usize) -> Vec<String> {
        match (self.action, layers) {
            (Action::Inspect(Look::Layer(_)), 1) => vec!["1".to_owned()],
            (Action::Inspect(Look::Layer(_)), 2..=9) => vec![format!("1-{layers}")],
            (Action::Inspect(Look::Layer(_)) | Action::OpenChart(_), _) => vec!["1-9".to_owned()],
            _ => self.keys.iter().map(ToString::to_string).collect(),
        }
    }
}

const fn binding(
    screens: &'static [Screen],
    keys: &'static [Key],
    action: Action,
    label: &'static str,
    help: &'static str,
) -> Binding {
    Binding { screens, keys, action, label, help }
}

/// A press of `+` or `-` multiplies or divides the learning rate by this.
const LEARNING_RATE_FACTOR: f64 = 2.0;

/// Where the trainer can be steered.
const PAGES: &[Screen] = &[
    Screen::Dashboard,
    Screen::Inspector,
    Screen::Mistakes,
    Screen::Classes,
    Screen::System,
    Screen::Chart,
    Screen::Log,
    Screen::Configuration,
];
/// The pages but the dashboard.
const OTHER_PAGES: &[Screen] = &[
    Screen::Inspector,
    Screen::Mistakes,
    Screen::Classes,
    Screen::System,
    Screen::Chart,
    Screen::Log,
    Screen::Configuration,
];
/// Pages of lines.
const TEXTS: &[Screen] = &[Screen::Log, Screen::Configuration];
/// Where something of a moment of the training is looked at.
const OF_A_MOMENT: &[Screen] = &[Screen::Inspector, Screen::Mistakes, Screen::Classes];
/// Where something inside the network is looked at.
const INSIDE: &[Screen] = &[Screen::Dashboard, Screen::Inspector];
const OVERLAYS: &[Screen] =
    &[Screen::Help, Screen::Alarms, Screen::ConfirmStop, Screen::EnterLearningRate, Screen::FindClass];

/// In the order of the footer and of the help.
pub const BINDINGS: &[Binding] = {
    use Action::{
        Chart, Dismiss, Inspect, Leave, ListRuns, MoveFocus, Open, OpenChart, OpenPanel, OtherRun, ScaleLearningRate,
        Scroll, Send, Suspend, ToggleDefaults, ToggleGradient, TogglePause, UndoLearningRate,
    };
    use Direction::*;
    use KeyCode as K;
    use Look::{Choose, Class, Confused, Enlarge, Image, Layer, Mistake, Moment, NextView, Reverse, Sort};
    use Screen::{
        Alarms, Chart as ChartScreen, Classes, Configuration, ConfirmStop, Dashboard, Diverged, EnterLearningRate,
        FindClass, Help, Inspector, Log, Mistakes, System,
    };
    &[
        binding(OTHER_PAGES, &[Key::plain(K::Esc), Key::plain(K::Backspace)], Dismiss, "back", "back"),
        binding(&[Dashboard], &[Key::char(' ')], TogglePause, "pause", "pause or resume training"),
        binding(OTHER_PAGES, &[Key::char(' ')], TogglePause, "", "pause or resume training"),
        binding(&[Dashboard], &[Key::char('c')], Send(Command::Checkpoint), "save", "save a checkpoint now"),
        binding(
            &[Dashboard],
            &[Key::char('+'), Key::char('=')],
            ScaleLearningRate(LEARNING_RATE_FACTOR),
            "lr ×2",
            "double or halve the learning rate; presses add up",
        ),
        binding(
            &[Dashboard],
            &[Key::char('-'), Key::char('_')],
            ScaleLearningRate(1.0 / LEARNING_RATE_FACTOR),
            "lr ÷2",
            "",
        ),
        binding(&[Dashboard], &[Key::char('e')], Open(EnterLearningRate), "", "type a learning rate"),
        binding(
            &[Dashboard],
            &[Key::char('Z')],
            UndoLearningRate,
            "",
            "undo the last change of the learning rate; again: the one before",
        ),
        binding(
            &[Dashboard],
            &[Key::char('s')],
            Open(ConfirmStop),
            "stop",
            "save a checkpoint and end the run; asks first",
        ),
        binding(OTHER_PAGES, &[Key::char('s')], Open(ConfirmStop), "", "save a checkpoint and end the run; asks first"),
        binding(&[Dashboard], &[Key::plain(K::Tab)], MoveFocus(1), "", "go to the next panel, or to the one before"),
        binding(&[Dashboard], &[Key::plain(K::BackTab)], MoveFocus(-1), "", ""),
        binding(&[Dashboard], &[Key::plain(K::Up), Key::char('k')], Scroll(Up), "", "move in the panel"),
        binding(&[Dashboard], &[Key::plain(K::Down), Key::char('j')], Scroll(Down), "", ""),
        binding(&[Dashboard], &[Key::plain(K::Left), Key::char('h')], Scroll(Left), "", ""),
        binding(&[Dashboard], &[Key::plain(K::Right), Key::char('l')], Scroll(Right), "", ""),
        binding(
            &[Dashboard],
            &[Key::plain(K::PageUp)],
            Scroll(PageUp),
            "",
            "a page, or to the start, or follow the latest",
        ),
        binding(&[Dashboard], &[Key::plain(K::PageDown)], Scroll(PageDown), "", ""),
        binding(&[Dashboard], &[Key::plain(K::Home)], Scroll(Start), "", ""),
        binding(&[Dashboard], &[Key::plain(K::End)], Scroll(Latest), "", ""),
        binding(
            &[Dashboard],
            &DIGITS,
            OpenChart(ChartKind::Loss),
            "chart",
            "a chart on the whole screen, by its number",
        ),
        binding(&[Dashboard], &[Key::plain(K::Enter)], OpenPanel, "", "the chart of the panel, on the whole screen"),
        binding(
            &[Dashboard],
            &[Key::char('i')],
            Open(Inspector),
            "inside",
            "look inside the network, on the whole screen",
        ),
        binding(&[Inspector], &[Key::char('n')], Inspect(Image(1)), "image", "another image"),
        binding(&[Dashboard], &[Key::char('n')], Inspect(Image(1)), "", "inspector: another image"),
        binding(INSIDE, &[Key::char('N')], Inspect(Image(-1)), "", ""),
        binding(
            &[Inspector],
            &[Key::char('v')],
            Inspect(NextView),
            "view",
            "feature maps, Grad-CAM, heat map, attention",
        ),
        binding(
            &[Dashboard],
            &[Key::char('v')],
            Inspect(NextView),
            "",
            "inspector: feature maps, Grad-CAM, heat map, attention",
        ),
        binding(&[Inspector], &DIGITS, Inspect(Layer(0)), "layer", "which convolution"),
        binding(&[Inspector], &[Key::char('x')], Inspect(Class(1)), "class", "Grad-CAM for another class"),
        binding(&[Dashboard], &[Key::char('x')], Inspect(Class(1)), "", "inspector: Grad-CAM for another class"),
        binding(INSIDE, &[Key::char('X')], Inspect(Class(-1)), "", ""),
        binding(
            &[Inspector, Mistakes, Classes],
            &[Key::char('[')],
            Inspect(Moment(-1)),
            "] time",
            "back and forth in training time",
        ),
        binding(&[Dashboard], &[Key::char('[')], Inspect(Moment(-1)), "", "inspector: back and forth in training time"),
        binding(&[Dashboard, Inspector, Mistakes, Classes], &[Key::char(']')], Inspect(Moment(1)), "", ""),
        binding(
            OF_A_MOMENT,
            &[Key::plain(K::Home)],
            Inspect(Moment(isize::MIN)),
            "",
            "the first, or follow the newest",
        ),
        binding(OF_A_MOMENT, &[Key::plain(K::End)], Inspect(Moment(isize::MAX)), "", ""),
        binding(&[Inspector], &[Key::char('P')], Send(Command::Probe), "probe", "ask the trainer for a probe now"),
        binding(
            &[Dashboard],
            &[Key::char('P')],
            Send(Command::Probe),
            "",
            "inspector: ask the trainer for a probe now",
        ),
        binding(&[Inspector], &[Key::char('z')], Inspect(Enlarge), "enlarge", "one image alone, or all again"),
        binding(
            &[Inspector],
            &[Key::plain(K::Left), Key::char('h')],
            Inspect(Choose(Left)),
            "",
            "which alone; which position attends",
        ),
        binding(&[Inspector], &[Key::plain(K::Right), Key::char('l')], Inspect(Choose(Right)), "", ""),
        binding(&[Inspector], &[Key::plain(K::Up), Key::char('k')], Inspect(Choose(Up)), "", ""),
        binding(&[Inspector], &[Key::plain(K::Down), Key::char('j')], Inspect(Choose(Down)), "", ""),
        binding(&[Mistakes], &[Key::plain(K::Enter)], Inspect(Mistake), "look", "look at it with its Grad-CAM"),
        binding(&[Mistakes], &[Key::plain(K::Left), Key::char('h')], Inspect(Choose(Left)), "", "another mistake"),
        binding(&[Mistakes], &[Key::plain(K::Right), Key::char('l')], Inspect(Choose(Right)), "", ""),
        binding(&[Mistakes], &[Key::plain(K::Up), Key::char('k')], Inspect(Choose(Up)), "", ""),
        binding(&[Mistakes], &[Key::plain(K::Down), Key::char('j')], Inspect(Choose(Down)), "", ""),
        binding(&[Classes], &[Key::plain(K::Enter)], Inspect(Confused), "images", "the images of the chosen cell"),
        binding(
            &[Classes],
            &[Key::plain(K::Left), Key::char('h')],
            Inspect(Choose(Left)),
            "",
            "another cell: what a class is taken for",
        ),
        binding(&[Classes], &[Key::plain(K::Right), Key::char('l')], Inspect(Choose(Right)), "", ""),
        binding(&[Classes], &[Key::plain(K::Up), Key::char('k')], Inspect(Choose(Up)), "", ""),
        binding(&[Classes], &[Key::plain(K::Down), Key::char('j')], Inspect(Choose(Down)), "", ""),
        binding(&[Classes], &[Key::plain(K::PageUp)], Inspect(Choose(PageUp)), "", ""),
        binding(&[Classes], &[Key::plain(K::PageDown)], Inspect(Choose(PageDown)), "", ""),
        binding(&[Classes], &[Key::char('/')], Open(FindClass), "find", "find a class by a part of its name"),
        binding(&[Classes], &[Key::char('o')], Inspect(Sort), "sort", "sort by the next column"),
        binding(&[Classes], &[Key::char('O')], Inspect(Reverse), "", "the other way round"),
        binding(TEXTS, &[Key::plain(K::Up), Key::char('k')], Scroll(Up), "", "a line up or down"),
        binding(TEXTS, &[Key::plain(K::Down), Key::char('j')], Scroll(Down), "", ""),
        binding(TEXTS, &[Key::plain(K::PageUp)], Scroll(PageUp), "", "a page, or to the beginning or the end"),
        binding(TEXTS, &[Key::plain(K::PageDown)], Scroll(PageDown), "", ""),
        binding(TEXTS, &[Key::plain(K::Home)], Scroll(Start), "", ""),
        binding(&[Configuration], &[Key::plain(K::End)], Scroll(Latest), "", ""),
        binding(&[Log], &[Key::plain(K::End)], Scroll(Latest), "follow", "follow the log"),
        binding(
            &[Configuration],
            &[Key::char('d')],
            ToggleDefaults,
            "all or changed",
            "every key, or those that differ from the default",
        ),
        binding(
            &[Inspector],
            &[Key::char('m')],
            Open(Mistakes),
            "mistakes",
            "the most confident mistakes of the last epoch",
        ),
        binding(
            &[Dashboard, Classes],
            &[Key::char('m')],
            Open(Mistakes),
            "",
            "the most confident mistakes of an epoch",
        ),
        binding(
            &[Dashboard, Inspector, Mistakes],
            &[Key::char('C')],
            Open(Classes),
            "",
            "classes; machine; trainer's log; configuration",
        ),
        binding(&[Dashboard, Inspector, Mistakes], &[Key::char('u')], Open(System), "", ""),
        binding(&[Classes], &[Key::char('u')], Open(System), "", "the machine; the trainer's log; the configuration"),
        binding(
            &[Log, Configuration],
            &[Key::char('C')],
            Open(Classes),
            "",
            "the classes; the machine; the other page",
        ),
        binding(&[Log, Configuration], &[Key::char('u')], Open(System), "", ""),
        binding(&[System], &[Key::char('L')], Open(Log), "", "the trainer's log; the configuration"),
        binding(&[Dashboard, Inspector, Mistakes, Classes, Configuration], &[Key::char('L')], Open(Log), "", ""),
        binding(
            &[Dashboard, Inspector, Mistakes, Classes, System, Log],
            &[Key::char(',')],
            Open(Configuration),
            "",
            "",
        ),
        binding(
            &[Dashboard],
            &[Key::char('g')],
            ToggleGradient,
            "",
            "gradient norms in place of the batch losses, and back",
        ),
        binding(
            &[ChartScreen],
            &[Key::plain(K::Up)],
            Chart(ChartMove::Zoom(1)),
            "",
            "zoom in, or out; at the cursor if there is one",
        ),
        binding(&[ChartScreen], &[Key::plain(K::Down)], Chart(ChartMove::Zoom(-1)), "↑ zoom", ""),
        binding(
            &[ChartScreen],
            &[Key::plain(K::Left)],
            Chart(ChartMove::Cursor(-1)),
            "→ read off",
            "read off step, epoch, time and values, to the left or right",
        ),
        binding(&[ChartScreen], &[Key::plain(K::Right)], Chart(ChartMove::Cursor(1)), "", ""),
        binding(
            &[ChartScreen],
            &[Key::plain(K::PageUp)],
            Chart(ChartMove::Page(-1)),
            "",
            "half a screen back or forth, to the start, or follow the newest",
        ),
        binding(&[ChartScreen], &[Key::plain(K::PageDown)], Chart(ChartMove::Page(1)), "", ""),
        binding(&[ChartScreen], &[Key::plain(K::Home)], Chart(ChartMove::Start), "", ""),
        binding(&[ChartScreen], &[Key::plain(K::End), Key::char('f')], Chart(ChartMove::Follow), "", ""),
        binding(&[ChartScreen], &[Key::char('0')], Chart(ChartMove::Whole), "whole", "the whole run"),
        binding(&[ChartScreen], &[Key::char('l')], Chart(ChartMove::Scale), "log", "logarithmic scale, or linear"),
        binding(
            &[ChartScreen],
            &[Key::char('w')],
            Chart(ChartMove::Smoothing),
            "smooth",
            "smoothing: off, or the weight of the past",
        ),
        binding(
            &[ChartScreen],
            &[Key::char('x')],
            Chart(ChartMove::Axis),
            "axis",
            "by epoch, by step, or by time spent on the run",
        ),
        binding(&[ChartScreen], &DIGITS, OpenChart(ChartKind::Loss), "chart", "another chart"),
        binding(
            &[ChartScreen],
            &[Key::plain(K::Tab)],
            Chart(ChartMove::Chart(1)),
            "",
            "the next chart that has data, or the one before",
        ),
        binding(&[ChartScreen], &[Key::plain(K::BackTab)], Chart(ChartMove::Chart(-1)), "", ""),
        binding(PAGES, &[Key::char('a')], Open(Alarms), "", "the alarms, the newest first"),
        binding(PAGES, &[Key::char('?')], Open(Help), "help", "this help"),
        binding(PAGES, &[Key::char('q'), Key::ctrl('c')], Leave, "leave", "leave the dashboard; the training goes on"),
        binding(PAGES, &[Key::char('R')], ListRuns, "", "the list of runs"),
        binding(PAGES, &[Key::char('<')], OtherRun(-1), "", "the run before this one in the list, or the one after it"),
        binding(PAGES, &[Key::char('>')], OtherRun(1), "", ""),
        binding(PAGES, &[Key::ctrl('z')], Suspend, "", "put the dashboard in the background; fg brings it back"),
        binding(
            &[Help],
            &[Key::plain(K::Esc), Key::char('?'), Key::char('q'), Key::plain(K::Enter)],
            Dismiss,
            "close",
            "close the help",
        ),
        binding(&[Help], &[Key::plain(K::Up), Key::char('k')], Scroll(Up), "", "a line, up or down"),
        binding(&[Help], &[Key::plain(K::Down), Key::char('j')], Scroll(Down), "", ""),
        binding(&[Help], &[Key::plain(K::PageUp)], Scroll(PageUp), "", "a page, or to the first or last line"),
        binding(&[Help], &[Key::plain(K::PageDown)], Scroll(PageDown), "", ""),
        binding(&[Help], &[Key::plain(K::Home)], Scroll(Start), "", ""),
        binding(&[Help], &[Key::plain(K::End)], Scroll(Latest), "", ""),
        binding(
            &[Alarms],
            &[Key::plain(K::Esc), Key::char('a'), Key::char('q'), Key::plain(K::Enter)],
            Dismiss,
            "close",
            "close the list",
        ),
        binding(&[Alarms], &[Key::plain(K::Up), Key::char('k')], Scroll(Up), "newer", "a line, newer or older"),
        binding(&[Alarms], &[Key::plain(K::Down), Key::char('j')], Scroll(Down), "older", ""),
        binding(&[Alarms], &[Key::plain(K::PageUp)], Scroll(PageUp), "", "a page, or to the newest or oldest"),
        binding(&[Alarms], &[Key::plain(K::PageDown)], Scroll(PageDown), "", ""),
        binding(&[Alarms], &[Key::plain(K::Home)], Scroll(Start), "", ""),
        binding(&[Alarms], &[Key::plain(K::End)], Scroll(Latest), "", ""),
        binding(
            &[Diverged],
            &[Key::char('r')],
            Send(Command::Rollback),
            "roll back with half the learning rate",
            "roll back to the last good checkpoint, with half the learning rate",
        ),
        binding(
            &[Diverged],
            &[Key::char('b')],
            Send(Command::SkipBatch),
            "skip the batch",
            "go on with the next batch",
        ),
        binding(
            &[ConfirmStop],
            &[Key::char('y')],
            Send(Command::Stop),
            "stop and save",
            "save a checkpoint and end the run",
        ),
        binding(
            &[ConfirmStop],
            &[Key::char('n'), Key::plain(K::Esc), Key::char('q')],
            Dismiss,
            "go on training",
            "go on training",
        ),
        binding(
            &[EnterLearningRate],
            &[Key::plain(K::Enter)],
            Action::EnterLearningRate,
            "set it",
            "set the learning rate",
        ),
        binding(&[EnterLearningRate], &[Key::plain(K::Esc)], Dismiss, "cancel", "keep the learning rate as it is"),
        binding(
            &[FindClass],
            &[Key::plain(K::Enter), Key::plain(K::Esc)],
            Dismiss,
            "there it is",
            "stay at the class that was found",
        ),
        binding(
            &[FindClass],
            &[Key::plain(K::Tab), Key::plain(K::Down)],
            Action::FindNextClass,
            "next",
            "to the next class with that in its name",
        ),
        binding(OVERLAYS, &[Key::ctrl('c')], Leave, "leave", "leave the dashboard; the training goes on"),
    ]
};

/// The bindings of a screen.
pub fn bindings(screen: Screen) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| binding.screens.contains(&screen))
}

/// What `event` means on `screen`.
pub fn action(screen: Screen, event: &KeyEvent) -> Option<Action> {
    bindings(screen).find_map(|binding| {
        let number = binding.keys.iter().position(|key| key.matches(event))?;
        Some(match binding.action {
            Action::Inspect(Look::Layer(first)) => Action::Inspect(Look::Layer(first + number)),
            Action::OpenChart(_) => Action::OpenChart(ChartKind::ALL[number]),
            action => action,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::mem::{Discriminant, discriminant};

    use super::*;

    const ALL: [Screen; 14] = [
        Screen::Dashboard,
        Screen::Inspector,
        Screen::Mistakes,
        Screen::Classes,
        Screen::System,
        Screen::Chart,
        Screen::Log,
        Screen::Configuration,
        Screen::Help,
        Screen::Alarms,
        Screen::Diverged,
        Screen::ConfirmStop,
        Screen::EnterLearningRate,
        Screen::FindClass,
    ];

    #[test]
    fn no_key_has_two_meanings_on_a_screen() {
        for screen in ALL {
            let keys: Vec<Key> = bindings(screen).flat_map(|binding| binding.keys).copied().collect();
            for (index, key) in keys.iter().enumerate() {
                assert!(!keys[..index].contains(key), "{key} is bound twice on {screen:?}");
            }
        }
    }

    #[test]
    fn the_help_explains_every_binding() {
        for screen in ALL {
            let mut explained = None;
            for binding in bindings(screen) {
                if !binding.help.is_empty() {
                    explained = Some(kind(binding.action));
                }
                // One without words of its own shares those of the binding before, which does the like.
                assert_eq!(explained, Some(kind(binding.action)), "{screen:?}: {binding:?}");
            }
        }
    }

    fn kind(action: Action) -> (Discriminant<Action>, Option<Discriminant<Look>>) {
        let look = if let Action::Inspect(look) = action { Some(discriminant(&look)) } else { None };
        (discriminant(&action), look)
    }

    #[test]
    fn digits_are_named_by_the_layers_that_there_are() {
        let digits = bindings(Screen::Inspector).find(|binding| binding.label == "layer").unwrap();
        assert_eq!([0, 1, 3, 12].map(|layers| digits.key_names(layers)), [["1-9"], ["1"], ["1-3"], ["1-9"]]);
    }

    #[test]
    fn digits_choose_layers() {
        let press = |char| action(Screen::Inspector, &KeyEvent::new(KeyCode::Char(char), KeyModifiers::NONE));
        assert_eq!(press('1'), Some(Action::Inspect(Look::Layer(0))));
        assert_eq!(press('9'), Some(Action::Inspect(Look::Layer(8))));
        assert_eq!(press('0'), None);
    }

    #[test]
    fn no_action_is_bound_twice() {
        for screen in ALL {
            let actions: Vec<Action> = bindings(screen).map(|binding| binding.action).collect();
            for (index, action) in actions.iter().enumerate() {
                assert!(!actions[..index].contains(action), "{action:?} on {screen:?}");
            }
        }
    }

    #[test]
    fn the_keys_of_a_diverged_run_hide_none_of_a_page() {
        for (recovery, page) in
            bindings(Screen::Diverged).flat_map(|recovery| PAGES.iter().map(move |page| (recovery, page)))
        {
            let hidden = bindings(*page).any(|other| other.keys.iter().any(|key| recovery.keys.contains(key)));
            assert!(!hidden, "{recovery:?} on {page:?}");
        }
    }

    #[test]
    fn modifiers_are_told_apart() {
        let press = |char, modifiers| KeyEvent::new(KeyCode::Char(char), modifiers);
        assert_eq!(action(Screen::Dashboard, &press('c', KeyModifiers::NONE)), Some(Action::Send(Command::Checkpoint)));
        assert_eq!(action(Screen::Dashboard, &press('c', KeyModifiers::CONTROL)), Some(Action::Leave));
        assert_eq!(action(Screen::Dashboard, &press('c', KeyModifiers::ALT)), None);
        assert_eq!(action(Screen::Dashboard, &press('+', KeyModifiers::SHIFT)), Some(Action::ScaleLearningRate(2.0)));
    }
}
