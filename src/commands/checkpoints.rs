//! `taper checkpoints`: what a run has on disk.

use std::fmt::Display;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use super::columns::aligned;
use super::select::named_or_live;
use super::shell::{say, say_json};
use crate::cli::CheckpointsArgs;
use crate::config::TestTimeAugmentation;
use crate::format;
use crate::run::checkpoints_on_disk::{CheckpointOnDisk, checkpoints_on_disk};
use crate::run::dir::{RunDir, RunsDir};
use crate::run::log::now_ms;
use crate::run::replay::outline;
use crate::run::state::RunState;

/// A checkpoint in the table, and in `--json`.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    path: PathBuf,
    /// The epoch that was trained last.
    epoch: u64,
    step: u64,
    /// Percent, by the images that the run is judged by; None where no epoch ended at its step.
    accuracy: Option<f64>,
    /// What that was judged with.
    #[serde(skip_serializing_if = "TestTimeAugmentation::is_none")]
    test_time_augmentation: TestTimeAugmentation,
    /// Of its files.
    bytes: u64,
    saved_ms: Option<u64>,
    /// That of the best epoch.
    best: bool,
    /// That which the run would go on from.
    latest: bool,
    /// What is wrong with its state.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl Row {
    fn of(run: &RunDir, state: &RunState, found: CheckpointOnDisk) -> Self {
        let CheckpointOnDisk { name, epoch, step, bytes, saved_ms, is_best, is_latest, fault } = found;
        let path = run.checkpoints().join(&name);
        let judged = state.epochs.iter().find(|done| done.step == step);
        let accuracy = judged.map(|done| done.test_accuracy);
        let test_time_augmentation = judged.map(|done| done.test_time_augmentation).unwrap_or_default();
        Self {
            name,
            path,
            epoch,
            step,
            accuracy,
            test_time_augmentation,
            bytes,
            saved_ms,
            best: is_best,
            latest: is_latest,
            fault,
        }
    }
}

pub fn list(runs: &RunsDir, args: &CheckpointsArgs) -> Result<u8> {
    let run = named_or_live(runs, args.run.as_deref())?;
    let state = outline(&run)?;
    let found = checkpoints_on_disk(&run).with_context(|| run.checkpoints().display().to_string())?;
    let found: Vec<Row> = found.into_iter().rev().map(|found| Row::of(&run, &state, found)).collect();
    if args.json {
        say_json(&found)?;
    } else if found.is_empty() {
        say(format!("Run {} has no checkpoint on disk", run.name()))?;
    } else {
        table(&found, now_ms()).iter().try_for_each(say)?;
        let bytes = found.iter().map(|checkpoint| checkpoint.bytes).sum();
        let checkpoints = if found.len() == 1 { "checkpoint" } else { "checkpoints" };
        say(format!("\n{} {checkpoints}, {}", found.len(), format::bytes(bytes)))?;
    }
    Ok(0)
}

fn table(found: &[Row], now_ms: u64) -> Vec<String> {
    let column = |title: &str, cell: &dyn Fn(&Row) -> String| {
        std::iter::once(title.to_owned()).chain(found.iter().map(cell)).collect()
    };
    let number = |number: &dyn Display| number.to_string();
    aligned(&[
        column("CHECKPOINT", &|checkpoint| checkpoint.name.clone()),
        column("EPOCH", &|checkpoint| number(&checkpoint.epoch)),
        column("STEP", &|checkpoint| number(&checkpoint.step)),
        column("ACCURACY", &|checkpoint| {
            checkpoint.accuracy.map_or("-".to_owned(), |accuracy| {
                format!("{accuracy:.2} %{}", checkpoint.test_time_augmentation.mark())
            })
        }),
        column("SIZE", &|checkpoint| format::bytes(checkpoint.bytes)),
        column("AGE", &|checkpoint| {
            let age = checkpoint.saved_ms.map(|saved_ms| now_ms.saturating_sub(saved_ms) as f64 / 1e3);
            age.map_or("-".to_owned(), format::duration)
        }),
        column("", &|checkpoint| {
            let is_damaged = checkpoint.fault.is_some();
            let marks = [(checkpoint.best, "best"), (checkpoint.latest, "latest"), (is_damaged, "damaged")];
            marks.iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| *mark).collect::<Vec<_>>().join(", ")
        }),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let checkpoint = |name: &str, step, accuracy, best, latest| Row {
            name: name.into(),
            path: name.into(),
            epoch: 12,
            step,
            accuracy,
            test_time_augmentation: TestTimeAugmentation::None,
            bytes: 14_100_000,
            saved_ms: Some(1000 * step),
            best,
            latest,
            fault: None,
        };
        let found = [
            checkpoint("e0013-s009600", 9600, None, false, true),
            checkpoint("e0012-s009384", 9384, Some(61.256), true, false),
            checkpoint("e0011-s008602", 8602, Some(60.0), false, false),
        ];
        insta::assert_snapshot!(table(&found, 9_723_000).join("\n"));
    }
}
