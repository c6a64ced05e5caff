//! `taper attach`: the dashboard of a run, live or finished, or its plain lines.

use anyhow::Result;

use super::follow;
use super::select::{last_activity, named_or_live};
use super::shell::Shell;
use super::watch;
use crate::cli::AttachArgs;
use crate::commands::failure::UsageError;
use crate::run::dir::RunsDir;
use crate::terminal_kind::TerminalKind;

pub fn attach(runs: &RunsDir, args: &AttachArgs) -> Result<u8> {
    let run = if args.last {
        let latest = runs.list()?.into_iter().max_by_key(last_activity);
        latest.ok_or_else(|| UsageError(format!("there is no run in {}", runs.path().display())))?
    } else {
        named_or_live(runs, args.run.as_deref())?
    };
    if args.no_tui {
        return follow::follow(runs, &run);
    }
    let lines = || format!("{} --no-tui", Shell::new(runs).line_for("attach", &run));
    match TerminalKind::detect() {
        TerminalKind::Screen => watch::dashboard(runs, &run, args.drawing.images),
        TerminalKind::Lines(why) => Err(UsageError(format!(
            "{why}: this is no terminal that can show the dashboard; in plain lines: {}; if it can: \
             export TERM=xterm-256color",
            lines()
        ))
        .into()),
        TerminalKind::None => {
            Err(UsageError(format!("the dashboard needs a terminal; without one, in plain lines: {}", lines())).into())
        }
    }
}
