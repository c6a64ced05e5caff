//! The end of `trainer.log`: what the trainer itself had to say, line by line.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::ordinary_file;

/// Bytes that are read of a long log.
pub const TAIL_BYTES: u64 = 256 << 10;
/// Characters of a line that are kept.
const LONGEST_LINE: usize = 4000;

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// An error or a panic.
    Error,
    Warning,
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Bytes of the file before it.
    pub offset: u64,
    pub level: Level,
    /// Without control characters.
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainerLog {
    /// The last ones, within [`TAIL_BYTES`].
    pub lines: Vec<LogLine>,
    /// Bytes before the first of them.
    pub skipped_bytes: u64,
}

/// Reads the end of the log.
///
/// # Errors
/// It cannot be read, or is no ordinary file.
pub fn read_tail(path: &Path) -> io::Result<TrainerLog> {
    let mut file = ordinary_file::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(parse(&bytes, start))
}

/// `start`: bytes of the file before these. Where there are some, the first line is cut and left out.
fn parse(bytes: &[u8], start: u64) -> TrainerLog {
    let first = match start {
        0 => 0,
        _ => memchr::memchr(b'\n', bytes).map_or(0, |end| end + 1),
    };
    let skipped_bytes = start + first as u64;
    let mut log = TrainerLog { lines: vec![], skipped_bytes };
    let mut offset = skipped_bytes;
    let mut level = Level::Other;
    for line in bytes[first..].split_inclusive(|&byte| byte == b'\n') {
        let text = harmless(&String::from_utf8_lossy(line));
        level = level_of(&text).unwrap_or(level);
        log.lines.push(LogLine { offset, level, text });
        offset += line.len() as u64;
    }
    log
}

/// `None`: the line goes on with what the one before it says.
fn level_of(text: &str) -> Option<Level> {
    if text.starts_with("thread '") && text.contains("panicked at") {
        return Some(Level::Error);
    }
    // `2026-11-24T17:52:04.123456Z  WARN taper::train: …`, as tracing-subscriber writes it.
    let mut words = text.split_whitespace();
    words.next().filter(|time| time.ends_with('Z') && time.as_bytes().first().is_some_and(u8::is_ascii_digit))?;
    Some(match words.next()? {
        "ERROR" => Level::Error,
        "WARN" => Level::Warning,
        _ => Level::Other,
    })
}

/// What a terminal can be given: tabs are spaces, and nothing moves the cursor or turns the direction of text.
fn harmless(line: &str) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    let mut text = String::with_capacity(line.len());
    for char in line.chars().take(LONGEST_LINE) {
        match char {
            '\t' => text.push_str("    "),
            char if char.is_control() || turns_direction(char) => text.push('\u{fffd}'),
            char => text.push(char),
        }
    }
    if line.chars().nth(LONGEST_LINE).is_some() {
        text.push('…');
    }
    text
}

/// Unicode's bidirectional controls.
fn turns_direction(char: char) -> bool {
    matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(log: &TrainerLog) -> Vec<Level> {
        log.lines.iter().map(|line| line.level).collect()
    }

    #[test]
    fn warnings_errors_and_panics_are_told_apart_and_go_on_over_lines() {
        let text = "2026-11-24T17:52:04.1Z  INFO taper: begins\n\
                    2026-11-24T17:52:05.1Z  WARN taper: the disk\nis nearly full\n\
                    2026-11-24T17:52:06.1Z ERROR taper: no\n\
                    2026-11-24T17:52:07.1Z  INFO taper: ERROR is only a word here\n\
                    thread 'main' (7) panicked at src/x.rs:1:2:\nindex out of bounds\n";
        use Level::{Error, Other, Warning};
        assert_eq!(levels(&parse(text.as_bytes(), 0)), [Other, Warning, Warning, Error, Other, Error, Error]);
    }

    #[test]
    fn no_byte_of_a_log_reaches_the_terminal_as_a_command() {
        let log = parse(b"\x1b[31mred\x07\tx\r\n\xff\xfe broken\n\xe2\x80\xaeturned\nno end", 0);
        let texts: Vec<&str> = log.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["\u{fffd}[31mred\u{fffd}    x", "\u{fffd}\u{fffd} broken", "\u{fffd}turned", "no end"]);
        let long = parse(&[b'x'; 5000], 0);
        assert_eq!(long.lines[0].text.chars().count(), LONGEST_LINE + 1);
    }

    #[test]
    fn of_a_long_log_the_last_whole_lines_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trainer.log");
        let lines: Vec<String> = (0..40_000).map(|number| format!("line {number:06}\n")).collect();
        std::fs::write(&path, lines.concat()).unwrap();
        let log = read_tail(&path).unwrap();
        assert_eq!(log.lines.last().unwrap().text, "line 039999");
        let first = &log.lines[0];
        assert_eq!((first.offset, first.text.len()), (log.skipped_bytes, 11));
        assert_eq!(log.skipped_bytes % 12, 0);
        assert!(log.lines.len() as u64 * 12 <= TAIL_BYTES && log.lines.len() as u64 * 12 > TAIL_BYTES - 24);
        assert!(read_tail(&folder.path().join("none")).is_err());
    }
}
