//! Readers of the layouts in which CIFAR-10 is published, without unpacking anything to disk.
//!
//! A batch is read whole and checked whole: its length, every label, and that it is the right file at all. What is wrong
//! is told with the file and the byte.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::{CLASSES, Dataset, IMAGE_BYTES, pickle};

/// The files of every layout, without their extension: five of training images, one of test images.
pub const BATCHES: [&str; 6] =
    ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];

/// What is looked for in the data folder, in this order.
pub const LAYOUT_NAMES: [&str; 4] =
    ["cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"];

/// Bytes of a record of the binary layout: the label, then the image.
pub const RECORD_BYTES: usize = 1 + IMAGE_BYTES;

/// A pickled batch is 31 MB. No more than this is read of what claims to be one.
const MAX_BATCH_BYTES: u64 = 64 << 20;

/// What the published files hold.
#[derive(Clone, Debug)]
pub struct Edition {
    pub images_per_batch: usize,
    /// SHA-256 of each of [`BATCHES`] as a file of the binary layout.
    pub batch_sha256: [String; 6],
}

impl Edition {
    /// The names of the batches that differ from what was published, in a training set and a test set that were read
    /// whole. The files have no checksums of their own: a changed pixel shows nowhere else.
    pub fn changed(&self, train: &Dataset, test: &Dataset) -> Vec<&'static str> {
        let found = (0..5).map(|batch| (train, batch * self.images_per_batch)).chain([(test, 0)]);
        let hashes = found.map(|(dataset, start)| sha256_of(dataset, start..start + self.images_per_batch));
        let published = self.batch_sha256.iter().zip(BATCHES);
        hashes.zip(published).filter(|(hash, (known, _))| hash != *known).map(|(_, (_, batch))| batch).collect()
    }

    pub fn cifar10() -> Self {
        Self {
            images_per_batch: 10_000,
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
        let mut train = Dataset::with_capacity(5 * edition.images_per_batch);
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
                parse_records(&file.display().to_string(), &read_file(&file)?, edition.images_per_batch)
            }),
            Layout::PythonFolder => BATCHES.map(|batch| {
                let file = self.path.join(file_name(batch, self.layout));
                pickle::parse_batch(&file.display().to_string(), &read_file(&file)?, edition.images_per_batch)
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

/// Reads `images` records of the binary layout; `file` is for the error.
///
/// # Errors
/// Too few or too many bytes, or a label that is none.
pub fn parse_records(file: &str, bytes: &[u8], images: usize) -> Result<Dataset, ReadError> {
    let damaged =
        |offset: usize, problem: String| ReadError::Damaged { file: file.into(), offset: offset as u64, problem };
    let expected = images * RECORD_BYTES;
    if bytes.len() < expected {
        let problem = format!("the file ends here, but {images} images take {expected} bytes");
        return Err(damaged(bytes.len(), problem));
    }
    if bytes.len() > expected {
        let problem = format!("the file should end here, after {images} images: this is not a CIFAR-10 batch");
        return Err(damaged(expected, problem));
    }
    let mut dataset = Dataset::with_capacity(images);
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
    sha256_of(dataset, 0..dataset.len())
}

fn sha256_of(dataset: &Dataset, images: Range<usize>) -> String {
    let mut hash = Sha256::new();
    for index in images {
        hash.update([dataset.labels[index]]);
        hash.update(dataset.image(index));
    }
    format!("{:x}", hash.finalize())
}

/// `dataset` as a file of the binary layout.
pub fn to_records(dataset: &Dataset) -> Vec<u8> {
    let mut records = Vec::with_capacity(dataset.len() * RECORD_BYTES);
    for (index, &label) in dataset.labels.iter().enumerate() {
        records.push(label);
        records.extend_from_slice(dataset.image(index));
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
        let opened = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::Missing { file: file.clone() },
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
pub(super) fn read_tar_gz(
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
pub(super) fn first_member(path: &Path) -> Result<String, ReadError> {
    let TarGz { file, mut archive, count } = TarGz::open(path)?;
    let broken = |error: io::Error| broken(&file, &count, &error);
    match archive.entries().map_err(broken)?.next() {
        Some(entry) => Ok(String::from_utf8_lossy(&entry.map_err(broken)?.path_bytes()).into_owned()),
        None => Ok(String::new()),
    }
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
                Layout::BinaryFolder => parse_records(&name, &bytes, edition.images_per_batch),
                Layout::PythonFolder | Layout::Archive => pickle::parse_batch(&name, &bytes, edition.images_per_batch),
            });
            Ok(())
        },
    );
    let nothing_found = batches.iter().all(Option::is_none);
    let mut names = BATCHES.into_iter();
    batches.map(|batch| {
        let name = names.next().expect("there is a name for each batch");
        match (batch, &outcome) {
            (Some(Err(error)), _) => Err(error),
            // The archive's checksum stands at its end: without it, no batch is known to be right.
            (_, Err(error)) => Err(error.clone()),
            (Some(Ok(batch)), Ok(())) => Ok(batch),
            (None, Ok(())) if nothing_found => {
                let holds = if others.is_empty() { "nothing".into() } else { others.join(", ") };
                let reason = format!("this is not a CIFAR-10 archive: it holds {holds}, but no {name}");
                Err(ReadError::Unreadable { file: file.clone(), reason })
            }
            (None, Ok(())) => Err(ReadError::Missing { file: format!("{file}: {name}") }),
        }
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

/// A tiny edition of four images to a batch, in every layout.
#[cfg(test)]
pub(crate) mod tiny {
    use std::fs;
    use std::ops::Range;

    use super::*;
    use crate::data::PLANE;

    // Made by tests/fixtures/cifar/make.py.
    const RECORDS: &[u8] = include_bytes!("../../tests/fixtures/cifar/batch.bin");
    const PICKLE: &[u8] = include_bytes!("../../tests/fixtures/cifar/batch.pickle");

    pub fn edition() -> Edition {
        let sha256 = |batch| sha256(&parse_records("", &records(batch), 4).unwrap());
        Edition { images_per_batch: 4, batch_sha256: std::array::from_fn(sha256) }
    }

    /// The labels tell the batches apart.
    fn label(batch: usize, image: usize) -> u8 {
        ((batch + image) % 10) as u8
    }

    pub fn records(batch: usize) -> Vec<u8> {
        let mut records = RECORDS.to_vec();
        for image in 0..4 {
            records[image * RECORD_BYTES] = label(batch, image);
        }
        records
    }

    pub fn pickled(batch: usize) -> Vec<u8> {
        let mut pickle = PICKLE.to_vec();
        let labels = 2 + pickle.windows(5).position(|window| window == b"(K\x06K\x09").unwrap();
        for image in 0..4 {
            pickle[labels + 2 * image] = label(batch, image);
        }
        pickle
    }

    /// File names and contents.
    pub fn files(layout: Layout) -> Vec<(String, Vec<u8>)> {
        let contents = if layout == Layout::BinaryFolder { records } else { pickled };
        BATCHES.iter().enumerate().map(|(index, batch)| (file_name(batch, layout), contents(index))).collect()
    }

    pub fn write_folder(folder: &Path, layout: Layout) {
        fs::create_dir_all(folder).unwrap();
        for (name, bytes) in files(layout) {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }

    pub fn tar_gz(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(vec![], flate2::Compression::fast()));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    /// An archive as published: in a folder, in no order, with a file that is no batch.
    pub fn archive(layout: Layout) -> Vec<u8> {
        let mut files = files(layout);
        files.rotate_left(2);
        files.push(("readme.html".into(), b"<html>".to_vec()));
        for (name, _) in &mut files {
            *name = format!("cifar-10-batches/{name}");
        }
        tar_gz(&files)
    }

    /// A batch as a PNG, one image a row; the published ones are 1024 pixels wide.
    pub fn sprite(batch: usize, width: usize) -> Vec<u8> {
        let records = records(batch);
        let mut pixels = vec![];
        for record in records.chunks(RECORD_BYTES) {
            let pixel = |at| [record[1 + at], record[1 + PLANE + at], record[1 + 2 * PLANE + at]];
            pixels.extend((0..width).flat_map(pixel));
        }
        let mut png = vec![];
        let mut encoder = png::Encoder::new(&mut png, width as u32, 4);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&pixels).unwrap();
        writer.finish().unwrap();
        png
    }

    pub fn npm_members() -> Vec<(String, Vec<u8>)> {
        let labels = |batches: Range<usize>| {
            let labels: Vec<u8> = batches.flat_map(|batch| (0..4).map(move |image| label(batch, image))).collect();
            serde_json::to_vec(&labels).unwrap()
        };
        let mut members = vec![("package/package.json".to_string(), b"{}".to_vec())];
        for (index, batch) in BATCHES.iter().enumerate() {
            members.push((format!("package/{batch}.png"), sprite(index, PLANE)));
        }
        members.push(("package/test_lables.json".into(), labels(5..6)));
        members.push(("package/train_lables.json".into(), labels(0..5)));
        members
    }

    pub fn npm_package() -> Vec<u8> {
        tar_gz(&npm_members())
    }

    /// Each layout, at its place under `dir`.
    pub fn write_all_layouts(dir: &Path) {
        write_folder(&dir.join(LAYOUT_NAMES[0]), Layout::BinaryFolder);
        write_folder(dir, Layout::BinaryFolder);
        write_folder(&dir.join(LAYOUT_NAMES[1]), Layout::PythonFolder);
        write_folder(dir, Layout::PythonFolder);
        fs::write(dir.join(LAYOUT_NAMES[2]), archive(Layout::BinaryFolder)).unwrap();
        fs::write(dir.join(LAYOUT_NAMES[3]), archive(Layout::PythonFolder)).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn read(path: &Path, layout: Layout) -> Result<(Dataset, Dataset), ReadError> {
        Found { path: path.into(), layout }.read_edition(&tiny::edition())
    }

    fn damage(error: ReadError) -> (String, u64, String) {
        match error {
            ReadError::Damaged { file, offset, problem } => (file, offset, problem),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn every_layout_holds_the_same_images_in_the_same_order() {
        let dir = tempfile::tempdir().unwrap();
        tiny::write_all_layouts(dir.path());
        let found = find_all(dir.path()).unwrap();
        let layouts: Vec<_> = found.iter().map(|found| found.layout).collect();
        use Layout::*;
        assert_eq!(layouts, [BinaryFolder, BinaryFolder, PythonFolder, PythonFolder, Archive, Archive]);

        let mut train = Dataset::default();
        for batch in 0..5 {
            train.append(&parse_records("", &tiny::records(batch), 4).unwrap());
        }
        let test = parse_records("", &tiny::records(5), 4).unwrap();
        for found in found {
            assert!(found.read_edition(&tiny::edition()).unwrap() == (train.clone(), test.clone()), "{found:?}");
        }
    }

    #[test]
    fn the_first_layout_is_taken_in_the_documented_order() {
        let dir = tempfile::tempdir().unwrap();
        tiny::write_all_layouts(dir.path());
        let remove_files = |layout| {
            for (name, _) in tiny::files(layout) {
                fs::remove_file(dir.path().join(name)).unwrap();
            }
        };
        let taken = || find(dir.path()).unwrap().map(|found| found.path);
        assert_eq!(taken(), Some(dir.path().join("cifar-10-batches-bin")));
        fs::remove_dir_all(taken().unwrap()).unwrap();
        assert_eq!(find(dir.path()).unwrap().unwrap(), Found { path: dir.path().into(), layout: Layout::BinaryFolder });
        remove_files(Layout::BinaryFolder);
        assert_eq!(taken(), Some(dir.path().join("cifar-10-batches-py")));
        fs::remove_dir_all(taken().unwrap()).unwrap();
        assert_eq!(find(dir.path()).unwrap().unwrap(), Found { path: dir.path().into(), layout: Layout::PythonFolder });
        remove_files(Layout::PythonFolder);
        assert_eq!(taken(), Some(dir.path().join("cifar-10-binary.tar.gz")));
        fs::remove_file(taken().unwrap()).unwrap();
        assert_eq!(taken(), Some(dir.path().join("cifar-10-python.tar.gz")));
        fs::remove_file(taken().unwrap()).unwrap();
        assert_eq!(taken(), None);
        assert_eq!(find(&dir.path().join("missing")).unwrap(), None);
    }

    #[test]
    fn the_data_folder_may_be_an_archive_itself() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("any.name");
        fs::write(&file, tiny::archive(Layout::PythonFolder)).unwrap();
        assert!(find(&file).unwrap().unwrap().read_edition(&tiny::edition()).is_ok());
    }

    #[test]
    fn a_changed_image_is_told_by_the_name_of_its_batch() {
        let dir = tempfile::tempdir().unwrap();
        let edition = tiny::edition();
        tiny::write_folder(dir.path(), Layout::BinaryFolder);
        let (train, test) = read(dir.path(), Layout::BinaryFolder).unwrap();
        assert!(edition.changed(&train, &test).is_empty());
        for (batch, name) in [(1, "data_batch_2"), (5, "test_batch")] {
            let mut records = tiny::records(batch);
            records[2 * RECORD_BYTES + 100] ^= 1;
            fs::write(dir.path().join(format!("{name}.bin")), records).unwrap();
        }
        let (train, test) = read(dir.path(), Layout::BinaryFolder).unwrap();
        assert_eq!(edition.changed(&train, &test), ["data_batch_2", "test_batch"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_dangling_link_is_found_and_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nonexistent/cifar", dir.path().join("cifar-10-batches-py")).unwrap();
        let error = find(dir.path()).unwrap().unwrap().read_edition(&tiny::edition()).unwrap_err();
        assert!(matches!(&error, ReadError::Missing { file } if file.ends_with("cifar-10-batches-py/data_batch_1")));
    }

    #[test]
    fn a_wrong_label_is_named_with_file_and_byte() {
        let dir = tempfile::tempdir().unwrap();
        tiny::write_folder(dir.path(), Layout::BinaryFolder);
        let mut records = tiny::records(2);
        records[3 * RECORD_BYTES] = 10;
        fs::write(dir.path().join("data_batch_3.bin"), records).unwrap();
        let (file, offset, problem) = damage(read(dir.path(), Layout::BinaryFolder).unwrap_err());
        assert!(file.ends_with("data_batch_3.bin"), "{file}");
        assert_eq!(offset, 3 * RECORD_BYTES as u64);
        assert!(problem.contains("label 10"), "{problem}");
    }

    #[test]
    fn too_long_and_missing_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        tiny::write_folder(dir.path(), Layout::BinaryFolder);
        fs::write(dir.path().join("test_batch.bin"), [tiny::records(5), vec![0]].concat()).unwrap();
        let (_, offset, problem) = damage(read(dir.path(), Layout::BinaryFolder).unwrap_err());
        assert_eq!(offset, 4 * RECORD_BYTES as u64);
        assert!(problem.contains("should end here"), "{problem}");
        fs::remove_file(dir.path().join("data_batch_4.bin")).unwrap();
        let error = read(dir.path(), Layout::BinaryFolder).unwrap_err();
        assert!(matches!(&error, ReadError::Missing { file } if file.ends_with("data_batch_4.bin")), "{error}");
    }

    #[test]
    fn a_folder_in_place_of_a_batch_is_unreadable() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data_batch_1.bin")).unwrap();
        assert!(matches!(read(dir.path(), Layout::BinaryFolder), Err(ReadError::Unreadable { .. })));
    }

    #[test]
    fn another_archive_is_told_by_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cifar-10-binary.tar.gz");
        let cifar100 = [("cifar-100-binary/train.bin".to_string(), vec![1; 3074])];
        fs::write(&file, tiny::tar_gz(&cifar100)).unwrap();
        let error = read(&file, Layout::Archive).unwrap_err().to_string();
        assert!(error.contains("cifar-10-binary.tar.gz"), "{error}");
        assert!(error.contains("not a CIFAR-10 archive: it holds cifar-100-binary/train.bin"), "{error}");
        fs::write(&file, b"<html>404</html>").unwrap();
        let (named, offset, _) = damage(read(&file, Layout::Archive).unwrap_err());
        assert!(named.ends_with("cifar-10-binary.tar.gz") && offset <= 16, "{named} {offset}");
    }

    #[test]
    fn damage_in_an_archive_names_the_member_and_its_byte() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar.gz");
        let mut files = tiny::files(Layout::BinaryFolder);
        files[1].1[RECORD_BYTES] = 77;
        files.remove(4);
        fs::write(&file, tiny::tar_gz(&files)).unwrap();
        let batches = Found { path: file, layout: Layout::Archive }.read_batches(&tiny::edition());
        let (named, offset, _) = damage(batches[1].clone().unwrap_err());
        assert!(named.ends_with("a.tar.gz: data_batch_2.bin"), "{named}");
        assert_eq!(offset, RECORD_BYTES as u64);
        assert!(matches!(&batches[4], Err(ReadError::Missing { file }) if file.ends_with("a.tar.gz: data_batch_5")));
        assert_eq!(batches.iter().filter(|batch| batch.is_ok()).count(), 4);
    }

    proptest! {
        #![proptest_config(crate::testing::property(64))]

        #[test]
        fn truncated_records_are_an_error_where_they_end(length in 0..4 * RECORD_BYTES) {
            let (file, offset, _) = damage(parse_records("b.bin", &tiny::records(0)[..length], 4).unwrap_err());
            prop_assert_eq!((file.as_str(), offset), ("b.bin", length as u64));
        }

        #[test]
        fn garbage_in_place_of_an_archive_is_an_error_with_its_byte(
            garbage in proptest::collection::vec(any::<u8>(), 0..300), gzip: bool
        ) {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("a.tar.gz");
            let bytes = if gzip { tiny::tar_gz(&[("x".into(), garbage)]) } else { garbage };
            fs::write(&file, &bytes).unwrap();
            let error = read(&file, Layout::Archive).unwrap_err();
            prop_assert!(error.to_string().contains("a.tar.gz"));
            if let ReadError::Damaged { offset, .. } = error {
                prop_assert!(offset <= bytes.len() as u64);
            }
        }

        #[test]
        fn an_archive_cut_off_or_changed_never_panics(cut in 0.0..1.0f64, at in 0.0..1.0f64, byte: u8) {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("a.tar.gz");
            let whole = tiny::archive(Layout::BinaryFolder);
            fs::write(&file, &whole[..(cut * whole.len() as f64) as usize]).unwrap();
            let (named, offset, _) = damage(read(&file, Layout::Archive).err().unwrap());
            prop_assert!(named.ends_with("a.tar.gz") && offset <= whole.len() as u64);

            // The time and the system in gzip's header may be anything; the checksum covers the rest.
            let at = 10 + (at * (whole.len() - 10) as f64) as usize;
            let mut changed = whole.clone();
            changed[at] ^= byte;
            fs::write(&file, &changed).unwrap();
            // A few bits of the compressed stream mean nothing.
            match read(&file, Layout::Archive) {
                Ok(images) => {
                    fs::write(&file, &whole).unwrap();
                    prop_assert!(images == read(&file, Layout::Archive).unwrap());
                }
                Err(_) => prop_assert!(byte != 0),
            }
        }
    }
}
