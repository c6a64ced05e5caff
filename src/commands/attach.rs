//! `taper attach`: the dashboard of a run, live or finished, or the list of runs.

use anyhow::{Result, anyhow};

use super::select::{last_activity, named_or_live};
use super::watch;
use crate::cli::AttachArgs;
use crate::commands::failure::UsageError;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::listing;
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
    if !watch::has_screen() {
        let log = run.events();
        let message = format!("the dashboard needs a terminal; without one: tail -f {}", log.display());
        return Err(UsageError(message).into());
    }
    watch::dashboard(runs, &run, args.dashboard)
}

/// The run that is named, or the only live one. `None`: which one may be chosen from the list, on a terminal.
fn only_live_or_list(runs: &RunsDir, args: &AttachArgs) -> Result<Option<RunDir>> {
    if args.run.is_none() && watch::has_screen() {
        let listed = listing::list(runs)?;
        let live = listed.iter().filter(|listed| listed.is_live()).count();
        if live != 1 && !listed.is_empty() {
            return Ok(None);
        }
    }
    named_or_live(runs, args.run.as_deref()).map(Some)
}
