//! What commands say to the shell: lines of output, and command lines to copy.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::run::dir::{DEFAULT_RUNS_DIR, RunDir, RunsDir};

/// Writes a line to stdout.
///
/// # Errors
/// It was closed.
pub(super) fn say(text: impl fmt::Display) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("stdout")
}

/// Writes a report to stdout, as JSON for people to read too.
///
/// # Errors
/// It was closed.
pub(super) fn say_json(report: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, report).map_err(io::Error::from).context("stdout")?;
    writeln!(out).context("stdout")
}

/// Command lines that the user can copy into the shell.
pub(super) struct Shell {
    program: String,
    runs_dir: String,
}

impl Shell {
    pub(super) fn new(runs: &RunsDir) -> Self {
        // As it was called: under `cargo run` there is no `taper` in the PATH.
        let called = std::env::args().next().filter(|called| called.contains('/'));
        let program = called.map_or_else(|| "taper".to_owned(), |called| quoted(&called));
        let runs_dir = if runs.path() == Path::new(DEFAULT_RUNS_DIR) {
            String::new()
        } else {
            let absolute = std::path::absolute(runs.path()).unwrap_or_else(|_| runs.path().to_owned());
            format!(" --runs-dir {}", quoted(&absolute.to_string_lossy()))
        };
        Self { program, runs_dir }
    }

    pub(super) fn line(&self, command: &str) -> String {
        format!("{} {command}{}", self.program, self.runs_dir)
    }

    pub(super) fn line_for(&self, command: &str, run: &RunDir) -> String {
        self.line(&format!("{command} {}", quoted(&run.name())))
    }
}

/// Quoted as one word of a shell, where it needs to be.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("20261124-175203-cnn"), "20261124-175203-cnn");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn an_unusual_runs_directory_is_named() {
        let line = |path| Shell { program: "taper".into(), ..Shell::new(&RunsDir::at(path)) }.line("attach x");
        assert_eq!(line("runs"), "taper attach x");
        assert_eq!(line("/big disk/runs"), "taper attach x --runs-dir '/big disk/runs'");
    }
}
