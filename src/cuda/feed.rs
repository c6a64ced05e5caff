//! Training batches that the host makes, where the data set does not fit on the card: they are copied while it works on those
//! before.

use std::sync::Arc;

use cudarc::driver::result::{event, stream};
use cudarc::driver::sys::{CUevent, CUevent_flags, CUstream};

use super::context::Context;
use super::error::CudaError;
use super::memory::{Buffer, MappedBuffer};
use crate::data::loader::Batch;

/// Batches that have a place on the card: more than steps are ever under way, so that the one before in a place is done.
pub const SLOTS: u32 = 16;

pub struct Feed {
    context: Arc<Context>,
    /// Copies are queued apart from kernels.
    copies: CUstream,
    /// Of each slot: its last copy is done.
    copied: Vec<CUevent>,
    host_images: MappedBuffer<f32>,
    host_labels: MappedBuffer<u32>,
    pub images: Buffer<f32>,
    pub labels: Buffer<u32>,
    pub batch_size: usize,
    /// Numbers of an image.
    pub image_len: usize,
}

// SAFETY: handles of the driver, used by one thread at a time, since using them takes `&mut self`.
unsafe impl Send for Feed {}

impl Feed {
    /// For batches of at most `batch_size` images of `image_len` numbers.
    pub fn new(context: &Arc<Context>, batch_size: usize, image_len: usize) -> Result<Self, CudaError> {
        let (images, labels) = (SLOTS as usize * batch_size * image_len, SLOTS as usize * batch_size);
        let mut feed = Self {
            host_images: MappedBuffer::zeros(context, images)?,
            host_labels: MappedBuffer::zeros(context, labels)?,
            images: Buffer::new(context, images)?,
            labels: Buffer::new(context, labels)?,
            copies: std::ptr::null_mut(),
            copied: vec![],
            context: Arc::clone(context),
            batch_size,
            image_len,
        };
        context.bind()?;
        feed.copies = stream::create(stream::StreamKind::NonBlocking).map_err(CudaError::of("cuStreamCreate"))?;
        for _ in 0..SLOTS {
            let event =
                event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(CudaError::of("cuEventCreate"))?;
            feed.copied.push(event);
        }
        Ok(feed)
    }

    /// Queues the copy of batch `number` of the plan; what is queued on the card after it waits for it, the host does not.
    /// The step of batch `number` - [`SLOTS`] is done.
    pub fn queue(&mut self, number: usize, batch: &Batch) -> Result<(), CudaError> {
        self.context.bind()?;
        let slot = number % SLOTS as usize;
        let (image, label) = (slot * self.batch_size * self.image_len, slot * self.batch_size);
        self.host_images.write(image, &batch.images);
        self.host_labels.write(label, &batch.labels);
        self.host_images.queue_copy(&self.images, image, batch.images.len(), self.copies)?;
        self.host_labels.queue_copy(&self.labels, label, batch.labels.len(), self.copies)?;
        let copied = self.copied[slot];
        // SAFETY: event and streams exist as long as this.
        unsafe {
            event::record(copied, self.copies).map_err(CudaError::of("cuEventRecord"))?;
            let flags = cudarc::driver::sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
            stream::wait_event(self.context.stream, copied, flags).map_err(CudaError::of("cuStreamWaitEvent"))
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let _ = self.context.bind();
        // SAFETY: made by `new`; what is under way is waited for first, as the buffers are freed after this.
        unsafe {
            for &event in &self.copied {
                let _ = event::destroy(event);
            }
            if !self.copies.is_null() {
                let _ = stream::synchronize(self.copies);
                let _ = stream::destroy(self.copies);
            }
        }
    }
}
