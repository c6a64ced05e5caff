//! Where data comes from: one file a format, and a line of [`FORMATS`].

pub mod cifar;
pub mod cifar100;
pub mod folder;
pub mod idx;
pub mod sample;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use rand::seq::SliceRandom;

use super::folder::fit::Form;
use super::{DatasetInfo, Source};
use crate::config::{DataConfig, DataSource};
use crate::random::{Purpose, stream};

/// A format of data on disk.
struct Format {
    source: DataSource,
    /// Its name in `data.source`.
    key: &'static str,
    /// For people.
    name: &'static str,
    /// Reads what lies in its folder; None if there is nothing of this format.
    open: fn(&DataConfig) -> Result<Option<Source>>,
    /// Whether `open` finds something in a folder, damaged or not.
    is_in: fn(&Path) -> Result<bool>,
    /// What to put there, or how to get it.
    advice: fn() -> String,
}

/// In the order in which `auto` looks for them.
const FORMATS: [Format; 4] = [
    Format {
        source: DataSource::Cifar100,
        key: "cifar100",
        name: "CIFAR-100",
        open: |config| cifar100::open(&config.dir),
        is_in: cifar100::is_in,
        advice: cifar100::advice,
    },
    Format {
        source: DataSource::Cifar10,
        key: "cifar10",
        name: "CIFAR-10",
        open: |config| cifar::open(&config.dir),
        is_in: cifar::is_in,
        advice: cifar::advice,
    },
    Format {
        source: DataSource::Idx,
        key: "idx",
        name: "IDX files",
        open: |config| idx::open(&config.dir),
        is_in: idx::is_in,
        advice: idx::advice,
    },
    Format {
        source: DataSource::Folder,
        key: "folder",
        name: "folders of images",
        open: folder::open,
        is_in: folder::is_in,
        advice: folder::advice,
    },
];

/// Finds and reads the data that `config` asks for.
///
/// # Errors
/// Data that is there but damaged (never a silent fall-back to the sample), none of the format that `data.source` insists
/// on, or a validation split that leaves nothing to train on.
pub fn open(config: &DataConfig, seed: u64) -> Result<Source> {
    let mut source = match find(config)? {
        Some(found) => found,
        None => {
            check_for_one_size(config, "CIFAR-10")?;
            sample::open(config)?
        }
    };
    normalise_as_given(&mut source, config)?;
    if config.validation_examples > 0 {
        hold_out(&mut source, config.validation_examples, seed)?;
    }
    Ok(source)
}

fn find(config: &DataConfig) -> Result<Option<Source>> {
    let is_wanted = |format: &&Format| config.source == DataSource::Auto || config.source == format.source;
    for format in FORMATS.iter().filter(is_wanted) {
        if let Some(found) = (format.open)(config)? {
            if format.source != DataSource::Folder {
                check_for_one_size(config, format.name)?;
            }
            return Ok(Some(found));
        }
        if config.source == format.source {
            let (name, key, dir) = (format.name, format.key, config.dir.display());
            bail!("no {name} under {dir} (data.source = \"{key}\" insists on it): {}", (format.advice)())
        }
    }
    Ok(None)
}

/// By the mean and deviation that `config` gives, if it gives any.
fn normalise_as_given(source: &mut Source, config: &DataConfig) -> Result<()> {
    let mut info = DatasetInfo::clone(&source.train.info);
    let channels = info.channels;
    for (key, given, values) in [("mean", &config.mean, &mut info.mean), ("std", &config.std, &mut info.std)] {
        if let Some(given) = given {
            let numbers = given.len();
            ensure!(numbers == channels, "data.{key}: {numbers} numbers, but the images have {channels} channels");
            values.clone_from(given);
        }
    }
    let info = Arc::new(info);
    for part in [Some(&mut source.train), source.validation.as_mut(), Some(&mut source.test)].into_iter().flatten() {
        part.info = Arc::clone(&info);
    }
    Ok(())
}

/// # Errors
/// `config` asks for what images of one size do not have.
fn check_for_one_size(config: &DataConfig, name: &str) -> Result<()> {
    for (key, value) in [("side", config.side), ("channels", config.channels)] {
        if let Some(value) = value {
            bail!("data.{key} = {value}: that is of folders of images, and those of {name} have a size: leave it out")
        }
    }
    Ok(())
}

/// Whether there is data in the folder that `config` names, of any format.
///
/// # Errors
/// The folder cannot be looked into.
pub fn is_there(config: &DataConfig) -> Result<bool> {
    FORMATS.iter().try_fold(false, |found, format| Ok(found || (format.is_in)(&config.dir)?))
}

/// Of each format, how to get data of it; folders of images, which most are after, first.
pub fn advice() -> String {
    FORMATS.iter().rev().map(|format| format!("{}: {}", format.name, (format.advice)())).collect::<Vec<_>>().join("; ")
}

/// The size and channels of all images, if `config` finds folders of images.
///
/// # Errors
/// The folder cannot be looked into.
pub fn form_of_folder(config: &DataConfig) -> Result<Option<Form>> {
    if may_be_of_images(config)? { folder::form_of(config) } else { Ok(None) }
}

/// The folders of images that `config` finds, whatever is wrong with them.
///
/// # Errors
/// See [`folder::Opened::open`].
pub fn opened_folder(config: &DataConfig) -> Result<Option<folder::Opened>> {
    if may_be_of_images(config)? { folder::Opened::open(config) } else { Ok(None) }
}

/// Whether folders of images are what `config` would take, if there are any.
fn may_be_of_images(config: &DataConfig) -> Result<bool> {
    let mut before = FORMATS.iter().take_while(|format| format.source != DataSource::Folder);
    match config.source {
        DataSource::Folder => Ok(true),
        DataSource::Auto => before.try_fold(true, |none, format| Ok(none && !(format.is_in)(&config.dir)?)),
        DataSource::Cifar10 | DataSource::Cifar100 | DataSource::Idx | DataSource::Sample => Ok(false),
    }
}

/// Holds `samples` images out that are drawn from the training set; both parts keep the file order.
fn hold_out(source: &mut Source, samples: usize, seed: u64) -> Result<()> {
    let total = source.train.len();
    ensure!(
        samples < total,
        "data.validation_examples = {samples} leaves nothing of the {total} training images: choose fewer"
    );
    let mut indices: Vec<usize> = (0..total).collect();
    indices.shuffle(&mut stream(seed, Purpose::ValidationSplit, 0, 0));
    let (held_out, kept) = indices.split_at_mut(samples);
    held_out.sort_unstable();
    kept.sort_unstable();
    source.validation = Some(source.train.select(held_out));
    source.train = source.train.select(kept);

    let split = format!("judged by {samples} held-out training images, not by the test set");
    source.notice = Some(match source.notice.take() {
        Some(notice) => format!("{notice}; {split}"),
        None => split,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    fn config(dir: &std::path::Path, source: DataSource) -> DataConfig {
        DataConfig { dir: dir.into(), source, ..DataConfig::default() }
    }

    #[test]
    fn without_the_full_data_the_sample_is_used_and_said() {
        let dir = tempfile::tempdir().unwrap();
        for source in [DataSource::Auto, DataSource::Sample] {
            let source = open(&config(dir.path(), source), 0).unwrap();
            assert_eq!((source.train.len(), source.test.len()), (2000, 500));
            assert_eq!((source.name.as_str(), source.origin.as_str()), ("CIFAR-10 sample", "built in"));
            let notice = source.notice.unwrap();
            assert!(notice.contains("taper data fetch") && !notice.contains('\n'), "{notice}");
        }
        let missing = dir.path().join("missing");
        assert_eq!(open(&config(&missing, DataSource::Auto), 0).unwrap().name, "CIFAR-10 sample");
    }

    #[test]
    fn insisting_on_the_full_data_without_it_is_an_error_that_tells_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let error = open(&config(dir.path(), DataSource::Cifar10), 0).unwrap_err().to_string();
        assert!(error.contains(&*dir.path().to_string_lossy()), "{error}");
        assert!(error.contains("taper data fetch") && error.contains("cifar-10-batches-bin"), "{error}");
    }

    #[test]
    fn a_damaged_layout_is_an_error_and_not_the_sample() {
        let dir = tempfile::tempdir().unwrap();
        let batches = dir.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&batches).unwrap();
        std::fs::write(batches.join("data_batch_1.bin"), [3; 100]).unwrap();
        let error = open(&config(dir.path(), DataSource::Auto), 0).unwrap_err().to_string();
        assert!(error.contains("data_batch_1.bin: byte 100:"), "{error}");
        assert!(error.contains("taper data fetch"), "{error}");
        // Asked for by name, the sample does not mind.
        assert!(open(&config(dir.path(), DataSource::Sample), 0).is_ok());
    }

    #[test]
    fn the_validation_split_takes_from_the_training_set_and_repeats_by_seed() {
        let dir = tempfile::tempdir().unwrap();
        let whole = open(&config(dir.path(), DataSource::Sample), 0).unwrap();
        let split = |seed| {
            let config = DataConfig { validation_examples: 300, ..config(dir.path(), DataSource::Sample) };
            open(&config, seed).unwrap()
        };
        let first = split(1);
        assert_eq!((first.train.len(), first.test.len()), (1700, 500));
        assert!(first.notice.unwrap().contains("300 held-out training images"));
        let held_out = first.validation.unwrap();
        assert_eq!(Some(&held_out), split(1).validation.as_ref());
        assert_ne!(Some(&held_out), split(2).validation.as_ref());
        assert_eq!(first.test, whole.test);

        let image = |part: &Dataset, index| part.image(index).unwrap().into_owned();
        let mut all: Vec<Vec<u8>> = (0..1700).map(|i| image(&first.train, i)).collect();
        all.extend((0..300).map(|i| image(&held_out, i)));
        let mut expected: Vec<Vec<u8>> = (0..2000).map(|i| image(&whole.train, i)).collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert!(all == expected);
    }

    #[test]
    fn a_given_mean_and_deviation_are_taken() {
        let config = config(Path::new("data"), DataSource::Sample);
        let given =
            DataConfig { mean: Some(vec![0.5; 3]), std: Some(vec![0.25; 3]), validation_examples: 100, ..config };
        let source = open(&given, 0).unwrap();
        for part in [&source.train, source.validation.as_ref().unwrap(), &source.test] {
            assert_eq!((&part.info.mean[..], &part.info.std[..]), (&[0.5; 3][..], &[0.25; 3][..]));
        }
        let error = open(&DataConfig { mean: Some(vec![0.5]), ..given }, 0).unwrap_err().to_string();
        assert_eq!(error, "data.mean: 1 numbers, but the images have 3 channels");
    }

    #[test]
    fn a_size_for_images_that_have_one_is_refused() {
        let config = DataConfig { side: Some(64), ..config(Path::new("data"), DataSource::Sample) };
        let error = open(&config, 0).unwrap_err().to_string();
        assert_eq!(
            error,
            "data.side = 64: that is of folders of images, and those of CIFAR-10 have a size: leave it out"
        );
    }

    #[test]
    fn a_validation_split_of_everything_is_refused_by_name() {
        let config = DataConfig { source: DataSource::Sample, validation_examples: 2000, ..DataConfig::default() };
        let error = open(&config, 0).unwrap_err().to_string();
        assert!(error.contains("data.validation_examples = 2000"), "{error}");
    }
}
