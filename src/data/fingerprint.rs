//! Which images a run trains on and is judged by, so that it is noticed when they are others.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Dataset, Source};
use crate::format;

/// Equal where every image and label is, in the same order and the same parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DataFingerprint {
    /// Such as `CIFAR-10 sample`; for people.
    pub name: String,
    /// Where it was read from: a path, or `built in`; for people.
    pub place: String,
    pub train_samples: u64,
    /// Training images that are held out.
    #[serde(default)]
    pub validation_samples: u64,
    pub test_samples: u64,
    /// SHA-256 of labels and images of the training, validation and test part, in hexadecimal; of a folder of the images' own.
    pub sha256: String,
}

impl DataFingerprint {
    pub fn of(source: &Source) -> Self {
        let mut hash = Sha256::new();
        for part in [Some(&source.train), source.validation.as_ref(), Some(&source.test)].into_iter().flatten() {
            add(&mut hash, part);
        }
        Self {
            name: source.name.clone(),
            place: source.origin.clone(),
            train_samples: source.train.len() as u64,
            validation_samples: source.validation.as_ref().map_or(0, |part| part.len() as u64),
            test_samples: source.test.len() as u64,
            sha256: format!("{:x}", hash.finalize()),
        }
    }
}

fn add(hash: &mut Sha256, part: &Dataset) {
    hash.update((part.len() as u64).to_le_bytes());
    let labels: Vec<u8> = part.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    hash.update(labels);
    part.images.add_to(hash);
}

impl PartialEq for DataFingerprint {
    /// The same images by another name or in another place are the same.
    fn eq(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

impl fmt::Display for DataFingerprint {
    /// `CIFAR-10 sample (built in, 2,000 training and 500 test images, SHA-256 0123abcd…)`
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let parts = match self.validation_samples {
            0 => format!("{} training", format::count(self.train_samples)),
            samples => {
                format!("{} training, {} validation", format::count(self.train_samples), format::count(samples))
            }
        };
        let test = format::count(self.test_samples);
        let digits = self.sha256.get(..8).unwrap_or(&self.sha256);
        write!(formatter, "{} ({}, {parts} and {test} test images, SHA-256 {digits}…)", self.name, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::sample;

    fn source() -> Source {
        let (train, test) = sample::read().unwrap();
        Source { train, validation: None, test, name: "sample".into(), origin: "built in".into(), notice: None }
    }

    #[test]
    fn another_image_label_order_or_part_is_noticed_and_another_name_is_not() {
        let whole = DataFingerprint::of(&source());
        assert_eq!(whole, DataFingerprint::of(&Source { name: "other".into(), ..source() }));
        let all = |count: usize| (0..count).collect::<Vec<_>>();
        let mut swapped = all(2000);
        swapped.swap(3, 1999);
        let mut label = source();
        label.test.labels[7] ^= 1;
        let fewer = Source { test: source().test.select(&all(499)), ..source() };
        for other in [label, fewer, Source { train: source().train.select(&swapped), ..source() }] {
            assert_ne!(whole, DataFingerprint::of(&other));
        }
        assert!(
            whole.to_string().starts_with("sample (built in, 2,000 training and 500 test images, SHA-256 "),
            "{whole}"
        );
    }
}
