//! What makes a terminal call for attention: its bell, and a desktop notification where it may know how to show one.

use std::env;

/// Characters; nobody reads more.
const LONGEST: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    /// Inside tmux or screen, which pass on nothing else, and on consoles without notifications.
    Bell,
    /// Bell and `OSC 9`: iTerm2, kitty, WezTerm, Windows Terminal. Others ignore it.
    Osc9,
    /// Bell and `OSC 777`: foot, urxvt, Ghostty.
    Osc777,
}

impl Notification {
    pub fn from_env() -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        let multiplexed = !variable("TMUX").is_empty() || !variable("STY").is_empty();
        Self::of(multiplexed, &variable("TERM"))
    }

    fn of(multiplexed: bool, term: &str) -> Self {
        let begins = |names: &[&str]| names.iter().any(|name| term.starts_with(name));
        if multiplexed || begins(&["linux", "tmux", "screen"]) {
            Self::Bell
        } else if begins(&["foot", "rxvt", "xterm-ghostty"]) {
            Self::Osc777
        } else {
            Self::Osc9
        }
    }

    /// What is written to the terminal.
    pub fn sequence(self, run: &str, text: &str) -> String {
        let [run, text] = [run, text].map(|text| {
            // Nothing that ends the sequence early, or parts its fields.
            let plain = text.chars().map(|char| if char.is_control() || char == ';' { ' ' } else { char });
            plain.take(LONGEST).collect::<String>()
        });
        match self {
            Self::Bell => "\x07".to_owned(),
            Self::Osc9 => format!("\x07\x1b]9;taper {run}: {text}\x07"),
            Self::Osc777 => format!("\x07\x1b]777;notify;taper {run};{text}\x07"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_terminal_gets_the_sequence_it_knows() {
        assert_eq!(Notification::of(true, "xterm-kitty"), Notification::Bell);
        assert_eq!(Notification::of(false, "linux"), Notification::Bell);
        assert_eq!(Notification::of(false, "foot"), Notification::Osc777);
        assert_eq!(Notification::of(false, "xterm-256color"), Notification::Osc9);
    }

    #[test]
    fn a_text_cannot_break_out_of_its_sequence() {
        let text = "bad\x07\x1b]0;title\n";
        assert_eq!(Notification::Bell.sequence("night", text), "\x07");
        assert_eq!(Notification::Osc9.sequence("night", text), "\x07\x1b]9;taper night: bad  ]0 title \x07");
        assert_eq!(Notification::Osc777.sequence("a;b", "c"), "\x07\x1b]777;notify;taper a b;c\x07");
        assert!(Notification::Osc9.sequence("night", &"x".repeat(5000)).len() < 300);
    }
}
