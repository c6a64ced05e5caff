//! The data commands as a user runs them, and an archive of the published size.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::write::GzEncoder;
use taper::config::DataConfig;
use taper::data::source::cifar::{BATCHES, RECORD_BYTES};

use crate::binary::{Dir, TINY};

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

#[test]
fn training_validation_and_test_images_are_three_things() {
    let dir = Dir::new();
    let train = ["train", "--no-tui", "--name", "run", "--epochs", "1", "--set", "data.validation_examples=200"];
    let said = dir.command(train.iter().chain(&TINY)).succeed();
    for told in ["1800 training and 200 validation images", "val acc", "judged by 200 held-out"] {
        assert!(said.contains(told), "{told} in {said}");
    }
    assert!(!said.contains("test acc") && !said.contains("test loss"), "{said}");
    for (split, told) in [
        (&[][..], " on 200 validation images of "),
        (&["--split", "validation"], " on 200 validation images of "),
        (&["--split", "test"], " on 500 test images of "),
        (&["--split", "train"], " on 1800 training images of "),
    ] {
        let said = dir.command(["eval", "run"].iter().chain(split)).succeed();
        assert!(said.contains(told), "{told} in {said}");
        let said = dir.command(["explain", "run", "--image", "3", "--images", "off"].iter().chain(split)).succeed();
        let (count, split) = told.trim_start_matches(" on ").split_once(' ').expect("a count");
        let told = format!("{} image 3 of {count}", split.trim_end_matches(" images of "));
        assert!(said.contains(&told), "{told} in {said}");
    }
    let mut terminal = dir.terminal(["attach", "run"]);
    terminal.wait_for("val loss");
    terminal.keys("q");
    assert!(terminal.wait().success());

    let train = ["train", "--no-tui", "--name", "whole", "--max-steps", "1"];
    dir.command(train.iter().chain(&TINY)).succeed();
    let error = dir.command(["eval", "whole", "--split", "validation"]).fail(2);
    assert!(error.contains("holds no images out (data.validation_examples)"), "{error}");
}
