//! The views of an image that an evaluation takes the mean over.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::computed::EvaluatedBatch;
use crate::config::TestTimeAugmentation;
use crate::data::loader::Batch;
use crate::data::test_time::views;
use crate::model::ActiveChannels;

/// A batch by the mean of the logits of the views of each image, each evaluated by `evaluate`. `active` is of the images as they
/// are.
///
/// # Errors
/// Those of `evaluate`.
pub fn evaluate_views(
    batch: &Batch,
    augmentation: TestTimeAugmentation,
    active: &mut ActiveChannels,
    evaluate: impl Fn(&Batch, &mut ActiveChannels) -> Result<EvaluatedBatch>,
) -> Result<EvaluatedBatch> {
    if augmentation == TestTimeAugmentation::None {
        return evaluate(batch, active);
    }
    let mut sums: Vec<Vec<f32>> = vec![];
    for (number, view) in views(augmentation).iter().enumerate() {
        let evaluated = match number {
            0 => evaluate(batch, active)?,
            _ => evaluate(&view.of(batch), &mut ActiveChannels::default())?,
        };
        sums.resize_with(evaluated.logits.len(), || vec![0.0; evaluated.logits.first().map_or(0, Vec::len)]);
        for (sums, logits) in sums.iter_mut().zip(&evaluated.logits) {
            sums.iter_mut().zip(logits).for_each(|(sum, logit)| *sum += view.weight * logit);
        }
    }
    let labels = Tensor::from_slice(&batch.labels, batch.labels.len(), &Device::Cpu)?;
    Ok(EvaluatedBatch::of(&Tensor::new(sums, &Device::Cpu)?, &labels)?)
}
