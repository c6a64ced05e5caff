//! What a network takes: the images of a batch as a tensor.

use candle_core::{Device, Result, Tensor};

use crate::data::loader::Batch;

/// The images of a batch, (N, H, W, C), on `device`.
pub fn images(batch: &Batch, device: &Device) -> Result<Tensor> {
    let size = batch.size;
    Tensor::from_slice(&batch.images, (batch.labels.len(), size.height, size.width, size.channels), device)
}
