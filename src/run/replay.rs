//! The state of a run as its log tells it so far.

use super::dir::RunDir;
use super::log::{FollowError, Follower};
use super::state::RunState;
use crate::data::DatasetInfo;

/// What the images of a run are of, by its log. A run that has not begun says nothing of it, and is of CIFAR-10 like those
/// of old logs.
///
/// # Errors
/// As [`replay`].
pub fn dataset(run: &RunDir) -> Result<DatasetInfo, FollowError> {
    Ok(replay(run)?.started.map_or_else(DatasetInfo::cifar10, |started| started.dataset))
}

/// Folds the run's whole log; damaged lines are passed over.
///
/// # Errors
/// The log cannot be read, or is of another format. A missing log gives the default state.
pub fn replay(run: &RunDir) -> Result<RunState, FollowError> {
    const BYTES: usize = 1 << 20;
    let mut state = RunState::default();
    let mut log = Follower::new(run.events());
    loop {
        match log.read(BYTES) {
            Ok(records) if records.is_empty() => return Ok(state),
            Ok(records) => records.iter().for_each(|record| state.apply(record)),
            Err(FollowError::Malformed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
