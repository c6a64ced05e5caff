//! `taper completions`: a script by which a shell asks the program itself what may come next, and so knows the runs.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};

use crate::cli::Cli;

/// Set by the scripts when they ask.
const VARIABLE: &str = "TAPER_COMPLETE";

/// Answers a shell that completes a command line, and ends the process then. To be called before anything is printed.
pub fn answer_shell() {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).bin("taper").complete();
}

pub(super) fn print(shell: Shell) -> Result<u8> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let completer = shells.completer(&name).with_context(|| format!("no completions for {name}"))?;
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "taper", "taper", &program()?, &mut script).context("completions")?;
    io::stdout().write_all(&script).context("stdout")?;
    Ok(0)
}

/// As it was called; wherever the shell is then.
fn program() -> Result<String> {
    let called = std::env::args().next().filter(|called| called.contains('/'));
    match called {
        Some(path) => Ok(std::path::absolute(path).context("the path of taper")?.display().to_string()),
        None => Ok("taper".to_owned()),
    }
}
