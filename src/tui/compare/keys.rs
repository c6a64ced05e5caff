//! The keys of the comparison: those of the page of a chart, and a few of its own.

use ratatui::crossterm::event::KeyCode as K;

use crate::tui::key_table::KeyBinding;
use crate::tui::keys::Key;

/// A signed number goes back where it is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// By that many metrics.
    Metric(isize),
    Axis,
    Smoothing,
    Scale,
    /// Closer.
    Zoom(i32),
    /// By columns.
    Cursor(i32),
    Page(i32),
    Start,
    Follow,
    Whole,
    /// By that many runs.
    Choose(isize),
    /// By that many columns of the table.
    Columns(isize),
    Open,
    Back,
    Help,
    Leave,
    Suspend,
}

/// In the order of the footer and of the help.
pub const BINDINGS: &[KeyBinding<Action>] = {
    use Action::{
        Axis, Back, Choose, Columns, Cursor, Follow, Help, Leave, Metric, Open, Page, Scale, Smoothing, Start, Suspend,
        Whole, Zoom,
    };
    const fn binding(
        keys: &'static [Key],
        action: Action,
        label: &'static str,
        help: &'static str,
    ) -> KeyBinding<Action> {
        KeyBinding { keys, action, label, help }
    }
    &[
        binding(&[Key::char('m'), Key::plain(K::Tab)], Metric(1), "metric", "another metric, forward or back"),
        binding(&[Key::char('M'), Key::plain(K::BackTab)], Metric(-1), "", ""),
        binding(&[Key::char('x')], Axis, "axis", "by epoch, by step, or by time spent on the run"),
        binding(&[Key::char('w')], Smoothing, "smooth", "smoothing: off, or the weight of the past"),
        binding(&[Key::char('l')], Scale, "log", "logarithmic scale, or linear"),
        binding(&[Key::plain(K::Up)], Zoom(1), "", "zoom in, or out; at the cursor if there is one"),
        binding(&[Key::plain(K::Down)], Zoom(-1), "↑ zoom", ""),
        binding(
            &[Key::plain(K::Left)],
            Cursor(-1),
            "→ read off",
            "read off the value of every run, to the left or right",
        ),
        binding(&[Key::plain(K::Right)], Cursor(1), "", ""),
        binding(
            &[Key::plain(K::PageUp)],
            Page(-1),
            "",
            "half a screen back or forth, to the start, or follow the newest",
        ),
        binding(&[Key::plain(K::PageDown)], Page(1), "", ""),
        binding(&[Key::plain(K::Home)], Start, "", ""),
        binding(&[Key::plain(K::End), Key::char('f')], Follow, "", ""),
        binding(&[Key::char('0')], Whole, "", "everything, from the beginning to the newest"),
        binding(&[Key::char('j')], Choose(1), "k run", "choose a run: its curve lies over the others"),
        binding(&[Key::char('k')], Choose(-1), "", ""),
        binding(&[Key::char(']')], Columns(1), "", "other columns of the table"),
        binding(&[Key::char('[')], Columns(-1), "", ""),
        binding(&[Key::plain(K::Enter)], Open, "open", "open the dashboard of the run"),
        binding(&[Key::plain(K::Esc), Key::char('R')], Back, "runs", "the list of runs"),
        binding(&[Key::ctrl('z')], Suspend, "", "put taper in the background; fg brings it back"),
        binding(&[Key::char('?')], Help, "help", "this help"),
        binding(&[Key::char('q'), Key::ctrl('c')], Leave, "leave", "leave; every training goes on"),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::key_table::assert_keys_are_unique;

    #[test]
    fn no_key_has_two_meanings() {
        assert_keys_are_unique(BINDINGS);
    }
}
