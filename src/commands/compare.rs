//! `taper compare`: runs beside each other, on the screen, as text, as JSON or as CSV.

use std::io::{self, Write};
use std::thread;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::columns::aligned;
use super::failure::UsageError;
use super::shell::{say, say_json};
use super::watch;
use crate::cli::{CompareArgs, CurvesOver};
use crate::config::Values;
use crate::export::table::io_error;
use crate::format;
use crate::run::comparison::{Difference, Score, common_accuracy, configuration, data_warning, differences};
use crate::run::dir::{RunDir, RunsDir};
use crate::run::listing::is_live;
use crate::run::lock::liveness;
use crate::run::log::now_ms;
use crate::run::metric::Metric;
use crate::run::replay::replay_and_log;
use crate::run::series::{Point, XAxis};
use crate::run::state::RunState;
use crate::tui::theme::SERIES_STYLES;
use crate::tui::{Comparison, Place};

/// A run, and what is on disk of it.
struct Contender {
    run: RunDir,
    live: bool,
    state: RunState,
    configuration: Values,
}

#[derive(Serialize)]
struct Report {
    metric: Metric,
    x: &'static str,
    /// The accuracy, in percent, whose epoch and time are told.
    to_accuracy: Option<f64>,
    /// Where the runs are not of the same data.
    warning: Option<String>,
    runs: Vec<Row>,
    /// Keys of the configuration that differ, with a value for each run.
    differences: Vec<Difference>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    path: String,
    live: bool,
    #[serde(flatten)]
    score: Score,
    curve: Vec<CurvePoint>,
}

#[derive(Serialize)]
struct CurvePoint {
    x: f64,
    value: f64,
}

pub fn compare(runs: &RunsDir, args: &CompareArgs) -> Result<u8> {
    if let Some(target) = args.to.filter(|target| !(0.0..=100.0).contains(target)) {
        return Err(UsageError(format!("--to {target}: an accuracy is a number from 0 to 100, in percent")).into());
    }
    let mut chosen: Vec<RunDir> = Vec::new();
    for name in &args.runs {
        let run = runs.open(name)?;
        if !chosen.contains(&run) {
            chosen.push(run);
        }
    }
    if !(2..=SERIES_STYLES).contains(&chosen.len()) {
        let count = chosen.len();
        return Err(
            UsageError(format!("{count} to compare: name 2 to {SERIES_STYLES} runs; taper runs lists them")).into()
        );
    }
    let axis = match args.x {
        CurvesOver::Epoch => XAxis::Epoch,
        CurvesOver::Step => XAxis::Step,
        CurvesOver::Time => XAxis::Time,
    };
    if !args.json && !args.csv && !args.no_tui && watch::has_screen() {
        let comparison = Comparison { runs: chosen, metric: args.metric, axis, target: args.to };
        return watch::session(runs, Place::Compare(comparison), args.dashboard);
    }
    let contenders = read(chosen)?;
    if args.csv {
        csv(&contenders, args.metric).context("stdout")?;
        return Ok(0);
    }
    let report = report(contenders, args.metric, axis, args.to);
    if args.json {
        say_json(&report)?;
    } else {
        table(&report).iter().try_for_each(say)?;
    }
    Ok(0)
}

/// Each on a thread of its own; a bar on stderr tells how far it is.
fn read(runs: Vec<RunDir>) -> Result<Vec<Contender>> {
    let size = |run: &RunDir| std::fs::metadata(run.events()).map_or(0, |log| log.len());
    let style = ProgressStyle::with_template("reading the logs {bar:30} {percent} %").context("the bar's template")?;
    let bar = ProgressBar::new(runs.iter().map(size).sum()).with_style(style);
    // A bar of a moment would only flicker.
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
    let read = thread::scope(|scope| {
        let started: Vec<_> = runs.into_iter().map(|run| scope.spawn(|| read_one(run, &bar))).collect();
        started.into_iter().map(|thread| thread.join().expect("a log is read without a panic")).collect()
    });
    bar.finish_and_clear();
    read
}

fn read_one(run: RunDir, bar: &ProgressBar) -> Result<Contender> {
    let mut before = 0;
    let progress = |bytes: u64| {
        bar.inc(bytes - before);
        before = bytes;
    };
    // Before the log: a trainer that has ended then has written all that it ever will.
    let live = is_live(&liveness(&run));
    let (state, _) = replay_and_log(&run, progress)?;
    let configuration = configuration(&run, &state)?;
    Ok(Contender { live, state, configuration, run })
}

fn report(contenders: Vec<Contender>, metric: Metric, axis: XAxis, target: Option<f64>) -> Report {
    let target = target.or_else(|| common_accuracy(contenders.iter().map(|contender| &contender.state)));
    let known: Vec<_> = contenders.iter().map(|contender| Some(&contender.configuration)).collect();
    let differences = differences(&known);
    let row = |contender: &Contender| {
        let until_ms = if contender.live { now_ms() } else { contender.state.last_activity_ms };
        let points = contender.state.series(metric);
        let curve = points.points().map(|point| CurvePoint { x: point.x(axis), value: point.value }).collect();
        Row {
            name: contender.run.name(),
            path: contender.run.path().display().to_string(),
            live: contender.live,
            score: Score::of(&contender.state, target, until_ms),
            curve,
        }
    };
    let runs: Vec<Row> = contenders.iter().map(row).collect();
    let warning = data_warning(runs.iter().map(|row| (row.name.as_str(), row.score.data.as_str())));
    Report { metric, x: axis_name(axis), to_accuracy: target, warning, runs, differences }
}

/// With its unit.
fn axis_name(axis: XAxis) -> &'static str {
    match axis {
        XAxis::Epoch => "epoch",
        XAxis::Step => "step",
        XAxis::Time => "elapsed_secs",
    }
}

/// The scores, and what differs.
fn table(report: &Report) -> Vec<String> {
    let none = || "–".to_owned();
    let reached = report.to_accuracy.map_or_else(|| "TO –".to_owned(), |target| format!("TO {target:.2} %"));
    let headings = ["RUN", "PHASE", "EPOCH", "BEST ACC", "LAST ACC", "TIME", &reached, "STEP", "DATA"];
    let mut scores = vec![headings.map(str::to_owned).to_vec()];
    scores.extend(report.runs.iter().map(|Row { name, live, score, .. }| {
        let phase = if !live && score.phase.is_active() { "dead".to_owned() } else { score.phase.to_string() };
        let accuracies = score.accuracies;
        let best = accuracies.best.zip(accuracies.best_epoch);
        vec![
            name.clone(),
            phase,
            score.epochs.map_or_else(none, |epochs| format!("{}/{epochs}", score.epoch)),
            best.map_or_else(none, |(accuracy, epoch)| {
                let mark = accuracies.best_augmentation.mark();
                format!("{accuracy:.2} %{mark} (epoch {epoch})")
            }),
            accuracies
                .last
                .map_or_else(none, |accuracy| format!("{accuracy:.2} %{}", accuracies.last_augmentation.mark())),
            format::duration(score.active_secs),
            score.reached.map_or_else(none, |reached| {
                let mark = reached.test_time_augmentation.mark();
                format!("epoch {}{mark}, {}", reached.epoch, format::duration(reached.elapsed_secs))
            }),
            score.step_millis.map_or_else(none, |millis| format::millis(millis / 1e3)),
            if score.data.is_empty() { none() } else { score.data.clone() },
        ]
    }));
    let mut lines = aligned(&columns(&scores));
    if !report.differences.is_empty() {
        let names = report.runs.iter().map(|row| row.name.clone());
        let mut settings = vec![std::iter::once("DIFFERENT SETTING".to_owned()).chain(names).collect()];
        settings.extend(report.differences.iter().map(|difference| {
            let values = difference.values.iter().map(|value| value.clone().unwrap_or_else(none));
            std::iter::once(difference.key.clone()).chain(values).collect()
        }));
        lines.push(String::new());
        lines.extend(aligned(&columns(&settings)));
    }
    if let Some(warning) = &report.warning {
        lines.extend([String::new(), format!("! {warning}")]);
    }
    lines
}

/// The cells of each column.
fn columns(rows: &[Vec<String>]) -> Vec<Vec<String>> {
    let count = rows.first().map_or(0, Vec::len);
    (0..count).map(|column| rows.iter().map(|row| row[column].clone()).collect()).collect()
}

/// One line for each point of the metric.
fn csv(contenders: &[Contender], metric: Metric) -> io::Result<()> {
    let mut out = csv::Writer::from_writer(io::stdout().lock());
    out.write_record(["run", "step", "epoch", "elapsed_secs", "time_ms", metric.name()]).map_err(io_error)?;
    for contender in contenders {
        let series = contender.state.series(metric);
        write_points(&mut out, &contender.run.name(), series.points()).map_err(io_error)?;
    }
    out.flush()
}

fn write_points(out: &mut csv::Writer<impl Write>, run: &str, points: impl Iterator<Item = Point>) -> csv::Result<()> {
    for Point { step, epoch, elapsed_secs, time_ms, value } in points {
        let numbers =
            [step.to_string(), epoch.to_string(), elapsed_secs.to_string(), time_ms.to_string(), value.to_string()];
        out.write_record(std::iter::once(run).chain(numbers.iter().map(String::as_str)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::comparison::{Accuracies, Reached};
    use crate::run::event::Outcome;
    use crate::run::state::Phase;

    fn row(name: &str, live: bool, best_accuracy: Option<f64>, reached: Option<Reached>) -> Row {
        let score = Score {
            phase: if live { Phase::Training } else { Phase::Ended(Outcome::Completed) },
            epoch: 12,
            epochs: Some(50),
            step: 384,
            data: "CIFAR-10, 50,000 + 10,000 images".into(),
            accuracies: Accuracies {
                best: best_accuracy,
                best_epoch: best_accuracy.map(|_| 11),
                last: best_accuracy.map(|accuracy| accuracy - 1.0),
                ..Accuracies::default()
            },
            last_train_loss: Some(0.5),
            active_secs: 723.0,
            step_millis: Some(12.34),
            reached,
        };
        Row { name: name.into(), path: name.into(), live, score, curve: vec![] }
    }

    #[test]
    fn the_table() {
        let report = Report {
            metric: Metric::TestAccuracy,
            x: "epoch",
            to_accuracy: Some(84.68),
            warning: Some("not the same data, so accuracies do not compare: a (x); b (y)".into()),
            runs: vec![
                row(
                    "baseline",
                    false,
                    Some(85.1),
                    Some(Reached { epoch: 10, test_time_augmentation: Default::default(), elapsed_secs: 600.0 }),
                ),
                row("wide", true, None, None),
            ],
            differences: vec![Difference {
                key: "model.hidden".into(),
                values: vec![Some("512".into()), Some("1024".into())],
            }],
        };
        insta::assert_snapshot!(table(&report).join("\n"));
    }

    #[test]
    fn names_in_csv_are_quoted_where_they_have_to_be() {
        let field = |name: &str| {
            let mut out = csv::Writer::from_writer(vec![]);
            let point = Point { step: 7, epoch: 0.5, elapsed_secs: 1.5, time_ms: 9, value: 2.0 };
            write_points(&mut out, name, std::iter::once(point)).unwrap();
            String::from_utf8(out.into_inner().unwrap()).unwrap().strip_suffix(",7,0.5,1.5,9,2\n").unwrap().to_owned()
        };
        assert_eq!(["plain", "a,b", "a\"b"].map(field), ["plain", "\"a,b\"", "\"a\"\"b\""]);
    }
}
