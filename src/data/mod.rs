//! CIFAR-10: where it comes from, how it is read, augmented and fed to the training loop.
//!
//! [`open`] finds the data that a configuration asks for. [`loader`] turns it into batches.

pub mod augment;
pub mod cifar;
pub mod fetch;
pub mod info;
pub mod loader;
pub mod npm;
pub mod pickle;
pub mod sample;

use anyhow::{Context, Result, bail, ensure};
use rand::seq::SliceRandom;

pub use self::info::DatasetInfo;
use crate::config::{DataConfig, DataSource};
use crate::random::{Purpose, stream};

/// Width and height of an image, in pixels.
pub const SIDE: usize = 32;
/// Pixels of one plane.
pub const PLANE: usize = SIDE * SIDE;
/// Bytes of an image: planes R, G, B, each row by row.
pub const IMAGE_BYTES: usize = 3 * PLANE;
/// In the order of the labels.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Labelled images, as u8, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    /// `IMAGE_BYTES` for each image.
    pub images: Vec<u8>,
    /// One for each image, below 10.
    pub labels: Vec<u8>,
}

/// Mean and standard deviation of each channel, in [0, 1].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelStatistics {
    pub mean: [f64; 3],
    pub std: [f64; 3],
}

impl Dataset {
    pub fn with_capacity(samples: usize) -> Self {
        Self { images: Vec::with_capacity(samples * IMAGE_BYTES), labels: Vec::with_capacity(samples) }
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The planes R, G, B of image `index`.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.images[index * IMAGE_BYTES..][..IMAGE_BYTES]
    }

    /// Adds an image, `IMAGE_BYTES` long, at the end.
    pub fn push(&mut self, label: u8, image: &[u8]) {
        debug_assert_eq!(image.len(), IMAGE_BYTES);
        self.labels.push(label);
        self.images.extend_from_slice(image);
    }

    /// Adds the images of `other` at the end.
    pub fn append(&mut self, other: &Self) {
        self.labels.extend_from_slice(&other.labels);
        self.images.extend_from_slice(&other.images);
    }

    /// The images at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut chosen = Self::with_capacity(indices.len());
        for &index in indices {
            chosen.push(self.labels[index], self.image(index));
        }
        chosen
    }

    /// Images of each class.
    pub fn class_counts(&self) -> [usize; CLASSES.len()] {
        let mut counts = [0; CLASSES.len()];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// Over all pixels, with the population's standard deviation, as published for CIFAR-10; NaN without images.
    pub fn channel_statistics(&self) -> ChannelStatistics {
        let mut sums = [0u64; 3];
        let mut squares = [0u64; 3];
        for image in self.images.chunks_exact(IMAGE_BYTES) {
            for (channel, plane) in image.chunks_exact(PLANE).enumerate() {
                sums[channel] += plane.iter().map(|&x| u64::from(x)).sum::<u64>();
                squares[channel] += plane.iter().map(|&x| u64::from(x) * u64::from(x)).sum::<u64>();
            }
        }
        let pixels = (self.len() * PLANE) as f64;
        let mean = sums.map(|sum| sum as f64 / pixels / 255.0);
        let square = squares.map(|sum| sum as f64 / pixels / (255.0 * 255.0));
        ChannelStatistics { mean, std: std::array::from_fn(|c| (square[c] - mean[c] * mean[c]).max(0.0).sqrt()) }
    }
}

/// The data of a run, and what to tell the user about it.
#[derive(Clone, Debug)]
pub struct Source {
    pub info: DatasetInfo,
    pub train: Dataset,
    /// What the run is judged by: the test set, or the held-out part of the training set.
    pub test: Dataset,
    /// `CIFAR-10` or `CIFAR-10 sample`.
    pub name: String,
    /// A path, or `built in`.
    pub origin: String,
    /// One line for the user, where there is something to know: the sample is in use, or a validation split.
    pub notice: Option<String>,
}

/// Finds and reads the data that `config` asks for; see [`cifar::find`] for where it is looked for.
///
/// # Errors
/// A layout that is there but damaged (never a silent fall-back to the sample), none where `data.source` insists on the
/// full CIFAR-10, or a validation split that leaves nothing to train on.
pub fn open(config: &DataConfig, seed: u64) -> Result<Source> {
    let mut source = match (config.source, find(config)?) {
        (_, Some(found)) => {
            let (train, test) = found.read().map_err(|error| found.advise(&error, &config.dir))?;
            let origin = found.path.display().to_string();
            let changed = cifar::Edition::cifar10().changed(&train, &test);
            let notice = (!changed.is_empty()).then(|| {
                format!("{} in {origin} not as published; `taper data inspect` tells more", changed.join(", "))
            });
            Source { info: DatasetInfo::cifar10(), train, test, name: "CIFAR-10".into(), origin, notice }
        }
        (DataSource::Cifar10, None) => {
            bail!(
                "no CIFAR-10 under {} (data.source = \"cifar10\" insists on it): `taper data fetch` gets it, or copy one \
                 of {} there",
                config.dir.display(),
                cifar::LAYOUT_NAMES.join(", ")
            )
        }
        (wanted, None) => {
            let (train, test) = sample::read()?;
            let reason = match wanted {
                DataSource::Sample => "as configured".to_string(),
                _ => format!("no CIFAR-10 under {}", config.dir.display()),
            };
            let notice = format!(
                "bundled sample of {} + {} images ({reason}); `taper data fetch` gets all 60000",
                train.len(),
                test.len()
            );
            Source {
                info: DatasetInfo::cifar10(),
                train,
                test,
                name: "CIFAR-10 sample".into(),
                origin: "built in".into(),
                notice: Some(notice),
            }
        }
    };
    if config.validation_examples > 0 {
        hold_out(&mut source, config.validation_examples, seed)?;
    }
    Ok(source)
}

fn find(config: &DataConfig) -> Result<Option<cifar::Found>> {
    match config.source {
        DataSource::Sample => Ok(None),
        DataSource::Auto | DataSource::Cifar10 => {
            cifar::find(&config.dir).with_context(|| format!("looking for CIFAR-10 under {}", config.dir.display()))
        }
    }
}

/// Replaces the test set by `samples` images drawn from the training set; both parts keep the file order.
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
    source.test = source.train.select(held_out);
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
        assert_eq!((first.train.len(), first.test.len()), (1700, 300));
        assert!(first.notice.unwrap().contains("300 held-out training images"));
        assert_eq!(first.test, split(1).test);
        assert_ne!(first.test, split(2).test);

        let mut all: Vec<&[u8]> = (0..1700).map(|i| first.train.image(i)).collect();
        all.extend((0..300).map(|i| first.test.image(i)));
        let mut expected: Vec<&[u8]> = (0..2000).map(|i| whole.train.image(i)).collect();
        all.sort_unstable();
        expected.sort_unstable();
        assert!(all == expected);
    }

    #[test]
    fn a_validation_split_of_everything_is_refused_by_name() {
        let config = DataConfig { source: DataSource::Sample, validation_examples: 2000, ..DataConfig::default() };
        let error = open(&config, 0).unwrap_err().to_string();
        assert!(error.contains("data.validation_examples = 2000"), "{error}");
    }

    #[test]
    fn channel_statistics_are_those_of_the_population() {
        let mut dataset = Dataset::default();
        let mut image = [0; IMAGE_BYTES];
        image[..PLANE / 2].fill(255);
        image[PLANE..2 * PLANE].fill(51);
        dataset.push(4, &image);
        let statistics = dataset.channel_statistics();
        assert_eq!(statistics.mean, [0.5, 0.2, 0.0]);
        assert!((statistics.std[0] - 0.5).abs() < 1e-12 && statistics.std[1] < 1e-7 && statistics.std[2] == 0.0);
        assert_eq!(dataset.class_counts()[4], 1);
    }
}
