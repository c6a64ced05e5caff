//! The data set on the card, and what is drawn for the images of an epoch.

use std::sync::Arc;

use rayon::prelude::*;

use super::context::Context;
use super::error::CudaError;
use super::feed::Feed;
use super::memory::{Buffer, Plain};
use super::shape::ImageArguments;
use crate::data::Dataset;
use crate::data::augment::{Augmentation, Jitter, Rotation};
use crate::data::info::ImageSize;
use crate::data::loader::{EpochPlan, normalisation_tables};
use crate::data::sampler::Place;

/// As `Draw` in `kernels/batch.cuh`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Draw {
    index: u32,
    label: u32,
    left: i32,
    top: i32,
    jitter: [u8; 4],
    amounts: [f32; 4],
    flip: u32,
    rotates: u32,
    /// Source of the first pixel (x, y), step of a column (x, y), step of a row (x, y).
    rotation: [i32; 6],
}

// SAFETY: numbers of 1 and 4 bytes without padding.
unsafe impl Plain for Draw {}

impl Draw {
    fn new(plan: &EpochPlan, dataset: &Dataset, Place { image: index, draw }: Place, size: ImageSize) -> Self {
        let of_image = Self { index: index as u32, label: dataset.labels[index].into(), ..Self::default() };
        if !plan.augment.enabled {
            return of_image;
        }
        let drawn = Augmentation::draw(&plan.augment, size, plan.seed, plan.epoch, draw);
        let (kinds, amounts): (Vec<u8>, Vec<f32>) = drawn.jitter.iter().map(jitter).unzip();
        let rotation = Rotation::new(size, drawn.angle_degrees);
        Self {
            left: drawn.crop_left,
            top: drawn.crop_top,
            jitter: std::array::from_fn(|i| kinds[i]),
            amounts: std::array::from_fn(|i| amounts[i]),
            flip: drawn.flip.into(),
            rotates: (drawn.angle_degrees != 0.0).into(),
            rotation: [
                rotation.first_x,
                rotation.first_y,
                rotation.step_x,
                rotation.step_y,
                rotation.row_step_x,
                rotation.row_step_y,
            ],
            ..of_image
        }
    }
}

/// The number of its kind in `kernels/batch.cuh`, and its amount.
fn jitter(jitter: &Option<Jitter>) -> (u8, f32) {
    match *jitter {
        None => (0, 0.0),
        Some(Jitter::Brightness(factor)) => (1, factor),
        Some(Jitter::Contrast(factor)) => (2, factor),
        Some(Jitter::Saturation(factor)) => (3, factor),
        Some(hue @ Jitter::Hue(_)) => (4, hue.hue_shift().into()),
    }
}

/// What is drawn for the images of the batches that remain of an epoch, in their order.
pub fn draws(dataset: &Dataset, plan: &EpochPlan) -> Vec<Draw> {
    let (order, size) = (plan.order(dataset), dataset.info.size());
    let first = (plan.first_batch * plan.batch_size).min(order.len());
    order[first..].par_iter().map(|&place| Draw::new(plan, dataset, place, size)).collect()
}

/// Where training batches come from.
pub enum TrainData {
    /// The images are on the card, which makes the batches.
    OnCard(CardDataset),
    /// The host makes them.
    Fed(Feed),
}

impl TrainData {
    /// The data set on the card if it has room and is trained on whole images, else room for batches.
    pub fn new(context: &Arc<Context>, dataset: &Arc<Dataset>, batch_size: usize) -> Result<Self, CudaError> {
        let feed = || Feed::new(context, batch_size, dataset.info.size().bytes()).map(Self::Fed);
        if dataset.draws_parts() {
            return feed();
        }
        match CardDataset::new(context, dataset, batch_size) {
            Err(CudaError::OutOfMemory { .. }) => feed(),
            there => there.map(Self::OnCard),
        }
    }
}

/// A data set whose images are on the card.
pub struct CardDataset {
    size: ImageSize,
    pub images: Buffer<u8>,
    /// For each channel what its bytes become, (C, 256).
    pub normalised: Buffer<f32>,
    /// Room for what is drawn for all images of an epoch.
    pub draws: Buffer<Draw>,
    /// Room for the bytes of a batch.
    pub scratch: Buffer<u8>,
}

/// Bytes of images that are gathered before they are copied to the card.
const COPIED_AT_ONCE: usize = 64 << 20;

/// All images of a data set, one after the other.
fn on_card(context: &Arc<Context>, dataset: &Dataset) -> Result<Buffer<u8>, CudaError> {
    if let Some(images) = dataset.in_memory() {
        return Buffer::from_slice(context, images);
    }
    let image_bytes = dataset.info.size().bytes();
    let images = Buffer::new(context, dataset.len() * image_bytes)?;
    let at_once = (COPIED_AT_ONCE / image_bytes).max(1);
    for first in (0..dataset.len()).step_by(at_once) {
        let mut copied = Vec::with_capacity(at_once * image_bytes);
        for index in first..dataset.len().min(first + at_once) {
            copied.extend_from_slice(&dataset.image(index)?);
        }
        images.upload(first * image_bytes, &copied)?;
    }
    Ok(images)
}

impl CardDataset {
    /// # Errors
    /// There is no room for it, or an image cannot be read any more.
    pub fn new(context: &Arc<Context>, dataset: &Dataset, batch_size: usize) -> Result<Self, CudaError> {
        let tables = normalisation_tables(&dataset.info).concat();
        Ok(Self {
            size: dataset.info.size(),
            images: on_card(context, dataset)?,
            normalised: Buffer::from_slice(context, &tables)?,
            draws: Buffer::new(context, dataset.len())?,
            scratch: Buffer::new(context, batch_size * dataset.info.size().bytes())?,
        })
    }

    pub fn image_bytes(&self) -> usize {
        self.size.bytes()
    }

    pub fn arguments(&self) -> ImageArguments {
        let ImageSize { channels, height, width } = self.size;
        ImageArguments::new(channels as u32, height as u32, width as u32)
    }
}
