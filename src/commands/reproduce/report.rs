//! The results of a table, for people and for programs.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::commands::columns::aligned;
use crate::commands::shell::{say, say_json};
use crate::export::table::io_error;
use crate::format;
use crate::reproduce::page;
use crate::reproduce::results::{self, RowResult, RunResult, data_differs, equal_minutes, rows};
use crate::reproduce::table::Table;
use crate::run::dir::RunsDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
    Csv,
    Markdown,
}

#[derive(Serialize)]
struct Report<'a> {
    table: &'a str,
    thresholds: &'a [f64],
    /// The time that the rows' `equal_time_accuracy` is of.
    equal_minutes: Option<f64>,
    rows: Vec<RowResult>,
    runs: Vec<&'a RunResult>,
}

pub fn print(table: &Table, runs: &RunsDir, format: Format) -> Result<()> {
    let recorded = results::read(table, runs)?;
    let results: Vec<&RunResult> = recorded.iter().map(|recorded| &recorded.result).collect();
    match format {
        Format::Text => {
            text(table, &results).into_iter().try_for_each(say)?;
            data_differs(results).map_or(Ok(()), say)
        }
        Format::Json => {
            let rows = rows(table, results.iter().copied());
            let equal_minutes = equal_minutes(table, results.iter().copied());
            say_json(&Report { table: &table.name, thresholds: &table.thresholds, equal_minutes, rows, runs: results })
        }
        Format::Csv => write_csv(table, &results, io::stdout().lock()).context("stdout"),
        Format::Markdown => say(page::markdown(table, &results, &[]).trim()),
    }
}

fn text(table: &Table, results: &[&RunResult]) -> Vec<String> {
    let mut lines =
        vec![page::heading(table, results).into_iter().map(|title| title.to_uppercase()).collect::<Vec<_>>()];
    lines.extend(page::row_cells(table, results));
    let columns: Vec<Vec<String>> =
        (0..lines[0].len()).map(|column| lines.iter().map(|cells| cells[column].clone()).collect()).collect();
    let mut told = aligned(&columns);
    if results.is_empty() {
        return told;
    }
    let known = |value: Option<f64>, decimals: usize| format::decimal(value.unwrap_or(f64::NAN), decimals);
    let mut lines = vec![
        ["RUN", "EPOCHS", "BEST (%)", "LAST (%)", "MINUTES", "STEP (MS)", "COMMIT", "REMARKS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    lines.extend(results.iter().map(|run| {
        vec![
            run.run.clone(),
            run.epochs.to_string(),
            page::accuracy(run.accuracies.best, run.accuracies.best_augmentation),
            page::accuracy(run.accuracies.last, run.accuracies.last_augmentation),
            known(Some(run.minutes), 1),
            known(run.step_millis, 1),
            run.commit.clone().unwrap_or_else(|| "unknown".to_owned()),
            run.remarks.join(", "),
        ]
    }));
    let columns: Vec<Vec<String>> =
        (0..lines[0].len()).map(|column| lines.iter().map(|cells| cells[column].clone()).collect()).collect();
    told.push(String::new());
    told.extend(aligned(&columns));
    if results.iter().any(|run| run.is_finished) {
        told.push(String::new());
        told.extend(page::common(results));
    }
    told
}

fn write_csv(table: &Table, results: &[&RunResult], out: impl Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let thresholds = table
        .thresholds
        .iter()
        .flat_map(|threshold| [format!("epoch_to_{threshold}"), format!("minutes_to_{threshold}")]);
    let fixed = [
        "run",
        "row",
        "seed",
        "finished",
        "epochs",
        "best_accuracy",
        "best_test_time_augmentation",
        "best_epoch",
        "last_accuracy",
        "last_test_time_augmentation",
        "minutes",
        "step_millis",
        "model",
        "parameters",
        "data",
        "device",
        "machine",
        "commit",
        "remarks",
    ];
    writer.write_record(fixed.map(str::to_owned).into_iter().chain(thresholds)).map_err(io_error)?;
    for run in results {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:?}"));
        let accuracies = run.accuracies;
        let mut cells = vec![
            run.run.clone(),
            run.row.clone(),
            run.seed.to_string(),
            run.is_finished.to_string(),
            run.epochs.to_string(),
            number(accuracies.best),
            <&str>::from(accuracies.best_augmentation).to_owned(),
            accuracies.best_epoch.map_or_else(String::new, |epoch| epoch.to_string()),
            number(accuracies.last),
            <&str>::from(accuracies.last_augmentation).to_owned(),
            number(Some(run.minutes)),
            number(run.step_millis),
            run.model.clone(),
            run.parameters.to_string(),
            run.data.clone(),
            run.device.clone(),
            run.machine.clone().unwrap_or_default(),
            run.commit.clone().unwrap_or_default(),
            run.remarks.join(", "),
        ];
        for reached in &run.reached {
            cells.push(reached.map_or_else(String::new, |reached| reached.epoch.to_string()));
            cells.push(number(reached.map(|reached| reached.minutes)));
        }
        writer.write_record(cells).map_err(io_error)?;
    }
    writer.flush()
}
