//! A report of runs: one page of HTML that needs nothing beside itself, neither a network nor a script.

mod configuration;
mod details;
mod overview;
mod time;

use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::time::time;
use super::figure::{Chart, Look};
use super::{RecordedRun, curves};

const STYLE: &str = include_str!("style.css");
/// What every report has near its beginning, and no other page.
pub const GENERATOR: &str = "<meta name=\"generator\" content=\"taper report\">";

/// The page, with times of that zone.
///
/// # Errors
/// A probe cannot be read.
pub fn report(runs: &[RecordedRun], now: Timestamp, zone: &TimeZone) -> Result<String> {
    let names: Vec<String> = runs.iter().map(RecordedRun::name).collect();
    let title = names.join(", ");
    let all: Vec<&RecordedRun> = runs.iter().collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="generator" content="taper report";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – taper" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                p.quiet { "taper " (env!("CARGO_PKG_VERSION")) ", " (time(now, zone)) }
                (overview::table(runs, now, zone))
                h2 { "Curves" }
                (charts(&all))
                h2 { "Configuration" }
                (configuration::table(runs))
                @for run in runs {
                    @if runs.len() > 1 { h2 { (run.name()) } }
                    (details::of_run(run, zone, runs.len() == 1)?)
                }
            }
        }
    };
    Ok(page.into_string())
}

fn charts(runs: &[&RecordedRun]) -> Markup {
    let charts: [Chart; 5] = [
        curves::loss(runs),
        curves::accuracy(runs),
        curves::batch_loss(runs),
        curves::gradient_norm(runs),
        curves::learning_rate(runs),
    ];
    let drawn: Vec<_> = charts.iter().filter_map(|chart| Some((&chart.title, chart.draw(Look::Page)?))).collect();
    html! {
        @if drawn.is_empty() { p.quiet { "No step has been taken yet." } }
        div.charts {
            @for (title, svg) in &drawn { figure { (svg.to_inline(title)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(logs: &[&str]) -> String {
        let (_folders, runs): (Vec<_>, Vec<_>) = logs.iter().map(|log| RecordedRun::example(log)).unzip();
        report(&runs, Timestamp::UNIX_EPOCH, &TimeZone::UTC).unwrap()
    }

    #[test]
    fn every_run_has_a_report_whatever_became_of_it() {
        for log in ["training", "completed", "diverged", "failed", "paused", "empty", "torn_tail"] {
            let page = page(&[log]);
            assert!(page[..1024].contains(GENERATOR) && page.ends_with("</html>"), "{log}");
            assert!(page.contains("The default configuration."), "{log}");
            assert_eq!(page.contains("No step has been taken yet."), log == "empty", "{log}");
            assert!(["\"NaN", "MNaN", "LNaN", "inf\""].iter().all(|wrong| !page.contains(wrong)), "{log}");
        }
        assert!(page(&["diverged"]).contains("diverged: "));
    }

    #[test]
    fn several_runs_share_their_charts() {
        let page = page(&["training", "completed"]);
        assert_eq!(page.matches("aria-label=\"Loss\"").count(), 1);
        assert!(page.contains("All have the same configuration."));
        assert!(page.contains(">run train</text>") && page.contains(">run test</text>"));
    }
}
