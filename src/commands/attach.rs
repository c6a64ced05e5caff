//! `taper attach`: the dashboard of a run, live or finished, its plain lines, or the list of runs.

use anyhow::{Result, anyhow};

use super::follow;
use super::select::{last_activity, named_or_live};
use super::shell::Shell;
use super::watch;
use crate::cli::AttachArgs;
use crate::commands::failure::UsageError;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::listing;
use crate::terminal_kind::TerminalKind;
use crate::tui::Place;

pub fn attach(runs: &RunsDir, args: &AttachArgs) -> Result<u8> {
    let run = if args.last {
        let latest = runs.list()?.into_iter().max_by_key(last_activity);
        latest.ok_or_else(|| anyhow!("there is no run in {}", runs.path().display()))?
    } else {
        match only_live_or_list(runs, args)? {
            Some(run) => run,
            None => return watch::session(runs, Place::RunList, args.dashboard),
        }
    };
    if args.no_tui {
        return follow::follow(runs, &run);
    }
    let lines = || format!("{} --no-tui", Shell::new(runs).line_for("attach", &run));
    match TerminalKind::detect() {
        TerminalKind::Screen => watch::dashboard(runs, &run, args.dashboard),
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

/// The run that is named, or the only live one. `None`: which one may be chosen from the list, on a terminal.
fn only_live_or_list(runs: &RunsDir, args: &AttachArgs) -> Result<Option<RunDir>> {
    if args.run.is_none() && !args.no_tui && watch::has_screen() {
        let listed = listing::list(runs)?;
        let live = listed.iter().filter(|listed| listed.is_live()).count();
        if live != 1 && !listed.is_empty() {
            return Ok(None);
        }
    }
    named_or_live(runs, args.run.as_deref()).map(Some)
}
