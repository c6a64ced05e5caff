//! What the runs are, beside each other.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::time::time_of_ms;
use crate::export::RecordedRun;
use crate::export::figure::Look;
use crate::format;
use crate::run::event::{EpochDone, RunStarted};
use crate::run::state::Phase;

const FACTS: [&str; 14] = [
    "State",
    "Began",
    "Time spent",
    "Epochs",
    "Steps",
    "Best accuracy",
    "Last epoch",
    "Data",
    "Images",
    "Model",
    "Parameters",
    "Device",
    "Host",
    "Seed",
];

/// A column for each run.
pub fn table(runs: &[RecordedRun], now: Timestamp, zone: &TimeZone) -> Markup {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let columns: Vec<[Option<String>; FACTS.len()]> = runs.iter().map(|run| facts(run, now_ms, zone)).collect();
    html! {
        div.scroll {
            table {
                @if runs.len() > 1 {
                    thead { tr { th {} @for (number, run) in runs.iter().enumerate() {
                        th.text {
                            span.swatch style={ "background:" (Look::Page.series(number)) } {}
                            (run.name())
                        }
                    } } }
                }
                tbody {
                    @for (row, name) in FACTS.iter().enumerate().filter(|(row, _)| columns.iter().any(|of| of[*row].is_some())) {
                        tr { th { (name) } @for facts in &columns { td.text { (facts[row].as_deref().unwrap_or_default()) } } }
                    }
                }
            }
        }
        @for run in runs {
            @if let Some(message) = &run.state.divergence {
                p.bad { @if runs.len() > 1 { (run.name()) ": " } "diverged: " (message) }
            }
        }
    }
}

fn phase(run: &RecordedRun) -> String {
    match (run.state.phase, run.is_live) {
        (phase @ Phase::Ended(_), _) => phase.to_string(),
        (_, false) if run.state.started.is_none() => "not begun".to_owned(),
        (phase, true) => format!("live: {phase}"),
        (_, false) => "ended without a last event: its trainer is gone".to_owned(),
    }
}

/// Of a live run the present, of another its last activity.
fn until(run: &RecordedRun, now_ms: u64) -> u64 {
    if run.is_live { now_ms } else { run.state.last_activity_ms }
}

/// What another program does not tell of its run is left out: a text that is empty, a count of 0, a number that is NaN.
fn facts(run: &RecordedRun, now_ms: u64, zone: &TimeZone) -> [Option<String>; FACTS.len()] {
    let (state, started) = (&run.state, run.state.started.as_ref());
    let text = |of: fn(&RunStarted) -> &String| started.map(of).filter(|text| !text.is_empty()).cloned();
    let count = |of: fn(&RunStarted) -> u64| started.map(of).filter(|&count| count > 0);
    let best = state.best().filter(|best| best.test_accuracy.is_finite()).map(|best| {
        let EpochDone { test_accuracy, test_time_augmentation, judged_by, epoch, .. } = best;
        let is_raw = started.is_none_or(|started| started.evaluated_weights.are_raw());
        let by = if is_raw { "" } else { ", by averaged weights" };
        let augmentation = test_time_augmentation.suffix();
        format!("{test_accuracy:.2} % of the {judged_by} images{augmentation}, epoch {epoch}{by}")
    });
    let last = state.epochs.last().map(|last| {
        let parts = [
            (last.test_accuracy, format!("{:.2} %{}", last.test_accuracy, last.test_time_augmentation.suffix())),
            (last.test_loss, format!("{} loss {:.4}", last.judged_by, last.test_loss)),
            (last.train_loss, format!("train loss {:.4}", last.train_loss)),
        ];
        let told = parts.into_iter().filter(|(value, _)| value.is_finite()).map(|(_, text)| text);
        told.collect::<Vec<_>>().join(", ")
    });
    let epochs = started.map(|_| match count(|started| started.epochs) {
        Some(epochs) => format!("{} of {epochs}", state.epochs.len()),
        None => state.epochs.len().to_string(),
    });
    let images = count(|started| started.train_samples).map(|train| {
        let judged = count(|started| started.test_samples).map_or_else(String::new, |judged| {
            format!(", {} to judge by ({})", format::count(judged), state.judged_by())
        });
        format!("{} to train on{judged}", format::count(train))
    });
    [
        Some(phase(run)),
        state.first_started_ms.map(|time_ms| time_of_ms(time_ms, zone)),
        started.map(|_| format::duration(state.active_secs(until(run, now_ms)))),
        epochs,
        started.map(|_| format::count(state.step)),
        best,
        last.filter(|last| !last.is_empty()),
        text(|started| &started.data),
        images,
        text(|started| &started.model),
        count(|started| started.parameters).map(format::count),
        text(|started| &started.device),
        text(|started| &started.host),
        started.filter(|started| started.trainer.is_none()).map(|started| started.seed.to_string()),
    ]
}
