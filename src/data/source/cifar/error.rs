//! What can be wrong with a batch on disk.

/// Why a batch could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("{file}: there is no such file")]
    Missing { file: String },
    #[error("{file}: Permission denied")]
    Denied { file: String },
    #[error("{file}: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("{file}: byte {offset}: {problem}")]
    Damaged {
        file: String,
        /// In the file, or in the archive's member where `file` names one.
        offset: u64,
        problem: String,
    },
}
