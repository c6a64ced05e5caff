//! `taper runs`: a table of the runs.

use std::io::{self, Write};

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::shell::{Shell, say, say_json};
use crate::cli::RunsArgs;
use crate::format;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::lock::{Liveness, liveness};
use crate::run::log::now_ms;
use crate::run::replay::outline;
use crate::run::state::{Phase, RunState, Summary};

/// A run in the table, and in `--json`.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    path: String,
    /// Whether its trainer lives; on another host that cannot always be told, then it is taken to live.
    live: bool,
    /// The other host.
    host: Option<String>,
    #[serde(flatten)]
    summary: Summary,
    /// Why its log cannot be read, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub fn list(runs: &RunsDir, args: &RunsArgs) -> Result<u8> {
    let mut rows = runs.list()?.iter().map(row).collect::<Vec<_>>();
    rows.sort_by_key(|row| row.summary.last_activity_ms);
    if args.json {
        say_json(&rows)?;
    } else if rows.is_empty() {
        let path = runs.path().display();
        say(format!("No runs in {path}. To start one: {}", Shell::new(runs).line("train")))?;
    } else {
        let mut out = io::stdout().lock();
        table(&rows, &TimeZone::system(), now_ms())
            .iter()
            .try_for_each(|line| writeln!(out, "{line}"))
            .context("stdout")?;
        for (name, error) in rows.iter().filter_map(|row| Some((&row.name, row.error.as_ref()?))) {
            writeln!(out, "{name}: {error}").context("stdout")?;
        }
    }
    Ok(0)
}

fn row(run: &RunDir) -> Row {
    let (live, host, unknown) = match liveness(run) {
        Liveness::Live => (true, None, None),
        Liveness::Dead => (false, None, None),
        Liveness::Elsewhere { host } => (true, Some(host), None),
        Liveness::Unknown { why } => (true, None, Some(why)),
    };
    let (state, error) = match outline(run) {
        Ok(state) => (state, unknown),
        Err(error) => (RunState::default(), Some(error.to_string())),
    };
    Row { name: run.name(), path: run.path().display().to_string(), live, host, summary: state.summary(), error }
}

fn table(rows: &[Row], zone: &TimeZone, now_ms: u64) -> Vec<String> {
    let mut cells = vec![["NAME", "PHASE", "EPOCH", "BEST ACC", "LAST ACTIVITY"].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        let summary = &row.summary;
        let phase = match (row.live, summary.phase, &row.host) {
            _ if row.error.is_some() => "cannot be read".to_owned(),
            (true, phase, Some(host)) => format!("{phase} on {host}"),
            (true, phase, None) => match phase.long_silence_secs(summary.last_activity_ms, now_ms) {
                Some(secs) => format!("{phase}, silent for {}", format::duration(secs)),
                None => phase.to_string(),
            },
            (false, Phase::Ended(outcome), _) => Phase::Ended(outcome).to_string(),
            (false, Phase::Starting, _) if summary.last_activity_ms == 0 => "not begun".to_owned(),
            (false, ..) => "dead".to_owned(),
        };
        let epoch = match (summary.epoch, summary.epochs) {
            (epoch, Some(epochs)) => format!("{epoch}/{epochs}"),
            (0, None) => "-".to_owned(),
            (epoch, None) => epoch.to_string(),
        };
        let best = match (summary.best_test_accuracy, summary.best_epoch) {
            (Some(accuracy), Some(epoch)) => format!("{accuracy:.2} % (epoch {epoch})"),
            _ => "-".to_owned(),
        };
        let time = i64::try_from(summary.last_activity_ms).ok().filter(|&time_ms| time_ms > 0);
        let time = time.and_then(|time_ms| Timestamp::from_millisecond(time_ms).ok());
        let time = time.map(|time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string());
        [row.name.clone(), phase, epoch, best, time.unwrap_or("-".to_owned())]
    }));
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    cells.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::Outcome;

    fn row(name: &str, live: bool, host: Option<&str>, phase: Phase) -> Row {
        let summary = Summary {
            phase,
            epoch: 3,
            epochs: Some(50),
            total_steps: Some(1600),
            best_epoch: Some(2),
            best_test_accuracy: Some(61.256),
            last_activity_ms: 1_795_552_323_000,
            ..RunState::default().summary()
        };
        Row { name: name.into(), path: name.into(), live, host: host.map(str::to_owned), summary, error: None }
    }

    #[test]
    fn the_table() {
        let begun = Row { summary: RunState::default().summary(), ..row("empty", false, None, Phase::Starting) };
        let rows = [
            begun,
            row("done", false, None, Phase::Ended(Outcome::Completed)),
            row("20261124-175203-cnn", true, None, Phase::Paused),
            row("killed", false, None, Phase::Training),
            row("far", true, Some("node7"), Phase::Evaluating),
        ];
        insta::assert_snapshot!(table(&rows, &TimeZone::UTC, 1_795_552_324_000).join("\n"));
    }
}
