//! How the runs of a table stand before anything is trained.

use std::fmt;

use anyhow::{Context, Result, bail};

use crate::commands::failure::UsageError;
use crate::commands::remaining::NothingLeft;
use crate::config::Config;
use crate::reproduce::table::{PlannedRun, Table};
use crate::run::dir::{OpenError, RunDir, RunsDir};
use crate::run::lock::{Liveness, liveness};
use crate::run::other_trainer::OtherTrainer;
use crate::run::replay::outline;

/// A run of the table, and how it stands.
pub struct Planned {
    pub run: PlannedRun,
    pub standing: Standing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    New,
    Finished,
    /// Saved, or begun, by a trainer that is gone.
    Interrupted {
        epoch: u64,
        epochs: u64,
    },
    /// Another trainer has it.
    Live {
        host: Option<String>,
    },
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::New => formatter.write_str("to be trained"),
            Self::Finished => formatter.write_str("finished"),
            Self::Interrupted { epoch, epochs } => write!(formatter, "to go on in epoch {epoch} of {epochs}"),
            Self::Live { host: None } => formatter.write_str("live: to be waited for"),
            Self::Live { host: Some(host) } => write!(formatter, "live on {host}: to be waited for"),
        }
    }
}

/// Of every run, in the order of the table.
///
/// # Errors
/// One cannot be read, or is not what the table asks for.
pub fn all(table: &Table, runs: &RunsDir) -> Result<Vec<Planned>> {
    let planned = table.runs().into_iter().map(|run| {
        let standing = of(table, runs, &run)?;
        Ok(Planned { run, standing })
    });
    planned.collect()
}

/// # Errors
/// As [`all`].
pub fn of(table: &Table, runs: &RunsDir, planned: &PlannedRun) -> Result<Standing> {
    let run = match runs.open(&planned.name) {
        Ok(run) => run,
        Err(OpenError::Unknown { .. }) => {
            let path = runs.path().join(&planned.name);
            if path.exists() {
                bail!("{} exists, and is not a run: move it away", path.display());
            }
            return Ok(Standing::New);
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(trainer) = OtherTrainer::of(&run) {
        bail!("run {} is trained by {}: rename it, for the table needs its name", planned.name, trainer.name);
    }
    let config = Config::load(Some(&run.config()), &[])?;
    refuse_differences(table, planned, &config)?;
    match liveness(&run) {
        Liveness::Live => return Ok(Standing::Live { host: None }),
        Liveness::Elsewhere { host } => return Ok(Standing::Live { host: Some(host) }),
        Liveness::Unknown { why } => bail!("run {}: {why}", planned.name),
        Liveness::Dead => {}
    }
    at_rest(&run, &config)
}

fn at_rest(run: &RunDir, config: &Config) -> Result<Standing> {
    let state = outline(run).with_context(|| format!("run {}", run.name()))?;
    if state.started.as_ref().is_some_and(|started| started.thinned) && NothingLeft::of(&state, config).is_none() {
        bail!("run {} is published, and cannot go on: choose another folder with --runs-dir", run.name());
    }
    Ok(match NothingLeft::of(&state, config) {
        Some(_) => Standing::Finished,
        None => Standing::Interrupted { epoch: state.epoch.max(1), epochs: config.train.epochs },
    })
}

fn refuse_differences(table: &Table, planned: &PlannedRun, found: &Config) -> Result<()> {
    /// That are named.
    const MOST: usize = 3;
    let differences = planned.differences(found);
    if differences.is_empty() {
        return Ok(());
    }
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let told = differences.iter().take(MOST).map(|change| {
        format!("{} = {}, and the table asks for {}", change.key, value(&change.to), value(&change.from))
    });
    let more = match differences.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let message = format!(
        "run {name} is not that of row {row} in {path}: it has {told}{more}; rename it (taper rename {name} …) or delete it \
         (taper rm {name})",
        name = planned.name,
        row = planned.row,
        path = table.path.display(),
        told = told.collect::<Vec<_>>().join("; "),
    );
    Err(UsageError(message).into())
}
