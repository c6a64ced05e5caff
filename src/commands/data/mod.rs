//! `taper data fetch` and `taper data inspect`.

mod inspect_folder;
mod statistics;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};

use self::statistics::write_statistics;
use super::print_figures::print;
use super::shell::say;
use crate::config::{DataConfig, DataSource};
use crate::data::Dataset;
use crate::data::fetch::{self, FetchFrom, Fetched};
use crate::data::source;
use crate::data::source::cifar::{self, BATCHES, Edition, Found, ReadError};
use crate::data::source::folder::Opened;
use crate::render::figures::Content;
use crate::render::{Drawing, Figure};
use crate::terminal_image::Images;

/// Brings CIFAR-10 into the data folder `dir`, and prints where it lies.
///
/// # Errors
/// See [`fetch::fetch`]: then nothing was put in place.
pub fn fetch(dir: &Path, from: &FetchFrom) -> Result<()> {
    match fetch::fetch(dir, from)? {
        Fetched::AlreadyThere(path) => {
            say(format_args!("{} is there already; its checksums are right", path.display()))
        }
        Fetched::Placed(path) => say(format_args!("{} holds CIFAR-10; its checksums are right", path.display())),
    }
}

/// Prints what data a run with `config` would use, and whether it is what was published.
///
/// # Errors
/// There is none although `config` insists on it, or a file is damaged or not the published one.
pub fn inspect(config: &DataConfig, images: Images) -> Result<()> {
    if let Some(opened) = source::opened_folder(config)? {
        return inspect_images(config, opened, images);
    }
    inspect_to(&mut io::stdout().lock(), config, &Edition::cifar10())
}

fn inspect_images(config: &DataConfig, opened: Opened, images: Images) -> Result<()> {
    say(format_args!("data folder    {}", config.dir.display()))?;
    inspect_folder::inspect(&mut io::stdout().lock(), config, &opened)?;
    let is_drawn = io::stdout().is_terminal() && images != Images::Off;
    if is_drawn && let Some((sheet, classes)) = inspect_folder::contact_sheet(&opened)? {
        let caption = format!("training images, a row for each class: {}", classes.join(", "));
        say("")?;
        print(&[Figure { content: Content::Image, caption, drawing: Drawing::Image }], &sheet, images)?;
    }
    inspect_folder::judge(config, opened)
}

fn inspect_to(out: &mut impl Write, config: &DataConfig, edition: &Edition) -> Result<()> {
    let dir = config.dir.display();
    let found = cifar::find_all(&config.dir).with_context(|| format!("looking for CIFAR-10 under {dir}"))?;
    let in_use = match config.source {
        DataSource::Sample | DataSource::Cifar100 | DataSource::Idx | DataSource::Folder => None,
        DataSource::Auto | DataSource::Cifar10 => found.first(),
    };
    writeln!(out, "data folder    {dir}")?;
    let Some(in_use) = in_use else {
        // No validation split: that is a matter of each run.
        let data = source::open(&DataConfig { validation_examples: 0, ..config.clone() }, 0)?;
        let info = &data.train.info;
        writeln!(out, "in use         {} ({})", data.name, data.origin)?;
        writeln!(out, "images         {} x {} pixels, {} channels", info.width, info.height, info.channels)?;
        for other in &found {
            writeln!(out, "not used       {}", describe(other))?;
        }
        write_statistics(out, &data.train, &data.test)?;
        if let Some(notice) = data.notice {
            writeln!(out, "\n{notice}")?;
        }
        return Ok(());
    };
    writeln!(out, "in use         {}", describe(in_use))?;
    for other in &found[1..] {
        writeln!(out, "not used       {}", describe(other))?;
    }
    writeln!(out)?;

    let mut train = Dataset::new(cifar::info());
    let mut test = Dataset::new(cifar::info());
    let (mut faults, mut denied) = (0, false);
    for ((name, batch), published) in BATCHES.into_iter().zip(in_use.read_batches(edition)).zip(&edition.batch_sha256) {
        match &batch {
            Ok(batch) if cifar::sha256(batch) == *published => {
                writeln!(out, "{name:<14} {} images, checksum right", batch.len())?;
            }
            Ok(batch) => {
                faults += 1;
                writeln!(out, "{name:<14} {} images, NOT the published ones: wrong checksum", batch.len())?;
            }
            Err(error @ ReadError::Denied { .. }) => {
                denied = true;
                writeln!(out, "{name:<14} DENIED: {error}; ask its owner for the right to read it")?;
            }
            Err(error) => {
                faults += 1;
                writeln!(out, "{name:<14} DAMAGED: {error}")?;
            }
        }
        if let Ok(batch) = batch {
            if name == "test_batch" { &mut test } else { &mut train }.append(&batch);
        }
    }
    write_statistics(out, &train, &test)?;
    if denied {
        bail!(
            "whether the data in {} is as published cannot be told: part of it may not be read",
            in_use.path.display()
        )
    }
    if faults > 0 {
        bail!(
            "{faults} of {} batches in {} are not as published: put good copies there, or move it away and run \
             `taper data fetch`",
            BATCHES.len(),
            in_use.path.display()
        );
    }
    Ok(())
}

fn describe(found: &Found) -> String {
    format!("{} ({})", found.path.display(), found.layout.describe())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::source::cifar::{Layout, testing};

    fn inspected(dir: &Path, source: DataSource) -> (String, Result<()>) {
        let mut out = vec![];
        let config = DataConfig { dir: dir.into(), source, ..DataConfig::default() };
        let outcome = inspect_to(&mut out, &config, &testing::edition());
        (String::from_utf8(out).unwrap(), outcome)
    }

    #[test]
    fn it_tells_what_is_in_use_and_what_else_is_there() {
        let dir = tempfile::tempdir().unwrap();
        testing::write_all_layouts(dir.path());
        let (told, outcome) = inspected(dir.path(), DataSource::Auto);
        outcome.unwrap();
        assert_eq!(told.matches("in use ").count(), 1);
        assert!(told.contains("cifar-10-batches-bin (folder of binary batches)"), "{told}");
        assert_eq!(told.matches("not used").count(), 5);
        assert_eq!(told.matches("4 images, checksum right").count(), 6);
        assert!(told.contains("all                 20       4"), "{told}");
        assert!(told.contains("mean") && told.contains("std"), "{told}");
    }

    #[test]
    fn every_fault_is_named_and_the_outcome_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        testing::write_folder(dir.path(), Layout::BinaryFolder);
        fs::write(dir.path().join("data_batch_2.bin"), [1; 99]).unwrap();
        fs::remove_file(dir.path().join("data_batch_4.bin")).unwrap();
        fs::write(dir.path().join("test_batch.bin"), testing::records(0)).unwrap();
        let (told, outcome) = inspected(dir.path(), DataSource::Auto);
        assert!(outcome.unwrap_err().to_string().starts_with("3 of 6 batches"));
        assert!(told.contains("data_batch_2.bin: byte 99: the file ends here"), "{told}");
        assert!(told.contains("data_batch_4.bin: there is no such file"), "{told}");
        assert!(told.contains("test_batch     4 images, NOT the published ones"), "{told}");
        assert_eq!(told.matches("checksum right").count(), 3);
    }

    #[test]
    fn without_data_it_tells_of_the_sample() {
        let dir = tempfile::tempdir().unwrap();
        let (told, outcome) = inspected(dir.path(), DataSource::Auto);
        outcome.unwrap();
        assert!(told.contains("CIFAR-10 sample (built in)") && told.contains("`taper data fetch`"), "{told}");
        assert!(told.contains("all               2000     500"), "{told}");
        assert!(inspected(dir.path(), DataSource::Cifar10).1.is_err());
    }
}
