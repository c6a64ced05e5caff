//! `taper runs`: a table of the runs.

use std::cmp::Ordering;
use std::io::{self, Write};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use wildmatch::WildMatch;

use super::columns::{table, terminal_width};
use super::shell::{Shell, say, say_json};
use crate::cli::{RunsArgs, SortRuns};
use crate::format;
use crate::run::dir::RunsDir;
use crate::run::log::now_ms;
use crate::run::overview::{Overview, Standing};
use crate::run::overview_index::overviews;

pub fn list(runs: &RunsDir, args: &RunsArgs) -> Result<u8> {
    let all = overviews(runs, &runs.list()?);
    let total = all.len();
    let mut rows: Vec<Overview> = all.into_iter().filter(|run| is_chosen(run, args)).collect();
    rows.sort_by(|one, other| compare(args.sort, one, other));
    if args.reverse {
        rows.reverse();
    }
    let path = runs.path().display();
    if args.json {
        say_json(&rows)?;
    } else if total == 0 {
        say(format!("No runs in {path}. To start one: {}", Shell::new(runs).line("train")))?;
    } else if rows.is_empty() {
        say(format!("None of the {} in {path} matches.", count_runs(total)))?;
    } else {
        let mut out = io::stdout().lock();
        let shown = table(&rows, None, &TimeZone::system(), now_ms(), terminal_width());
        shown.iter().try_for_each(|line| writeln!(out, "{line}")).context("stdout")?;
        for (name, error) in rows.iter().filter_map(|row| Some((&row.name, row.error.as_ref()?))) {
            writeln!(out, "{name}: {error}").context("stdout")?;
        }
        writeln!(out, "\n{}", total_line(&rows, total)).context("stdout")?;
    }
    Ok(0)
}

/// By the patterns and options of the command line.
fn is_chosen(run: &Overview, args: &RunsArgs) -> bool {
    let matches = args.pattern.is_empty() || args.pattern.iter().any(|pattern| matches(run, pattern));
    matches && (!args.live || run.live) && (!args.failed || run.ended_unexpectedly())
}

/// Whether name, model or data set have the pattern in them, or are it where it has `*` or `?`.
fn matches(run: &Overview, pattern: &str) -> bool {
    let texts = [Some(run.name.as_str()), run.told.model.as_deref(), run.told.data.as_deref()];
    let mut texts = texts.into_iter().flatten();
    if pattern.contains(['*', '?']) {
        let whole = WildMatch::new_case_insensitive(pattern);
        return texts.any(|text| whole.matches(text));
    }
    let part = pattern.to_lowercase();
    texts.any(|text| text.to_lowercase().contains(&part))
}

fn compare(sort: SortRuns, one: &Overview, other: &Overview) -> Ordering {
    let highest_first = |number: fn(&Overview) -> Option<f64>| {
        let number = |run| number(run).filter(|number| !number.is_nan()).unwrap_or(f64::NEG_INFINITY);
        number(other).total_cmp(&number(one))
    };
    let best = || highest_first(|run| run.told.summary.best_test_accuracy);
    let order = match sort {
        SortRuns::Age => one.told.summary.last_activity_ms.cmp(&other.told.summary.last_activity_ms),
        SortRuns::Name => Ordering::Equal,
        SortRuns::Best => best(),
        SortRuns::Epoch => other.told.summary.epoch.cmp(&one.told.summary.epoch),
        SortRuns::Duration => highest_first(|run| Some(run.told.summary.active_secs)),
        SortRuns::Lr => highest_first(|run| run.told.summary.learning_rate),
        SortRuns::Data => one.told.data.cmp(&other.told.data).then_with(best),
        SortRuns::Model => one.told.model.cmp(&other.told.model).then_with(best),
    };
    order.then_with(|| one.name.cmp(&other.name))
}

/// Such as `3 of 12 runs, 1 live`.
fn total_line(shown: &[Overview], total: usize) -> String {
    let of = if shown.len() < total { format!("{} of ", format::count(shown.len() as u64)) } else { String::new() };
    let live = shown.iter().filter(|run| run.standing() == Standing::Live).count();
    let live = if live > 0 { format!(", {} live", format::count(live as u64)) } else { String::new() };
    format!("{of}{}{live}", count_runs(total))
}

/// Such as `5,000 runs`.
pub(super) fn count_runs(runs: usize) -> String {
    format!("{} {}", format::count(runs as u64), if runs == 1 { "run" } else { "runs" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_part_or_with_wildcards_the_whole() {
        let run = &Overview::examples()[2];
        for pattern in ["1124", "CNN", "non-local", "cifar-10", "2026*-cnn", "cnn-non-local*", "CIFAR-1?"] {
            assert!(matches(run, pattern), "{pattern}");
        }
        for pattern in ["wide", "1124*", "cnn-se", "sample", "CIFAR-?"] {
            assert!(!matches(run, pattern), "{pattern}");
        }
        assert!(
            matches(&Overview::examples()[0], "EMPTY") && !matches(&Overview::examples()[0], "cnn"),
            "it has no model yet"
        );
    }

    #[test]
    fn runs_are_sorted_with_the_unknown_last() {
        let mut runs = Overview::examples();
        runs[1].told.summary.best_test_accuracy = Some(70.0);
        runs[3].told.summary.best_test_accuracy = Some(f64::NAN);
        runs[3].told.summary.last_activity_ms += 1;
        runs[4].told.summary.last_activity_ms -= 1;
        let sorted = |sort| {
            let mut sorted: Vec<&Overview> = runs.iter().collect();
            sorted.sort_by(|one, other| compare(sort, one, other));
            sorted.iter().map(|run| run.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(sorted(SortRuns::Best), ["done", "20261124-175203-cnn", "far", "empty", "killed"]);
        assert_eq!(sorted(SortRuns::Age), ["far", "20261124-175203-cnn", "done", "empty", "killed"]);
        assert_eq!(sorted(SortRuns::Name), ["20261124-175203-cnn", "done", "empty", "far", "killed"]);
        assert_eq!(sorted(SortRuns::Lr)[4], "empty");
    }

    #[test]
    fn the_total_says_how_many_are_not_shown() {
        let runs = Overview::examples();
        assert_eq!(total_line(&runs, 5), "5 runs, 2 live");
        assert_eq!(total_line(&runs[..1], 5000), "1 of 5,000 runs");
        assert_eq!(total_line(&runs[..1], 1), "1 run");
    }
}
