//! Data sets: where they come from, how they are read, augmented and fed to the training loop.
//!
//! [`source::open`] finds the data that a configuration asks for, of any of its formats. What it is travels with it as a
//! [`DatasetInfo`]. [`loader`] turns it into batches.

pub mod augment;
mod channel_statistics;
pub mod fetch;
pub mod fingerprint;
pub mod folder;
pub mod image_file;
mod images;
pub mod info;
pub mod loader;
mod luma;
mod progress;
mod resize;
pub mod sampler;
pub mod source;
mod split;
pub mod test_time;

use std::borrow::Cow;
use std::sync::Arc;

use self::augment::random_resized_crop::Rectangle;
pub use self::channel_statistics::ChannelStatistics;
use self::folder::{Folder, ImageError};
use self::images::Images;
pub use self::info::DatasetInfo;
use self::resize::Resize;
pub use self::split::Split;

/// Labelled images, as u8, in file order.
#[derive(Clone, Debug)]
pub struct Dataset {
    pub info: Arc<DatasetInfo>,
    images: Images,
    /// One for each image, a number of `info.classes`.
    pub labels: Vec<u16>,
}

impl PartialEq for Dataset {
    /// By the images' bytes; one that cannot be read is equal to none.
    fn eq(&self, other: &Self) -> bool {
        let is_equal = |index| matches!((self.image(index), other.image(index)), (Ok(one), Ok(other)) if one == other);
        self.info == other.info && self.labels == other.labels && (0..self.len()).all(is_equal)
    }
}

impl Dataset {
    /// Without images.
    pub fn new(info: Arc<DatasetInfo>) -> Self {
        Self { info, images: Images::Here(vec![]), labels: vec![] }
    }

    /// Images (N, C, H, W) and labels (N).
    pub fn from_parts(info: Arc<DatasetInfo>, images: Vec<u8>, labels: Vec<u16>) -> Self {
        debug_assert_eq!(images.len(), labels.len() * info.size().bytes());
        Self { info, images: Images::Here(images), labels }
    }

    /// The images of those numbers in a folder, and their labels.
    pub fn of_folder(info: Arc<DatasetInfo>, folder: Arc<Folder>, numbers: Vec<usize>, labels: Vec<u16>) -> Self {
        debug_assert_eq!(numbers.len(), labels.len());
        Self { info, images: Images::Folder { folder, numbers }, labels }
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The planes of image `index`.
    ///
    /// # Errors
    /// It is one of a folder that has changed since it was opened.
    pub fn image(&self, index: usize) -> Result<Cow<'_, [u8]>, ImageError> {
        self.images.get(index, self.info.size().bytes())
    }

    /// A part of image `index`, as large as the whole; `draw` is given width and height of the whole. All of it, unless the images
    /// of a folder are kept larger than the network takes them.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn part(&self, index: usize, draw: impl FnOnce([u32; 2]) -> Rectangle) -> Result<Cow<'_, [u8]>, ImageError> {
        self.images.part(index, self.info.size().bytes(), draw)
    }

    /// Whether training is on parts of the images, which the host draws.
    pub fn draws_parts(&self) -> bool {
        match &self.images {
            Images::Here(_) => false,
            Images::Folder { folder, .. } => folder.draws_parts(),
        }
    }

    /// The planes of all images, one after the other, unless they are those of a folder.
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.images {
            Images::Here(images) => Some(images),
            Images::Folder { .. } => None,
        }
    }

    /// Adds an image at the end.
    ///
    /// # Panics
    /// The data set is that of a folder.
    pub fn push(&mut self, label: u16, image: &[u8]) {
        debug_assert_eq!(image.len(), self.info.size().bytes());
        self.labels.push(label);
        self.images.push(image);
    }

    /// Adds the images of `other`, of the same data set, at the end.
    ///
    /// # Panics
    /// One of them is that of a folder.
    pub fn append(&mut self, other: &Self) {
        self.labels.extend_from_slice(&other.labels);
        self.images.append(&other.images);
    }

    /// The images at `indices`, in that order.
    pub fn select(&self, indices: &[usize]) -> Self {
        Self {
            info: Arc::clone(&self.info),
            images: self.images.select(indices, self.info.size().bytes()),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
        }
    }

    /// Its first images as squares of that side, so many that they have `most_bytes`.
    ///
    /// # Errors
    /// As [`Self::image`].
    pub fn resized(&self, side: usize, most_bytes: usize) -> Result<Self, ImageError> {
        let from = self.info.size();
        let info = Arc::new(DatasetInfo { height: side, width: side, ..DatasetInfo::clone(&self.info) });
        let to = info.size();
        let mut resize = Resize::new(from, to);
        let (mut resized, mut image) = (Self::new(info), vec![0; to.bytes()]);
        for index in 0..self.len().min((most_bytes / to.bytes()).max(1)) {
            resize.apply(&self.image(index)?, &mut image);
            resized.push(self.labels[index], &image);
        }
        Ok(resized)
    }

    /// Images of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.info.classes.len()];
        for &label in &self.labels {
            counts[usize::from(label)] += 1;
        }
        counts
    }

    /// Over all pixels, with the population's standard deviation, as published for CIFAR-10; NaN without images.
    pub fn channel_statistics(&self) -> ChannelStatistics {
        self.images.channel_statistics(self.info.size())
    }
}

/// The data of a run, and what to tell the user about it.
#[derive(Clone, Debug)]
pub struct Source {
    pub train: Dataset,
    /// The part of the training images that is held out, if one is: the run is judged by it, else by the test images.
    pub validation: Option<Dataset>,
    pub test: Dataset,
    /// `CIFAR-10` or `CIFAR-10 sample`.
    pub name: String,
    /// A path, or `built in`.
    pub origin: String,
    /// One line for the user, where there is something to know: the sample is in use, or a validation split.
    pub notice: Option<String>,
}

impl Source {
    /// The part that a run is judged by.
    pub fn judged_by(&self) -> Split {
        if self.validation.is_some() { Split::Validation } else { Split::Test }
    }

    /// None: no images are held out for validation.
    pub fn part(&self, split: Split) -> Option<&Dataset> {
        match split {
            Split::Train => Some(&self.train),
            Split::Validation => self.validation.as_ref(),
            Split::Test => Some(&self.test),
        }
    }

    /// The images to train on, and those that the run is judged by.
    pub fn into_parts(self) -> (Dataset, Dataset) {
        (self.train, self.validation.unwrap_or(self.test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_statistics_are_those_of_the_population() {
        let mut dataset = Dataset::new(Arc::new(DatasetInfo::cifar10()));
        let mut image = [0; 3 * 1024];
        image[..512].fill(255);
        image[1024..2048].fill(51);
        dataset.push(4, &image);
        let statistics = dataset.channel_statistics();
        assert_eq!(statistics.mean, [0.5, 0.2, 0.0]);
        assert!((statistics.std[0] - 0.5).abs() < 1e-12 && statistics.std[1] < 1e-7 && statistics.std[2] == 0.0);
        assert_eq!(dataset.class_counts()[4], 1);
    }
}
