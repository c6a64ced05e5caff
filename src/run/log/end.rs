//! The end of a log: where its complete lines end.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::ordinary_file;

/// Bytes of an unfinished last line: the write of a killed trainer.
pub fn torn_bytes(path: &Path) -> io::Result<u64> {
    let mut file = ordinary_file::open(path)?;
    let size = file.seek(SeekFrom::End(0))?;
    Ok(size - complete_len(&file, size)?)
}

/// Bytes up to and including the last newline in the first `bytes`.
pub fn line_end_before(path: &Path, bytes: u64) -> io::Result<u64> {
    complete_len(&ordinary_file::open(path)?, bytes)
}

/// Bytes up to and including the last newline.
pub(super) fn complete_len(file: &File, size: u64) -> io::Result<u64> {
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
