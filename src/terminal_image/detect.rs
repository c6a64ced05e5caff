//! Which way of drawing images a terminal gets, and why.

use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;

use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use super::backend::{ImageBackend, Images, Protocol};
use super::half_blocks::Palette;
use super::mosh::is_under_mosh;
use super::query::{Answer, Asked, Questions, ask};
use super::tmux::Pane;
use super::tmux_watch::TmuxWatch;

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
    /// The colours that the terminal shows.
    pub palette: Palette,
    /// How to get more, for people.
    pub advice: Vec<String>,
    /// Keys that were pressed while the terminal was asked.
    pub typed: Vec<u8>,
    /// Inside tmux: tells when another terminal shows the pane.
    pub tmux: Option<TmuxWatch>,
}

/// Whether the colour of the terminal's background is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    Asked,
    Unasked,
}

/// Finds out how to draw images on the terminal at stdin and stdout, which must be in raw mode, with no other reader.
/// Takes at most half a second for the terminal, and inside tmux a quarter more.
///
/// # Errors
/// The terminal is gone.
pub fn detect(wanted: Images, background: Background) -> io::Result<Detected> {
    choose(
        wanted,
        &Sources {
            has_terminal: has_terminal(),
            background,
            variable: &variable,
            pane: &Pane::ask,
            is_under_mosh: &is_under_mosh,
            ask: &ask,
            viuer_draws: &viuer_draws,
        },
    )
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

/// The same, of a pane of tmux that other terminals show by now. Nothing is asked: tmux has asked them. `None` while tmux has
/// not told of any.
pub fn detect_again(watch: &TmuxWatch) -> Option<Detected> {
    let &TmuxWatch { wanted, tmux_draws_sixel, ref shown, .. } = watch;
    let pane = shown.as_ref()?;
    let palette = Palette::of(&variable, pane.has_rgb());
    let unasked = without_asking(wanted, &variable, palette);
    Some(unasked.unwrap_or_else(|| in_tmux(wanted, palette, tmux_draws_sixel, pane, None, &is_under_mosh)))
}

/// An environment variable that is set to something.
pub fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
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
        Protocol::Placeholders | Protocol::Iterm2PastTmux => false,
        Protocol::Iterm2 => viuer::is_iterm_supported(),
        Protocol::Sixel => viuer::is_sixel_supported(),
    }
}

/// Who tells about the terminal.
struct Sources<'a> {
    has_terminal: bool,
    background: Background,
    variable: &'a dyn Fn(&str) -> Option<String>,
    pane: &'a dyn Fn() -> Result<Pane, String>,
    is_under_mosh: &'a dyn Fn(u32) -> bool,
    ask: &'a dyn Fn(Questions) -> io::Result<Answer>,
    viuer_draws: &'a dyn Fn(Protocol) -> bool,
}

impl Sources<'_> {
    fn is_dumb(&self) -> bool {
        (self.variable)("TERM").is_some_and(|term| term == "dumb")
    }

    /// Asks a terminal that may be asked what is in doubt, and of whom images are wanted.
    fn ask(&self, images: Option<Asked>) -> io::Result<Answer> {
        let is_screen = Multiplexer::of(self.variable) == Some(Multiplexer::Screen);
        let questions = Questions {
            images,
            // screen would ask the terminal again, and give the answer to whatever window is in front.
            background: self.background == Background::Asked && !is_screen,
            encoding: !is_utf8_locale(self.variable),
        };
        let may_ask = self.has_terminal && !self.is_dumb();
        if may_ask && questions.any() { (self.ask)(questions) } else { Ok(Answer::default()) }
    }

    /// What was found without asking for images, and what else the terminal says.
    fn without_images(&self, detected: Detected) -> io::Result<Detected> {
        Ok(detected.with(self.ask(None)?))
    }
}

impl Detected {
    fn new(backend: ImageBackend, palette: Palette, why: impl Into<String>) -> Self {
        Self {
            backend,
            why: why.into(),
            is_second_best: false,
            background: None,
            is_utf8: None,
            palette,
            advice: vec![],
            typed: vec![],
            tmux: None,
        }
    }

    /// By characters, for want of something better.
    fn cells(wanted: Images, palette: Palette, why: impl Into<String>) -> Self {
        let is_second_best = matches!(wanted, Images::Kitty | Images::Iterm | Images::Sixel);
        Self { is_second_best, ..Self::new(ImageBackend::Cells(palette), palette, why) }
    }

    /// With what does not depend on how images are drawn.
    fn with(self, answer: Answer) -> Self {
        let Answer { background, is_utf8, typed, .. } = answer;
        Self { background, is_utf8, typed, ..self }
    }
}

fn choose(wanted: Images, sources: &Sources) -> io::Result<Detected> {
    let multiplexer = Multiplexer::of(sources.variable);
    let pane = (multiplexer == Some(Multiplexer::Tmux)).then(sources.pane);
    let has_rgb = pane.as_ref().and_then(|pane| pane.as_ref().ok()?.has_rgb());
    let palette = Palette::of(&sources.variable, has_rgb);
    let cells = |why: &str| sources.without_images(Detected::cells(wanted, palette, why));
    if let Some(mut detected) = without_asking(wanted, sources.variable, palette) {
        detected.tmux = pane.map(|pane| TmuxWatch::new(wanted, false, pane.ok()));
        return sources.without_images(detected);
    }
    if !sources.has_terminal {
        return cells("there is no terminal to ask");
    }
    if sources.is_dumb() {
        return cells("TERM is dumb");
    }
    match (multiplexer, pane) {
        (Some(Multiplexer::Screen), _) => cells("screen passes no images on"),
        (Some(Multiplexer::TmuxElsewhere), _) => through_tmux_elsewhere(wanted, palette, sources),
        (Some(Multiplexer::Tmux), Some(Ok(pane))) => choose_in_tmux(wanted, palette, pane, sources),
        (Some(Multiplexer::Tmux), Some(Err(why))) => {
            let tmux = Some(TmuxWatch::new(wanted, false, None));
            sources.without_images(Detected { tmux, ..Detected::cells(wanted, palette, why) })
        }
        (Some(Multiplexer::Tmux) | None, _) if (sources.is_under_mosh)(std::process::id()) => cells(MOSH),
        (Some(Multiplexer::Tmux) | None, _) => outside_tmux(wanted, palette, sources),
    }
}

const MOSH: &str = "mosh passes no images on";

/// What does not depend on what the terminal answers.
fn without_asking(wanted: Images, variable: &dyn Fn(&str) -> Option<String>, palette: Palette) -> Option<Detected> {
    match wanted {
        Images::Off => Some(Detected::new(ImageBackend::Nothing, palette, "as asked")),
        Images::Blocks => Some(Detected::new(ImageBackend::Cells(palette), palette, "as asked")),
        Images::Auto if variable("NO_COLOR").is_some() => Some(Detected::cells(wanted, palette, "NO_COLOR is set")),
        Images::Auto | Images::Kitty | Images::Iterm | Images::Sixel => None,
    }
}

fn outside_tmux(wanted: Images, palette: Palette, sources: &Sources) -> io::Result<Detected> {
    let answer = sources.ask(Some(Asked::Terminal))?;
    let Answer { answers, kitty, sixel, .. } = answer;
    let answered = answers > 0;
    // Of the variables that viuer goes by. `KONSOLE_VERSION` reaches whatever terminal is started from Konsole; one that knows
    // these images knows kitty's.
    let names_itself = ["TERM_PROGRAM", "LC_TERMINAL"].iter().any(|name| (sources.variable)(name).is_some());
    let draws = sources.viuer_draws;
    let speaks = |protocol| match protocol {
        Protocol::Kitty => answered && kitty > 0 && draws(protocol),
        Protocol::Placeholders | Protocol::Iterm2PastTmux => false,
        // By its environment: there is no question to ask.
        Protocol::Iterm2 => draws(protocol) && (names_itself || wanted == Images::Iterm),
        Protocol::Sixel => answered && sixel && draws(protocol),
    };
    let candidates: &[Protocol] = match wanted {
        Images::Kitty => &[Protocol::Kitty],
        Images::Iterm => &[Protocol::Iterm2],
        Images::Sixel => &[Protocol::Sixel],
        Images::Auto | Images::Blocks | Images::Off => &[Protocol::Kitty, Protocol::Iterm2, Protocol::Sixel],
    };
    let chosen = candidates.iter().copied().find(|&protocol| speaks(protocol));
    let why = match (chosen, candidates) {
        (Some(Protocol::Iterm2), _) => "by TERM_PROGRAM, LC_TERMINAL or KONSOLE_VERSION".to_owned(),
        (Some(_), _) => "the terminal says that it knows it".to_owned(),
        (None, [Protocol::Iterm2]) => {
            "neither TERM_PROGRAM nor LC_TERMINAL names a terminal that knows it; if yours does: LC_TERMINAL=iTerm2"
                .to_owned()
        }
        (None, _) if !answered => "the terminal does not answer within half a second".to_owned(),
        (None, [only]) => format!("the terminal does not say that it knows {only}"),
        (None, _) => "the terminal knows none of kitty graphics, iTerm2 images and sixel".to_owned(),
    };
    let detected = match chosen {
        Some(protocol) => Detected::new(ImageBackend::Protocol(protocol), palette, why),
        None => Detected::cells(wanted, palette, why),
    };
    Ok(detected.with(answer))
}

fn choose_in_tmux(wanted: Images, palette: Palette, pane: Pane, sources: &Sources) -> io::Result<Detected> {
    // What terminals answer goes to the pane that gets the keys.
    let may_ask = pane.passes_through && pane.is_active && pane.is_visible();
    let asked = if may_ask { Asked::ThroughTmux { clients: pane.clients.len() } } else { Asked::Tmux };
    let answer = sources.ask(Some(asked))?;
    let draws_sixel = answer.sixel && (sources.viuer_draws)(Protocol::Sixel);
    let of_terminals = may_ask.then_some(&answer);
    let detected = in_tmux(wanted, palette, draws_sixel, &pane, of_terminals, sources.is_under_mosh);
    let watch = TmuxWatch::new(wanted, draws_sixel, Some(pane));
    Ok(Detected { tmux: Some(watch), ..detected.with(answer) })
}

/// `answer` is that of the terminals outside, if they were asked; else what tmux has asked them counts.
fn in_tmux(
    wanted: Images,
    palette: Palette,
    tmux_draws_sixel: bool,
    pane: &Pane,
    answer: Option<&Answer>,
    is_under_mosh: &dyn Fn(u32) -> bool,
) -> Detected {
    let clients = &pane.clients;
    let is_shown = !clients.is_empty();
    let has_placeholders = pane.passes_through
        && is_shown
        && match answer {
            Some(answer) => {
                let of_all =
                    answer.kinds.len() >= clients.len() && answer.kinds.iter().all(|kind| has_placeholders(kind));
                answer.kitty >= clients.len() && (of_all || wanted == Images::Kitty)
            }
            None => clients.iter().all(|client| has_placeholders(&client.kind)),
        };
    let has_iterm = match &clients[..] {
        // On several, it would not have one place.
        [client] if pane.passes_through => {
            let kind = answer.map_or(Some(&client.kind), |answer| answer.kinds.first());
            let erases = kind.is_none_or(|kind| !keeps_images(kind));
            kind.is_some_and(|kind| has_iterm(kind)) || (wanted == Images::Iterm && erases)
        }
        _ => false,
    };
    let has_sixel = tmux_draws_sixel && is_shown && clients.iter().all(|client| client.has_sixel);
    let mut advice = vec![];
    if let (Palette::Colours256, Some(client)) = (palette, clients.iter().find(|client| !client.has_rgb)) {
        let term = &client.term;
        advice.push(format!(
            "24-bit colour, if the terminal has it: tmux set -as terminal-features ',{term}:RGB', then attach again"
        ));
    }
    let found = |protocol, why: &str| Detected::new(ImageBackend::Protocol(protocol), palette, why);
    let none = |why: &str| Detected::cells(wanted, palette, why);
    let detected = match wanted {
        Images::Auto | Images::Kitty if has_placeholders => {
            found(Protocol::Placeholders, "tmux passes them on, and the terminal outside knows them")
        }
        Images::Auto | Images::Sixel if has_sixel => found(Protocol::Sixel, "tmux and the terminal outside know it"),
        Images::Auto | Images::Iterm if has_iterm => {
            found(Protocol::Iterm2PastTmux, "tmux passes them on, and the terminal outside knows them")
        }
        Images::Iterm if clients.iter().any(|client| keeps_images(&client.kind)) => {
            none("Konsole would keep images in the panes and windows of tmux that are shown there after them")
        }
        Images::Iterm if clients.len() > 1 => {
            none("several terminals show this pane of tmux, each in a place of its own")
        }
        _ if clients.iter().any(|client| is_under_mosh(client.pid)) => none(MOSH),
        _ if !is_shown => none("no terminal shows this pane of tmux"),
        Images::Sixel if !tmux_draws_sixel => none("this tmux does not draw sixel"),
        Images::Sixel => none("the terminal outside tmux does not say that it knows sixel"),
        _ if !pane.passes_through => {
            advice.insert(
                0,
                "images in kitty, Ghostty, iTerm2, WezTerm and mintty: tmux set -p allow-passthrough on".to_owned(),
            );
            none("tmux keeps images from the terminal")
        }
        _ if answer.is_some_and(|answer| answer.answers <= clients.len()) => {
            none("the terminal outside tmux does not answer within half a second")
        }
        _ => none("the terminal outside tmux knows neither kitty's Unicode placeholders nor iTerm2 images"),
    };
    Detected { advice, ..detected }
}

/// Over SSH from a pane of tmux: whether it is shown, and where, nobody here knows. So only who asks for it is given images.
fn through_tmux_elsewhere(wanted: Images, palette: Palette, sources: &Sources) -> io::Result<Detected> {
    if wanted != Images::Kitty {
        let advice = "images of kitty and Ghostty, with tmux set -p allow-passthrough on: --images kitty".to_owned();
        let detected = Detected::cells(wanted, palette, "tmux, on another host, passes no images on unasked");
        return sources.without_images(Detected { advice: vec![advice], ..detected });
    }
    let answer = sources.ask(Some(Asked::ThroughTmux { clients: 1 }))?;
    let detected = match answer.kitty {
        0 => {
            Detected::cells(wanted, palette, "no terminal outside tmux answers that it knows it; see allow-passthrough")
        }
        _ => {
            let backend = ImageBackend::Protocol(Protocol::Placeholders);
            Detected::new(backend, palette, "tmux passes them on, and the terminal outside knows them")
        }
    };
    Ok(detected.with(answer))
}

/// In the order in which the C library looks. A terminal that is reached from elsewhere may know UTF-8 all the same.
pub fn is_utf8_locale(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| variable(name)).unwrap_or_default();
    ["utf-8", "utf8"].iter().any(|name| locale.to_lowercase().contains(name))
}

/// By what a terminal says of itself. Others draw kitty's images too, but not by placeholders, and do not refuse them either.
fn has_placeholders(kind: &str) -> bool {
    const FIRST_KITTY: (u32, u32) = (0, 28);
    let kitty_version = || {
        let mut parts = kind.strip_prefix("kitty(")?.split(['.', ')']).map_while(|part| part.parse().ok());
        Some((parts.next()?, parts.next()?))
    };
    kind.to_lowercase().starts_with("ghostty") || kitty_version().is_some_and(|version| version >= FIRST_KITTY)
}

/// By what a terminal says of itself: it draws iTerm2's images, and they are gone with the cells under them.
fn has_iterm(kind: &str) -> bool {
    ["iTerm2 ", "WezTerm ", "mintty "].iter().any(|name| kind.starts_with(name))
}

/// It draws iTerm2's images, but leaves them over whatever is written there later.
fn keeps_images(kind: &str) -> bool {
    kind.starts_with("Konsole")
}

/// It would print questions as text, or draw an image outside its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Multiplexer {
    Tmux,
    /// On the host that this one is reached from.
    TmuxElsewhere,
    Screen,
}

impl Multiplexer {
    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let term = variable("TERM").unwrap_or_default();
        // Of one inside the other, both variables are set, and either may call its terminal "screen".
        if variable("STY").is_some() && (variable("TMUX").is_none() || term.starts_with("screen")) {
            Some(Self::Screen)
        } else if variable("TMUX").is_some() {
            Some(Self::Tmux)
        } else if term.starts_with("tmux") {
            Some(Self::TmuxElsewhere)
        } else {
            term.starts_with("screen").then_some(Self::Screen)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::terminal_image::tmux::Client;

    fn answer(answers: usize, kitty: usize, sixel: bool) -> Answer {
        Answer { answers, kitty, sixel, ..Answer::default() }
    }

    fn kitty() -> Answer {
        answer(1, 1, false)
    }

    fn xterm() -> Answer {
        answer(1, 0, true)
    }

    fn plain() -> Answer {
        answer(1, 0, false)
    }

    fn mute() -> Answer {
        answer(0, 0, false)
    }

    const TMUX: (&str, &str) = ("TMUX", "/tmp/tmux-0/default,1,0");

    /// A terminal and what is around it.
    struct Setting<'a> {
        variables: &'a [(&'a str, &'a str)],
        pane: Result<Pane, String>,
        is_under_mosh: bool,
        /// `None`: it must not be asked.
        answer: Option<Answer>,
    }

    impl Setting<'_> {
        fn choose(self, wanted: Images) -> (Detected, Option<Asked>) {
            let known = |name: &str| self.variables.iter().find(|(known, _)| *known == name);
            let variable = |name: &str| known(name).map(|(_, value)| (*value).to_owned());
            let is_iterm = variable("TERM_PROGRAM").is_some_and(|program| program == "iTerm.app");
            let is_konsole = variable("KONSOLE_VERSION").is_some();
            let asked = Cell::new(None);
            let sources = Sources {
                has_terminal: true,
                background: Background::Unasked,
                variable: &variable,
                pane: &|| self.pane.clone(),
                is_under_mosh: &|_| self.is_under_mosh,
                ask: &|questions| {
                    asked.set(questions.images);
                    if questions.images.is_none() {
                        return Ok(Answer::default());
                    }
                    Ok(self.answer.clone().expect("must not be asked"))
                },
                viuer_draws: &|protocol| protocol != Protocol::Iterm2 || is_iterm || is_konsole,
            };
            (choose(wanted, &sources).unwrap(), asked.get())
        }
    }

    fn chosen(wanted: Images, variables: &[(&str, &str)], answer: Option<Answer>) -> Detected {
        let pane = Err("tmux cannot be asked".to_owned());
        Setting { variables, pane, is_under_mosh: false, answer }.choose(wanted).0
    }

    fn client(kind: &str) -> Client {
        Client::new("xterm-kitty", kind)
    }

    fn pane(clients: Vec<Client>) -> Pane {
        Pane { passes_through: true, is_active: true, is_covered: false, clients }
    }

    fn in_pane(wanted: Images, pane: Pane, answer: Answer) -> (Detected, Option<Asked>) {
        Setting { variables: &[TMUX], pane: Ok(pane), is_under_mosh: false, answer: Some(answer) }.choose(wanted)
    }

    fn outside(kinds: &[&str], kitty: usize) -> Answer {
        Answer { kinds: kinds.iter().map(|&kind| kind.to_owned()).collect(), ..answer(1 + kinds.len(), kitty, false) }
    }

    const PLACEHOLDERS: ImageBackend = ImageBackend::Protocol(Protocol::Placeholders);

    #[test]
    fn inside_tmux_placeholders_where_the_terminal_outside_has_them() {
        for (kind, is_chosen) in [
            ("kitty(0.41.1)", true),
            ("kitty(1.0)", true),
            ("ghostty 1.1.3", true),
            ("kitty(0.27.1)", false),
            ("Konsole 24.12.3", false),
        ] {
            let (found, asked) = in_pane(Images::Auto, pane(vec![client(kind)]), outside(&[kind], 1));
            assert_eq!(asked, Some(Asked::ThroughTmux { clients: 1 }));
            assert_eq!(found.backend == PLACEHOLDERS, is_chosen, "{kind}: {found:?}");
            let again = in_tmux(Images::Auto, Palette::Colours256, false, &pane(vec![client(kind)]), None, &|_| false);
            assert_eq!(again.backend, found.backend, "as tmux tells");
        }
        let kind = "kitty(0.41.1)";
        assert_eq!(in_pane(Images::Auto, pane(vec![client(kind)]), outside(&[kind], 0)).0.backend, CELLS, "it refuses");
        let two = pane(vec![client(kind), client("XTerm(379)")]);
        let (found, asked) = in_pane(Images::Auto, two, outside(&[kind, "XTerm(379)"], 1));
        assert_eq!((found.backend, asked), (CELLS, Some(Asked::ThroughTmux { clients: 2 })), "two terminals");
        let unknown = pane(vec![client("")]);
        assert_eq!(in_pane(Images::Kitty, unknown.clone(), outside(&["rio"], 1)).0.backend, PLACEHOLDERS, "as asked");
        let (found, _) = in_pane(Images::Kitty, unknown, answer(1, 0, false));
        assert!(found.is_second_best && found.why.contains("does not answer"), "{found:?}");
    }

    #[test]
    fn inside_tmux_images_past_it_where_they_are_gone_with_their_cells() {
        const PAST: ImageBackend = ImageBackend::Protocol(Protocol::Iterm2PastTmux);
        let alone = |wanted, kind: &str| in_pane(wanted, pane(vec![client(kind)]), outside(&[kind], 1)).0;
        for kind in ["iTerm2 3.5.4", "WezTerm 20240203-110809-5046fc22", "mintty 3.6.1"] {
            assert_eq!(alone(Images::Auto, kind).backend, PAST, "{kind}");
            let two = pane(vec![client(kind), client(kind)]);
            assert_eq!(in_pane(Images::Auto, two, outside(&[kind, kind], 0)).0.backend, CELLS, "two terminals");
            let again = in_tmux(Images::Auto, Palette::Colours256, false, &pane(vec![client(kind)]), None, &|_| false);
            assert_eq!(again.backend, PAST, "as tmux tells");
            let closed = Pane { passes_through: false, ..pane(vec![client(kind)]) };
            assert_eq!(in_pane(Images::Iterm, closed, answer(1, 0, false)).0.backend, CELLS);
        }
        assert_eq!(alone(Images::Auto, "mlterm").backend, CELLS);
        assert_eq!(alone(Images::Iterm, "mlterm").backend, PAST, "as asked");
        let konsole = alone(Images::Iterm, "Konsole 24.12.3");
        assert!(konsole.backend == CELLS && konsole.why.contains("Konsole would keep"), "{konsole:?}");
    }

    const CELLS: ImageBackend = ImageBackend::Cells(Palette::Colours256);

    #[test]
    fn a_pane_that_gets_no_answers_does_not_ask_for_any() {
        let kind = "kitty(0.41.1)";
        let inactive = Pane { is_active: false, ..pane(vec![client(kind)]) };
        let (found, asked) = in_pane(Images::Auto, inactive, answer(1, 0, false));
        assert_eq!((found.backend, asked), (PLACEHOLDERS, Some(Asked::Tmux)));
        let (found, asked) = in_pane(Images::Auto, pane(vec![]), answer(1, 0, false));
        assert_eq!((found.backend, asked), (CELLS, Some(Asked::Tmux)));
        let closed = Pane { passes_through: false, ..pane(vec![client(kind)]) };
        let (found, asked) = in_pane(Images::Auto, closed, answer(1, 0, false));
        assert_eq!((found.backend, asked), (CELLS, Some(Asked::Tmux)));
        assert_eq!(
            found.advice[0],
            "images in kitty, Ghostty, iTerm2, WezTerm and mintty: tmux set -p allow-passthrough on"
        );
    }

    #[test]
    fn inside_tmux_sixel_where_both_draw_it() {
        let with_sixel = |has_sixel| pane(vec![Client { has_sixel, ..client("XTerm(379)") }]);
        let of_tmux = |sixel| Answer { sixel, ..outside(&["XTerm(379)"], 0) };
        let backend = |pane, answer| in_pane(Images::Auto, pane, answer).0.backend;
        assert_eq!(backend(with_sixel(true), of_tmux(true)), ImageBackend::Protocol(Protocol::Sixel));
        assert_eq!(backend(with_sixel(false), of_tmux(true)), CELLS);
        assert_eq!(backend(with_sixel(true), of_tmux(false)), CELLS);
    }

    #[test]
    fn inside_tmux_colours_are_those_of_its_terminals() {
        let rgb = |has_rgb| pane(vec![Client { has_rgb, ..client("XTerm(379)") }]);
        let (found, _) = in_pane(Images::Blocks, rgb(true), plain());
        assert_eq!((found.backend, found.advice.len()), (ImageBackend::Cells(Palette::TrueColour), 0));
        let (found, _) = in_pane(Images::Auto, rgb(false), outside(&["XTerm(379)"], 0));
        assert_eq!(found.palette, Palette::Colours256);
        assert!(found.advice[0].contains("tmux set -as terminal-features ',xterm-kitty:RGB'"), "{found:?}");
    }

    #[test]
    fn mosh_is_named() {
        let under_mosh = |variables, pane| Setting { variables, pane, is_under_mosh: true, answer: Some(plain()) };
        let (found, _) = under_mosh(&[], Err(String::new())).choose(Images::Auto);
        assert_eq!((found.backend, found.why.as_str()), (CELLS, MOSH));
        let (found, _) = under_mosh(&[TMUX], Ok(pane(vec![client("")]))).choose(Images::Auto);
        assert_eq!((found.backend, found.why.as_str()), (CELLS, MOSH));
    }

    #[test]
    fn over_ssh_from_tmux_only_who_asks_for_it_is_given_images() {
        let variables = &[("TERM", "tmux-256color")];
        let found = chosen(Images::Auto, variables, None);
        assert!(found.backend == CELLS && found.advice[0].ends_with("--images kitty"), "{found:?}");
        assert_eq!(chosen(Images::Kitty, variables, Some(outside(&["kitty(0.41.1)"], 1))).backend, PLACEHOLDERS);
        let found = chosen(Images::Kitty, variables, Some(mute()));
        assert!(found.backend == CELLS && found.is_second_best);
    }

    fn questions(background: Background, variables: &[(&str, &str)]) -> Questions {
        let known = |name: &str| variables.iter().find(|(known, _)| *known == name);
        let asked = Cell::new(Questions::default());
        let sources = Sources {
            has_terminal: true,
            background,
            variable: &|name| known(name).map(|(_, value)| (*value).to_owned()),
            pane: &|| Err("tmux cannot be asked".to_owned()),
            is_under_mosh: &|_| false,
            ask: &|questions| {
                asked.set(questions);
                Ok(mute())
            },
            viuer_draws: &|_| false,
        };
        choose(Images::Auto, &sources).unwrap();
        asked.get()
    }

    #[test]
    fn only_what_is_in_doubt_is_asked() {
        const UTF8: (&str, &str) = ("LANG", "C.UTF-8");
        let all = Questions { images: Some(Asked::Terminal), background: true, encoding: true };
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
        let answer = Answer { background: Some([255; 3]), is_utf8: Some(false), ..plain() };
        let found = chosen(Images::Auto, &[], Some(answer.clone()));
        assert_eq!((found.background, found.is_utf8), (Some([255; 3]), Some(false)));
        let (found, _) = in_pane(Images::Auto, pane(vec![client("kitty(0.41.1)")]), answer);
        assert_eq!((found.background, found.is_utf8), (Some([255; 3]), Some(false)), "inside tmux too");
    }

    #[test]
    fn the_best_that_the_terminal_says_it_knows() {
        let backend = |answer, variables: &[(&str, &str)]| chosen(Images::Auto, variables, Some(answer)).backend;
        assert_eq!(backend(kitty(), &[]), ImageBackend::Protocol(Protocol::Kitty));
        assert_eq!(backend(xterm(), &[]), ImageBackend::Protocol(Protocol::Sixel));
        assert_eq!(backend(xterm(), &[("TERM_PROGRAM", "iTerm.app")]), ImageBackend::Protocol(Protocol::Iterm2));
        assert_eq!(backend(plain(), &[("COLORTERM", "truecolor")]), ImageBackend::Cells(Palette::TrueColour));
        assert_eq!(backend(mute(), &[]), CELLS);
    }

    #[test]
    fn a_terminal_started_from_konsole_is_not_konsole() {
        let from_konsole = &[("KONSOLE_VERSION", "221203")];
        let backend = |wanted, answer| chosen(wanted, from_konsole, Some(answer)).backend;
        assert_eq!(backend(Images::Auto, xterm()), ImageBackend::Protocol(Protocol::Sixel));
        assert_eq!(backend(Images::Auto, plain()), CELLS);
        assert_eq!(backend(Images::Auto, kitty()), ImageBackend::Protocol(Protocol::Kitty), "Konsole itself");
        assert_eq!(backend(Images::Iterm, kitty()), ImageBackend::Protocol(Protocol::Iterm2));
    }

    #[test]
    fn screen_and_plain_terminals_are_not_asked() {
        const SCREEN: &str = "screen passes no images on";
        let cases: [(&[_], &str); 5] = [
            (&[("STY", "1.pts")], SCREEN),
            (&[("TERM", "screen-256color")], SCREEN),
            (&[("STY", "1.pts"), TMUX, ("TERM", "screen")], SCREEN),
            (&[("STY", "1.pts"), TMUX, ("TERM", "tmux-256color")], "tmux cannot be asked"),
            (&[TMUX], "tmux cannot be asked"),
        ];
        for (variables, why) in cases {
            for wanted in [Images::Auto, Images::Kitty] {
                let found = chosen(wanted, variables, None);
                assert_eq!((found.backend, found.why.as_str()), (CELLS, why), "{variables:?}");
                assert_eq!(found.is_second_best, wanted == Images::Kitty);
            }
        }
        assert_eq!(chosen(Images::Auto, &[("NO_COLOR", "1")], None).backend, ImageBackend::Cells(Palette::Shades));
        assert_eq!(chosen(Images::Auto, &[("TERM", "dumb")], None).backend, ImageBackend::Cells(Palette::Shades));
        assert_eq!(chosen(Images::Blocks, &[], None).backend, CELLS);
        assert_eq!(chosen(Images::Off, &[], None).backend, ImageBackend::Nothing);
    }

    #[test]
    fn a_missing_protocol_is_reported() {
        let found = chosen(Images::Sixel, &[], Some(kitty()));
        assert_eq!((found.backend, found.is_second_best), (CELLS, true));
        assert_eq!(found.why, "the terminal does not say that it knows sixel");
        let found = chosen(Images::Kitty, &[], Some(mute()));
        assert!(found.is_second_best && found.why.contains("does not answer"), "{found:?}");
        assert!(chosen(Images::Iterm, &[], Some(kitty())).why.contains("LC_TERMINAL=iTerm2"));
        assert!(!chosen(Images::Kitty, &[], Some(kitty())).is_second_best);
    }
}
