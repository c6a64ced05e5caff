//! What was read of the run's files, beside its log of events.

use crate::config::Values;
use crate::run::checkpoints_on_disk::CheckpointOnDisk;
use crate::run::trainer_log::TrainerLog;

/// `None`: not read yet. An error is for people.
#[derive(Debug, Default)]
pub struct Files {
    pub trainer_log: Option<Result<TrainerLog, String>>,
    pub configuration: Option<Result<Values, String>>,
    /// The oldest first.
    pub checkpoints: Option<Result<Vec<CheckpointOnDisk>, String>>,
}

impl Files {
    pub fn checkpoints(&self) -> &[CheckpointOnDisk] {
        match &self.checkpoints {
            Some(Ok(checkpoints)) => checkpoints,
            Some(Err(_)) | None => &[],
        }
    }
}
