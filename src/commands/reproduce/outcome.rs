//! How working through a table ended.

use std::path::Path;

use anyhow::Result;
use rustix::process::Signal;

use crate::commands::failure::FAILURE;
use crate::commands::shell::{Shell, quoted, say};
use crate::run::signals;

#[derive(Debug, Default)]
pub struct Ended {
    /// The signal that ended it early.
    pub signal: Option<Signal>,
    /// A run that somebody stopped: nothing was begun after it.
    pub stopped: Option<String>,
    /// Runs that failed, and why.
    pub failed: Vec<(String, String)>,
}

impl Ended {
    /// Says what is left to do; returns the exit code.
    pub fn tell(&self, shell: &Shell, table: &Path) -> Result<u8> {
        for (run, why) in &self.failed {
            say(format!("run {run} failed: {why}"))?;
        }
        if let Some(run) = &self.stopped {
            say(format!("run {run} was stopped by a command, so nothing more was begun"))?;
        }
        if self.signal.is_some() || self.stopped.is_some() || !self.failed.is_empty() {
            let command = format!("reproduce {}", quoted(&table.to_string_lossy()));
            say(format!("to go on:  {}", shell.line(&command)))?;
        }
        Ok(match self.signal {
            Some(signal) => signals::exit_code(signal),
            None if self.stopped.is_some() || !self.failed.is_empty() => FAILURE,
            None => 0,
        })
    }
}
