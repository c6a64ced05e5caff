//! What an operation takes over the whole batch, where each of several processes computes a share of its images.
//!
//! Statistics and other small sums over images are taken by every rank, in order, of what all ranks give for theirs. The
//! gradients of convolutions are summed as the tree of [`halves`] has it, whose lower levels are those of one process.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{Error, Result};

use crate::ranks::halves::Share;
use crate::ranks::{Communicator, Place};

/// The batch of a step, which several ranks compute.
#[derive(Clone)]
pub struct SharedBatch {
    /// Images of all ranks.
    pub images: usize,
    pub communicator: Arc<Communicator>,
}

thread_local! {
    static SHARED: RefCell<Option<SharedBatch>> = const { RefCell::new(None) };
}

/// What `f` computes of this rank's share of a batch; of a whole one where that is None. Operations look for it on this thread,
/// as for the tape.
pub fn of_batch<T>(shared: Option<SharedBatch>, f: impl FnOnce() -> T) -> T {
    let outer = SHARED.replace(shared);
    let result = f();
    SHARED.replace(outer);
    result
}

fn shared() -> Option<SharedBatch> {
    SHARED.with_borrow(Clone::clone)
}

/// The part of the tree of sums that this process takes, from the images that it has, which it counts from 0.
pub fn share(images: usize) -> Share {
    let Some(SharedBatch { images: all, communicator }) = shared() else { return Share::whole(images) };
    let Share { images: own, depth } = communicator.share(all);
    debug_assert_eq!(own.len(), images, "{communicator:?} has a share of {all} images");
    Share { images: 0..own.len(), depth }
}

/// The images of all ranks, and this one's among them, of which there are so many.
pub fn images(own: usize) -> (usize, Range<usize>) {
    match shared() {
        None => (own, 0..own),
        Some(SharedBatch { images, communicator }) => (images, communicator.share(images).images),
    }
}

pub fn place() -> Place {
    shared().map_or(Place::ALONE, |shared| shared.communicator.place())
}

/// `row` numbers for each image, of all ranks in the order of the images.
///
/// # Errors
/// A rank is lost.
pub fn rows(own: &[f32], row: usize) -> Result<Cow<'_, [f32]>> {
    match shared() {
        None => Ok(Cow::Borrowed(own)),
        Some(SharedBatch { images, communicator }) => {
            communicator.gather_rows(images, own, row).map(Cow::Owned).map_err(Error::wrap)
        }
    }
}

/// As [`rows`], one number for each image.
///
/// # Errors
/// A rank is lost.
pub fn doubles(own: &[f64]) -> Result<Cow<'_, [f64]>> {
    match shared() {
        None => Ok(Cow::Borrowed(own)),
        Some(SharedBatch { images, communicator }) => {
            communicator.gather_rows(images, own, 1).map(Cow::Owned).map_err(Error::wrap)
        }
    }
}

/// What each rank has, as many numbers as this one, one after another.
///
/// # Errors
/// A rank is lost.
pub fn parts(own: &[f32]) -> Result<Vec<f32>> {
    match shared() {
        None => Ok(own.to_vec()),
        Some(SharedBatch { communicator, .. }) => {
            communicator.gather(own, &vec![own.len(); communicator.size()]).map_err(Error::wrap)
        }
    }
}

/// Adds up what the ranks have of a sum over the images; one that has none of them gives -0.
///
/// # Errors
/// A rank is lost.
pub fn sum(numbers: &mut [f32]) -> Result<()> {
    match shared() {
        None => Ok(()),
        Some(SharedBatch { communicator, .. }) => communicator.sum(numbers).map_err(Error::wrap),
    }
}
