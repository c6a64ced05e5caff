//! What the runs are, beside each other.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::time_of_ms;
use crate::export::RecordedRun;
use crate::export::figure::Look;
use crate::format;
use crate::run::event::EpochDone;
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

fn facts(run: &RecordedRun, now_ms: u64, zone: &TimeZone) -> [Option<String>; FACTS.len()] {
    let (state, started) = (&run.state, run.state.started.as_ref());
    let best = state
        .best()
        .map(|best| format!("{:.2} % of the {} images, epoch {}", best.test_accuracy, best.judged_by, best.epoch));
    let last = state.epochs.last().map(|last| {
        let EpochDone { judged_by, test_accuracy, test_loss, train_loss, .. } = last;
        format!("{test_accuracy:.2} %, {judged_by} loss {test_loss:.4}, train loss {train_loss:.4}")
    });
    let images = started.map(|started| {
        let (train, test) = (format::count(started.train_samples), format::count(started.test_samples));
        format!("{train} to train on, {test} to judge by ({})", started.judged_by)
    });
    [
        Some(phase(run)),
        state.first_started_ms.map(|time_ms| time_of_ms(time_ms, zone)),
        started.map(|_| format::duration(state.active_secs(until(run, now_ms)))),
        started.map(|started| format!("{} of {}", state.epochs.len(), started.epochs)),
        started.map(|_| format::count(state.step)),
        best,
        last,
        started.map(|started| started.data.clone()),
        images,
        started.map(|started| started.model.clone()),
        started.map(|started| format::count(started.parameters)),
        started.map(|started| started.device.clone()),
        started.map(|started| started.host.clone()),
        started.map(|started| started.seed.to_string()),
    ]
}
