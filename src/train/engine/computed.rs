//! What an engine computed, in host memory.

use candle_core::{Result, Tensor};

use crate::ops;
use crate::run::step_time::StepTime;

/// Of one training step. The weights moved if loss and gradient norm are finite.
#[derive(Clone, Debug)]
pub struct TakenStep {
    /// Images of the batch.
    pub samples: u64,
    /// Mean over the batch, before the step.
    pub loss: f32,
    /// Euclidean, of all parameters together.
    pub gradient_norm: f32,
    /// Images of the batch that were classified right, before the step.
    pub correct: u64,
    /// That the step was taken with.
    pub learning_rate: f64,
    /// The data's part is that of waiting for the batch and bringing it to the device.
    pub time: StepTime,
    /// What each rank computed, without waiting for others; empty of one process.
    pub rank_secs: Vec<f32>,
}

impl TakenStep {
    pub fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.gradient_norm.is_finite()
    }
}

/// Of one batch in evaluation mode.
#[derive(Clone, Debug)]
pub struct EvaluatedBatch {
    pub mean_loss: f32,
    /// For each image one for each class.
    pub logits: Vec<Vec<f32>>,
}

impl EvaluatedBatch {
    /// Of logits (N, classes) and labels (N) on one device.
    ///
    /// # Errors
    /// A label is none of the classes, or those of the device.
    pub fn of(logits: &Tensor, labels: &Tensor) -> Result<Self> {
        let mean_loss = ops::cross_entropy(logits, labels)?.to_scalar::<f32>()?;
        Ok(Self { mean_loss, logits: logits.to_vec2()? })
    }
}
