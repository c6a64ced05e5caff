//! What a terminal answers when it is asked what images it can draw, which background and encoding it has, and how large its
//! characters are.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use ratatui::crossterm::terminal::window_size;
use ratatui::layout::Size;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::tmux;

/// Enough for slow links; a terminal that never answers costs it once.
const LIMIT: Duration = Duration::from_millis(500);

/// Asks without drawing: "could you show this pixel?" The number identifies the answer.
const KITTY_QUERY: &[u8] = b"\x1b_Gi=4211,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\";
/// The same by placeholders, to which a kitty that does not know them does not answer.
const PLACEHOLDERS_QUERY: &[u8] = b"\x1b_Gi=4211,s=1,v=1,a=q,t=d,f=24,U=1;AAAA\x1b\\";
const KITTY_OK: &[u8] = b"Gi=4211;OK";
/// OSC 11: the colour of the background.
const BACKGROUND_QUERY: &[u8] = b"\x1b]11;?\x1b\\";
const BACKGROUND_REPLY: &[u8] = b"\x1b]11;";
/// Where the cursor is behind a character of two bytes, which is then erased: in the third column, where a terminal takes each
/// byte for a character.
const ENCODING_QUERY: &[u8] = b"\r\xc3\xa9\x1b[6n\r\x1b[K";
/// Name and version.
const VERSION_QUERY: &[u8] = b"\x1b[>q";
/// Primary device attributes: every terminal knows it, so its answer ends the wait.
const ATTRIBUTES_QUERY: &[u8] = b"\x1b[c";
const SIXEL_ATTRIBUTE: &str = "4";

/// Who is asked what images it can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Terminal,
    /// tmux, of itself.
    Tmux,
    /// tmux, and past it so many terminals outside.
    ThroughTmux {
        clients: usize,
    },
}

/// What a terminal is asked, all at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// Of whom images are asked.
    pub images: Option<Asked>,
    pub background: bool,
    pub encoding: bool,
}

impl Questions {
    pub fn any(self) -> bool {
        self.images.is_some() || self.background || self.encoding
    }

    /// They end with what every terminal answers.
    fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![];
        if self.encoding {
            bytes.extend_from_slice(ENCODING_QUERY);
        }
        if self.background {
            bytes.extend_from_slice(BACKGROUND_QUERY);
        }
        if self.images == Some(Asked::Terminal) {
            bytes.extend_from_slice(KITTY_QUERY);
        }
        bytes.extend_from_slice(ATTRIBUTES_QUERY);
        if let Some(Asked::ThroughTmux { .. }) = self.images {
            bytes.extend(tmux::through(&[PLACEHOLDERS_QUERY, VERSION_QUERY, ATTRIBUTES_QUERY].concat()));
        }
        bytes
    }

    /// How many answer.
    fn asked(self) -> usize {
        match self.images {
            Some(Asked::ThroughTmux { clients }) => 1 + clients,
            Some(Asked::Terminal | Asked::Tmux) | None => 1,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// By how many, within the limit and completely.
    pub answers: usize,
    /// How many know kitty's graphics; through tmux, those with placeholders.
    pub kitty: usize,
    /// That which answers first, and is not outside, knows sixel.
    pub sixel: bool,
    /// Names and versions of the terminals.
    pub kinds: Vec<String>,
    /// Red, green, blue.
    pub background: Option<[u8; 3]>,
    /// Whether bytes beyond ASCII are taken for UTF-8.
    pub is_utf8: Option<bool>,
    /// Keys that were pressed meanwhile.
    pub typed: Vec<u8>,
}

/// The size of a character in pixels, where the terminal tells.
pub fn cell_size() -> Option<Size> {
    let window = window_size().ok()?;
    let cell = Size::new(window.width.checked_div(window.columns)?, window.height.checked_div(window.rows)?);
    (cell.width > 0 && cell.height > 0).then_some(cell)
}

/// Asks at stdin and stdout, a terminal which must be in raw mode, with no other reader.
///
/// # Errors
/// The terminal is gone.
pub fn ask(questions: Questions) -> io::Result<Answer> {
    let mut out = io::stdout().lock();
    out.write_all(&questions.bytes())?;
    out.flush()?;
    let (deadline, mut received) = (Instant::now() + LIMIT, vec![]);
    let stdin = rustix::stdio::stdin();
    loop {
        let answer = parse(&received);
        let left = deadline.saturating_duration_since(Instant::now());
        if answer.answers >= questions.asked() || left.is_zero() {
            return Ok(answer);
        }
        let limit = Timespec { tv_sec: 0, tv_nsec: left.as_nanos() as _ };
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&limit)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 256];
        // Past the buffer of `std::io::Stdin`, which would keep bytes from the key reader.
        match rustix::io::read(stdin, &mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => received.extend_from_slice(&bytes[..count]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Answers may stand between keys, in any order; an incomplete one is left out.
fn parse(received: &[u8]) -> Answer {
    let mut answer = Answer::default();
    let mut rest = received;
    while let Some((&first, after)) = rest.split_first() {
        if let Some(body) = rest.strip_prefix(b"\x1b_") {
            let Some(end) = find(body, b"\x1b\\") else { return answer };
            answer.kitty += usize::from(&body[..end] == KITTY_OK);
            rest = &body[end + 2..];
        } else if let Some(body) = rest.strip_prefix(b"\x1bP") {
            let Some(end) = find(body, b"\x1b\\") else { return answer };
            answer.kinds.extend(body[..end].strip_prefix(b">|").map(|kind| String::from_utf8_lossy(kind).into_owned()));
            rest = &body[end + 2..];
        } else if let Some(body) = rest.strip_prefix(BACKGROUND_REPLY) {
            let Some((end, length)) = string_end(body) else { return answer };
            answer.background = colour(&body[..end]);
            rest = &body[end + length..];
        } else if let Some((column, after)) = cursor_column(rest) {
            answer.is_utf8 = Some(column == 2);
            rest = after;
        } else if let Some(body) = rest.strip_prefix(b"\x1b[?") {
            let Some(end) = body.iter().position(|byte| (0x40..=0x7e).contains(byte)) else { return answer };
            if body[end] == b'c' {
                let attributes = String::from_utf8_lossy(&body[..end]);
                // The first tells the class of the terminal.
                let has_sixel = attributes.split(';').skip(1).any(|attribute| attribute == SIXEL_ATTRIBUTE);
                answer.sixel |= answer.answers == 0 && has_sixel;
                answer.answers += 1;
            }
            rest = &body[end + 1..];
        } else {
            answer.typed.push(first);
            rest = after;
        }
    }
    answer
}

/// Where a string ends, and the length of what ends it: ST, or BEL as xterm has it.
fn string_end(body: &[u8]) -> Option<(usize, usize)> {
    let st = find(body, b"\x1b\\").map(|end| (end, 2));
    let bel = body.iter().position(|&byte| byte == 0x07).map(|end| (end, 1));
    st.into_iter().chain(bel).min()
}

/// `rgb:RR/GG/BB` with one to four hexadecimal digits each, as XParseColor takes it; `rgba:` has a fourth part.
fn colour(text: &[u8]) -> Option<[u8; 3]> {
    let text = str::from_utf8(text).ok()?;
    let parts = text.strip_prefix("rgb:").or_else(|| text.strip_prefix("rgba:"))?;
    let mut channels = parts.split('/').map(|digits| {
        let most = Some(digits.len()).filter(|count| (1..=4).contains(count)).map(|count| (1u32 << (4 * count)) - 1)?;
        let value = u32::from_str_radix(digits, 16).ok()?;
        u8::try_from(u64::from(value) * 255 / u64::from(most)).ok()
    });
    Some([channels.next()??, channels.next()??, channels.next()??])
}

/// Of a report of the cursor's place at the beginning of `bytes`, and what follows it.
fn cursor_column(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let body = bytes.strip_prefix(b"\x1b[")?;
    let end = body.iter().position(|byte| !byte.is_ascii_digit() && *byte != b';')?;
    let (_, column) = str::from_utf8(&body[..end]).ok()?.split_once(';')?;
    (body[end] == b'R').then_some((column.parse().ok()?, &body[end + 1..]))
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(asked: Asked) -> Questions {
        Questions { images: Some(asked), ..Questions::default() }
    }

    #[test]
    fn terminals_are_told_apart_by_their_answers() {
        let one = Answer { answers: 1, ..Answer::default() };
        let kitty = parse(b"\x1b_Gi=4211;OK\x1b\\\x1b[?62;c");
        assert_eq!(kitty, Answer { kitty: 1, ..one.clone() });
        let xterm = parse(b"\x1b[?63;1;2;4;6;9;15;22c");
        assert_eq!(xterm, Answer { sixel: true, ..one.clone() });
        assert_eq!(parse(b"\x1b[?4c"), one);
        let refusal = parse(b"\x1b_Gi=4211;ENOTSUPPORTED:no\x1b\\\x1b[?64;14;4c");
        assert_eq!(refusal, Answer { sixel: true, ..one });
    }

    #[test]
    fn tmux_and_the_terminals_outside_are_told_apart_by_their_order() {
        let through = parse(b"\x1b[?1;2c\x1b_Gi=4211;OK\x1b\\\x1bP>|kitty(0.41.1)\x1b\\\x1b[?62;4;c");
        let expected = Answer { answers: 2, kitty: 1, kinds: vec!["kitty(0.41.1)".into()], ..Answer::default() };
        assert_eq!(through, expected);
        let of_tmux = parse(b"\x1b[?1;2;4c");
        assert!(of_tmux.sixel && of_tmux.answers == images(Asked::Tmux).asked());
        let question = images(Asked::ThroughTmux { clients: 1 }).bytes();
        assert!(question.starts_with(b"\x1b[c\x1bPtmux;\x1b\x1b_G") && question.ends_with(b"\x1b\x1b[c\x1b\\"));
    }

    #[test]
    fn the_background_and_the_encoding_are_read() {
        let background = |reply: &[u8]| parse(&[b"\x1b]11;", reply, b"\x1b[?62;c"].concat()).background;
        assert_eq!(background(b"rgb:ffff/fdfd/e3e3\x1b\\"), Some([255, 253, 227]));
        assert_eq!(background(b"rgb:ff/80/00\x07"), Some([255, 128, 0]));
        assert_eq!(background(b"rgba:f/0/8/f\x07"), Some([255, 0, 136]));
        for damaged in [&b"white\x07"[..], b"rgb:\x07", b"rgb:ff/ff\x07", b"rgb:fffff/0/0\x07", b"rgb:gg/0/0\x07"] {
            assert_eq!(background(damaged), None);
        }
        let is_utf8 = |reply: &[u8]| parse(&[reply, b"\x1b[?62;c"].concat()).is_utf8;
        assert_eq!([&b"\x1b[24;2R"[..], b"\x1b[24;3R", b""].map(is_utf8), [Some(true), Some(false), None]);
    }

    #[test]
    fn only_what_matters_is_asked() {
        let questions = Questions { background: true, ..Questions::default() };
        assert_eq!(questions.bytes(), b"\x1b]11;?\x1b\\\x1b[c");
        assert!(questions.any() && !Questions::default().any());
    }

    #[test]
    fn keys_between_answers_are_kept() {
        let whole = b"q\x1b_Gi=4211;OK\x1b\\\x1b[1;2Rx\x1bP>|kitty(0.41.1)\x1b\\\x1b]11;rgb:0/0/0\x07z\x1b[?62;4cy";
        let all = parse(whole);
        assert_eq!((all.typed.as_slice(), all.answers), (b"qxzy".as_slice(), 1));
        for length in 0..whole.len() {
            let part = parse(&whole[..length]);
            assert_eq!(part.answers == 1, length >= whole.len() - 1, "{length}");
        }
    }
}
