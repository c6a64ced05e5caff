//! The first line of a run's `config.toml`, a comment with the SHA-256 of what follows it. Without it a changed digit would
//! go unnoticed.

use crate::checksum::sha256;

const START: &str = "# SHA-256";
const LABEL: &str = "# SHA-256 of what follows: ";
const ADVICE: &str = "; delete this line if you change something";

/// `toml` with the line before it.
pub fn with_checksum(toml: &str) -> String {
    format!("{}\n{toml}", first_line(toml))
}

/// Whether `text` matches the checksum in its first line. Without such a line it always does.
pub fn is_unchanged(text: &str) -> bool {
    match text.split_once('\n') {
        Some((line, toml)) if line.starts_with(START) => line == first_line(toml),
        Some(_) => true,
        None => !text.starts_with(START),
    }
}

fn first_line(toml: &str) -> String {
    format!("{LABEL}{}{ADVICE}", sha256(toml))
}
