//! The first line of a run's `config.toml`, a comment: the SHA-256 of what follows it. Without it a changed digit is
//! another configuration, and nobody notices.

use crate::checksum::sha256;

const START: &str = "# SHA-256";
const LABEL: &str = "# SHA-256 of what follows: ";
const ADVICE: &str = "; delete this line if you change something";

/// `toml` with the line before it.
pub fn with_checksum(toml: &str) -> String {
    format!("{}\n{toml}", first_line(toml))
}

/// Whether `text` is what its first line says. Without such a line it may be anything.
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
