//! The images of a data set: in memory, or those of a folder.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::augment::random_resized_crop::Rectangle;
use super::channel_statistics::{ChannelStatistics, plane_sums};
use super::folder::{Folder, ImageError, index};
use super::info::ImageSize;

#[derive(Clone, Debug)]
pub enum Images {
    /// One after the other.
    Here(Vec<u8>),
    Folder {
        folder: Arc<Folder>,
        /// Which of its images.
        numbers: Vec<usize>,
    },
}

const ONLY_HERE: &str = "images are added to those in memory";

impl Images {
    /// Image `index`, each of so many bytes.
    pub fn get(&self, index: usize, bytes: usize) -> Result<Cow<'_, [u8]>, ImageError> {
        match self {
            Self::Here(images) => Ok(Cow::Borrowed(&images[index * bytes..][..bytes])),
            Self::Folder { folder, numbers } => folder.image(numbers[index]),
        }
    }

    /// A part of image `index`, as large as the whole; `draw` is given its width and height. All of it, if it is kept no larger
    /// than the network takes it.
    pub fn part(
        &self,
        index: usize,
        bytes: usize,
        draw: impl FnOnce([u32; 2]) -> Rectangle,
    ) -> Result<Cow<'_, [u8]>, ImageError> {
        match self {
            Self::Here(_) => self.get(index, bytes),
            Self::Folder { folder, numbers } => folder.part(numbers[index], draw),
        }
    }

    pub fn push(&mut self, image: &[u8]) {
        let Self::Here(images) = self else { panic!("{ONLY_HERE}") };
        images.extend_from_slice(image);
    }

    pub fn append(&mut self, other: &Self) {
        let Self::Here(other) = other else { panic!("{ONLY_HERE}") };
        self.push(other);
    }

    /// Those at `indices`, each of so many bytes.
    pub fn select(&self, indices: &[usize], bytes: usize) -> Self {
        match self {
            Self::Here(images) => {
                let mut chosen = Vec::with_capacity(indices.len() * bytes);
                for &index in indices {
                    chosen.extend_from_slice(&images[index * bytes..][..bytes]);
                }
                Self::Here(chosen)
            }
            Self::Folder { folder, numbers } => Self::Folder {
                folder: Arc::clone(folder),
                numbers: indices.iter().map(|&index| numbers[index]).collect(),
            },
        }
    }

    pub fn channel_statistics(&self, size: ImageSize) -> ChannelStatistics {
        match self {
            Self::Here(images) => {
                let mut sums = vec![0u64; size.channels];
                let mut squares = vec![0u64; size.channels];
                for image in images.chunks_exact(size.bytes()) {
                    for (channel, (sum, square)) in plane_sums(image, size.plane()).enumerate() {
                        sums[channel] += sum;
                        squares[channel] += square;
                    }
                }
                ChannelStatistics::of_sums(&sums, &squares, images.len() / size.channels)
            }
            Self::Folder { folder, numbers } => {
                let entries = numbers.iter().map(|&number| &folder.entries()[number]);
                index::statistics(entries, size.channels)
            }
        }
    }

    /// Adds what tells these images from others. Those of a folder tell it by the checksums that were taken when they were
    /// decoded, so that they need not all be read.
    pub fn add_to(&self, hash: &mut Sha256) {
        match self {
            Self::Here(images) => hash.update(images),
            Self::Folder { folder, numbers } => {
                for &number in numbers {
                    hash.update(&folder.entries()[number].sha256);
                }
            }
        }
    }
}
