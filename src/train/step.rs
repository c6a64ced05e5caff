//! One optimizer step: what training repeats, and what `taper bench` measures.

use std::time::Instant;

use candle_core::{Result, Tensor};

use super::optimizer::Adam;
use crate::model::{Cnn, Mode};
use crate::ops;
use crate::run::step_time::StepTime;

/// What a step gave.
pub struct Step {
    /// Mean over the batch, before the step. If it is not finite, no step was taken.
    pub loss: f32,
    /// (N, 10), before the step.
    pub logits: Tensor,
    /// All but the data.
    pub time: StepTime,
}

/// Moves the weights by the gradient of the mean loss of a batch: pictures (N, 32, 32, 3) and labels (N). A loss that is
/// not finite never reaches them.
pub fn step(cnn: &Cnn, adam: &mut Adam, learning_rate: f64, x: &Tensor, labels: &Tensor, mode: Mode) -> Result<Step> {
    // On a compute thread, so that the many short parallel parts of a step need no hand-over to one.
    x.device().with_context(|| take(cnn, adam, learning_rate, x, labels, mode))
}

fn take(cnn: &Cnn, adam: &mut Adam, learning_rate: f64, x: &Tensor, labels: &Tensor, mode: Mode) -> Result<Step> {
    let started = Instant::now();
    let ((logits, loss), tape) = ops::tape::record(|| {
        let logits = cnn.forward(x, mode)?;
        let loss = ops::cross_entropy(&logits, labels)?;
        Ok((logits, loss))
    })?;

    let forward_done = Instant::now();
    let gradients = tape.backward(&loss)?;
    // Waits for the device.
    let loss = loss.to_scalar::<f32>()?;

    let backward_done = Instant::now();
    if loss.is_finite() {
        adam.step(&gradients, learning_rate)?;
    }
    let time = StepTime {
        data_secs: 0.0,
        forward_secs: (forward_done - started).as_secs_f64(),
        backward_secs: (backward_done - forward_done).as_secs_f64(),
        optimizer_secs: backward_done.elapsed().as_secs_f64(),
    };
    // Detached, so that what the gradient needed is freed within the step, whose time is to tell of it.
    Ok(Step { loss, logits: logits.detach(), time })
}
