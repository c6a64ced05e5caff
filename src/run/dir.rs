//! The run directory: names of what lies in it.

use std::path::{Path, PathBuf};

/// A run's directory, `runs/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name: the last part of its path.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Where the control socket is, and whose.
    pub fn control(&self) -> PathBuf {
        self.path.join("control")
    }

    pub fn trainer_log(&self) -> PathBuf {
        self.path.join("trainer.log")
    }

    /// Locked by the live trainer.
    pub fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }
}
