//! CIFAR-100 (Krizhevsky 2009), by its fine labels, in the layouts that it is published in.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::cifar::{self, CIFAR100, ReadError, parse_batch_of, parse_records_of};
use crate::data::{Dataset, Source};

/// What is looked for in the data folder, in this order.
const LAYOUT_NAMES: [&str; 4] =
    ["cifar-100-binary", "cifar-100-python", "cifar-100-binary.tar.gz", "cifar-100-python.tar.gz"];
/// The images of each file.
const TRAIN_IMAGES: usize = 50_000;
const TEST_IMAGES: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `train.bin` and `test.bin`.
    BinaryFolder,
    /// `train` and `test`, pickles.
    PythonFolder,
    /// A .tar.gz of either.
    Archive,
}

/// Reads CIFAR-100 where it is found; None if it is not there.
///
/// # Errors
/// It cannot be looked for, or what is there is damaged.
pub fn open(dir: &Path) -> Result<Option<Source>> {
    open_of(dir, [TRAIN_IMAGES, TEST_IMAGES])
}

/// Whether there is CIFAR-100, of whatever kind.
///
/// # Errors
/// The folder cannot be looked into.
pub fn is_in(dir: &Path) -> Result<bool> {
    Ok(find(dir)?.is_some())
}

pub fn advice() -> String {
    format!("copy one of {} there", LAYOUT_NAMES.join(", "))
}

/// `images`: for training and for testing.
fn open_of(dir: &Path, images: [usize; 2]) -> Result<Option<Source>> {
    let Some((path, layout)) = find(dir)? else { return Ok(None) };
    let origin = path.display().to_string();
    let [train, test] = read(&path, layout, images).map_err(|error| match error {
        ReadError::Denied { .. } => anyhow!("{error}: ask its owner for the right to read it"),
        _ => anyhow!("{error}; put a good copy there, or move {origin} away"),
    })?;
    Ok(Some(Source { train, validation: None, test, name: CIFAR100.name.into(), origin, notice: None }))
}

fn find(dir: &Path) -> Result<Option<(PathBuf, Layout)>> {
    let is_there =
        |path: &Path| cifar::is_there(path).with_context(|| format!("looking for CIFAR-100: {}", path.display()));
    if dir.is_file() {
        let is_it = cifar::first_member(dir).is_ok_and(|member| member.contains("cifar-100"));
        return Ok(is_it.then(|| (dir.to_owned(), Layout::Archive)));
    }
    let [binary, python, archives @ ..] = LAYOUT_NAMES;
    for (folder, layout, files) in [
        (binary, Layout::BinaryFolder, ["train.bin", "fine_label_names.txt"]),
        (python, Layout::PythonFolder, ["train", "meta"]),
    ] {
        if is_there(&dir.join(folder))? {
            return Ok(Some((dir.join(folder), layout)));
        }
        // The files may lie in the folder itself, where others have their names too.
        if files.iter().all(|file| dir.join(file).is_file()) {
            return Ok(Some((dir.to_owned(), layout)));
        }
    }
    for archive in archives {
        if is_there(&dir.join(archive))? {
            return Ok(Some((dir.join(archive), Layout::Archive)));
        }
    }
    Ok(None)
}

/// Training and test images.
fn read(path: &Path, layout: Layout, images: [usize; 2]) -> Result<[Dataset; 2], ReadError> {
    let parse = |file: &str, bytes: &[u8], is_pickled: bool, images| {
        if is_pickled {
            parse_batch_of(&CIFAR100, file, bytes, images)
        } else {
            parse_records_of(&CIFAR100, file, bytes, images)
        }
    };
    let of_folder = |name: &str, is_pickled, images| {
        let file = path.join(name);
        parse(&file.display().to_string(), &cifar::read_file(&file)?, is_pickled, images)
    };
    match layout {
        Layout::BinaryFolder => {
            Ok([of_folder("train.bin", false, images[0])?, of_folder("test.bin", false, images[1])?])
        }
        Layout::PythonFolder => Ok([of_folder("train", true, images[0])?, of_folder("test", true, images[1])?]),
        Layout::Archive => {
            let file = path.display().to_string();
            let mut parts: HashMap<&str, Dataset> = HashMap::new();
            let part_of = |member: &str| {
                let name = member.rsplit('/').next()?;
                let part =
                    ["train", "test"].into_iter().find(|part| name.strip_suffix(".bin").unwrap_or(name) == *part)?;
                Some((part, !name.ends_with(".bin")))
            };
            cifar::read_tar_gz(
                path,
                |member| part_of(member).is_some(),
                |member, bytes| {
                    let (part, is_pickled) = part_of(member).expect("only parts are wanted");
                    let images = images[usize::from(part == "test")];
                    parts.insert(part, parse(&format!("{file}: {member}"), &bytes, is_pickled, images)?);
                    Ok(())
                },
            )?;
            let mut take =
                |part: &str| parts.remove(part).ok_or_else(|| ReadError::Missing { file: format!("{file}: {part}") });
            Ok([take("train")?, take("test")?])
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::cifar::testing::tar_gz;
    use super::*;

    // Made by tests/fixtures/cifar/make.py.
    const RECORDS: &[u8] = include_bytes!("../../../tests/fixtures/cifar/batch100.bin");
    const PICKLE: &[u8] = include_bytes!("../../../tests/fixtures/cifar/batch100.pickle");
    const IMAGES: [usize; 2] = [4, 4];

    fn read(dir: &Path) -> Source {
        open_of(dir, IMAGES).unwrap().expect("it is there")
    }

    #[test]
    fn every_layout_holds_the_same_images_by_their_fine_labels() {
        let dir = tempfile::tempdir().unwrap();
        let write = |folder: &str, files: [(&str, &[u8]); 3]| {
            let folder = dir.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
            folder
        };
        let names = b"apple\n".as_slice();
        let binary = [("train.bin", RECORDS), ("test.bin", RECORDS), ("fine_label_names.txt", names)];
        let pickled = [("train", PICKLE), ("test", PICKLE), ("meta", names)];
        let folders = [
            write("a/cifar-100-binary", binary).parent().unwrap().to_owned(),
            write("b/cifar-100-python", pickled).parent().unwrap().to_owned(),
            write("c", binary),
            write("d", pickled),
        ];
        let archive = |files: [(&str, &[u8]); 3]| {
            tar_gz(&files.map(|(name, bytes)| (format!("cifar-100/{name}"), bytes.to_vec())))
        };
        let archives = write("e", [("cifar-100-python.tar.gz", &archive(pickled)), ("x", b""), ("y", b"")]);
        let file = write("f", [("any.name", &archive(binary)), ("x", b""), ("y", b"")]).join("any.name");
        for place in folders.into_iter().chain([archives, file]) {
            let source = read(&place);
            assert_eq!((source.name.as_str(), source.train.info.classes.len()), ("CIFAR-100", 100));
            assert_eq!(source.train.labels, [11, 99, 0, 47]);
            assert_eq!(*source.train.image(1).unwrap(), RECORDS[3074 + 2..2 * 3074]);
            assert!(source.train == source.test);
        }
    }

    #[test]
    fn what_is_damaged_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cifar-100-binary");
        fs::create_dir(&folder).unwrap();
        let error = open_of(dir.path(), IMAGES).unwrap_err().to_string();
        assert!(error.contains("train.bin: there is no such file; put a good copy there"), "{error}");
        let mut records = RECORDS.to_vec();
        records[3074 + 1] = 100;
        fs::write(folder.join("train.bin"), records).unwrap();
        let error = open_of(dir.path(), IMAGES).unwrap_err().to_string();
        assert!(error.contains("train.bin: byte 3075: label 100, but labels go from 0 to 99"), "{error}");
    }

    #[test]
    fn cifar_10_is_something_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("train")).unwrap();
        fs::write(dir.path().join("cifar-10-binary.tar.gz"), tar_gz(&[("cifar-10-batches-bin/a".into(), vec![])]))
            .unwrap();
        assert!(!is_in(dir.path()).unwrap());
        assert!(!is_in(&dir.path().join("cifar-10-binary.tar.gz")).unwrap());
    }
}
