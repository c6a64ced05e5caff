//! What the terminal at stdin and stdout is good for, by its environment.

use std::env;
use std::io::{self, IsTerminal};

/// What there is to show a run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminalKind {
    /// A terminal with a cursor that can be placed, and a keyboard: for a dashboard.
    Screen,
    /// A terminal that shows lines, and no more.
    Lines(NoCursor),
    /// A pipe, a file or nothing at one side at least.
    None,
}

/// Why a terminal's cursor cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCursor {
    #[error("TERM is not set")]
    Unset,
    /// The terminal's type is that of no real one.
    #[error("TERM={0}")]
    Named(String),
}

/// Of terminfo's types those without addressing of the cursor, and Emacs's shell, which is also called `emacs`.
const WITHOUT_CURSOR: [&str; 6] = ["dumb", "unknown", "emacs", "network", "dialup", "switch"];

impl TerminalKind {
    pub fn detect() -> Self {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Self::None;
        }
        no_cursor().map_or(Self::Screen, Self::Lines)
    }
}

/// Why nothing can be drawn on a terminal here, be it at stdout or stderr; `None`: it can.
pub fn no_cursor() -> Option<NoCursor> {
    of(env::var("TERM").ok())
}

fn of(term: Option<String>) -> Option<NoCursor> {
    match term.filter(|term| !term.is_empty()) {
        None => Some(NoCursor::Unset),
        Some(term) if WITHOUT_CURSOR.contains(&term.as_str()) => Some(NoCursor::Named(term)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_none_has_no_cursor() {
        let told = |term: Option<&str>| of(term.map(str::to_owned)).map(|why| why.to_string());
        assert_eq!(told(Some("dumb")).as_deref(), Some("TERM=dumb"));
        assert_eq!(told(Some("unknown")).as_deref(), Some("TERM=unknown"));
        assert_eq!([told(None), told(Some(""))], [Some("TERM is not set".into()), Some("TERM is not set".into())]);
        assert_eq!(
            ["xterm", "screen", "tmux-256color", "vt220", "linux"].map(|term| told(Some(term))),
            [const { None }; 5]
        );
    }
}
