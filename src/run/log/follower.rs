//! The reading end of the log.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::event::{FORMAT_VERSION, Record};
use super::end::complete_len;
use super::line::{Entry, Fault, LineReader};
use crate::held_folder::is_same;
use crate::ordinary_file;

/// Why a log cannot be read, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error("cannot read {path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The line was skipped: reading again goes on behind it.
    #[error("{path}: line {line} (byte {offset}) is no event: {reason}", path = .path.display())]
    Malformed { path: PathBuf, line: u64, offset: u64, reason: String },
    /// Final: reading again gives the same error.
    #[error(
        "{path}: line {line} is of log format {found}, this taper reads formats 1 to {FORMAT_VERSION}: use the taper that made the run",
        path = .path.display()
    )]
    Version { path: PathBuf, line: u64, found: u64 },
    /// What was read is not what the log holds now. Final.
    #[error("{path} was cut or replaced by another program while it was read", path = .path.display())]
    Replaced { path: PathBuf },
}

/// A beginning of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    pub bytes: u64,
    pub lines: u64,
}

type Parse<T> = fn(&mut LineReader, &[u8]) -> Result<Option<T>, Fault>;

/// The reading end: gives every complete line once, in order, however the file grows.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<File>,
    /// Where the first line that was not given yet begins.
    offset: u64,
    /// Lines before `offset`.
    lines: u64,
    reader: LineReader,
    buffer: Vec<u8>,
}

impl Follower {
    /// Follows the log at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let reader = LineReader::default();
        Self { path: path.into(), file: None, offset: 0, lines: 0, reader, buffer: Vec::new() }
    }

    /// The next records, from at most `max_bytes` of the file (more only where a single line is longer). Empty: there
    /// is nothing new yet. Events of a kind this version does not know are left out.
    pub fn read(&mut self, max_bytes: usize) -> Result<Vec<Record>, FollowError> {
        self.read_by(max_bytes, LineReader::parse)
    }

    /// As [`Follower::new`], from behind lines of which at least one has a checksum.
    pub fn from_position(path: impl Into<PathBuf>, Position { bytes, lines }: Position) -> Self {
        Self { offset: bytes, lines, reader: LineReader::behind_checksum(), ..Self::new(path) }
    }

    /// As [`Follower::new`], without what lies further than so many bytes from the present end. Its faults name no right line.
    pub fn near_end(path: impl Into<PathBuf>, bytes: u64) -> io::Result<Self> {
        let path = path.into();
        let file = ordinary_file::open(&path)?;
        let size = file.metadata()?.len();
        let offset = complete_len(&file, size.saturating_sub(bytes))?;
        Ok(Self { file: Some(file), offset, ..Self::new(path) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same log has another path now.
    pub fn moved_to(&mut self, path: impl Into<PathBuf>) {
        self.path = path.into();
    }

    /// Up to the first line that was not given yet.
    pub fn position(&self) -> Position {
        Position { bytes: self.offset, lines: self.lines }
    }

    /// Whether every further line must have a checksum.
    pub fn expects_checksums(&self) -> bool {
        self.reader.expects_checksums()
    }

    /// As [`Follower::read`], without the losses of steps.
    pub fn outline(&mut self, max_bytes: usize) -> Result<Vec<Entry>, FollowError> {
        self.read_by(max_bytes, LineReader::outline)
    }

    fn read_by<T>(&mut self, max_bytes: usize, parse: Parse<T>) -> Result<Vec<T>, FollowError> {
        let mut window = max_bytes.max(1);
        loop {
            let filled = self.fill(window)?;
            let Some(last_newline) = memchr::memrchr(b'\n', &self.buffer) else {
                if filled < window {
                    return self.check_identity().map(|()| Vec::new());
                }
                window *= 2;
                continue;
            };
            let told = self.take_lines(last_newline + 1, parse)?;
            // Lines of unknown kinds only: nothing to show is not "nothing new".
            if !told.is_empty() {
                return Ok(told);
            }
        }
    }

    /// Reads what follows `offset` into the buffer, at most `window` bytes.
    fn fill(&mut self, window: usize) -> Result<usize, FollowError> {
        self.buffer.clear();
        let io_error = |source| FollowError::Io { path: self.path.clone(), source };
        let file = match &mut self.file {
            Some(file) => file,
            None => match ordinary_file::open(&self.path) {
                Ok(file) => self.file.insert(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
                Err(error) => return Err(io_error(error)),
            },
        };
        if file.metadata().map_err(io_error)?.len() < self.offset {
            return Err(FollowError::Replaced { path: self.path.clone() });
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(io_error)?;
        file.take(window as u64).read_to_end(&mut self.buffer).map_err(io_error)
    }

    /// A file that was put in the place of this one may grow, and this one does not. One that is not there may come back.
    fn check_identity(&self) -> Result<(), FollowError> {
        let own = self.file.as_ref().and_then(|file| file.metadata().ok());
        match (own, std::fs::metadata(&self.path)) {
            (Some(own), Ok(found)) if !is_same(&found, &own) => Err(FollowError::Replaced { path: self.path.clone() }),
            _ => Ok(()),
        }
    }

    /// Parses the complete lines in the first `len` bytes of the buffer, up to the first that is at fault.
    fn take_lines<T>(&mut self, len: usize, parse: Parse<T>) -> Result<Vec<T>, FollowError> {
        let mut told = Vec::new();
        let buffer = std::mem::take(&mut self.buffer);
        let mut outcome = Ok(());
        let mut rest = &buffer[..len];
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            let line;
            (line, rest) = rest.split_at(newline + 1);
            match parse(&mut self.reader, line) {
                Ok(Some(entry)) => told.push(entry),
                Ok(None) => {}
                // What came before the fault is given first; the next call meets the fault at once.
                Err(_) if !told.is_empty() => break,
                Err(Fault::Version(found)) => {
                    outcome = Err(FollowError::Version { path: self.path.clone(), line: self.lines + 1, found });
                    break;
                }
                Err(Fault::Malformed(reason)) => {
                    outcome = Err(FollowError::Malformed {
                        path: self.path.clone(),
                        line: self.lines + 1,
                        offset: self.offset,
                        reason,
                    });
                }
            }
            self.offset += line.len() as u64;
            self.lines += 1;
            if outcome.is_err() {
                break;
            }
        }
        self.buffer = buffer;
        outcome.map(|()| told)
    }
}
