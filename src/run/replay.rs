//! What a run's log tells so far, read at one go.

use super::dir::RunDir;
use super::log::{FollowError, Follower};
use super::state::RunState;

/// Everything that the run's log tells. Lines that are no events are left out.
///
/// # Errors
/// The log cannot be read, or another taper made it. One that is missing tells nothing.
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
