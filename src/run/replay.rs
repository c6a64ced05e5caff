//! The state of a run as its log tells it so far.

use std::io;

use super::dir::RunDir;
use super::event::Record;
use super::events_index::{self, TAIL_BYTES};
use super::log::{FollowError, Follower};
use super::outline;
use super::state::{Phase, RunState};
use crate::data::DatasetInfo;

/// Bytes read at a time.
const WINDOW: usize = 1 << 20;

/// What the images of a run are of, by its log. A run that has not begun says nothing of it, and is of CIFAR-10 like those
/// of old logs.
///
/// # Errors
/// As [`replay`].
pub fn dataset(run: &RunDir) -> Result<DatasetInfo, FollowError> {
    Ok(outline(run)?.started.map_or_else(DatasetInfo::cifar10, |started| started.dataset))
}

/// Folds the run's whole log; damaged lines are passed over.
///
/// # Errors
/// The log cannot be read, or is of another format. A missing log gives the default state.
pub fn replay(run: &RunDir) -> Result<RunState, FollowError> {
    replay_and_log(run, |_| {}).map(|(state, _)| state)
}

/// As [`replay`], with a look at each record, also at those that a restart took back.
///
/// # Errors
/// As [`replay`].
pub fn replay_each(run: &RunDir, mut look: impl FnMut(&Record)) -> Result<RunState, FollowError> {
    let (mut state, mut log) = (RunState::default(), Follower::new(run.events()));
    while fold_window(&mut state, &mut log, &mut look)? {}
    Ok(state)
}

/// As [`replay`], with the follower of what will be written further. `progress` is told how many bytes were read, now and
/// then.
///
/// # Errors
/// As [`replay`].
pub fn replay_and_log(run: &RunDir, mut progress: impl FnMut(u64)) -> Result<(RunState, Follower), FollowError> {
    let (mut state, mut log) = (RunState::default(), Follower::new(run.events()));
    while fold_window(&mut state, &mut log, |_| {})? {
        progress(log.position().bytes);
    }
    Ok((state, log))
}

/// As [`replay`], but of most steps without losses, times and training accuracy, and of the beginning of a long log without
/// notes and details of epochs: quick however long the log is. The summary is that of the whole log.
///
/// # Errors
/// As [`replay`].
pub fn outline(run: &RunDir) -> Result<RunState, FollowError> {
    outline_and_log(run).map(|(state, _)| state)
}

/// As [`outline`], with the follower of what will be written further.
///
/// # Errors
/// As [`replay`].
pub fn outline_and_log(run: &RunDir) -> Result<(RunState, Follower), FollowError> {
    let bytes = std::fs::metadata(run.events()).map_or(0, |events| events.len());
    let tail = bytes.saturating_sub(TAIL_BYTES);
    let start = || (RunState::default(), Follower::new(run.events()));
    let (mut state, mut log) = if tail == 0 {
        start()
    } else {
        events_index::load(run).unwrap_or_else(|error| {
            tracing::debug!("{}: {error}", run.events_index().display());
            start()
        })
    };
    outline::fold_up_to(tail, &mut state, &mut log)?;
    fold_rest(&mut state, &mut log)?;
    // Steps before the tail were gone back to, or it is not long enough.
    if state.is_summary_known() { Ok((state, log)) } else { replay_and_log(run, |_| {}) }
}

/// Whether the run has an end that no later trainer has taken up again.
///
/// # Errors
/// The end of the log cannot be read.
pub fn has_ended(run: &RunDir) -> Result<bool, FollowError> {
    /// After its end a trainer may still tell that the log can be written again.
    const BYTES: u64 = 64 << 10;
    let mut state = RunState::default();
    match Follower::near_end(run.events(), BYTES) {
        Ok(mut log) => fold_rest(&mut state, &mut log)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(FollowError::Io { path: run.events(), source }),
    }
    Ok(matches!(state.phase, Phase::Ended(_)))
}

/// Folds what the log has that was not read yet; damaged lines are passed over.
///
/// # Errors
/// As [`replay`], and where the log was replaced.
pub fn fold_rest(state: &mut RunState, log: &mut Follower) -> Result<(), FollowError> {
    while fold_window(state, log, |_| {})? {}
    Ok(())
}

/// Whether there was anything to fold.
fn fold_window(state: &mut RunState, log: &mut Follower, mut look: impl FnMut(&Record)) -> Result<bool, FollowError> {
    match log.read(WINDOW) {
        Ok(records) if records.is_empty() => return Ok(false),
        Ok(records) => records.iter().for_each(|record| {
            look(record);
            state.apply(record);
        }),
        Err(FollowError::Malformed { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(true)
}
