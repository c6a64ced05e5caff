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

/// Of every part of CIFAR-10.
pub fn info() -> Arc<DatasetInfo> {
    static INFO: LazyLock<Arc<DatasetInfo>> = LazyLock::new(|| Arc::new(DatasetInfo::cifar10()));
    Arc::clone(&INFO)
}

/// Reads `images` records of the binary layout; `file` is for the error.
///
/// # Errors
/// Too few or too many bytes, or a label that is none.
pub fn parse_records(file: &str, bytes: &[u8], images: usize) -> Result<Dataset, ReadError> {
    let damaged =
        |offset: usize, problem: String| ReadError::Damaged { file: file.into(), offset: offset as u64, problem };
    let expected = images * RECORD_BYTES;
    if bytes.len() < expected {
        let problem = format!("the file ends here, but {images} images take {expected} bytes");
        return Err(damaged(bytes.len(), problem));
    }
    if bytes.len() > expected {
        let problem = format!("the file should end here, after {images} images: this is not a CIFAR-10 batch");
        return Err(damaged(expected, problem));
    }
    let mut dataset = Dataset::new(info());
    for (index, record) in bytes.chunks_exact(RECORD_BYTES).enumerate() {
        check_label(record[0].into()).map_err(|problem| damaged(index * RECORD_BYTES, problem))?;
        dataset.push(record[0].into(), &record[1..]);
    }
    Ok(dataset)
}

/// The label, or what is wrong with it.
pub fn check_label(label: i64) -> Result<u16, String> {
    u16::try_from(label)
        .ok()
        .filter(|&label| usize::from(label) < CLASS_COUNT)
        .ok_or_else(|| format!("label {label}, but labels go from 0 to {}", CLASS_COUNT - 1))
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
