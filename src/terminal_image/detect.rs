//! Which way of drawing images a terminal gets, and why; and what else it says when it is asked.

use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;

use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use super::backend::{ImageBackend, Images, Protocol};
use super::half_blocks::Palette;
use super::query::{Answer, Questions, ask};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    pub backend: ImageBackend,
    /// For people.
    pub why: String,
    /// What was asked for is not available, which people must be told.
    pub is_second_best: bool,
    /// Of the terminal, red, green, blue: where it was asked and answered.
    pub background: Option<[u8; 3]>,
    /// Whether it takes bytes for UTF-8: where the locale leaves that in doubt, and it answered.
    pub is_utf8: Option<bool>,
    /// Keys that were pressed while the terminal was asked.
    pub typed: Vec<u8>,
}

/// Whether the colour of the terminal's background is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    Asked,
    Unasked,
}

/// Finds out how to draw images on the terminal at stdin and stdout, which must be in raw mode, with no other reader.
/// Takes at most half a second.
///
/// # Errors
/// The terminal is gone.
pub fn detect(wanted: Images, background: Background) -> io::Result<Detected> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    choose(wanted, background, has_terminal(), &variable, ask, viuer_draws)
}

/// The same, of a terminal that is not in raw mode.
///
/// # Errors
/// The terminal is gone, or does not take another mode.
pub fn detect_in_shell(wanted: Images, background: Background) -> io::Result<Detected> {
    if !has_terminal() {
        return detect(wanted, background);
    }
    enable_raw_mode()?;
    let detected = detect(wanted, background);
    disable_raw_mode()?;
    detected
}

fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// viuer decides with its first question, which it would otherwise ask with the first image.
fn viuer_draws(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Kitty => {
            // With files that both can read, viuer would wait for a reply to each image. Without a place for them it takes
            // the terminal for a remote one, and waits for nothing.
            let nowhere = Path::new("/dev/null/no-temporary-files-for-viuer");
            let is_set = tempfile::env::override_temp_dir(nowhere).map_or_else(|set| set == nowhere, |()| true);
            is_set && viuer::get_kitty_support() == viuer::KittySupport::Remote
        }
        Protocol::Iterm2 => viuer::is_iterm_supported(),
        Protocol::Sixel => viuer::is_sixel_supported(),
    }
}

fn choose(
    wanted: Images,
    background: Background,
    has_terminal: bool,
    variable: &impl Fn(&str) -> Option<String>,
    ask: impl FnOnce(Questions) -> io::Result<Answer>,
    viuer_draws: impl Fn(Protocol) -> bool,
) -> io::Result<Detected> {
    let unasked = without_asking(wanted, has_terminal, variable);
    let is_dumb = variable("TERM").is_some_and(|term| term == "dumb");
    let questions = Questions {
        images: unasked.is_none(),
        // screen would ask the terminal again, and give the answer to whatever window is in front.
        background: background == Background::Asked && multiplexer(variable) != Some("screen"),
        encoding: !is_utf8_locale(variable),
    };
    let answer = if has_terminal && !is_dumb && questions.any() { ask(questions)? } else { Answer::default() };
    let choice = unasked.unwrap_or_else(|| by_answer(wanted, variable, &answer, viuer_draws));
    Ok(Detected {
        backend: choice.backend,
        why: choice.why,
        is_second_best: choice.is_second_best,
        background: answer.background,
        is_utf8: answer.is_utf8,
        typed: answer.typed,
    })
}

/// How images are drawn, and why.
struct Choice {
    backend: ImageBackend,
    why: String,
    is_second_best: bool,
}

/// `None` where the terminal's answer decides.
fn without_asking(wanted: Images, has_terminal: bool, variable: &impl Fn(&str) -> Option<String>) -> Option<Choice> {
    let cells = ImageBackend::Cells(Palette::of(variable));
    let is_second_best = matches!(wanted, Images::Kitty | Images::Iterm | Images::Sixel);
    let found = |backend, why: &str, is_second_best| Some(Choice { backend, why: why.to_owned(), is_second_best });
    match wanted {
        Images::Off => return found(ImageBackend::Nothing, "as asked", false),
        Images::Blocks => return found(cells, "as asked", false),
        Images::Auto if variable("NO_COLOR").is_some() => return found(cells, "NO_COLOR is set", false),
        Images::Auto | Images::Kitty | Images::Iterm | Images::Sixel => {}
    }
    if !has_terminal {
        return found(cells, "there is no terminal to ask", is_second_best);
    }
    if let Some(multiplexer) = multiplexer(variable) {
        return found(cells, &format!("{multiplexer} passes no images on"), is_second_best);
    }
    if variable("TERM").is_some_and(|term| term == "dumb") {
        return found(cells, "TERM is dumb", is_second_best);
    }
    None
}

fn by_answer(
    wanted: Images,
    variable: &impl Fn(&str) -> Option<String>,
    answer: &Answer,
    viuer_draws: impl Fn(Protocol) -> bool,
) -> Choice {
    let &Answer { answered, kitty, sixel, .. } = answer;
    // Of the variables that viuer goes by. `KONSOLE_VERSION` reaches whatever terminal is started from Konsole; one that knows
    // these images knows kitty's.
    let names_itself = ["TERM_PROGRAM", "LC_TERMINAL"].iter().any(|name| variable(name).is_some());
    let speaks = |protocol| match protocol {
        Protocol::Kitty => answered && kitty && viuer_draws(protocol),
        // By its environment: there is no question to ask.
        Protocol::Iterm2 => viuer_draws(protocol) && (names_itself || wanted == Images::Iterm),
        Protocol::Sixel => answered && sixel && viuer_draws(protocol),
    };
    let candidates: &[Protocol] = match wanted {
        Images::Kitty => &[Protocol::Kitty],
        Images::Iterm => &[Protocol::Iterm2],
        Images::Sixel => &[Protocol::Sixel],
        Images::Auto | Images::Blocks | Images::Off => &[Protocol::Kitty, Protocol::Iterm2, Protocol::Sixel],
    };
    let chosen = candidates.iter().copied().find(|&protocol| speaks(protocol));
    let why = match (chosen, candidates) {
        (Some(Protocol::Kitty | Protocol::Sixel), _) => "the terminal says that it knows it".to_owned(),
        (Some(Protocol::Iterm2), _) => "by TERM_PROGRAM, LC_TERMINAL or KONSOLE_VERSION".to_owned(),
        (None, [Protocol::Iterm2]) => {
            "neither TERM_PROGRAM nor LC_TERMINAL names a terminal that knows it; if yours does: LC_TERMINAL=iTerm2"
                .to_owned()
        }
        (None, _) if !answered => "the terminal does not answer within half a second".to_owned(),
        (None, [only]) => format!("the terminal does not say that it knows {only}"),
        (None, _) => "the terminal knows none of kitty graphics, iTerm2 images and sixel".to_owned(),
    };
    let is_second_best = matches!(wanted, Images::Kitty | Images::Iterm | Images::Sixel) && chosen.is_none();
    let cells = ImageBackend::Cells(Palette::of(variable));
    Choice { backend: chosen.map_or(cells, ImageBackend::Protocol), why, is_second_best }
}

/// In the order in which the C library looks. A terminal that is reached from elsewhere may know UTF-8 all the same.
pub fn is_utf8_locale(variable: &impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| variable(name)).unwrap_or_default();
    ["utf-8", "utf8"].iter().any(|name| locale.to_lowercase().contains(name))
}

/// A terminal multiplexer: it would print the question as text, or draw the image outside its window.
fn multiplexer(variable: &impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    let term = variable("TERM").unwrap_or_default();
    if variable("TMUX").is_some() || term.starts_with("tmux") {
        Some("tmux")
    } else if variable("STY").is_some() || term.starts_with("screen") {
        Some("screen")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KITTY: Answer = answer(true, true, false);
    const XTERM: Answer = answer(true, false, true);
    const PLAIN: Answer = answer(true, false, false);
    const MUTE: Answer = answer(false, false, false);

    const fn answer(answered: bool, kitty: bool, sixel: bool) -> Answer {
        Answer { answered, kitty, sixel, background: None, is_utf8: None, typed: vec![] }
    }

    fn chosen(wanted: Images, variables: &[(&str, &str)], answer: Option<Answer>) -> Detected {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let is_iterm = variable("TERM_PROGRAM").is_some_and(|program| program == "iTerm.app");
        let is_konsole = variable("KONSOLE_VERSION").is_some();
        let draws = |protocol| protocol != Protocol::Iterm2 || is_iterm || is_konsole;
        let ask = |questions: Questions| Ok(answer.filter(|_| questions.images).unwrap_or_default());
        choose(wanted, Background::Unasked, true, &variable, ask, draws).unwrap()
    }

    fn questions(background: Background, variables: &[(&str, &str)]) -> Questions {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let asked = std::cell::Cell::new(Questions::default());
        let ask = |questions| {
            asked.set(questions);
            Ok(MUTE)
        };
        choose(Images::Auto, background, true, &variable, ask, |_| false).unwrap();
        asked.get()
    }

    #[test]
    fn only_what_is_in_doubt_is_asked() {
        const UTF8: (&str, &str) = ("LANG", "C.UTF-8");
        let all = Questions { images: true, background: true, encoding: true };
        assert_eq!(questions(Background::Asked, &[]), all);
        assert_eq!(questions(Background::Asked, &[UTF8]), Questions { encoding: false, ..all });
        assert_eq!(questions(Background::Asked, &[UTF8, ("LC_ALL", "C")]), all, "the first that is set counts");
        let inside = |name| questions(Background::Asked, &[UTF8, (name, "1")]);
        assert_eq!(inside("TMUX"), Questions { background: true, ..Questions::default() });
        assert_eq!(inside("STY"), Questions::default());
        assert_eq!(questions(Background::Unasked, &[UTF8, ("NO_COLOR", "1")]), Questions::default());
        assert_eq!(questions(Background::Asked, &[("TERM", "dumb")]), Questions::default());
    }

    #[test]
    fn what_a_terminal_says_of_itself_is_told() {
        let answer = Answer { background: Some([255; 3]), is_utf8: Some(false), ..PLAIN };
        let found = chosen(Images::Auto, &[], Some(answer));
        assert_eq!((found.background, found.is_utf8), (Some([255; 3]), Some(false)));
    }

    #[test]
    fn the_best_that_the_terminal_says_it_knows() {
        let backend = |answer, variables: &[(&str, &str)]| chosen(Images::Auto, variables, Some(answer)).backend;
        assert_eq!(backend(KITTY, &[]), ImageBackend::Protocol(Protocol::Kitty));
        assert_eq!(backend(XTERM, &[]), ImageBackend::Protocol(Protocol::Sixel));
        assert_eq!(backend(XTERM, &[("TERM_PROGRAM", "iTerm.app")]), ImageBackend::Protocol(Protocol::Iterm2));
        assert_eq!(backend(PLAIN, &[("COLORTERM", "truecolor")]), ImageBackend::Cells(Palette::TrueColour));
        assert_eq!(backend(MUTE, &[]), ImageBackend::Cells(Palette::Colours256));
    }

    #[test]
    fn a_terminal_started_from_konsole_is_not_konsole() {
        let from_konsole = &[("KONSOLE_VERSION", "221203")];
        let backend = |wanted, answer| chosen(wanted, from_konsole, Some(answer)).backend;
        assert_eq!(backend(Images::Auto, XTERM), ImageBackend::Protocol(Protocol::Sixel));
        assert_eq!(backend(Images::Auto, PLAIN), ImageBackend::Cells(Palette::Colours256));
        assert_eq!(backend(Images::Auto, KITTY), ImageBackend::Protocol(Protocol::Kitty), "Konsole itself");
        assert_eq!(backend(Images::Iterm, KITTY), ImageBackend::Protocol(Protocol::Iterm2));
    }

    #[test]
    fn multiplexers_and_plain_terminals_are_not_asked() {
        for variables in [
            [("TMUX", "/tmp/tmux-0/default,1,0")],
            [("STY", "1.pts")],
            [("TERM", "screen-256color")],
            [("TERM", "tmux-256color")],
        ] {
            for wanted in [Images::Auto, Images::Kitty] {
                let found = chosen(wanted, &variables, None);
                assert_eq!(found.backend, ImageBackend::Cells(Palette::Colours256), "{variables:?}");
                assert_eq!(found.is_second_best, wanted == Images::Kitty);
                assert!(found.why.ends_with("passes no images on"), "{}", found.why);
            }
        }
        assert_eq!(chosen(Images::Auto, &[("NO_COLOR", "1")], None).backend, ImageBackend::Cells(Palette::Shades));
        assert_eq!(chosen(Images::Auto, &[("TERM", "dumb")], None).backend, ImageBackend::Cells(Palette::Shades));
        assert_eq!(chosen(Images::Blocks, &[], None).backend, ImageBackend::Cells(Palette::Colours256));
        assert_eq!(chosen(Images::Off, &[], None).backend, ImageBackend::Nothing);
    }

    #[test]
    fn a_missing_protocol_is_reported() {
        let found = chosen(Images::Sixel, &[], Some(KITTY));
        assert_eq!((found.backend, found.is_second_best), (ImageBackend::Cells(Palette::Colours256), true));
        assert_eq!(found.why, "the terminal does not say that it knows sixel");
        let found = chosen(Images::Kitty, &[], Some(MUTE));
        assert!(found.is_second_best && found.why.contains("does not answer"), "{found:?}");
        assert!(chosen(Images::Iterm, &[], Some(KITTY)).why.contains("LC_TERMINAL=iTerm2"));
        assert!(!chosen(Images::Kitty, &[], Some(KITTY)).is_second_best);
    }
}
