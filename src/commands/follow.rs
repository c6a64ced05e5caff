//! `taper attach --no-tui`: a run that another process trains, in plain lines until it ends.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::tz::TimeZone;

use super::progress::{Printer, Progress};
use super::shell::say;
use super::watch::{print_how_to_return, print_result, print_trainer_gone};
use crate::commands::failure::FAILURE;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::{Event, Outcome};
use crate::run::held_dir::HeldRunDir;
use crate::run::lock::{Liveness, liveness};
use crate::run::log::{FollowError, Follower};
use crate::run::signals::{self, Asked, Listening};
use crate::run::state::{Phase, RunState};
use crate::tui::Standing;

/// Epochs of the past that are told.
const PAST_EPOCHS: usize = 5;
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
const LIVENESS_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of the log read at a time.
const FOLLOW_BYTES: usize = 1 << 20;

/// Tells the last epochs of a run, then what happens, until it ends. Returns the exit code: whether it was completed or
/// stopped.
pub fn follow(runs: &RunsDir, run: &RunDir) -> Result<u8> {
    let Listening { runtime, mut signals } = Listening::begin().context("cannot listen for signals")?;
    let mut run = HeldRunDir::hold(run).with_context(|| run.path().display().to_string())?;
    let mut log = Follower::new(run.events());
    let (past, progress) = past(&mut log)?;
    past.iter().try_for_each(say)?;
    let mut printer = Printer::new(progress);
    let mut checked = None;
    loop {
        let mut is_dead = false;
        if checked.is_none_or(|at: Instant| at.elapsed() >= LIVENESS_INTERVAL) {
            match run.follow() {
                Ok(true) => log.moved_to(run.events()),
                Ok(false) => {}
                Err(gone) => {
                    printer.finish();
                    say(format!("{gone}: nothing of run {} is left", run.name()))?;
                    return Ok(FAILURE);
                }
            }
            // Before the log is read to its end: a trainer that is dead now has written all that it ever will.
            is_dead = liveness(&run) == Liveness::Dead;
            checked = Some(Instant::now());
        }
        loop {
            match log.read(FOLLOW_BYTES) {
                Ok(records) if records.is_empty() => break,
                Ok(records) => records.iter().try_for_each(|record| printer.print(record)).context("stdout")?,
                Err(error @ FollowError::Malformed { .. }) => say(error)?,
                Err(FollowError::Replaced { .. }) if run.follow().unwrap_or(false) => log.moved_to(run.events()),
                Err(error @ FollowError::Replaced { .. }) => {
                    say(error)?;
                    log = Follower::new(run.events());
                    printer = Printer::new(self::past(&mut log)?.1);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let Phase::Ended(outcome) = printer.state().phase {
            printer.finish();
            print_result(runs, &run)?;
            return Ok(if matches!(outcome, Outcome::Completed | Outcome::Stopped) { 0 } else { FAILURE });
        }
        if is_dead {
            printer.finish();
            print_trainer_gone(runs, &run)?;
            return Ok(FAILURE);
        }
        let asked = runtime.block_on(async { tokio::time::timeout(FOLLOW_INTERVAL, signals.next()).await });
        if let Ok(Asked::ToEnd(signal) | Asked::AtOnce(signal)) = asked {
            printer.finish();
            print_how_to_return(runs, &run, standing(printer.state()))?;
            return Ok(signals::exit_code(signal));
        }
    }
}

/// Reads what the log holds; returns the lines that are worth telling of it.
fn past(log: &mut Follower) -> Result<(Vec<String>, Progress)> {
    let mut progress = Progress::new(TimeZone::system());
    let mut introduction = vec![];
    let mut epochs: VecDeque<(u64, String)> = VecDeque::new();
    let mut last = vec![];
    loop {
        let records = match log.read(FOLLOW_BYTES) {
            Ok(records) if records.is_empty() => break,
            Ok(records) => records,
            Err(FollowError::Malformed { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        for record in &records {
            let lines = progress.lines(record);
            match &record.event {
                Event::RunStarted(_) => introduction = lines,
                Event::EpochDone(done) => {
                    epochs.retain(|(epoch, _)| *epoch < done.epoch);
                    epochs.extend(lines.into_iter().map(|line| (done.epoch, line)));
                    if epochs.len() > PAST_EPOCHS {
                        epochs.pop_front();
                    }
                }
                Event::Paused { .. } | Event::RunEnded { .. } => last = lines,
                _ => {}
            }
        }
    }
    let state = progress.state();
    epochs.retain(|(epoch, _)| state.epochs.iter().any(|done| done.epoch == *epoch));
    let mut lines = introduction;
    match state.epochs.len() - epochs.len() {
        0 => {}
        1 => lines.push("(1 earlier epoch)".to_owned()),
        earlier => lines.push(format!("({earlier} earlier epochs)")),
    }
    lines.extend(epochs.into_iter().map(|(_, line)| line));
    if matches!(state.phase, Phase::Paused | Phase::Ended(_)) {
        lines.append(&mut last);
    }
    Ok((lines, progress))
}

fn standing(state: &RunState) -> Standing {
    match state.phase {
        Phase::Paused if state.divergence.is_some() => Standing::Diverged,
        Phase::Paused => Standing::Paused,
        Phase::Starting | Phase::Training | Phase::Evaluating | Phase::Ended(_) => Standing::GoesOn,
    }
}
