//! `taper rename`.

use anyhow::{Result, bail};

use super::shell::say;
use super::steer;
use crate::cli::RenameArgs;
use crate::run::dir::RunsDir;
use crate::run::lock::{Liveness, liveness};

pub fn rename(runs: &RunsDir, args: &RenameArgs) -> Result<u8> {
    let run = runs.open(&args.run)?;
    if let Liveness::Elsewhere { host } = liveness(&run) {
        bail!(
            "the trainer of run {} is on host {host}, and follows a new name only there: rename it there",
            run.name()
        );
    }
    // One that is starting does not follow it yet, and is waited for.
    let is_live = steer::is_live(&run)?;
    let renamed = run.rename(&args.new)?;
    let goes_on = if is_live { ", and goes on training" } else { "" };
    say(format!("run {} is {} now{goes_on}", run.name(), renamed.name()))?;
    Ok(0)
}
