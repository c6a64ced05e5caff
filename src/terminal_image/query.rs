//! What a terminal answers when it is asked what images it can draw, and how large its characters are.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use ratatui::crossterm::terminal::window_size;
use ratatui::layout::Size;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Enough for slow links; a terminal that never answers costs it once.
const LIMIT: Duration = Duration::from_millis(500);

/// Asks without drawing: "could you show this pixel?" The number identifies the answer.
const KITTY_QUERY: &[u8] = b"\x1b_Gi=4211,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\";
const KITTY_OK: &[u8] = b"Gi=4211;OK";
/// Primary device attributes: every terminal knows it, so its answer ends the wait.
const ATTRIBUTES_QUERY: &[u8] = b"\x1b[c";
const SIXEL_ATTRIBUTE: &str = "4";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Within the limit and completely.
    pub answered: bool,
    pub kitty: bool,
    pub sixel: bool,
    /// Keys that were pressed meanwhile.
    pub typed: Vec<u8>,
}

/// The size of a character in pixels, where the terminal tells.
pub fn cell_size() -> Option<Size> {
    let window = window_size().ok()?;
    let cell = Size::new(window.width.checked_div(window.columns)?, window.height.checked_div(window.rows)?);
    (cell.width > 0 && cell.height > 0).then_some(cell)
}

/// Asks the terminal at stdin and stdout, which must be in raw mode, with no other reader.
///
/// # Errors
/// The terminal is gone.
pub fn ask() -> io::Result<Answer> {
    let mut out = io::stdout().lock();
    out.write_all(KITTY_QUERY)?;
    out.write_all(ATTRIBUTES_QUERY)?;
    out.flush()?;
    let (deadline, mut received) = (Instant::now() + LIMIT, vec![]);
    let stdin = rustix::stdio::stdin();
    loop {
        let answer = parse(&received);
        let left = deadline.saturating_duration_since(Instant::now());
        if answer.answered || left.is_zero() {
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
            answer.kitty |= &body[..end] == KITTY_OK;
            rest = &body[end + 2..];
        } else if let Some(body) = rest.strip_prefix(b"\x1b[?") {
            let Some(end) = body.iter().position(|byte| (0x40..=0x7e).contains(byte)) else { return answer };
            if body[end] == b'c' {
                answer.answered = true;
                let attributes = String::from_utf8_lossy(&body[..end]);
                // The first tells the class of the terminal.
                answer.sixel = attributes.split(';').skip(1).any(|attribute| attribute == SIXEL_ATTRIBUTE);
            }
            rest = &body[end + 1..];
        } else {
            answer.typed.push(first);
            rest = after;
        }
    }
    answer
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_told_apart_by_their_answers() {
        let kitty = parse(b"\x1b_Gi=4211;OK\x1b\\\x1b[?62;c");
        assert_eq!(kitty, Answer { answered: true, kitty: true, ..Answer::default() });
        let xterm = parse(b"\x1b[?63;1;2;4;6;9;15;22c");
        assert_eq!(xterm, Answer { answered: true, sixel: true, ..Answer::default() });
        assert_eq!(parse(b"\x1b[?4c"), Answer { answered: true, ..Answer::default() });
        let refusal = parse(b"\x1b_Gi=4211;ENOTSUPPORTED:no\x1b\\\x1b[?64;14;4c");
        assert_eq!(refusal, Answer { answered: true, sixel: true, ..Answer::default() });
    }

    #[test]
    fn keys_between_answers_are_kept() {
        let whole = b"q\x1b_Gi=4211;OK\x1b\\x\x1b[?62;4cy";
        let all = parse(whole);
        assert_eq!((all.typed.as_slice(), all.answered), (b"qxy".as_slice(), true));
        for length in 0..whole.len() {
            let part = parse(&whole[..length]);
            assert_eq!(part.answered, length >= whole.len() - 1, "{length}");
        }
    }
}
