//! Readers of the layouts in which CIFAR-10 is published, without unpacking anything to disk.
//!
//! A batch is read whole and checked whole: its length, every label, and that it is the right file at all. What is wrong
//! is told with the file and the byte.

mod archive;
mod error;
pub mod pickle;
mod records;
#[cfg(test)]
pub(crate) mod testing;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;

use self::archive::{MAX_BATCH_BYTES, check_size};
pub(in crate::data) use self::archive::{first_member, read_tar_gz};
pub use self::error::ReadError;
pub(super) use self::pickle::parse_batch_of;
use self::records::sha256_of;
pub(super) use self::records::{CIFAR100, parse_records_of};
pub(in crate::data) use self::records::{CLASS_COUNT, check_label};
pub use self::records::{IMAGE_BYTES, PLANE, RECORD_BYTES, info, parse_records, sha256, to_records};
use crate::data::{Dataset, Source};
use crate::ordinary_file;

/// The files of every layout, without their extension: five of training images, one of test images.
pub const BATCHES: [&str; 6] =
    ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];

/// What is looked for in the data folder, in this order.
pub const LAYOUT_NAMES: [&str; 4] =
    ["cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"];

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

/// Reads CIFAR-10 where [`find`] finds it.
///
/// # Errors
/// It cannot be looked for, or what is there is damaged.
pub fn open(dir: &Path) -> anyhow::Result<Option<Source>> {
    let found = find(dir).with_context(|| format!("looking for CIFAR-10 under {}", dir.display()))?;
    let Some(found) = found else { return Ok(None) };
    let (train, test) = found.read().map_err(|error| found.advise(&error, dir))?;
    let origin = found.path.display().to_string();
    let changed = Edition::cifar10().changed(&train, &test);
    let notice = (!changed.is_empty())
        .then(|| format!("{} in {origin} not as published; `taper data inspect` tells more", changed.join(", ")));
    Ok(Some(Source { train, validation: None, test, name: "CIFAR-10".into(), origin, notice }))
}

/// Whether there is CIFAR-10, of whatever kind.
///
/// # Errors
/// The folder cannot be looked into.
pub fn is_in(dir: &Path) -> anyhow::Result<bool> {
    Ok(find(dir).with_context(|| format!("looking for CIFAR-10 under {}", dir.display()))?.is_some())
}

pub fn advice() -> String {
    format!("`taper data fetch` gets it, or copy one of {} there", LAYOUT_NAMES.join(", "))
}

/// Looks for CIFAR-10: the first of these that is there.
///
/// 1. `DIR/cifar-10-batches-bin/`, then `data_batch_*.bin` in `DIR` itself
/// 2. `DIR/cifar-10-batches-py/`, then `data_batch_*` in `DIR` itself
/// 3. `DIR/cifar-10-binary.tar.gz`
/// 4. `DIR/cifar-10-python.tar.gz`
///
/// A `dir` that is a file is taken for an archive.
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
pub fn is_there(path: &Path) -> io::Result<bool> {
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
        let mut train = Dataset::new(info());
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
        if matches!(error, ReadError::Denied { .. }) {
            return anyhow::anyhow!("{error}: ask its owner for the right to read it");
        }
        anyhow::anyhow!(
            "{error}; put a good copy there, or move {} away and get one with `taper data fetch` (into {})",
            self.path.display(),
            data_dir.display()
        )
    }
}

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    let file = path.display().to_string();
    let read = || {
        let mut bytes = vec![];
        let mut opened = ordinary_file::open(path)?;
        bytes.reserve_exact(opened.metadata()?.len().min(MAX_BATCH_BYTES) as usize);
        opened.by_ref().take(MAX_BATCH_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Missing { file: file.clone() },
        io::ErrorKind::PermissionDenied => ReadError::Denied { file: file.clone() },
        _ => ReadError::Unreadable { file: file.clone(), reason: format!("cannot be read: {error}") },
    })?;
    check_size(&file, &bytes)?;
    Ok(bytes)
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

/// The index in [`BATCHES`] of an archive's member, and how it is written.
fn batch_of(member: &str) -> Option<(usize, Layout)> {
    let name = member.rsplit('/').next()?;
    let (stem, layout) = match name.strip_suffix(".bin") {
        Some(stem) => (stem, Layout::BinaryFolder),
        None => (name, Layout::PythonFolder),
    };
    Some((BATCHES.iter().position(|&batch| batch == stem)?, layout))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn read(path: &Path, layout: Layout) -> Result<(Dataset, Dataset), ReadError> {
        Found { path: path.into(), layout }.read_edition(&testing::edition())
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
        testing::write_all_layouts(dir.path());
        let found = find_all(dir.path()).unwrap();
        let layouts: Vec<_> = found.iter().map(|found| found.layout).collect();
        use Layout::*;
        assert_eq!(layouts, [BinaryFolder, BinaryFolder, PythonFolder, PythonFolder, Archive, Archive]);

        let mut train = Dataset::new(info());
        for batch in 0..5 {
            train.append(&parse_records("", &testing::records(batch), 4).unwrap());
        }
        let test = parse_records("", &testing::records(5), 4).unwrap();
        for found in found {
            assert!(found.read_edition(&testing::edition()).unwrap() == (train.clone(), test.clone()), "{found:?}");
        }
    }

    #[test]
    fn the_first_layout_is_taken_in_the_documented_order() {
        let dir = tempfile::tempdir().unwrap();
        testing::write_all_layouts(dir.path());
        let remove_files = |layout| {
            for (name, _) in testing::files(layout) {
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
        fs::write(&file, testing::archive(Layout::PythonFolder)).unwrap();
        assert!(find(&file).unwrap().unwrap().read_edition(&testing::edition()).is_ok());
    }

    #[test]
    fn a_changed_image_is_told_by_the_name_of_its_batch() {
        let dir = tempfile::tempdir().unwrap();
        let edition = testing::edition();
        testing::write_folder(dir.path(), Layout::BinaryFolder);
        let (train, test) = read(dir.path(), Layout::BinaryFolder).unwrap();
        assert!(edition.changed(&train, &test).is_empty());
        for (batch, name) in [(1, "data_batch_2"), (5, "test_batch")] {
            let mut records = testing::records(batch);
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
        let error = find(dir.path()).unwrap().unwrap().read_edition(&testing::edition()).unwrap_err();
        assert!(matches!(&error, ReadError::Missing { file } if file.ends_with("cifar-10-batches-py/data_batch_1")));
    }

    #[test]
    fn a_wrong_label_is_named_with_file_and_byte() {
        let dir = tempfile::tempdir().unwrap();
        testing::write_folder(dir.path(), Layout::BinaryFolder);
        let mut records = testing::records(2);
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
        testing::write_folder(dir.path(), Layout::BinaryFolder);
        fs::write(dir.path().join("test_batch.bin"), [testing::records(5), vec![0]].concat()).unwrap();
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
        fs::write(&file, testing::tar_gz(&cifar100)).unwrap();
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
        let mut files = testing::files(Layout::BinaryFolder);
        files[1].1[RECORD_BYTES] = 77;
        files.remove(4);
        fs::write(&file, testing::tar_gz(&files)).unwrap();
        let batches = Found { path: file, layout: Layout::Archive }.read_batches(&testing::edition());
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
            let (file, offset, _) = damage(parse_records("b.bin", &testing::records(0)[..length], 4).unwrap_err());
            prop_assert_eq!((file.as_str(), offset), ("b.bin", length as u64));
        }

        #[test]
        fn garbage_in_place_of_an_archive_is_an_error_with_its_byte(
            garbage in proptest::collection::vec(any::<u8>(), 0..300), gzip: bool
        ) {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("a.tar.gz");
            let bytes = if gzip { testing::tar_gz(&[("x".into(), garbage)]) } else { garbage };
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
            let whole = testing::archive(Layout::BinaryFolder);
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
