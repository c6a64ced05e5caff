//! Which run, and which of its checkpoints, a command is about.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use super::failure::UsageError;
use super::shell::Shell;
use crate::data::{Dataset, Source, Split};
use crate::ordinary_file;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::lock::{Liveness, liveness};
use crate::run::other_trainer::OtherTrainer;
use crate::train::checkpoint::{self, Checkpoint};

/// The run of that name, or the only live one.
pub(super) fn named_or_live(runs: &RunsDir, name: Option<&str>) -> Result<RunDir> {
    match name {
        Some(name) => Ok(runs.open(name)?),
        None => only_live(runs),
    }
}

fn only_live(runs: &RunsDir) -> Result<RunDir> {
    let all = runs.list()?;
    let is_live = |run: &&RunDir| !matches!(liveness(run), Liveness::Dead | Liveness::Unknown { .. });
    let mut live: Vec<&RunDir> = all.iter().filter(is_live).collect();
    let shell = Shell::new(runs);
    match (live.pop(), live.as_slice()) {
        (Some(only), []) => Ok(only.clone()),
        (Some(last), others) => {
            let names: Vec<String> = others.iter().copied().chain([last]).map(RunDir::name).collect();
            Err(UsageError(format!("{} runs are live: {}; name one", names.len(), names.join(", "))).into())
        }
        (None, _) if all.is_empty() => {
            let path = runs.path().display();
            Err(UsageError(format!(
                "no run is live, and there is none in {path}; to start one: {}",
                shell.line("train")
            ))
            .into())
        }
        (None, _) => Err(UsageError(format!(
            "no run is live; for the latest: {}; for all: {}",
            shell.line("attach --last"),
            shell.line("runs")
        ))
        .into()),
    }
}

/// The checkpoint at that path, or the best one of that run, or its latest where none was judged yet.
pub(super) fn run_and_checkpoint(runs: &RunsDir, target: &str) -> Result<(RunDir, Checkpoint)> {
    let path = Path::new(target);
    let state = path.join("state.json");
    if ordinary_file::is_there(&state).with_context(|| state.display().to_string())? {
        let path = std::path::absolute(path)?;
        let run = path.parent().and_then(Path::parent).map(RunDir::at).filter(|run| run.config().is_file());
        let run = run.ok_or_else(|| UsageError(format!("{target} lies in no run: its config.toml is needed")))?;
        return Ok((run, Checkpoint::read(&path)?));
    }
    let run = runs.open(target)?;
    if let Some(trainer) = OtherTrainer::of(&run) {
        let (run, trainer) = (run.name(), trainer.name);
        bail!("run {run} is trained by {trainer}: taper shows its log, but knows neither its network nor its data");
    }
    let latest = checkpoint::latest(&run)?.ok_or_else(|| {
        UsageError(format!(
            "run {0} has no checkpoint yet; a live run saves one now with taper checkpoint {0}",
            run.name()
        ))
    })?;
    let best = latest.state.best.as_ref().map(|best| run.checkpoints().join(&best.checkpoint));
    match best.filter(|best| best.is_dir()) {
        Some(best) => Ok((run, Checkpoint::read(&best)?)),
        None => Ok((run, latest)),
    }
}

/// The part of the data that was asked for; unless one was, that which the run is judged by.
pub(super) fn part(source: &Source, split: Option<Split>) -> Result<(Split, &Dataset)> {
    let split = split.unwrap_or(source.judged_by());
    let held_out_none = "--split validation: this run holds no images out (data.validation_examples)";
    let images = source.part(split).ok_or_else(|| UsageError(held_out_none.to_owned()))?;
    Ok((split, images))
}

/// When something last happened in the run.
pub(super) fn last_activity(run: &RunDir) -> SystemTime {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified());
    modified(&run.events()).or_else(|_| modified(&run.config())).unwrap_or(SystemTime::UNIX_EPOCH)
}
