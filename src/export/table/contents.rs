//! What of a run is in which table.

use serde::Serialize;

use super::columns::{Column, Table, Values};
use crate::export::RecordedRun;
use crate::export::recorded_run::TimedSample;
use crate::run::event::EpochDone;
use crate::run::metric::Metric;
use crate::run::system_sample::CardSample;

/// Every table of a run; without rows where it has nothing of the kind.
pub fn tables(run: &RecordedRun) -> Vec<Table> {
    vec![
        steps(run),
        epochs(run),
        learning_rates(run),
        checkpoints(run),
        alarms(run),
        confusion(run),
        mistakes(run),
        system(run),
    ]
}

fn column(name: &str, values: Values) -> Column {
    Column { name: name.to_owned(), values }
}

/// Another program need not tell how long it takes, which no evaluation does in no time.
fn told(secs: f64) -> f64 {
    if secs > 0.0 { secs } else { f64::NAN }
}

/// A word as the log has it, such as `plateau`.
fn word(value: impl Serialize) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// A row for each step whose loss the log has, where it is finite. Where a schedule moves the learning rate at each step, the
/// log has it for the last step of each line only, and the others of the line are given the same.
fn steps(run: &RecordedRun) -> Table {
    let state = &run.state;
    let points: Vec<_> = state.series(Metric::BatchLoss).points().collect();
    let norms = state.gradient_norms.values();
    let norm = |step: u64| norms.get(step as usize - 1).copied().unwrap_or(f32::NAN);
    // One for each line of the log, with the number of its last step.
    let rates: Vec<_> = state.series(Metric::LearningRate).points().collect();
    let mut line = 0;
    let learning_rates = points.iter().map(|point| {
        while line + 1 < rates.len() && rates[line].step < point.step {
            line += 1;
        }
        rates.get(line).map_or(f64::NAN, |rate| rate.value)
    });
    let learning_rates = learning_rates.collect();
    Table {
        name: "steps",
        columns: vec![
            column("step", Values::Counts(points.iter().map(|point| point.step).collect())),
            column("epoch", Values::Numbers(points.iter().map(|point| point.epoch).collect())),
            column("elapsed_secs", Values::Numbers(points.iter().map(|point| point.elapsed_secs).collect())),
            column("time_ms", Values::Times(points.iter().map(|point| point.time_ms).collect())),
            column("loss", Values::Singles(points.iter().map(|point| point.value as f32).collect())),
            column("gradient_norm", Values::Singles(points.iter().map(|point| norm(point.step)).collect())),
            column("learning_rate", Values::Numbers(learning_rates)),
        ],
    }
}

fn epochs(run: &RecordedRun) -> Table {
    let epochs = &run.state.epochs;
    let judged_by = run.state.judged_by().to_string();
    let augmentation = |epoch: &EpochDone| Some(<&str>::from(epoch.test_time_augmentation).to_owned());
    let counts = |of: fn(&EpochDone) -> u64| Values::Counts(epochs.iter().map(of).collect());
    let numbers = |of: fn(&EpochDone) -> f64| Values::Numbers(epochs.iter().map(of).collect());
    Table {
        name: "epochs",
        columns: vec![
            column("epoch", counts(|epoch| epoch.epoch)),
            column("step", counts(|epoch| epoch.step)),
            column("train_loss", numbers(|epoch| epoch.train_loss)),
            column(&format!("{judged_by}_loss"), numbers(|epoch| epoch.test_loss)),
            column("train_accuracy_percent", numbers(|epoch| epoch.train_accuracy)),
            column(&format!("{judged_by}_accuracy_percent"), numbers(|epoch| epoch.test_accuracy)),
            column("test_time_augmentation", Values::Texts(epochs.iter().map(augmentation).collect())),
            column("learning_rate", numbers(|epoch| epoch.learning_rate)),
            column("elapsed_secs", numbers(|epoch| epoch.elapsed_secs)),
            column("evaluation_secs", numbers(|epoch| told(epoch.evaluation_secs))),
            column("best", Values::Flags(epochs.iter().map(|epoch| epoch.best).collect())),
        ],
    }
}

fn learning_rates(run: &RecordedRun) -> Table {
    let changes = &run.state.learning_rate_changes;
    Table {
        name: "learning_rates",
        columns: vec![
            column("step", Values::Counts(changes.iter().map(|change| change.step).collect())),
            column("epoch", Values::Counts(changes.iter().map(|change| change.epoch).collect())),
            column("time_ms", Values::Times(changes.iter().map(|change| change.time_ms).collect())),
            column("from", Values::Numbers(changes.iter().map(|change| change.from).collect())),
            column("to", Values::Numbers(changes.iter().map(|change| change.to).collect())),
            column("reason", Values::Texts(changes.iter().map(|change| word(change.reason)).collect())),
        ],
    }
}

fn checkpoints(run: &RecordedRun) -> Table {
    let all = &run.state.checkpoints;
    let is_there = |name: &str| run.dir.checkpoints().join(name).is_dir();
    Table {
        name: "checkpoints",
        columns: vec![
            column("step", Values::Counts(all.iter().map(|one| one.saved.step).collect())),
            column("epoch", Values::Counts(all.iter().map(|one| one.saved.epoch).collect())),
            column("time_ms", Values::Times(all.iter().map(|one| one.time_ms).collect())),
            column("name", Values::Texts(all.iter().map(|one| Some(one.saved.name.clone())).collect())),
            column("reason", Values::Texts(all.iter().map(|one| word(one.saved.reason)).collect())),
            column("bytes", Values::Counts(all.iter().map(|one| one.saved.bytes).collect())),
            column("save_secs", Values::Numbers(all.iter().map(|one| one.saved.save_secs).collect())),
            column("on_disk", Values::Flags(all.iter().map(|one| is_there(&one.saved.name)).collect())),
        ],
    }
}

fn alarms(run: &RecordedRun) -> Table {
    let alarms = &run.state.alarms;
    Table {
        name: "alarms",
        columns: vec![
            column("step", Values::Counts(alarms.iter().map(|alarm| alarm.step).collect())),
            column("time_ms", Values::Times(alarms.iter().map(|alarm| alarm.time_ms).collect())),
            column("kind", Values::Texts(alarms.iter().map(|alarm| word(alarm.kind)).collect())),
            column("message", Values::Texts(alarms.iter().map(|alarm| Some(alarm.message.clone())).collect())),
        ],
    }
}

/// The cells of every matrix that the log has, but for those without an image.
fn confusion(run: &RecordedRun) -> Table {
    let (mut epochs, mut truths, mut predictions, mut images) = (vec![], vec![], vec![], vec![]);
    for epoch in &run.state.epochs {
        let Some(confusion) = &epoch.confusion else { continue };
        let cells =
            (0..confusion.classes()).flat_map(|truth| (0..confusion.classes()).map(move |other| (truth, other)));
        for (truth, predicted) in cells {
            let count = confusion.count(truth, predicted);
            if count > 0 {
                epochs.push(epoch.epoch);
                truths.push(class(run, truth as u64));
                predictions.push(class(run, predicted as u64));
                images.push(count);
            }
        }
    }
    Table {
        name: "confusion",
        columns: vec![
            column("epoch", Values::Counts(epochs)),
            column("true_class", Values::Texts(truths)),
            column("predicted_class", Values::Texts(predictions)),
            column("images", Values::Counts(images)),
        ],
    }
}

fn mistakes(run: &RecordedRun) -> Table {
    let all = || run.state.epochs.iter().flat_map(|epoch| epoch.mistakes.iter().map(move |mistake| (epoch, mistake)));
    Table {
        name: "mistakes",
        columns: vec![
            column("epoch", Values::Counts(all().map(|(epoch, _)| epoch.epoch).collect())),
            column("image", Values::Counts(all().map(|(_, mistake)| mistake.index).collect())),
            column("true_class", Values::Texts(all().map(|(_, mistake)| class(run, mistake.true_class)).collect())),
            column(
                "predicted_class",
                Values::Texts(all().map(|(_, mistake)| class(run, mistake.predicted_class)).collect()),
            ),
            column("confidence", Values::Singles(all().map(|(_, mistake)| mistake.confidence).collect())),
        ],
    }
}

/// The name of a class, or its number where it has none.
fn class(run: &RecordedRun, class: u64) -> Option<String> {
    let name = usize::try_from(class).ok().and_then(|class| run.classes().get(class));
    Some(name.cloned().unwrap_or_else(|| class.to_string()))
}

fn system(run: &RecordedRun) -> Table {
    let samples = &run.samples;
    let numbers = |name: &str, of: fn(&TimedSample) -> Option<f64>| {
        column(name, Values::Numbers(samples.iter().map(|sample| of(sample).unwrap_or(f64::NAN)).collect()))
    };
    let of_card = |name: &str, of: fn(&CardSample) -> Option<f64>| {
        let value = |sample: &TimedSample| sample.sample.card.as_ref().and_then(of).unwrap_or(f64::NAN);
        column(&format!("gpu_{name}"), Values::Numbers(samples.iter().map(value).collect()))
    };
    Table {
        name: "system",
        columns: vec![
            column("step", Values::Counts(samples.iter().map(|sample| sample.step).collect())),
            column("time_ms", Values::Times(samples.iter().map(|sample| sample.time_ms).collect())),
            numbers("resident_bytes", |sample| sample.sample.resident_bytes.map(|bytes| bytes as f64)),
            numbers("trainer_cpu_percent", |sample| sample.sample.trainer_cpu_percent),
            numbers("cpu_percent", |sample| sample.sample.cpu_percent),
            numbers("memory_used_bytes", |sample| sample.sample.memory_used_bytes.map(|bytes| bytes as f64)),
            numbers("memory_total_bytes", |sample| sample.sample.memory_total_bytes.map(|bytes| bytes as f64)),
            numbers("disk_free_bytes", |sample| sample.sample.disk_free_bytes.map(|bytes| bytes as f64)),
            of_card("utilisation_percent", |card| card.utilisation_percent),
            of_card("memory_used_bytes", |card| card.memory_used_bytes.map(|bytes| bytes as f64)),
            of_card("power_watts", |card| card.power_watts),
            of_card("temperature_celsius", |card| card.temperature_celsius.map(f64::from)),
            of_card("sm_clock_mhz", |card| card.sm_clock_mhz.map(f64::from)),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::super::columns::Cell;
    use super::*;

    fn of(log: &str) -> Vec<Table> {
        tables(&RecordedRun::example(log).1)
    }

    fn cells<'a>(tables: &'a [Table], table: &str, column: &str) -> Vec<Cell<'a>> {
        let table = tables.iter().find(|one| one.name == table).unwrap();
        let column = table.columns.iter().find(|one| one.name == column).unwrap();
        (0..column.values.rows()).map(|row| column.values.cell(row)).collect()
    }

    #[test]
    fn all_columns_of_a_table_are_equally_long_and_each_step_is_once() {
        for log in ["training", "rolled_back", "diverged", "continued", "empty"] {
            let tables = of(log);
            for table in &tables {
                let lengths = table.columns.iter().map(|column| column.values.rows());
                assert!(lengths.clone().all(|length| length == table.rows()), "{log} {}", table.name);
            }
            let steps = cells(&tables, "steps", "step");
            let number = |cell: &Cell| if let Cell::Count(step) = cell { *step } else { 0 };
            assert!(steps.iter().map(number).is_sorted_by(|a, b| a < b), "{log}");
            assert_eq!(steps.is_empty(), log == "empty");
        }
    }

    #[test]
    fn a_learning_rate_holds_from_the_step_after_its_change_on() {
        let (_folder, run) = RecordedRun::example("training");
        let change = run.state.learning_rate_changes[0];
        let tables = tables(&run);
        let rates = cells(&tables, "steps", "learning_rate");
        let around = change.step as usize - 1..change.step as usize + 1;
        assert_eq!(rates[around], [Cell::Number(change.from), Cell::Number(change.to)]);
        assert_eq!(cells(&tables, "learning_rates", "reason")[0], Cell::Text("command"));
    }
}
