//! The decoded images of a folder in one file, which later runs map: see [`super::build`].
//!
//! A header of fixed size, the images one after the other, and an index. The file gets its name when all of it is on the disk,
//! and is never changed after that. Index and images have a checksum each, which is compared whenever one of them is read.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use prost::Message;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::index::{Entry, Index};
use crate::durable::{self, UNFINISHED};

const MAGIC: &[u8; 8] = b"taperimg";
const VERSION: u32 = 1;
/// Magic number, version, checksum of the index, where it begins, its bytes.
const HEADER_BYTES: usize = 32;

/// A cache whose index is whole.
pub struct Cache {
    path: PathBuf,
    map: Mmap,
    index: Index,
}

impl Cache {
    /// None: there is none at `path`, or one of another version, or one that is damaged. It is made again.
    ///
    /// # Errors
    /// It may not be read.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // SAFETY: nobody writes to a cache after it has its name; a new one is another file. Whoever shortens it by hand while it
        // is mapped ends this process by a signal, as with any mapped file. Reading instead would copy every image.
        let map = unsafe { Mmap::map(&file)? };
        Ok(read_index(&map).map(|index| Self { path: path.into(), map, index }))
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// The planes of an image; None: the file is damaged there.
    pub fn image(&self, entry: &Entry) -> Option<&[u8]> {
        let bytes = entry.plane().checked_mul(entry.sums.len())?;
        let start = usize::try_from(entry.offset).ok()?;
        let image = self.map.get(start..start.checked_add(bytes)?)?;
        (crc32c::crc32c(image) == entry.crc32c).then_some(image)
    }
}

fn read_index(bytes: &[u8]) -> Option<Index> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    let word = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().expect("it is in the header"));
    let long = |at: usize| u64::from_le_bytes(*header[at..].first_chunk().expect("it is in the header"));
    if !header.starts_with(MAGIC) || word(8) != VERSION {
        return None;
    }
    let start = usize::try_from(long(16)).ok()?;
    let index = bytes.get(start..start.checked_add(usize::try_from(long(24)).ok()?)?)?;
    if crc32c::crc32c(index) != word(12) {
        return None;
    }
    Index::decode(index).ok()
}

/// A cache that is being written, under a name that goes with it.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    offset: u64,
}

impl Writer {
    /// A cache that will be at `path`. What killed processes left in that folder is removed.
    pub fn create(path: &Path) -> io::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        // Whoever may not look at the images may not look at these either.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        remove_abandoned(folder)?;
        let file = durable::unfinished_file(folder)?;
        // As long as this process lives. Without locks on that file system, a build beside this one might remove it.
        match file.as_file().try_lock() {
            Ok(()) | Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
        let mut writer = Self { path: path.into(), file: BufWriter::with_capacity(1 << 20, file), offset: 0 };
        writer.write(&[0; HEADER_BYTES])?;
        Ok(writer)
    }

    /// Where the image begins.
    pub fn push(&mut self, image: &[u8]) -> io::Result<u64> {
        let offset = self.offset;
        self.write(image)?;
        Ok(offset)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Gives the cache its name.
    pub fn finish(mut self, index: &Index) -> io::Result<()> {
        let start = self.offset;
        let index = index.encode_to_vec();
        self.write(&index)?;
        let file = self.file.into_inner().map_err(|error| error.into_error())?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&crc32c::crc32c(&index).to_le_bytes());
        header[16..24].copy_from_slice(&start.to_le_bytes());
        header[24..].copy_from_slice(&(index.len() as u64).to_le_bytes());
        file.as_file().write_all_at(&header, 0)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        durable::sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }
}

/// Unfinished caches whose writer is dead.
fn remove_abandoned(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        if is_unfinished && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// SHA-256 of an image's planes, by which equal images are found.
pub fn digest(planes: &[u8]) -> Vec<u8> {
    Sha256::digest(planes).to_vec()
}
