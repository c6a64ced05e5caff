//! The event log, `events.jsonl`: appended to by the one live trainer, followed by any number of readers.
//!
//! A line counts once its newline is there. A torn last line is normal: a reader waits for the rest of it, and the next
//! trainer cuts it off. Readers therefore never keep bytes of an incomplete line, they read them again.

mod follower;
mod line;
mod reserve;
mod steps_line;
mod writer;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::follower::{FollowError, Follower, Position};
pub use self::line::{Entry, is_whole, with_checksum};
pub use self::reserve::Room;
pub use self::steps_line::StepsOutline;
pub use self::writer::{EventLog, Interference};
use crate::ordinary_file;

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
