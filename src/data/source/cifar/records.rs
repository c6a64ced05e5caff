//! The binary layout: records of a label and an image, and what every part of CIFAR-10 shares.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use sha2::{Digest, Sha256};

use super::error::ReadError;
use crate::data::{Dataset, DatasetInfo};

/// Width and height of an image, in pixels.
const SIDE: usize = 32;
/// Pixels of one plane.
pub const PLANE: usize = SIDE * SIDE;
/// Bytes of an image: planes R, G, B, each row by row.
pub const IMAGE_BYTES: usize = 3 * PLANE;
pub const CLASS_COUNT: usize = 10;

/// Bytes of a record of the binary layout: the label, then the image.
pub const RECORD_BYTES: usize = 1 + IMAGE_BYTES;

/// What tells the files of CIFAR-10 and CIFAR-100 apart.
pub struct Set {
    pub name: &'static str,
    pub classes: usize,
    pub info: fn() -> Arc<DatasetInfo>,
    /// Bytes of a record before its image; the last of them is the label.
    pub label_bytes: usize,
    /// What the labels are called in a pickle.
    pub pickled_labels: &'static str,
}

pub static CIFAR10: Set =
    Set { name: "CIFAR-10", classes: CLASS_COUNT, info, label_bytes: 1, pickled_labels: "labels" };

/// A record has the coarse label first, which is not read.
pub static CIFAR100: Set =
    Set { name: "CIFAR-100", classes: 100, info: info_of_cifar100, label_bytes: 2, pickled_labels: "fine_labels" };

impl Set {
    /// The label, or what is wrong with it.
    pub fn check_label(&self, label: i64) -> Result<u16, String> {
        u16::try_from(label)
            .ok()
            .filter(|&label| usize::from(label) < self.classes)
            .ok_or_else(|| format!("label {label}, but labels go from 0 to {}", self.classes - 1))
    }
}

/// Of every part of CIFAR-10.
pub fn info() -> Arc<DatasetInfo> {
    static INFO: LazyLock<Arc<DatasetInfo>> = LazyLock::new(|| Arc::new(DatasetInfo::cifar10()));
    Arc::clone(&INFO)
}

fn info_of_cifar100() -> Arc<DatasetInfo> {
    static INFO: LazyLock<Arc<DatasetInfo>> = LazyLock::new(|| Arc::new(DatasetInfo::cifar100()));
    Arc::clone(&INFO)
}

/// Reads `images` records of CIFAR-10; `file` is for the error.
///
/// # Errors
/// Too few or too many bytes, or a label that is none.
pub fn parse_records(file: &str, bytes: &[u8], images: usize) -> Result<Dataset, ReadError> {
    parse_records_of(&CIFAR10, file, bytes, images)
}

/// The same of either set.
pub fn parse_records_of(set: &Set, file: &str, bytes: &[u8], images: usize) -> Result<Dataset, ReadError> {
    let record_bytes = set.label_bytes + IMAGE_BYTES;
    let damaged =
        |offset: usize, problem: String| ReadError::Damaged { file: file.into(), offset: offset as u64, problem };
    let expected = images * record_bytes;
    if bytes.len() < expected {
        let problem = format!("the file ends here, but {images} images take {expected} bytes");
        return Err(damaged(bytes.len(), problem));
    }
    if bytes.len() > expected {
        let problem = format!("the file should end here, after {images} images: this is not a {} batch", set.name);
        return Err(damaged(expected, problem));
    }
    let mut dataset = Dataset::new((set.info)());
    for (index, record) in bytes.chunks_exact(record_bytes).enumerate() {
        let (labels, image) = record.split_at(set.label_bytes);
        let at = set.label_bytes - 1;
        let label =
            set.check_label(labels[at].into()).map_err(|problem| damaged(index * record_bytes + at, problem))?;
        dataset.push(label, image);
    }
    Ok(dataset)
}

/// A label of CIFAR-10, or what is wrong with it.
pub fn check_label(label: i64) -> Result<u16, String> {
    CIFAR10.check_label(label)
}

/// SHA-256 of `dataset` as a file of the binary layout, in hexadecimal.
pub fn sha256(dataset: &Dataset) -> String {
    sha256_of(dataset, 0..dataset.len())
}

pub fn sha256_of(dataset: &Dataset, images: Range<usize>) -> String {
    let mut hash = Sha256::new();
    for index in images {
        hash.update([dataset.labels[index] as u8]);
        hash.update(image(dataset, index));
    }
    format!("{:x}", hash.finalize())
}

fn image(dataset: &Dataset, index: usize) -> &[u8] {
    let images = dataset.in_memory().expect("batches are read into memory");
    &images[index * IMAGE_BYTES..][..IMAGE_BYTES]
}

/// `dataset` as a file of the binary layout.
pub fn to_records(dataset: &Dataset) -> Vec<u8> {
    let mut records = Vec::with_capacity(dataset.len() * RECORD_BYTES);
    for (index, &label) in dataset.labels.iter().enumerate() {
        records.push(label as u8);
        records.extend_from_slice(image(dataset, index));
    }
    records
}
