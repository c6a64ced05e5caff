//! The event log, `events.jsonl`: appended to by the one live trainer, followed by any number of readers.
//!
//! A line counts once its newline is there. A torn last line is normal: a reader waits for the rest of it, and the next
//! trainer cuts it off. Readers therefore never keep bytes of an incomplete line, they read them again.

mod line;
mod reserve;
mod steps_line;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::event::{Event, FORMAT_VERSION, Record};
use crate::ordinary_file;
pub use line::{Entry, is_whole, with_checksum};
use line::{Fault, LineReader};
use reserve::Reserve;
pub use reserve::Room;
pub use steps_line::StepsOutline;

/// The writing end; the holder of the run's lock has the only one.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    /// Length of the complete lines.
    len: u64,
    /// Part of a line may stand behind them.
    torn: bool,
    reserve: Reserve,
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.reserve.release(&self.file, self.len);
    }
}

impl EventLog {
    /// Opens the log for appending, creates it where it is missing, and cuts off a torn last line.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        ordinary_file::check(&file.metadata()?)?;
        let size = file.seek(SeekFrom::End(0))?;
        let len = complete_len(&file, size)?;
        if len < size {
            file.set_len(len)?;
        }
        Ok(Self { file, len, torn: false, reserve: Reserve::new() })
    }

    /// Appends `event`, stamped with the present time.
    pub fn append(&mut self, event: Event) -> io::Result<Record> {
        let record = Record { time_ms: now_ms(), event };
        self.write(&record)?;
        Ok(record)
    }

    /// Appends a record as one line, by one write. After an error the log is unchanged.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        // A full disk may have taken part of a line, which this one would complete.
        self.cut()?;
        self.reserve.refill(&self.file, self.len);
        let line = line::to_bytes(record)?;
        self.torn = true;
        if let Err(error) = self.file.write_all(&line) {
            // Tried again before the next line.
            let _ = self.cut();
            return Err(error);
        }
        self.torn = false;
        self.len += line.len() as u64;
        Ok(())
    }

    fn cut(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.len)?;
            self.reserve.forget();
            self.torn = false;
        }
        Ok(())
    }

    /// Whether there is room for more.
    pub fn room(&self) -> Room {
        self.reserve.room()
    }

    /// Returns when what was appended would survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Bytes of an unfinished last line: the write of a killed trainer.
pub fn torn_bytes(path: &Path) -> io::Result<u64> {
    let mut file = ordinary_file::open(path)?;
    let size = file.seek(SeekFrom::End(0))?;
    Ok(size - complete_len(&file, size)?)
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Bytes up to and including the last newline.
fn complete_len(file: &File, size: u64) -> io::Result<u64> {
    let mut block = [0; 4096];
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        if let Some(newline) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

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
    /// Complete lines that were read are gone. Final.
    #[error("{path} became shorter than what was read of it ({offset} bytes): it was replaced; attach again", path = .path.display())]
    Replaced { path: PathBuf, offset: u64 },
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
                    return Ok(Vec::new());
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
            return Err(FollowError::Replaced { path: self.path.clone(), offset: self.offset });
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(io_error)?;
        file.take(window as u64).read_to_end(&mut self.buffer).map_err(io_error)
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
