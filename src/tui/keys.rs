//! The keys: one table that drives dispatch, the footer and the help.

use std::fmt;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::layout::Direction;

/// What has the keyboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    #[default]
    Dashboard,
    Help,
    /// The list of alarms.
    Alarms,
    /// The dashboard of a run that has diverged: keys that say how to go on come before the others.
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
    ShowAlarms,
    ShowHelp,
    /// Close whatever lies over the dashboard.
    Dismiss,
    Leave,
    Suspend,
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
    pub screen: Screen,
    /// The first is the one that the footer shows.
    pub keys: &'static [Key],
    pub action: Action,
    /// A word or two for the footer; empty for what the help alone shows.
    pub label: &'static str,
    /// What it does, for the help.
    pub help: &'static str,
}

const fn binding(
    screen: Screen,
    keys: &'static [Key],
    action: Action,
    label: &'static str,
    help: &'static str,
) -> Binding {
    Binding { screen, keys, action, label, help }
}

/// In the order of the footer and of the help.
pub const BINDINGS: &[Binding] = {
    use Action::*;
    use Direction::*;
    use Screen::*;
    &[
        binding(Dashboard, &[Key::char(' ')], TogglePause, "pause", "pause training, or resume it"),
        binding(Dashboard, &[Key::char('c')], Checkpoint, "checkpoint", "save a checkpoint now"),
        binding(
            Dashboard,
            &[Key::char('+'), Key::char('=')],
            RaiseLearningRate,
            "lr ×2",
            "double the learning rate; pressed again, double that",
        ),
        binding(
            Dashboard,
            &[Key::char('-'), Key::char('_')],
            LowerLearningRate,
            "lr ÷2",
            "halve the learning rate, likewise",
        ),
        binding(Dashboard, &[Key::char('s')], AskStop, "stop", "save a checkpoint and end the run; asks first"),
        binding(Dashboard, &[Key::plain(KeyCode::Tab)], NextPanel, "panel", "go to the next panel"),
        binding(Dashboard, &[Key::plain(KeyCode::BackTab)], PreviousPanel, "", "go to the previous panel"),
        binding(Dashboard, &[Key::plain(KeyCode::Up), Key::char('k')], Move(Up), "", "one line up in the panel"),
        binding(Dashboard, &[Key::plain(KeyCode::Down), Key::char('j')], Move(Down), "", "one line down"),
        binding(Dashboard, &[Key::plain(KeyCode::Left), Key::char('h')], Move(Left), "", "back in the batch losses"),
        binding(Dashboard, &[Key::plain(KeyCode::Right), Key::char('l')], Move(Right), "", "forward again"),
        binding(Dashboard, &[Key::plain(KeyCode::PageUp)], Move(PageUp), "", "a page up, or back"),
        binding(Dashboard, &[Key::plain(KeyCode::PageDown)], Move(PageDown), "", "a page down, or forward"),
        binding(Dashboard, &[Key::plain(KeyCode::Home)], Move(Start), "", "to the start of the run"),
        binding(Dashboard, &[Key::plain(KeyCode::End)], Move(Latest), "", "to the latest, and follow it"),
        binding(
            Dashboard,
            &[Key::char('g')],
            ToggleGradient,
            "",
            "gradient norms in place of the batch losses, and back",
        ),
        binding(Dashboard, &[Key::char('a')], ShowAlarms, "", "the alarms, the newest first"),
        binding(Dashboard, &[Key::char('?')], ShowHelp, "help", "this help"),
        binding(
            Dashboard,
            &[Key::char('q'), Key::ctrl('c')],
            Leave,
            "leave",
            "leave the dashboard; the training goes on",
        ),
        binding(Dashboard, &[Key::ctrl('z')], Suspend, "", "put the dashboard in the background; fg brings it back"),
        binding(
            Help,
            &[Key::plain(KeyCode::Esc), Key::char('?'), Key::char('q'), Key::plain(KeyCode::Enter)],
            Dismiss,
            "close",
            "close the help",
        ),
        binding(Help, &[Key::ctrl('c')], Leave, "leave", "leave the dashboard; the training goes on"),
        binding(
            Alarms,
            &[Key::plain(KeyCode::Esc), Key::char('a'), Key::char('q'), Key::plain(KeyCode::Enter)],
            Dismiss,
            "close",
            "close the list",
        ),
        binding(Alarms, &[Key::plain(KeyCode::Up), Key::char('k')], Move(Up), "newer", "one line up"),
        binding(Alarms, &[Key::plain(KeyCode::Down), Key::char('j')], Move(Down), "older", "one line down"),
        binding(Alarms, &[Key::plain(KeyCode::PageUp)], Move(PageUp), "", "a page up"),
        binding(Alarms, &[Key::plain(KeyCode::PageDown)], Move(PageDown), "", "a page down"),
        binding(Alarms, &[Key::plain(KeyCode::Home)], Move(Start), "", "to the newest"),
        binding(Alarms, &[Key::plain(KeyCode::End)], Move(Latest), "", "to the oldest"),
        binding(Alarms, &[Key::ctrl('c')], Leave, "leave", "leave the dashboard; the training goes on"),
        binding(
            Diverged,
            &[Key::char('r')],
            RollBack,
            "go back to it with half the learning rate",
            "go back to the last good checkpoint, and on with half the learning rate",
        ),
        binding(Diverged, &[Key::char('x')], SkipBatch, "skip the batch", "go on with the next batch"),
        binding(ConfirmStop, &[Key::char('y')], Stop, "stop and save", "save a checkpoint and end the run"),
        binding(
            ConfirmStop,
            &[Key::char('n'), Key::plain(KeyCode::Esc), Key::char('q')],
            Dismiss,
            "go on training",
            "go on training",
        ),
        binding(ConfirmStop, &[Key::ctrl('c')], Leave, "leave", "leave the dashboard; the training goes on"),
    ]
};

/// The bindings of a screen.
pub fn bindings(screen: Screen) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| binding.screen == screen)
}

/// What `event` means on `screen`.
pub fn action(screen: Screen, event: &KeyEvent) -> Option<Action> {
    let on = |screen| bindings(screen).find(|binding| binding.keys.iter().any(|key| key.matches(event)));
    let binding = match screen {
        Screen::Diverged => on(screen).or_else(|| on(Screen::Dashboard)),
        _ => on(screen),
    };
    binding.map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings_on_a_screen() {
        for screen in [Screen::Dashboard, Screen::Help, Screen::Alarms, Screen::Diverged, Screen::ConfirmStop] {
            let keys: Vec<Key> = bindings(screen).flat_map(|binding| binding.keys).copied().collect();
            for (index, key) in keys.iter().enumerate() {
                assert!(!keys[..index].contains(key), "{key} is bound twice on {screen:?}");
            }
        }
    }

    #[test]
    fn every_binding_has_a_key_and_a_help_line() {
        for binding in BINDINGS {
            assert!(!binding.keys.is_empty() && !binding.help.is_empty(), "{binding:?}");
        }
    }

    #[test]
    fn no_action_is_bound_twice_on_a_screen() {
        for screen in [Screen::Dashboard, Screen::Help, Screen::Alarms, Screen::Diverged, Screen::ConfirmStop] {
            let actions: Vec<Action> = bindings(screen).map(|binding| binding.action).collect();
            for (index, action) in actions.iter().enumerate() {
                assert!(!actions[..index].contains(action), "{action:?} on {screen:?}");
            }
        }
    }

    #[test]
    fn the_keys_of_a_diverged_run_hide_none_of_the_dashboard() {
        for binding in bindings(Screen::Diverged) {
            let hidden =
                bindings(Screen::Dashboard).any(|other| other.keys.iter().any(|key| binding.keys.contains(key)));
            assert!(!hidden, "{binding:?}");
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
