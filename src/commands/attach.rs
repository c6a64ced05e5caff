//! `taper attach`: the dashboard of a run, live or finished.

use anyhow::{Result, anyhow};

use super::select::{last_activity, named_or_live};
use super::watch;
use crate::cli::AttachArgs;
use crate::commands::failure::UsageError;
use crate::run::dir::RunsDir;

pub fn attach(runs: &RunsDir, args: &AttachArgs) -> Result<u8> {
    let run = if args.last {
        let latest = runs.list()?.into_iter().max_by_key(last_activity);
        latest.ok_or_else(|| anyhow!("there is no run in {}", runs.path().display()))?
    } else {
        named_or_live(runs, args.run.as_deref())?
    };
    if !watch::has_screen() {
        let log = run.events();
        let message = format!("the dashboard needs a terminal; without one: tail -f {}", log.display());
        return Err(UsageError(message).into());
    }
    watch::dashboard(runs, &run, args.drawing.images)
}
