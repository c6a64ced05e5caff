//! The writing end of the log. Other programs may cut it, write to it, remove it or put another file in its place: the
//! writer notices before its next line, and what can be kept is.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::event::{Event, Record, now_ms};
use super::end::complete_len;
use super::line;
use super::reserve::{Reserve, Room};
use crate::durable;
use crate::format;
use crate::held_folder::{HeldFolder, is_same};
use crate::ordinary_file;

/// A log that is not there for so long was removed by itself, and not with all of the run.
const REMOVAL_TIME: Duration = Duration::from_secs(2);

/// The holder of the run's lock has the only one.
#[derive(Debug)]
pub struct EventLog {
    folder: HeldFolder,
    name: OsString,
    file: File,
    /// Length of the complete lines.
    len: u64,
    /// Part of a line may stand behind them.
    torn: bool,
    reserve: Reserve,
    /// Since when it has not been there.
    missing_since: Option<Instant>,
}

/// What another program did to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interference {
    /// Of so many bytes, the first are left.
    Cut { from: u64, to: u64 },
    /// So many bytes were written behind its lines.
    Appended { bytes: u64 },
    /// It is back whole.
    Removed,
    /// It is back whole; what was in its place has this name now.
    Replaced { aside: PathBuf },
}

impl fmt::Display for Interference {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("another program ")?;
        match self {
            Self::Cut { from, to } => {
                let (from, to) = (format::bytes(*from), format::bytes(*to));
                write!(formatter, "cut the event log from {from} to {to}: what it held behind that is lost")
            }
            Self::Appended { bytes } => write!(formatter, "wrote {} to the event log", format::bytes(*bytes)),
            Self::Removed => formatter.write_str("removed the event log: it was put back, nothing is lost"),
            Self::Replaced { aside } => {
                let aside = aside.display();
                write!(formatter, "put another file in place of the event log: it was put back, the other is {aside}")
            }
        }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        self.reserve.release(&self.file, self.len);
    }
}

impl EventLog {
    /// Opens the log for appending, creates it where it is missing, and cuts off a torn last line.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file in a folder"));
        };
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        ordinary_file::check(&file.metadata()?)?;
        let size = file.seek(SeekFrom::End(0))?;
        let len = complete_len(&file, size)?;
        if len < size {
            file.set_len(len)?;
        }
        let folder = HeldFolder::hold(folder)?;
        let name = name.to_owned();
        Ok(Self { folder, name, file, len, torn: false, reserve: Reserve::new(), missing_since: None })
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

    /// Looks what other programs did to the log, and mends it so that the next line can be read. To be called before each.
    ///
    /// # Errors
    /// It cannot be mended now.
    pub fn mend(&mut self) -> io::Result<Option<Interference>> {
        self.mend_if_missing_for(REMOVAL_TIME)
    }

    /// As [`EventLog::mend`], at the end of the run: a log that is not there is put back at once.
    pub fn mend_for_good(&mut self) -> io::Result<Option<Interference>> {
        self.mend_if_missing_for(Duration::ZERO)
    }

    fn mend_if_missing_for(&mut self, time: Duration) -> io::Result<Option<Interference>> {
        // Without a folder there is nothing to mend; those who have the log open still read what is written.
        if self.folder.follow().is_err() {
            return Ok(None);
        }
        match self.put_back(time)? {
            Some(displaced) => Ok(Some(displaced)),
            None => self.mend_length(),
        }
    }

    fn mend_length(&mut self) -> io::Result<Option<Interference>> {
        let size = self.file.metadata()?.len();
        if size < self.len {
            let from = self.len;
            self.len = complete_len(&self.file, size)?;
            self.torn = true;
            self.cut()?;
            return Ok(Some(Interference::Cut { from, to: self.len }));
        }
        if size == self.len || self.torn {
            return Ok(None);
        }
        if complete_len(&self.file, size)? < size {
            self.file.write_all(b"\n")?;
        }
        let bytes = size - self.len;
        self.len = self.file.metadata()?.len();
        Ok(Some(Interference::Appended { bytes }))
    }

    fn put_back(&mut self, time: Duration) -> io::Result<Option<Interference>> {
        let path = self.folder.path().join(&self.name);
        let interference = match fs::metadata(&path) {
            Ok(found) if is_same(&found, &self.file.metadata()?) => {
                self.missing_since = None;
                return Ok(None);
            }
            Ok(_) => Interference::Replaced { aside: put_aside(&path)? },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Meanwhile it is written to: what is put back has all of it.
                if self.missing_since.get_or_insert_with(Instant::now).elapsed() < time {
                    return Ok(None);
                }
                Interference::Removed
            }
            Err(error) => return Err(error),
        };
        self.cut()?;
        let mut copy = durable::unfinished_file(self.folder.path())?;
        let mut own = self.file.try_clone()?;
        own.seek(SeekFrom::Start(0))?;
        io::copy(&mut own.take(self.len), &mut copy)?;
        copy.as_file().sync_all()?;
        copy.persist_noclobber(&path)?;
        durable::sync_folder(self.folder.path())?;
        self.file = OpenOptions::new().read(true).append(true).open(&path)?;
        self.reserve.forget();
        self.missing_since = None;
        Ok(Some(interference))
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

/// Gives a file a name beside its own that is free.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1.. {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".replaced-{number}"));
        let aside = PathBuf::from(aside);
        match fs::hard_link(path, &aside) {
            Ok(()) => return fs::remove_file(path).map(|()| aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last name returns")
}

#[cfg(test)]
mod tests {
    use super::super::follower::Follower;
    use super::*;

    struct Log {
        dir: tempfile::TempDir,
        log: EventLog,
        steps: u64,
    }

    impl Log {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let log = EventLog::open(&dir.path().join("events.jsonl")).unwrap();
            let mut log = Self { dir, log, steps: 0 };
            (0..3).for_each(|_| log.append());
            log
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("events.jsonl")
        }

        fn append(&mut self) {
            assert_eq!(self.log.mend().unwrap(), None);
            self.log.append(Event::Paused { step: self.steps }).unwrap();
            self.steps += 1;
        }

        /// The steps of the lines that can be read.
        fn read(&self) -> Vec<u64> {
            let mut follower = Follower::new(self.path());
            let mut steps = Vec::new();
            loop {
                match follower.read(1000) {
                    Ok(records) if records.is_empty() => return steps,
                    Ok(records) => steps.extend(records.iter().map(|record| match record.event {
                        Event::Paused { step } => step,
                        _ => panic!("{record:?}"),
                    })),
                    Err(error) => assert!(error.to_string().contains("is no event"), "{error}"),
                }
            }
        }
    }

    #[test]
    fn a_log_that_was_cut_goes_on_at_a_whole_line() {
        for (left, lines) in [(0, 0), (100, 1)] {
            let mut log = Log::new();
            let from = log.log.len;
            log.log.file.set_len(left).unwrap();
            let Some(Interference::Cut { from: before, to }) = log.log.mend().unwrap() else { panic!("it is noticed") };
            assert!(before == from && to <= left);
            log.append();
            assert_eq!(log.read(), (0..lines).chain([3]).collect::<Vec<_>>());
            drop(log.log);
        }
    }

    #[test]
    fn what_others_wrote_spoils_no_further_line() {
        for text in ["half a line", "a line\n", "\0\0"] {
            let mut log = Log::new();
            OpenOptions::new().append(true).open(log.path()).unwrap().write_all(text.as_bytes()).unwrap();
            assert_eq!(log.log.mend().unwrap(), Some(Interference::Appended { bytes: text.len() as u64 }));
            log.append();
            assert_eq!(log.read(), [0, 1, 2, 3]);
            let size = log.path().metadata().unwrap().len();
            drop(log.log);
            assert_eq!(log.dir.path().join("events.jsonl").metadata().unwrap().len(), size);
        }
    }

    #[test]
    fn a_log_that_was_removed_is_put_back_whole() {
        let mut log = Log::new();
        let mut follower = Follower::new(log.path());
        assert_eq!(follower.read(1 << 20).unwrap().len(), 3);
        fs::remove_file(log.path()).unwrap();
        // All of the run may be about to go.
        log.append();
        assert_eq!((log.path().exists(), follower.read(1 << 20).unwrap().len()), (false, 1));
        assert_eq!(log.log.mend_for_good().unwrap(), Some(Interference::Removed));
        assert!(follower.read(1 << 20).unwrap_err().to_string().ends_with("while it was read"));
        log.append();
        assert_eq!(log.read(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_was_put_in_its_place_is_kept_beside_it() {
        let mut log = Log::new();
        for (number, text) in ["mine", "also mine"].iter().enumerate() {
            fs::write(log.dir.path().join("other"), text).unwrap();
            fs::rename(log.dir.path().join("other"), log.path()).unwrap();
            let aside = log.dir.path().join(format!("events.jsonl.replaced-{}", number + 1));
            assert_eq!(log.log.mend().unwrap(), Some(Interference::Replaced { aside: aside.clone() }));
            assert_eq!(fs::read_to_string(aside).unwrap(), *text);
            log.append();
        }
        assert_eq!(log.read(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn in_a_folder_that_is_renamed_it_goes_on() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir(path("run")).unwrap();
        let mut log = EventLog::open(&path("run").join("events.jsonl")).unwrap();
        log.append(Event::Paused { step: 0 }).unwrap();
        fs::rename(path("run"), path("renamed")).unwrap();
        // Another run has its name now.
        fs::create_dir(path("run")).unwrap();
        fs::write(path("run").join("events.jsonl"), "of another").unwrap();
        assert_eq!(log.mend().unwrap(), None);
        log.append(Event::Paused { step: 1 }).unwrap();
        assert_eq!(fs::read_to_string(path("run").join("events.jsonl")).unwrap(), "of another");
        assert_eq!(Follower::new(path("renamed").join("events.jsonl")).read(1000).unwrap().len(), 2);
        fs::remove_dir_all(path("renamed")).unwrap();
        assert_eq!(log.mend().unwrap(), None);
        log.append(Event::Paused { step: 2 }).unwrap();
    }
}
