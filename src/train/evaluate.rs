//! How well a network does on pictures it has not seen.

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::to_tensors;
use crate::data::Dataset;
use crate::data::loader::evaluation_batch;
use crate::model::{Cnn, FiredChannels};
use crate::ops;

/// Sums over the pictures evaluated so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    loss_sum: f64,
    correct: u64,
    examples: u64,
    fired: FiredChannels,
}

impl Evaluation {
    /// Evaluates a range of pictures; returns their logits (N, 10).
    pub fn add_batch(
        &mut self,
        cnn: &Cnn,
        dataset: &Dataset,
        range: Range<usize>,
        device: &Device,
    ) -> Result<Vec<Vec<f32>>> {
        let batch = evaluation_batch(dataset, range);
        let (x, labels) = to_tensors(&batch, device)?;
        let (logits, mean_loss) = device.with_context(|| {
            // Detached, so that no graph outlives the batch.
            let logits = cnn.evaluate(&x, &mut self.fired)?.detach();
            let mean_loss = ops::cross_entropy(&logits, &labels)?.to_scalar::<f32>()?;
            candle_core::Result::Ok((logits, mean_loss))
        })?;
        self.loss_sum += f64::from(mean_loss) * batch.labels.len() as f64;
        let logits = logits.to_vec2::<f32>()?;
        self.correct += count_correct(&logits, &batch.labels);
        self.examples += batch.labels.len() as u64;
        Ok(logits)
    }

    /// Mean cross-entropy over the pictures.
    pub fn mean_loss(&self) -> f64 {
        self.loss_sum / self.examples as f64
    }

    /// Percent.
    pub fn accuracy(&self) -> f64 {
        100.0 * self.correct as f64 / self.examples as f64
    }

    /// The channels of each block, from 0, that did not fire for any of the pictures.
    pub fn dead_channels(&self) -> Vec<Vec<usize>> {
        self.fired.dead()
    }

    pub fn examples(&self) -> u64 {
        self.examples
    }
}

/// Pictures whose greatest logit, the first of equals, is the one of their label.
pub fn correct(logits: &Tensor, labels: &[u32]) -> candle_core::Result<u64> {
    Ok(count_correct(&logits.to_vec2()?, labels))
}

fn count_correct(logits: &[Vec<f32>], labels: &[u32]) -> u64 {
    logits.iter().zip(labels).filter(|(logits, label)| first_maximum(logits) == **label as usize).count() as u64
}

fn first_maximum(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_logits_is_the_prediction() {
        let logits = [vec![0.0, 2.0, 2.0], vec![1.0, 1.0, 0.0], vec![-1.0, -2.0, -0.5]];
        assert_eq!(count_correct(&logits, &[1, 0, 2]), 3);
        assert_eq!(count_correct(&logits, &[2, 1, 0]), 0);
    }
}
