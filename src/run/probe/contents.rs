//! What a probe holds.

use crate::data::DatasetInfo;
use crate::render::{Explanation, Planes};
use crate::run::event::Prediction;

/// Feature maps of each layer that a probe holds at most: those of its first channels.
pub const MAPS: usize = 9;
/// The most active channels of the last layer that it holds at most.
pub const ACTIVE: usize = 3;
/// Mistakes that it holds at most.
pub const MISTAKES: usize = 12;
/// Other mistakes that it holds at most, and bytes of their images.
pub const OTHER_MISTAKES: usize = 128;
pub const OTHER_MISTAKES_BYTES: usize = 400_000;

#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// What the images are of.
    pub dataset: DatasetInfo,
    /// The epoch that was trained last.
    pub epoch: u64,
    /// Optimizer steps taken.
    pub step: u64,
    /// The pinned images. All images have the same layers, of the same sizes, and there is at least one, here or below.
    pub images: Vec<ProbedImage>,
    /// The most confident wrong test images of the evaluation that this probe follows, the most confident first, at most
    /// [`MISTAKES`]; none where it follows none, as by command in the middle of an epoch.
    pub mistakes: Vec<ProbedImage>,
    /// Wrong images that are not among those: of each cell of the confusion matrix the most confident first, at most
    /// [`OTHER_MISTAKES`].
    pub other_mistakes: Vec<OtherMistake>,
}

/// A mistake of which the image alone is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherMistake {
    pub result: Prediction,
    pub image: Planes,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProbedImage {
    /// Its number among the test images.
    pub index: usize,
    pub true_class: usize,
    /// With the first [`MAPS`] channels of each layer, and the [`ACTIVE`] most active ones of the last.
    pub explanation: Explanation,
}

impl Probe {
    /// The pinned images and then the mistakes.
    pub fn every_image(&self) -> impl Iterator<Item = &ProbedImage> {
        self.images.iter().chain(&self.mistakes)
    }
}
