//! The keys of the list of runs.

use ratatui::crossterm::event::KeyCode as K;

use crate::tui::key_table::{self, KeyBinding};
use crate::tui::keys::Key;
use crate::tui::layout::Direction;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Open,
    Mark,
    Compare,
    /// Begin to type a filter.
    Filter,
    /// Take away the filter, or else the marks.
    Clear,
    NextSort,
    ReverseSort,
    Move(Direction),
    Help,
    Leave,
    Suspend,
}

/// In the order of the footer and of the help.
pub const BINDINGS: &[KeyBinding<Action>] = {
    use Action::{Clear, Compare, Filter, Help, Leave, Mark, Move, NextSort, Open, ReverseSort, Suspend};
    use Direction::{Down, Latest, PageDown, PageUp, Start, Up};
    const fn binding(
        keys: &'static [Key],
        action: Action,
        label: &'static str,
        help: &'static str,
    ) -> KeyBinding<Action> {
        KeyBinding { keys, action, label, help }
    }
    &[
        binding(&[Key::plain(K::Enter)], Open, "open", "open the run; there R comes back, < and > go to another"),
        binding(&[Key::char(' ')], Mark, "mark", "mark the run, or take its mark away"),
        binding(&[Key::char('c')], Compare, "compare", "compare the marked runs"),
        binding(&[Key::char('/')], Filter, "filter", "type a part of name, phase, model, device or data, or live"),
        binding(&[Key::plain(K::Esc)], Clear, "", "take away the filter, then the marks"),
        binding(&[Key::char('o')], NextSort, "sort", "sort by another column"),
        binding(&[Key::char('O')], ReverseSort, "", "reverse the order"),
        binding(&[Key::plain(K::Up), Key::char('k')], Move(Up), "", "move"),
        binding(&[Key::plain(K::Down), Key::char('j')], Move(Down), "", ""),
        binding(&[Key::plain(K::PageUp)], Move(PageUp), "", "a page, or to the first or last"),
        binding(&[Key::plain(K::PageDown)], Move(PageDown), "", ""),
        binding(&[Key::plain(K::Home), Key::char('g')], Move(Start), "", ""),
        binding(&[Key::plain(K::End), Key::char('G')], Move(Latest), "", ""),
        binding(&[Key::ctrl('z')], Suspend, "", "put taper in the background; fg brings it back"),
        binding(&[Key::char('?')], Help, "help", "this help"),
        binding(&[Key::char('q'), Key::ctrl('c')], Leave, "leave", "leave; every training goes on"),
    ]
};

/// The keys, and what they do.
pub fn help() -> Vec<(String, &'static str)> {
    let mut help = key_table::help(BINDINGS);
    help.push(("taper train".into(), "in the shell, starts a new run; taper runs lists them as text"));
    help
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::key_table::assert_keys_are_unique;

    #[test]
    fn no_key_has_two_meanings() {
        assert_keys_are_unique(BINDINGS);
    }
}
