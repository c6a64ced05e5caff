//! What there is of one run alone: epochs, classes, pictures, events.

use anyhow::Result;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::time::time_of_ms;
use crate::export::figure::{Look, confusion_matrix};
use crate::export::{RecordedRun, probe_figures};
use crate::format;
use crate::metrics::Confusion;
use crate::render::figures::class_name;
use crate::run::event::{EpochDone, Severity};
use crate::run::probe::Probe;

/// Pictures of pinned images whose feature maps and heat maps are shown.
const EXPLAINED_IMAGES: usize = 3;

/// # Errors
/// A probe cannot be read.
pub fn of_run(run: &RecordedRun, zone: &TimeZone, is_only: bool) -> Result<Markup> {
    let probe = run.best_probe()?;
    // Headings are one level lower beneath the name of the run.
    let heading = |text: &str| html! { @if is_only { h2 { (text) } } @else { h3 { (text) } } };
    Ok(html! {
        @if !run.state.epochs.is_empty() {
            (heading("Epochs"))
            (epochs(run))
        }
        @if let Some((epoch, confusion)) = run.detailed_epoch() {
            (heading("Classes"))
            (classes(run, epoch, confusion))
        }
        @if let Some(probe) = &probe {
            (heading("What the Network Sees"))
            (pictures(probe))
        }
        @if !run.state.alarms.is_empty() {
            (heading("Alarms"))
            (alarms(run, zone))
        }
        @if !run.state.notes.is_empty() {
            (heading("Events"))
            (events(run, zone))
        }
    })
}

struct EpochColumn {
    name: String,
    value: fn(&EpochDone) -> f64,
    written: fn(f64) -> String,
}

fn epochs(run: &RecordedRun) -> Markup {
    /// More are folded up.
    const SHOWN: usize = 30;
    let judged_by = run.state.judged_by();
    let best = run.state.best().map(|best| best.epoch);
    let of_judging = capital(&judged_by.to_string());
    let column = |name: &str, value, written| EpochColumn { name: name.to_owned(), value, written };
    let loss = |loss: f64| decimals(loss, 4);
    let percent = |percent: f64| decimals(percent, 2);
    let mut columns = vec![
        column("Train loss", |epoch| epoch.train_loss, loss),
        column(&format!("{of_judging} loss"), |epoch| epoch.test_loss, loss),
        column("Train acc. (%)", |epoch| epoch.train_accuracy, percent),
        column(&format!("{of_judging} acc. (%)"), |epoch| epoch.test_accuracy, percent),
        column("Learning rate", |epoch| epoch.learning_rate, format::learning_rate),
        column("Time", |epoch| epoch.elapsed_secs, format::secs),
    ];
    // Another program need not tell all of it.
    columns.retain(|column| run.state.epochs.iter().any(|epoch| (column.value)(epoch).is_finite()));
    let table = html! {
        div.scroll {
            table {
                thead { tr { th { "Epoch" } @for column in &columns { th { (column.name) } } } }
                tbody {
                    @for epoch in &run.state.epochs {
                        tr.mark[best == Some(epoch.epoch)] {
                            td { (epoch.epoch) @if best == Some(epoch.epoch) { ", best" } (epoch.test_time_augmentation.suffix()) }
                            @for column in &columns { td { ((column.written)((column.value)(epoch))) } }
                        }
                    }
                }
            }
        }
    };
    let count = run.state.epochs.len();
    html! {
        @if count > SHOWN { details { summary { (count) " epochs" } (table) } } @else { (table) }
    }
}

fn classes(run: &RecordedRun, epoch: &EpochDone, confusion: &Confusion) -> Markup {
    let names = run.classes();
    let title = format!("Confusion Matrix, Epoch {}", epoch.epoch);
    let percent = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"));
    html! {
        div.beside {
            figure { (confusion_matrix(confusion, names, &title, Look::Page).to_inline(&title)) }
            div.scroll {
                table {
                    thead { tr {
                        th.text { "Class" } th { "Precision (%)" } th { "Recall (%)" } th { "F1 (%)" } th { "Images" }
                        th.text { "Most often taken for" }
                    } }
                    tbody {
                        @for class in (0..confusion.classes()).filter(|&class| confusion.samples_of(class) > 0) {
                            tr {
                                th { (class_name(names, class)) }
                                td { (percent(confusion.precision_of(class))) }
                                td { (percent(confusion.accuracy_of(class))) }
                                td { (percent(confusion.f1_of(class))) }
                                td { (format::count(confusion.samples_of(class))) }
                                td.text {
                                    @if let Some((other, count)) = confusion.most_often_taken_for(class) {
                                        (class_name(names, other)) " (" (count) ")"
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn pictures(probe: &Probe) -> Markup {
    let look = Look::Page;
    let figure = |title: &str, svg: &crate::export::figure::Svg| html! { figure.pictures { (svg.to_inline(title)) } };
    html! {
        p.quiet { "By the probe of epoch " (probe.epoch) ", step " (format::count(probe.step)) "." }
        @if !probe.images.is_empty() {
            @let title = "Grad-CAM: Evidence for the Predicted Class";
            (figure(title, &probe_figures::grad_cam(probe, &probe.images, title, look)))
        }
        @if !probe.mistakes.is_empty() {
            @let title = "The Most Confident Mistakes";
            (figure(title, &probe_figures::grad_cam(probe, &probe.mistakes, title, look)))
        }
        @for image in probe.images.iter().take(EXPLAINED_IMAGES) {
            (figure("Heat maps", &probe_figures::heat_maps(probe, image, look)))
            (figure("Feature maps", &probe_figures::feature_maps(probe, image, look)))
        }
    }
}

fn alarms(run: &RecordedRun, zone: &TimeZone) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { "Step" } th.text { "Time" } th.text { "Kind" } th.text { "Message" } } }
                tbody {
                    @for alarm in &run.state.alarms {
                        tr {
                            td { (format::count(alarm.step)) } td.text { (time_of_ms(alarm.time_ms, zone)) }
                            td.text { (alarm.kind.name()) } td.text.value.message { (alarm.message) }
                        }
                    }
                }
            }
        }
    }
}

fn events(run: &RecordedRun, zone: &TimeZone) -> Markup {
    let notes = &run.state.notes;
    html! {
        details {
            summary {
                (notes.len()) " events"
                @if run.state.dropped_notes > 0 { ", without the first " (run.state.dropped_notes) }
            }
            div.scroll {
                table { tbody {
                    @for note in notes {
                        tr {
                            td.text.quiet { (time_of_ms(note.time_ms, zone)) }
                            td.text.value.message.bad[note.severity == Severity::Alarm] { (note.text) }
                        }
                    }
                } }
            }
        }
    }
}

fn decimals(value: f64, count: usize) -> String {
    if value.is_finite() { format!("{value:.count$}") } else { "–".to_owned() }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
