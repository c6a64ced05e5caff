//! The keys: one table that drives dispatch, the footer and the help.

use std::fmt;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::layout::Direction;

/// What has the keyboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    #[default]
    Dashboard,
    /// What the network sees, as large as the screen.
    Inspector,
    /// The gallery of mistakes.
    Mistakes,
    /// The confusion matrix.
    Classes,
    Help,
    /// The list of alarms.
    Alarms,
    /// Whatever page, of a run that has diverged: keys that say how to go on come before the others.
    Diverged,
    /// "Stop and save?"
    ConfirmStop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    TogglePause,
    Checkpoint,
    RaiseLearningRate,
    LowerLearningRate,
    AskStop,
    Stop,
    RollBack,
    SkipBatch,
    NextPanel,
    PreviousPanel,
    Move(Direction),
    /// Batch losses or gradient norms.
    ToggleGradient,
    Inspect(Look),
    ProbeNow,
    ShowAlarms,
    ShowHelp,
    /// Back to what lies under it.
    Dismiss,
    Leave,
    Suspend,
}

/// What to look at inside the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    OpenInspector,
    OpenMistakes,
    OpenClasses,
    /// Look at the mistake that is chosen.
    OpenMistake,
    NextImage,
    PreviousImage,
    /// From 0.
    ShowLayer(usize),
    NextView,
    NextClass,
    PreviousClass,
    Earlier,
    Later,
    Enlarge,
    /// To the tile, the place or the mistake that lies there.
    Choose(Direction),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    code: KeyCode,
    ctrl: bool,
}

impl Key {
    const fn plain(code: KeyCode) -> Self {
        Self { code, ctrl: false }
    }

    const fn char(char: char) -> Self {
        Self::plain(KeyCode::Char(char))
    }

    const fn ctrl(char: char) -> Self {
        Self { code: KeyCode::Char(char), ctrl: true }
    }

    fn matches(self, event: &KeyEvent) -> bool {
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

#[derive(Clone, Copy, Debug)]
pub struct Binding {
    pub screens: &'static [Screen],
    /// The first is the one that the footer shows.
    pub keys: &'static [Key],
    pub action: Action,
    /// A word or two for the footer; empty for what the help alone shows.
    pub label: &'static str,
    /// What it does, for the help; empty where the binding before says it too.
    pub help: &'static str,
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

/// Where the trainer can be steered.
const PAGES: &[Screen] = &[Screen::Dashboard, Screen::Inspector, Screen::Mistakes, Screen::Classes];
/// Those but the dashboard.
const OTHER_PAGES: &[Screen] = &[Screen::Inspector, Screen::Mistakes, Screen::Classes];
/// Where something inside the network is looked at.
const INSIDE: &[Screen] = &[Screen::Dashboard, Screen::Inspector];
const OVERLAYS: &[Screen] = &[Screen::Help, Screen::Alarms, Screen::ConfirmStop];

/// In the order of the footer and of the help.
pub const BINDINGS: &[Binding] = {
    use Action::*;
    use Direction::*;
    use KeyCode as K;
    use Look::*;
    use Screen::*;
    &[
        binding(OTHER_PAGES, &[Key::plain(K::Esc), Key::plain(K::Backspace)], Dismiss, "back", "back"),
        binding(&[Dashboard], &[Key::char(' ')], TogglePause, "pause", "pause training, or resume it"),
        binding(OTHER_PAGES, &[Key::char(' ')], TogglePause, "", "pause training, or resume it"),
        binding(&[Dashboard], &[Key::char('c')], Checkpoint, "save", "save a checkpoint now"),
        binding(
            &[Dashboard],
            &[Key::char('+'), Key::char('=')],
            RaiseLearningRate,
            "lr ×2",
            "double or halve the learning rate, each time anew",
        ),
        binding(&[Dashboard], &[Key::char('-'), Key::char('_')], LowerLearningRate, "lr ÷2", ""),
        binding(&[Dashboard], &[Key::char('s')], AskStop, "stop", "save a checkpoint and end the run; asks first"),
        binding(OTHER_PAGES, &[Key::char('s')], AskStop, "", "save a checkpoint and end the run; asks first"),
        binding(&[Dashboard], &[Key::plain(K::Tab)], NextPanel, "", "go to the next panel, or to the one before"),
        binding(&[Dashboard], &[Key::plain(K::BackTab)], PreviousPanel, "", ""),
        binding(&[Dashboard], &[Key::plain(K::Up), Key::char('k')], Move(Up), "", "move in the panel"),
        binding(&[Dashboard], &[Key::plain(K::Down), Key::char('j')], Move(Down), "", ""),
        binding(&[Dashboard], &[Key::plain(K::Left), Key::char('h')], Move(Left), "", ""),
        binding(&[Dashboard], &[Key::plain(K::Right), Key::char('l')], Move(Right), "", ""),
        binding(
            &[Dashboard],
            &[Key::plain(K::PageUp)],
            Move(PageUp),
            "",
            "a page, or to the start, or follow the latest",
        ),
        binding(&[Dashboard], &[Key::plain(K::PageDown)], Move(PageDown), "", ""),
        binding(&[Dashboard], &[Key::plain(K::Home)], Move(Start), "", ""),
        binding(&[Dashboard], &[Key::plain(K::End)], Move(Latest), "", ""),
        binding(
            &[Dashboard],
            &[Key::char('i'), Key::plain(K::Enter)],
            Inspect(OpenInspector),
            "inside",
            "look inside the network, on the whole screen",
        ),
        binding(&[Inspector], &[Key::char('n')], Inspect(NextImage), "image", "another image"),
        binding(&[Dashboard], &[Key::char('n')], Inspect(NextImage), "", "inspector: another image"),
        binding(INSIDE, &[Key::char('N')], Inspect(PreviousImage), "", ""),
        binding(&[Inspector], &[Key::char('v')], Inspect(NextView), "view", "feature maps, Grad-CAM or attention"),
        binding(
            &[Dashboard],
            &[Key::char('v')],
            Inspect(NextView),
            "",
            "inspector: feature maps, Grad-CAM or attention",
        ),
        binding(&[Inspector], &[Key::char('1')], Inspect(ShowLayer(0)), "2 3 layer", "which convolution"),
        binding(&[Dashboard], &[Key::char('1')], Inspect(ShowLayer(0)), "", "inspector: which convolution"),
        binding(INSIDE, &[Key::char('2')], Inspect(ShowLayer(1)), "", ""),
        binding(INSIDE, &[Key::char('3')], Inspect(ShowLayer(2)), "", ""),
        binding(&[Inspector], &[Key::char('x')], Inspect(NextClass), "class", "Grad-CAM for another class"),
        binding(&[Dashboard], &[Key::char('x')], Inspect(NextClass), "", "inspector: Grad-CAM for another class"),
        binding(INSIDE, &[Key::char('X')], Inspect(PreviousClass), "", ""),
        binding(OTHER_PAGES, &[Key::char('[')], Inspect(Earlier), "] time", "back and forth in training time"),
        binding(&[Dashboard], &[Key::char('[')], Inspect(Earlier), "", "inspector: back and forth in training time"),
        binding(PAGES, &[Key::char(']')], Inspect(Later), "", ""),
        binding(&[Inspector], &[Key::char('P')], ProbeNow, "probe", "ask the trainer for a probe now"),
        binding(&[Dashboard], &[Key::char('P')], ProbeNow, "", "inspector: ask the trainer for a probe now"),
        binding(&[Inspector], &[Key::char('z')], Inspect(Enlarge), "enlarge", "one image alone, or all again"),
        binding(
            &[Inspector],
            &[Key::plain(K::Left), Key::char('h')],
            Inspect(Choose(Left)),
            "",
            "which alone; which place attends",
        ),
        binding(&[Inspector], &[Key::plain(K::Right), Key::char('l')], Inspect(Choose(Right)), "", ""),
        binding(&[Inspector], &[Key::plain(K::Up), Key::char('k')], Inspect(Choose(Up)), "", ""),
        binding(&[Inspector], &[Key::plain(K::Down), Key::char('j')], Inspect(Choose(Down)), "", ""),
        binding(&[Mistakes], &[Key::plain(K::Enter)], Inspect(OpenMistake), "look", "look at it with its Grad-CAM"),
        binding(&[Mistakes], &[Key::plain(K::Left), Key::char('h')], Inspect(Choose(Left)), "", "another mistake"),
        binding(&[Mistakes], &[Key::plain(K::Right), Key::char('l')], Inspect(Choose(Right)), "", ""),
        binding(&[Mistakes], &[Key::plain(K::Up), Key::char('k')], Inspect(Choose(Up)), "", ""),
        binding(&[Mistakes], &[Key::plain(K::Down), Key::char('j')], Inspect(Choose(Down)), "", ""),
        binding(
            &[Inspector],
            &[Key::char('m')],
            Inspect(OpenMistakes),
            "mistakes",
            "the most confident mistakes of the last epoch",
        ),
        binding(
            &[Dashboard, Classes],
            &[Key::char('m')],
            Inspect(OpenMistakes),
            "",
            "the most confident mistakes of an epoch",
        ),
        binding(
            &[Dashboard, Inspector, Mistakes],
            &[Key::char('C')],
            Inspect(OpenClasses),
            "",
            "the classes: accuracies and confusion matrix",
        ),
        binding(
            &[Dashboard],
            &[Key::char('g')],
            ToggleGradient,
            "",
            "gradient norms in place of the batch losses, and back",
        ),
        binding(PAGES, &[Key::char('a')], ShowAlarms, "", "the alarms, the newest first"),
        binding(PAGES, &[Key::char('?')], ShowHelp, "help", "this help"),
        binding(PAGES, &[Key::char('q'), Key::ctrl('c')], Leave, "leave", "leave the dashboard; the training goes on"),
        binding(PAGES, &[Key::ctrl('z')], Suspend, "", "put the dashboard in the background; fg brings it back"),
        binding(
            &[Help],
            &[Key::plain(K::Esc), Key::char('?'), Key::char('q'), Key::plain(K::Enter)],
            Dismiss,
            "close",
            "close the help",
        ),
        binding(
            &[Alarms],
            &[Key::plain(K::Esc), Key::char('a'), Key::char('q'), Key::plain(K::Enter)],
            Dismiss,
            "close",
            "close the list",
        ),
        binding(&[Alarms], &[Key::plain(K::Up), Key::char('k')], Move(Up), "newer", "a line, newer or older"),
        binding(&[Alarms], &[Key::plain(K::Down), Key::char('j')], Move(Down), "older", ""),
        binding(&[Alarms], &[Key::plain(K::PageUp)], Move(PageUp), "", "a page, or to the newest or oldest"),
        binding(&[Alarms], &[Key::plain(K::PageDown)], Move(PageDown), "", ""),
        binding(&[Alarms], &[Key::plain(K::Home)], Move(Start), "", ""),
        binding(&[Alarms], &[Key::plain(K::End)], Move(Latest), "", ""),
        binding(
            &[Diverged],
            &[Key::char('r')],
            RollBack,
            "go back to it with half the learning rate",
            "go back to the last good checkpoint, and on with half the learning rate",
        ),
        binding(&[Diverged], &[Key::char('b')], SkipBatch, "skip the batch", "go on with the next batch"),
        binding(&[ConfirmStop], &[Key::char('y')], Stop, "stop and save", "save a checkpoint and end the run"),
        binding(
            &[ConfirmStop],
            &[Key::char('n'), Key::plain(K::Esc), Key::char('q')],
            Dismiss,
            "go on training",
            "go on training",
        ),
        binding(OVERLAYS, &[Key::ctrl('c')], Leave, "leave", "leave the dashboard; the training goes on"),
    ]
};

/// The bindings of a screen.
pub fn bindings(screen: Screen) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| binding.screens.contains(&screen))
}

/// What `event` backend on `screen`.
pub fn action(screen: Screen, event: &KeyEvent) -> Option<Action> {
    bindings(screen).find(|binding| binding.keys.iter().any(|key| key.matches(event))).map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Screen; 8] = [
        Screen::Dashboard,
        Screen::Inspector,
        Screen::Mistakes,
        Screen::Classes,
        Screen::Help,
        Screen::Alarms,
        Screen::Diverged,
        Screen::ConfirmStop,
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
    fn every_binding_has_a_key_and_a_help_line_or_shares_the_one_before() {
        assert!(BINDINGS.iter().all(|binding| !binding.keys.is_empty()));
        for screen in ALL {
            assert!(bindings(screen).next().is_some_and(|first| !first.help.is_empty()), "{screen:?}");
        }
    }

    #[test]
    fn no_action_is_bound_twice_on_a_screen() {
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
        assert_eq!(action(Screen::Dashboard, &press('c', KeyModifiers::NONE)), Some(Action::Checkpoint));
        assert_eq!(action(Screen::Dashboard, &press('c', KeyModifiers::CONTROL)), Some(Action::Leave));
        assert_eq!(action(Screen::Dashboard, &press('c', KeyModifiers::ALT)), None);
        assert_eq!(action(Screen::Dashboard, &press('+', KeyModifiers::SHIFT)), Some(Action::RaiseLearningRate));
    }
}
