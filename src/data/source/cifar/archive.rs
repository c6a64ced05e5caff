//! A .tar.gz, read without unpacking it, whose errors name the byte.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::error::ReadError;
use crate::ordinary_file;

/// A pickled batch of CIFAR-10 is 31 MB, the training images of CIFAR-100 are 155. No more than this is read of what claims to be
/// one.
pub const MAX_BATCH_BYTES: u64 = 256 << 20;

pub fn check_size(file: &str, bytes: &[u8]) -> Result<(), ReadError> {
    if bytes.len() as u64 <= MAX_BATCH_BYTES {
        return Ok(());
    }
    let problem = "the file goes on, but no CIFAR batch is so long: this is something else".into();
    Err(ReadError::Damaged { file: file.into(), offset: MAX_BATCH_BYTES, problem })
}

/// Counts what was used, so that an error in a compressed archive can name its byte.
struct Counted {
    inner: BufReader<File>,
    count: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.count.set(self.count.get() + amount as u64);
    }
}

/// A .tar.gz, read from its start to its end.
struct TarGz {
    file: String,
    archive: tar::Archive<MultiGzDecoder<Counted>>,
    /// Bytes of the file that have been used.
    count: Rc<Cell<u64>>,
}

impl TarGz {
    fn open(path: &Path) -> Result<Self, ReadError> {
        let file = path.display().to_string();
        let opened = ordinary_file::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::Missing { file: file.clone() },
            io::ErrorKind::PermissionDenied => ReadError::Denied { file: file.clone() },
            _ => ReadError::Unreadable { file: file.clone(), reason: format!("cannot be opened: {error}") },
        })?;
        let count = Rc::new(Cell::new(0));
        let counted = Counted { inner: BufReader::with_capacity(1 << 16, opened), count: count.clone() };
        Ok(Self { file, archive: tar::Archive::new(MultiGzDecoder::new(counted)), count })
    }
}

fn broken(file: &str, count: &Cell<u64>, error: &io::Error) -> ReadError {
    let problem = format!("the archive cannot be read beyond about here: {error}");
    ReadError::Damaged { file: file.into(), offset: count.get(), problem }
}

/// Calls `visit` with the path and the contents of each regular file in a .tar.gz that `wanted` accepts.
///
/// # Errors
/// The archive cannot be read to its end; what `visit` returns.
pub fn read_tar_gz(
    path: &Path,
    mut wanted: impl FnMut(&str) -> bool,
    mut visit: impl FnMut(&str, Vec<u8>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let TarGz { file, mut archive, count } = TarGz::open(path)?;
    let broken = |error: io::Error| broken(&file, &count, &error);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() || !wanted(&member) {
            continue;
        }
        let mut bytes = Vec::with_capacity(entry.size().min(MAX_BATCH_BYTES) as usize);
        entry.by_ref().take(MAX_BATCH_BYTES + 1).read_to_end(&mut bytes).map_err(broken)?;
        check_size(&format!("{file}: {member}"), &bytes)?;
        visit(&member, bytes)?;
    }
    // What is left is padding, and the checksum of it all.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    Ok(())
}

/// The path of the first member of a .tar.gz; empty where it has none.
///
/// # Errors
/// It is no .tar.gz.
pub fn first_member(path: &Path) -> Result<String, ReadError> {
    let TarGz { file, mut archive, count } = TarGz::open(path)?;
    let broken = |error: io::Error| broken(&file, &count, &error);
    match archive.entries().map_err(broken)?.next() {
        Some(entry) => Ok(String::from_utf8_lossy(&entry.map_err(broken)?.path_bytes()).into_owned()),
        None => Ok(String::new()),
    }
}
