//! `events.index`: what the beginning of a long log amounts to, so that a list of runs need not read all of it.
//!
//! The trainer writes it now and then. It is a shortcut and no authority: it counts where it is whole, and the log still has
//! the bytes that it was made from at the beginning and before its end; else the whole log is read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::dir::RunDir;
use super::log::{Follower, Position, is_whole, with_checksum};
use super::outline;
use super::state::RunState;
use crate::durable;
use crate::ordinary_file;

/// The end of a log that is left to its readers: far more than the 15 seconds and 2 000 steps that they look at closely.
pub const TAIL_BYTES: u64 = 4 << 20;
/// A log that has grown by so much is worth a new index.
const WORTH_BYTES: u64 = 4 << 20;
/// Bytes at the beginning of the log, and before the end of what is indexed, that are compared.
const COMPARED_BYTES: u64 = 64 << 10;
/// Goes up when the fold of events changes.
pub(super) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-2");

#[derive(Serialize, Deserialize)]
struct Index {
    version: String,
    #[serde(flatten)]
    indexed: Position,
    beginning_crc32: u32,
    end_crc32: u32,
    state: RunState,
}

/// Why an index is left out.
#[derive(Debug, Error)]
pub enum IndexError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is damaged")]
    Damaged,
    #[error("another version of taper wrote it")]
    Version,
    #[error("it was not made from this log")]
    OtherLog,
}

/// What the beginning of the run's log amounts to, and the follower of the rest.
pub fn load(run: &RunDir) -> Result<(RunState, Follower), IndexError> {
    let bytes = ordinary_file::read(&run.events_index())?;
    if !is_whole(&bytes) {
        return Err(IndexError::Damaged);
    }
    let index: Index = serde_json::from_slice(&bytes).map_err(|_| IndexError::Version)?;
    if index.version != VERSION {
        return Err(IndexError::Version);
    }
    let checksums = checksums(run, index.indexed.bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => IndexError::OtherLog,
        _ => IndexError::Io(error),
    })?;
    if checksums != (index.beginning_crc32, index.end_crc32) {
        return Err(IndexError::OtherLog);
    }
    Ok((index.state.into_indexed(), Follower::from_position(run.events(), index.indexed)))
}

/// The trainer's, which writes the index.
#[derive(Debug)]
pub struct Indexer {
    /// The length of the log at which the index may be worth another.
    due_bytes: u64,
}

impl Default for Indexer {
    fn default() -> Self {
        Self { due_bytes: TAIL_BYTES + WORTH_BYTES }
    }
}

impl Indexer {
    /// Writes the index anew where the log has grown by much since.
    ///
    /// # Errors
    /// The log cannot be read, or the index not be written.
    pub fn extend(&mut self, run: &RunDir) -> io::Result<()> {
        let bytes = std::fs::metadata(run.events())?.len();
        if bytes >= self.due_bytes {
            extend(run)?;
            self.due_bytes = bytes + WORTH_BYTES;
        }
        Ok(())
    }
}

fn extend(run: &RunDir) -> io::Result<()> {
    let end = std::fs::metadata(run.events())?.len().saturating_sub(TAIL_BYTES);
    let (mut state, mut log) = load(run).unwrap_or_else(|_| (RunState::default(), Follower::new(run.events())));
    if end < log.position().bytes + WORTH_BYTES {
        return Ok(());
    }
    outline::fold_up_to(end, &mut state, &mut log).map_err(io::Error::other)?;
    // A line without a checksum could be another one by now.
    if !log.expects_checksums() {
        return Ok(());
    }
    let indexed = log.position();
    let (beginning_crc32, end_crc32) = checksums(run, indexed.bytes)?;
    let state = state.into_indexed();
    let index = Index { version: VERSION.to_owned(), indexed, beginning_crc32, end_crc32, state };
    durable::replace(&run.events_index(), &with_checksum(&index)?)
}

/// Of the beginning of the log, and of what lies before byte `end`.
fn checksums(run: &RunDir, end: u64) -> io::Result<(u32, u32)> {
    let log = ordinary_file::open(&run.events())?;
    let length = COMPARED_BYTES.min(end);
    Ok((checksum(&log, 0, length)?, checksum(&log, end - length, length)?))
}

fn checksum(file: &File, start: u64, length: u64) -> io::Result<u32> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, start)?;
    Ok(crc32fast::hash(&bytes))
}

#[cfg(test)]
mod tests {
    use super::super::replay::{outline, replay};
    use super::*;
    use crate::run::event::{Event, RunStarted, StepsDone};
    use crate::run::log::EventLog;

    /// A run whose log has so many lines of two steps, ten lines to an epoch.
    fn run(lines: u64) -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        let started = RunStarted { steps_per_epoch: 20, total_steps: 1 << 40, ..RunStarted::example() };
        append(&run, [Event::RunStarted(Box::new(started))]);
        append(&run, (0..lines).map(steps));
        (dir, run)
    }

    fn append(run: &RunDir, events: impl IntoIterator<Item = Event>) {
        let mut log = EventLog::open(&run.events()).unwrap();
        for event in events {
            log.append(event).unwrap();
        }
    }

    fn steps(line: u64) -> Event {
        let loss = |step: u64| ((step * 2_654_435_761) % 1000) as f32 / 700.0;
        let first_step = 2 * line + 1;
        Event::StepsDone(StepsDone {
            epoch: 1 + line / 10,
            first_step,
            losses: vec![loss(first_step), loss(first_step + 1)],
            gradient_norms: vec![loss(first_step), loss(first_step + 1)],
            correct: line % 100,
            samples: 128,
            train_secs: 0.1,
            ..StepsDone::example()
        })
    }

    fn restart(step: u64) -> Event {
        let started = RunStarted { continued_from: Some(step), steps_per_epoch: 20, ..RunStarted::example() };
        Event::RunStarted(Box::new(started))
    }

    /// More than an index and the tail behind it.
    const MANY: u64 = 70_000;

    fn assert_outline_is_whole(run: &RunDir) {
        let (outlined, whole) = (outline(run).unwrap().summary(), replay(run).unwrap().summary());
        let smoothed = [&outlined, &whole].map(|summary| summary.smoothed_loss.unwrap());
        assert!((smoothed[0] - smoothed[1]).abs() < 1e-12, "{smoothed:?}");
        assert_eq!(crate::run::state::Summary { smoothed_loss: whole.smoothed_loss, ..outlined }, whole);
    }

    #[test]
    fn a_short_log_has_no_index() {
        let (_dir, run) = run(10);
        Indexer::default().extend(&run).unwrap();
        assert!(matches!(load(&run), Err(IndexError::Io(error)) if error.kind() == io::ErrorKind::NotFound));
        assert_outline_is_whole(&run);
    }

    #[test]
    fn with_and_without_an_index_a_run_is_the_same() {
        let (_dir, run) = run(MANY);
        assert_outline_is_whole(&run);
        Indexer::default().extend(&run).unwrap();
        let (_, rest) = load(&run).unwrap();
        assert!(rest.position().bytes > WORTH_BYTES);
        assert_outline_is_whole(&run);
        // A little more is not worth another.
        let before = std::fs::read(run.events_index()).unwrap();
        append(&run, [steps(MANY)]);
        Indexer::default().extend(&run).unwrap();
        assert_eq!(std::fs::read(run.events_index()).unwrap(), before);
        assert_outline_is_whole(&run);
        append(&run, (MANY + 1..2 * MANY).map(steps));
        Indexer::default().extend(&run).unwrap();
        assert_ne!(std::fs::read(run.events_index()).unwrap(), before);
        assert_outline_is_whole(&run);
    }

    #[test]
    fn a_run_that_went_back_behind_its_index_is_the_same() {
        let (_dir, run) = run(MANY);
        Indexer::default().extend(&run).unwrap();
        for step in [2 * MANY - 10, 1000, 0] {
            append(&run, [restart(step)]);
            append(&run, (step / 2..step / 2 + 3).map(steps));
            assert_outline_is_whole(&run);
        }
    }

    #[test]
    fn an_index_that_does_not_belong_to_the_log_is_left_out() {
        let (_dir, run) = run(MANY);
        Indexer::default().extend(&run).unwrap();
        let (index, log) = (std::fs::read(run.events_index()).unwrap(), std::fs::read(run.events()).unwrap());
        for at in [0, index.len() / 2, index.len() - 4] {
            let mut damaged = index.clone();
            damaged[at] ^= 1;
            std::fs::write(run.events_index(), damaged).unwrap();
            assert!(matches!(load(&run), Err(IndexError::Damaged)));
            assert_outline_is_whole(&run);
        }
        std::fs::write(run.events_index(), &index).unwrap();
        let (_, rest) = load(&run).unwrap();
        let indexed = rest.position().bytes as usize;
        let other = |changed: Vec<u8>| {
            std::fs::write(run.events(), changed).unwrap();
            assert!(matches!(load(&run), Err(IndexError::OtherLog)));
        };
        other(log[..indexed - 1].to_vec());
        let mut changed = log.clone();
        changed[indexed - 100] ^= 1;
        other(changed);
        let newline = log.iter().position(|&byte| byte == b'\n').unwrap();
        other([&log[..newline + 1], &log[..]].concat());
        std::fs::remove_file(run.events()).unwrap();
        assert!(load(&run).is_err());
        let later = String::from_utf8(index).unwrap().replacen(VERSION, "9.9.9", 1);
        let mut later: serde_json::Map<_, _> = serde_json::from_str(&later).unwrap();
        later.remove("crc32");
        std::fs::write(run.events_index(), with_checksum(&later).unwrap()).unwrap();
        assert!(matches!(load(&run), Err(IndexError::Version)));
    }
}
