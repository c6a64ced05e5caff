//! Readers of the layouts in which CIFAR-10 is published, without unpacking anything to disk.
//!
//! A batch is read whole and checked whole: its length, every label, and that it is the right file at all. What is wrong
//! is told with the file and the byte.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::{CLASSES, Dataset, PICTURE_BYTES, pickle};

/// The files of every layout, without their extension: five of training pictures, one of test pictures.
pub const BATCHES: [&str; 6] =
    ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];

/// What is looked for in the data folder, in this order.
pub const LAYOUT_NAMES: [&str; 4] =
    ["cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"];

/// Bytes of a record of the binary layout: the label, then the picture.
pub const RECORD_BYTES: usize = 1 + PICTURE_BYTES;

/// A pickled batch is 31 MB. No more than this is read of what claims to be one.
const MAX_BATCH_BYTES: u64 = 64 << 20;

/// What the published files hold.
#[derive(Clone, Debug)]
pub struct Edition {
    pub pictures_per_batch: usize,
    /// SHA-256 of each of [`BATCHES`] as a file of the binary layout.
    pub batch_sha256: [String; 6],
}

impl Edition {
    pub fn cifar10() -> Self {
        Self {
            pictures_per_batch: 10_000,
            batch_sha256: [
                "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            ]
            .map(String::from),
        }
    }
}

/// Why a batch could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("{file}: there is no such file")]
    Missing { file: String },
    #[error("{file}: {reason}")]
    Unreadable { file: String, reason: String },
    #[error("{file}: byte {offset}: {problem}")]
    Damaged {
        file: String,
        /// In the file, or in the archive's member where `file` names one.
        offset: u64,
        problem: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `data_batch_1.bin` and so on.
    BinaryFolder,
    /// `data_batch_1` and so on, pickles.
    PythonFolder,
    /// A .tar.gz of either.
    Archive,
}

impl Layout {
    /// For people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::BinaryFolder => "folder of binary batches",
            Self::PythonFolder => "folder of pickled batches",
            Self::Archive => "archive",
        }
    }
}

/// CIFAR-10 on disk. It may yet turn out to be damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: PathBuf,
    pub layout: Layout,
}

/// Looks for CIFAR-10: the first of these that is there.
///
/// 1. `DIR/cifar-10-batches-bin/`, then `data_batch_*.bin` in `DIR` itself
/// 2. `DIR/cifar-10-batches-py/`, then `data_batch_*` in `DIR` itself
/// 3. `DIR/cifar-10-binary.tar.gz`
/// 4. `DIR/cifar-10-python.tar.gz`
///
/// Or `dir` is itself a file: then it is taken for an archive.
///
/// # Errors
/// `dir` cannot be looked into.
pub fn find(dir: &Path) -> io::Result<Option<Found>> {
    Ok(find_all(dir)?.into_iter().next())
}

/// Everything that [`find`] would accept, in its order.
///
/// # Errors
/// `dir` cannot be looked into.
pub fn find_all(dir: &Path) -> io::Result<Vec<Found>> {
    match dir.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok(vec![Found { path: dir.into(), layout: Layout::Archive }]),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    }
    let [binary, python, archives @ ..] = LAYOUT_NAMES;
    let mut found = vec![];
    for (folder, layout) in [(binary, Layout::BinaryFolder), (python, Layout::PythonFolder)] {
        if is_there(&dir.join(folder))? {
            found.push(Found { path: dir.join(folder), layout });
        }
        for batch in BATCHES {
            if is_there(&dir.join(file_name(batch, layout)))? {
                found.push(Found { path: dir.into(), layout });
                break;
            }
        }
    }
    for archive in archives {
        if is_there(&dir.join(archive))? {
            found.push(Found { path: dir.join(archive), layout: Layout::Archive });
        }
    }
    Ok(found)
}

/// A dangling link counts: whoever made it does not expect the sample.
fn is_there(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn file_name(batch: &str, layout: Layout) -> String {
    match layout {
        Layout::BinaryFolder => format!("{batch}.bin"),
        Layout::PythonFolder | Layout::Archive => batch.to_string(),
    }
}

impl Found {
    /// The training set and the test set.
    ///
    /// # Errors
    /// The first batch that cannot be read.
    pub fn read(&self) -> Result<(Dataset, Dataset), ReadError> {
        self.read_edition(&Edition::cifar10())
    }

    fn read_edition(&self, edition: &Edition) -> Result<(Dataset, Dataset), ReadError> {
        let mut train = Dataset::with_capacity(5 * edition.pictures_per_batch);
        let mut batches = self.read_batches(edition).into_iter();
        for batch in batches.by_ref().take(5) {
            train.append(&batch?);
        }
        let test = batches.next().expect("there are six batches")?;
        Ok((train, test))
    }

    /// Each of [`BATCHES`], for whoever wants to hear of every damaged one.
    pub fn read_batches(&self, edition: &Edition) -> [Result<Dataset, ReadError>; 6] {
        match self.layout {
            Layout::BinaryFolder => BATCHES.map(|batch| {
                let file = self.path.join(file_name(batch, self.layout));
                parse_records(&file.display().to_string(), &read_file(&file)?, edition.pictures_per_batch)
            }),
            Layout::PythonFolder => BATCHES.map(|batch| {
                let file = self.path.join(file_name(batch, self.layout));
                pickle::parse_batch(&file.display().to_string(), &read_file(&file)?, edition.pictures_per_batch)
            }),
            Layout::Archive => read_archive(&self.path, edition),
        }
    }

    /// `error` with what to do about it.
    pub fn advise(&self, error: &ReadError, data_dir: &Path) -> anyhow::Error {
        anyhow::anyhow!(
            "{error}; put a good copy there, or move {} away and get one with `taper data fetch` (into {})",
            self.path.display(),
            data_dir.display()
        )
    }
}

/// Reads `pictures` records of the binary layout; `file` is for the error.
///
/// # Errors
/// Too few or too many bytes, or a label that is none.
pub fn parse_records(file: &str, bytes: &[u8], pictures: usize) -> Result<Dataset, ReadError> {
    let damaged =
        |offset: usize, problem: String| ReadError::Damaged { file: file.into(), offset: offset as u64, problem };
    let expected = pictures * RECORD_BYTES;
    if bytes.len() < expected {
        let problem = format!("the file ends here, but {pictures} pictures take {expected} bytes");
        return Err(damaged(bytes.len(), problem));
    }
    if bytes.len() > expected {
        let problem = format!("the file should end here, after {pictures} pictures: this is not a CIFAR-10 batch");
        return Err(damaged(expected, problem));
    }
    let mut dataset = Dataset::with_capacity(pictures);
    for (index, record) in bytes.chunks_exact(RECORD_BYTES).enumerate() {
        check_label(record[0].into()).map_err(|problem| damaged(index * RECORD_BYTES, problem))?;
        dataset.push(record[0], &record[1..]);
    }
    Ok(dataset)
}

/// The label as u8, or what is wrong with it.
pub(super) fn check_label(label: i64) -> Result<u8, String> {
    u8::try_from(label)
        .ok()
        .filter(|&label| usize::from(label) < CLASSES.len())
        .ok_or_else(|| format!("label {label}, but labels go from 0 to {}", CLASSES.len() - 1))
}

/// SHA-256 of `dataset` as a file of the binary layout, in hexadecimal.
pub fn sha256(dataset: &Dataset) -> String {
    let mut hash = Sha256::new();
    for (index, &label) in dataset.labels.iter().enumerate() {
        hash.update([label]);
        hash.update(dataset.picture(index));
    }
    format!("{:x}", hash.finalize())
}

/// `dataset` as a file of the binary layout.
pub fn to_records(dataset: &Dataset) -> Vec<u8> {
    let mut records = Vec::with_capacity(dataset.len() * RECORD_BYTES);
    for (index, &label) in dataset.labels.iter().enumerate() {
        records.push(label);
        records.extend_from_slice(dataset.picture(index));
    }
    records
}

fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    let file = path.display().to_string();
    let read = || {
        let mut bytes = vec![];
        let mut opened = File::open(path)?;
        bytes.reserve_exact(opened.metadata()?.len().min(MAX_BATCH_BYTES) as usize);
        opened.by_ref().take(MAX_BATCH_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Missing { file: file.clone() },
        _ => ReadError::Unreadable { file: file.clone(), reason: format!("cannot be read: {error}") },
    })?;
    check_size(&file, &bytes)?;
    Ok(bytes)
}

fn check_size(file: &str, bytes: &[u8]) -> Result<(), ReadError> {
    if bytes.len() as u64 <= MAX_BATCH_BYTES {
        return Ok(());
    }
    let problem = "the file goes on, but a CIFAR-10 batch is half as long: this is something else".into();
    Err(ReadError::Damaged { file: file.into(), offset: MAX_BATCH_BYTES, problem })
}

/// Counts what was read, so that an error in a compressed archive can name its byte.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

/// Calls `visit` with the path and the contents of each regular file in a .tar.gz that `wanted` accepts.
///
/// # Errors
/// The archive cannot be read to its end; what `visit` returns.
pub(super) fn read_tar_gz(
    path: &Path,
    mut wanted: impl FnMut(&str) -> bool,
    mut visit: impl FnMut(&str, Vec<u8>) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let file = path.display().to_string();
    let count = Rc::new(Cell::new(0));
    let broken = |error: io::Error| ReadError::Damaged {
        file: file.clone(),
        offset: count.get(),
        problem: format!("the archive cannot be read beyond about here: {error}"),
    };
    let opened = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Missing { file: file.clone() },
        _ => ReadError::Unreadable { file: file.clone(), reason: format!("cannot be opened: {error}") },
    })?;
    let counted = Counted { inner: opened, count: count.clone() };
    let mut archive = tar::Archive::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, counted)));
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
    Ok(())
}

fn read_archive(path: &Path, edition: &Edition) -> [Result<Dataset, ReadError>; 6] {
    let file = path.display().to_string();
    let mut batches: [Option<Result<Dataset, ReadError>>; 6] = [const { None }; 6];
    let mut others = vec![];
    let outcome = read_tar_gz(
        path,
        |member| {
            let wanted = batch_of(member).is_some();
            if !wanted && others.len() < 3 {
                others.push(member.to_string());
            }
            wanted
        },
        |member, bytes| {
            let (index, layout) = batch_of(member).expect("only batches are wanted");
            let name = format!("{file}: {member}");
            batches[index] = Some(match layout {
                Layout::BinaryFolder => parse_records(&name, &bytes, edition.pictures_per_batch),
                Layout::PythonFolder | Layout::Archive => {
                    pickle::parse_batch(&name, &bytes, edition.pictures_per_batch)
                }
            });
            Ok(())
        },
    );
    let nothing_found = batches.iter().all(Option::is_none);
    let mut index = 0;
    batches.map(|batch| {
        let name = BATCHES[index];
        index += 1;
        batch.unwrap_or_else(|| match &outcome {
            Err(error) => Err(error.clone()),
            Ok(()) if nothing_found => {
                let holds = if others.is_empty() { "nothing".into() } else { others.join(", ") };
                let reason = format!("this is not a CIFAR-10 archive: it holds {holds}, but no {name}");
                Err(ReadError::Unreadable { file: file.clone(), reason })
            }
            Ok(()) => Err(ReadError::Missing { file: format!("{file}: {name}") }),
        })
    })
}

/// Which of [`BATCHES`] an archive's member is, and how it is written.
fn batch_of(member: &str) -> Option<(usize, Layout)> {
    let name = member.rsplit('/').next()?;
    let (stem, layout) = match name.strip_suffix(".bin") {
        Some(stem) => (stem, Layout::BinaryFolder),
        None => (name, Layout::PythonFolder),
    };
    Some((BATCHES.iter().position(|&batch| batch == stem)?, layout))
}
