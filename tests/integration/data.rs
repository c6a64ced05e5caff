//! The data commands as a user runs them, and an archive of the published size.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use taper::config::DataConfig;
use taper::data::source::cifar::{BATCHES, RECORD_BYTES};

fn taper_data(arguments: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_taper")).arg("data").args(arguments).arg("--dir").arg(dir).output().unwrap()
}

/// As large as `cifar-10-binary.tar.gz` is unpacked; every image is a black airplane.
fn write_black_archive(path: &Path) {
    let mut archive = tar::Builder::new(GzEncoder::new(File::create(path).unwrap(), Compression::fast()));
    let batch = vec![0; 10_000 * RECORD_BYTES];
    for name in BATCHES {
        let mut header = tar::Header::new_gnu();
        header.set_size(batch.len() as u64);
        header.set_mode(0o644);
        let member = format!("cifar-10-batches-bin/{name}.bin");
        archive.append_data(&mut header, member, batch.as_slice()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap();
}

#[test]
fn an_archive_of_the_published_size_is_used_and_its_checksums_are_told() {
    let dir = tempfile::tempdir().unwrap();
    write_black_archive(&dir.path().join("cifar-10-binary.tar.gz"));

    let source = taper::data::source::open(&DataConfig { dir: dir.path().into(), ..DataConfig::default() }, 0).unwrap();
    assert_eq!((source.train.len(), source.test.len()), (50_000, 10_000));
    assert_eq!(source.name, "CIFAR-10");
    let notice = source.notice.unwrap();
    assert!(BATCHES.iter().all(|batch| notice.contains(batch)) && notice.contains("not as published"), "{notice}");
    assert_eq!(Path::new(&source.origin), dir.path().join("cifar-10-binary.tar.gz"));

    let inspected = taper_data(&["inspect"], dir.path());
    assert_eq!(inspected.status.code(), Some(1));
    let told = String::from_utf8(inspected.stdout).unwrap();
    assert_eq!(told.matches("10000 images, NOT the published ones").count(), 6, "{told}");
    assert!(told.contains("airplane         50000   10000"), "{told}");
    let complaint = String::from_utf8(inspected.stderr).unwrap();
    assert!(complaint.starts_with("error: 6 of 6 batches") && complaint.lines().count() == 1, "{complaint}");
}

#[test]
fn inspect_without_data_tells_of_the_sample_and_of_fetch() {
    let dir = tempfile::tempdir().unwrap();
    let inspected = taper_data(&["inspect"], dir.path());
    assert_eq!(inspected.status.code(), Some(0));
    let told = String::from_utf8(inspected.stdout).unwrap();
    assert!(told.contains("CIFAR-10 sample (built in)") && told.contains("`taper data fetch`"), "{told}");
}

#[test]
fn fetching_from_a_wrong_path_is_one_line_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fetched = taper_data(&["fetch", "--from", "offical"], dir.path());
    assert_eq!(fetched.status.code(), Some(1));
    assert!(fetched.stdout.is_empty());
    let complaint = String::from_utf8(fetched.stderr).unwrap();
    assert!(complaint.starts_with("error: offical: cannot be read (--from takes official, npm"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}
