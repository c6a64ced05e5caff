//! Disk blocks reserved behind the end of the log, so that a run on a full disk can still log alarms.

use std::fs::File;

use rustix::io::Errno;

/// Reserved at a time, and again when half of it is used up, so at least half is there when the disk fills.
const RESERVE_BYTES: u64 = 1 << 20;
/// Growth of the log between two attempts on a full disk, each of which may cost a commit of its journal.
const RETRY_BYTES: u64 = 64 << 10;

/// Whether the log can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Even on a full disk, for some thousand steps.
    Reserved,
    /// The disk had no more to give; what was reserved before is used up.
    Short,
    /// The file system reserves nothing, or nothing was written yet.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Reserve {
    /// Up to here, in bytes from the beginning of the log.
    end: u64,
    /// The length of the log at which more is asked for.
    refill_at: u64,
    room: Room,
}

impl Reserve {
    /// Blocks that a killed trainer left are found again by the first refill.
    pub fn new() -> Self {
        Self { end: 0, refill_at: 0, room: Room::Unknown }
    }

    pub fn room(&self) -> Room {
        self.room
    }

    /// Reserves more if need be, before something is appended to a log of `len` bytes. A full disk is no error: the next
    /// bytes may still fit.
    pub fn refill(&mut self, file: &File, len: u64) {
        if len >= self.refill_at {
            self.take(len, allocate(file, len));
        }
    }

    fn take(&mut self, len: u64, given: Result<(), Errno>) {
        *self = match given {
            Ok(()) => Self { end: len + RESERVE_BYTES, refill_at: len + RESERVE_BYTES / 2, room: Room::Reserved },
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::INTR) => {
                let refill_at = (len + RETRY_BYTES).min(self.end.max(len));
                Self { end: self.end, refill_at, room: Room::Short }
            }
            Err(error) => {
                tracing::debug!("no blocks can be reserved for the event log: {error}");
                Self { end: 0, refill_at: u64::MAX, room: Room::Unknown }
            }
        };
    }

    /// The file was cut, which freed the reserved blocks.
    pub fn forget(&mut self) {
        *self = Self::new();
    }

    /// Gives back the unused blocks.
    pub fn release(&mut self, file: &File, len: u64) {
        // Another program may have written behind the end.
        let is_own = file.metadata().is_ok_and(|metadata| metadata.len() == len);
        if self.room != Room::Unknown && is_own {
            // Frees the blocks behind the end, though the length stays. Where that fails they still belong to the log, and
            // the next trainer uses them.
            let _ = file.set_len(len);
        }
        self.forget();
    }
}

/// Reserves blocks behind the first `len` bytes, without a change of the file's length.
#[cfg(target_os = "linux")]
fn allocate(file: &File, len: u64) -> Result<(), Errno> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, len, RESERVE_BYTES)
}

/// Other systems cannot without a change of the length, which is for readers the end of what was written.
#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::*;
    use crate::run::event::Event;
    use crate::run::log::{EventLog, Follower};

    fn allocated_bytes(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().blocks() * 512
    }

    /// The temporary directory's file system, and that of shared memory, a tmpfs.
    fn on_each_file_system(test: impl Fn(&Path)) {
        for dir in [std::env::temp_dir(), "/dev/shm".into()].iter().filter(|dir| dir.is_dir()) {
            test(&tempfile::tempdir_in(dir).unwrap().path().join("events.jsonl"));
        }
    }

    #[test]
    fn room_is_reserved_behind_the_end_and_given_back() {
        on_each_file_system(|path| {
            let mut log = EventLog::open(path).unwrap();
            assert_eq!(log.room(), Room::Unknown);
            let record = log.append(Event::Paused { step: 1 }).unwrap();
            if log.room() == Room::Unknown {
                assert!(!path.starts_with("/dev/shm") || cfg!(not(target_os = "linux")), "a tmpfs reserves");
                eprintln!("{} is on a file system that reserves nothing", path.display());
                return;
            }
            assert_eq!(log.room(), Room::Reserved);
            assert!(allocated_bytes(path) >= RESERVE_BYTES);
            assert!(path.metadata().unwrap().len() < 100, "readers see what was written");
            assert_eq!(Follower::new(path).read(1 << 20).unwrap(), [record]);
            drop(log);
            assert!(allocated_bytes(path) < RESERVE_BYTES / 8);
            assert_eq!(Follower::new(path).read(1 << 20).unwrap().len(), 1);
        });
    }

    #[test]
    fn at_least_half_is_there_at_any_time() {
        on_each_file_system(|path| {
            let mut log = EventLog::open(path).unwrap();
            for step in 0..40_000 {
                log.append(Event::Paused { step }).unwrap();
                if log.room() == Room::Reserved && step % 1000 == 0 {
                    let used = path.metadata().unwrap().len();
                    assert!(allocated_bytes(path) >= used + RESERVE_BYTES / 2 - 4096, "{used}");
                }
            }
            assert!(path.metadata().unwrap().len() > RESERVE_BYTES);
        });
    }

    #[test]
    fn blocks_of_a_killed_trainer_are_reused() {
        on_each_file_system(|path| {
            let mut killed = EventLog::open(path).unwrap();
            killed.append(Event::Paused { step: 1 }).unwrap();
            std::mem::forget(killed);
            let mut log = EventLog::open(path).unwrap();
            log.append(Event::Paused { step: 2 }).unwrap();
            assert!(allocated_bytes(path) < 2 * RESERVE_BYTES);
            drop(log);
            assert!(allocated_bytes(path) < RESERVE_BYTES / 8);
            assert_eq!(Follower::new(path).read(1 << 20).unwrap().len(), 2);
        });
    }

    #[test]
    fn a_full_disk_is_retried_now_and_then() {
        let mut reserve = Reserve::new();
        reserve.take(0, Ok(()));
        assert_eq!((reserve.room, reserve.refill_at), (Room::Reserved, RESERVE_BYTES / 2));
        let mut len = reserve.refill_at;
        let mut attempts = 0;
        while len < RESERVE_BYTES {
            reserve.take(len, Err(Errno::NOSPC));
            assert_eq!(reserve.room, Room::Short);
            assert!(len < reserve.refill_at && reserve.refill_at <= RESERVE_BYTES);
            (len, attempts) = (reserve.refill_at, attempts + 1);
        }
        assert_eq!(attempts, 8);
        reserve.take(len, Err(Errno::NOSPC));
        assert_eq!(reserve.refill_at, len);
        reserve.take(len, Ok(()));
        assert_eq!((reserve.room, reserve.end), (Room::Reserved, len + RESERVE_BYTES));
    }

    #[test]
    fn a_file_system_without_reserves_is_not_asked_again() {
        let mut reserve = Reserve::new();
        reserve.take(0, Err(Errno::OPNOTSUPP));
        assert_eq!((reserve.room, reserve.refill_at), (Room::Unknown, u64::MAX));
    }
}
