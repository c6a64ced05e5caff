//! `taper rm`: deletes runs, when it has said what goes and was told to.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result, bail};
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use super::columns::{table, terminal_width};
use super::failure::{FAILURE, UsageError};
use super::runs::count_runs;
use super::shell::{Shell, say};
use crate::cli::RmArgs;
use crate::format;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::log::now_ms;
use crate::run::overview::{Overview, Standing};
use crate::run::overview_index::overviews;
use crate::run::removal::{Doomed, RemoveError, finish_interrupted};

/// A trainer that has not begun after so long never will.
const LONGEST_START_MS: u64 = 60_000;

pub fn rm(runs: &RunsDir, args: &RmArgs) -> Result<u8> {
    let now = Zoned::now();
    let cutoff_ms = args.older_than.as_deref().map(|age| cutoff_ms(age, &now)).transpose()?;
    let candidates = candidates(runs, args)?;
    let named = !args.runs.is_empty();
    let mut chosen = vec![];
    for (run, overview) in candidates.iter().zip(overviews(runs, &candidates)) {
        if named && overview.live {
            bail!(refusal(runs, run, &overview));
        }
        let is_chosen = cutoff_ms.is_none_or(|cutoff_ms| overview.told.summary.last_activity_ms < cutoff_ms)
            && (!args.failed || overview.ended_unexpectedly())
            && (named || !may_be_starting(&overview, now_ms()));
        match is_chosen {
            true if overview.live => say(format!("{} is live, and stays", overview.name))?,
            true => chosen.push((Doomed::new(run)?, overview)),
            false => {}
        }
    }
    if !args.dry_run {
        for name in finish_interrupted(runs)? {
            say(format!("Deleted what an interrupted taper rm had left of {name}"))?;
        }
    }
    if chosen.is_empty() {
        say("No run is chosen: nothing to delete")?;
        return Ok(0);
    }
    let bytes = chosen.iter().map(|(doomed, _)| doomed.bytes()).sum();
    list(&chosen)?;
    let what = format!("{}, {}", count_runs(chosen.len()), format::bytes(bytes));
    if args.dry_run {
        say(format!("{what}; nothing was deleted (--dry-run)"))?;
        return Ok(0);
    }
    if !args.yes && !is_confirmed(&what)? {
        say("Nothing was deleted")?;
        return Ok(FAILURE);
    }
    delete(runs, chosen)
}

/// The runs that were named, each once; without names, all.
fn candidates(runs: &RunsDir, args: &RmArgs) -> Result<Vec<RunDir>> {
    if args.runs.is_empty() {
        return Ok(runs.list()?);
    }
    let mut paths = HashSet::new();
    let mut candidates = vec![];
    for name in &args.runs {
        let run = runs.open(name)?;
        if paths.insert(run.path().canonicalize().unwrap_or_else(|_| run.path().to_owned())) {
            candidates.push(run);
        }
    }
    Ok(candidates)
}

/// Runs that were last active before this time are older than `age`.
fn cutoff_ms(age: &str, now: &Zoned) -> Result<u64> {
    let usage = || UsageError(format!("--older-than {age}: must be an age such as 12h, 7d, 2w or 3mo"));
    let span: Span = age.parse().map_err(|_| usage())?;
    if !span.is_positive() {
        return Err(usage().into());
    }
    let cutoff = now.checked_sub(span).map_err(|_| usage())?;
    Ok(u64::try_from(cutoff.timestamp().as_millisecond()).unwrap_or(0))
}

/// Whether somebody may be starting the run just now: before its trainer has the lock, it looks like one that never began.
fn may_be_starting(run: &Overview, now_ms: u64) -> bool {
    run.standing() == Standing::NotBegun && now_ms.saturating_sub(run.told.summary.last_activity_ms) < LONGEST_START_MS
}

fn refusal(runs: &RunsDir, run: &RunDir, overview: &Overview) -> String {
    let name = run.name();
    match (&overview.host, &overview.error) {
        (Some(host), _) => {
            format!("run {name} has a trainer on host {host}, or had one there: it can be deleted only from there")
        }
        (None, Some(why)) => format!("run {name} may be live, and is not deleted: {why}"),
        (None, None) => format!("run {name} is live; to end it first: {}", Shell::new(runs).line_for("stop", run)),
    }
}

fn list(chosen: &[(Doomed, Overview)]) -> Result<()> {
    let overviews: Vec<Overview> = chosen.iter().map(|(_, overview)| overview.clone()).collect();
    let sizes = chosen.iter().map(|(doomed, _)| format::bytes(doomed.bytes())).collect();
    let lines = table(&overviews, Some(("SIZE", sizes)), &TimeZone::system(), now_ms(), terminal_width());
    lines.iter().try_for_each(say)
}

/// # Errors
/// There is nobody to ask.
fn is_confirmed(what: &str) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let message = format!("{what}: without a terminal nobody can be asked; to delete all the same: --yes");
        return Err(UsageError(message).into());
    }
    let mut answer = String::new();
    write!(io::stderr(), "Delete {what}, for good? [y/N] ").context("stderr")?;
    io::stdin().read_line(&mut answer).context("stdin")?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// What cannot be deleted is told, and keeps nothing else.
fn delete(runs: &RunsDir, chosen: Vec<(Doomed, Overview)>) -> Result<u8> {
    let (mut deleted, mut bytes, mut code) = (0, 0, 0);
    let mut stays = |why: String| {
        code = FAILURE;
        // Nobody left to complain to: the exit code remains.
        let _ = writeln!(io::stderr(), "error: {why}");
    };
    for (doomed, before) in chosen {
        let (run, freed) = (doomed.run().clone(), doomed.bytes());
        let changed =
            |run: &RunDir| Overview::of(run).told.summary.last_activity_ms != before.told.summary.last_activity_ms;
        match doomed.remove(changed) {
            Ok(true) => (deleted, bytes) = (deleted + 1, bytes + freed),
            Ok(false) => stays(format!("run {} was trained meanwhile, and stays", before.name)),
            Err(RemoveError::Locked(_)) if Overview::of(&run).live => stays(refusal(runs, &run, &Overview::of(&run))),
            Err(error) => stays(error.to_string()),
        }
    }
    say(format!("Deleted {}: {} are free", count_runs(deleted), format::bytes(bytes)))?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::state::Phase;

    #[test]
    fn an_age_is_a_time_before_now() {
        let now: Zoned = "2026-11-27T12:00:00+00:00[UTC]".parse().unwrap();
        let ago = |age: &str| (now.timestamp().as_millisecond() as u64 - cutoff_ms(age, &now).unwrap()) / 60_000;
        assert_eq!(["30m", "12h", "7d", "2w", "1mo", "1d 12h"].map(ago), [30, 720, 10_080, 20_160, 44_640, 2160]);
        for bad in ["", "7", "week", "-7d", "7d ago", "0d", "99999y"] {
            let error = cutoff_ms(bad, &now).unwrap_err().to_string();
            assert_eq!(error, format!("--older-than {bad}: must be an age such as 12h, 7d, 2w or 3mo"));
        }
    }

    #[test]
    fn a_run_that_was_just_made_may_be_starting() {
        let made = Overview::example_not_begun("x");
        let at = made.told.summary.last_activity_ms;
        assert!(may_be_starting(&made, at + 59_000) && !may_be_starting(&made, at + 61_000));
        assert!(!may_be_starting(&Overview::example("x", false, Phase::Training), at));
    }
}
