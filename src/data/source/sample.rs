//! The bundled sample of CIFAR-10, embedded in the binary, so that taper trains on a machine without any data.
//!
//! `examples/make_sample.rs` makes the files.

use anyhow::{Context, Result};

use super::cifar::{CLASS_COUNT, RECORD_BYTES, parse_records};
use crate::config::{DataConfig, DataSource};
use crate::data::{Dataset, Source};

/// The sample holds this many images of each class of the training set.
pub const TRAIN_PER_CLASS: usize = 200;
/// The sample holds this many images of each class of the test set.
pub const TEST_PER_CLASS: usize = 50;

static TRAIN: &[u8] = include_bytes!("../../../data/sample/train.bin");
static TEST: &[u8] = include_bytes!("../../../data/sample/test.bin");

/// The training set and the test set: 2 000 and 500 images.
///
/// # Errors
/// The binary was built with files that are not the sample.
pub fn read() -> Result<(Dataset, Dataset)> {
    let part = |file, bytes: &[u8], per_class| {
        debug_assert_eq!(bytes.len() % RECORD_BYTES, 0);
        parse_records(file, bytes, per_class * CLASS_COUNT).context("taper was built with a damaged sample")
    };
    Ok((part("data/sample/train.bin", TRAIN, TRAIN_PER_CLASS)?, part("data/sample/test.bin", TEST, TEST_PER_CLASS)?))
}

/// As the data of a run that has no other.
pub fn open(config: &DataConfig) -> Result<Source> {
    let (train, test) = read()?;
    let reason = match config.source {
        DataSource::Sample => "as configured".to_owned(),
        _ => format!("no CIFAR-10 under {}", config.dir.display()),
    };
    let (train_images, test_images) = (train.len(), test.len());
    let notice = format!(
        "bundled sample of {train_images} + {test_images} images ({reason}); `taper data fetch` gets all 60000"
    );
    Ok(Source {
        train,
        validation: None,
        test,
        name: "CIFAR-10 sample".into(),
        origin: "built in".into(),
        notice: Some(notice),
    })
}

/// The first `per_class` images of each class, in the order of `dataset`.
pub fn first_of_each_class(dataset: &Dataset, per_class: usize) -> Dataset {
    let mut taken = vec![0; dataset.info.classes.len()];
    let chosen: Vec<usize> = (0..dataset.len())
        .filter(|&index| {
            let taken = &mut taken[usize::from(dataset.labels[index])];
            *taken += 1;
            *taken <= per_class
        })
        .collect();
    dataset.select(&chosen)
}

/// Every seventh training image, cut to that size; of one channel, the red one.
#[cfg(test)]
pub fn cropped(samples: usize, size: crate::data::info::ImageSize) -> std::sync::Arc<Dataset> {
    use crate::data::DatasetInfo;
    use crate::data::info::ImageSize;

    let (sample, _) = read().expect("the sample");
    let whole = sample.info.size();
    let mut images = vec![];
    for index in 0..samples {
        let image = sample.image(index * 7).expect("the sample is in memory");
        for plane in image.chunks(whole.plane()).take(size.channels) {
            images.extend(plane.chunks(whole.width).take(size.height).flat_map(|row| &row[..size.width]));
        }
    }
    let labels = (0..samples).map(|index| sample.labels[index * 7]).collect();
    let (mean, std) = (sample.info.mean[..size.channels].to_vec(), sample.info.std[..size.channels].to_vec());
    let ImageSize { channels, height, width } = size;
    let info = DatasetInfo { channels, height, width, mean, std, ..DatasetInfo::clone(&sample.info) };
    std::sync::Arc::new(Dataset::from_parts(std::sync::Arc::new(info), images, labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::cifar::{IMAGE_BYTES, info, sha256};

    #[test]
    fn the_sample_is_the_one_that_the_readme_describes() {
        let (train, test) = read().unwrap();
        assert_eq!(train.class_counts(), [TRAIN_PER_CLASS; 10]);
        assert_eq!(test.class_counts(), [TEST_PER_CLASS; 10]);
        let readme = include_str!("../../../data/README.md");
        assert!(readme.contains(&sha256(&train)) && readme.contains(&sha256(&test)));
    }

    #[test]
    fn the_first_of_each_class_are_taken_in_order() {
        let mut dataset = Dataset::new(info());
        for (index, label) in [3, 1, 3, 3, 1, 0].into_iter().enumerate() {
            dataset.push(label, &[index as u8; IMAGE_BYTES]);
        }
        let chosen = first_of_each_class(&dataset, 2);
        assert_eq!(chosen.labels, [3, 1, 3, 1, 0]);
        assert_eq!((0..5).map(|i| chosen.image(i).unwrap()[0]).collect::<Vec<_>>(), [0, 1, 2, 4, 5]);
    }
}
