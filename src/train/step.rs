//! One optimizer step: what training repeats, and what `taper bench` measures.

use std::time::Instant;

use candle_core::{Result, Tensor};

use crate::model::{Mode, Network};
use crate::ops;
use crate::optim::Adam;
use crate::run::step_time::StepTime;

/// What a step gave.
pub struct Step {
    /// Mean over the batch, before the step.
    pub loss: f32,
    /// Of all parameters together.
    pub gradient_norm: f32,
    /// (N, 10), before the step.
    pub logits: Tensor,
    /// All but the data.
    pub time: StepTime,
}

impl Step {
    /// If loss or gradient is not finite, no step was taken.
    pub fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.gradient_norm.is_finite()
    }
}

/// Moves the weights by the gradient of the mean loss of a batch: images (N, 32, 32, 3) and labels (N). A loss or
/// gradient that is not finite never reaches them, nor the running estimates: all is as it was.
pub fn step(
    cnn: &Network,
    adam: &mut Adam,
    learning_rate: f64,
    x: &Tensor,
    labels: &Tensor,
    mode: Mode,
) -> Result<Step> {
    // On a compute thread, so that the many short parallel parts of a step need no hand-over to one.
    x.device().with_context(|| take(cnn, adam, learning_rate, x, labels, mode))
}

fn take(cnn: &Network, adam: &mut Adam, learning_rate: f64, x: &Tensor, labels: &Tensor, mode: Mode) -> Result<Step> {
    let started = Instant::now();
    let estimates = cnn.weights().copy_buffers()?;
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
    let gradient_norm = adam.gradient_norm(&gradients)? as f32;
    if loss.is_finite() && gradient_norm.is_finite() {
        adam.step(&gradients, learning_rate)?;
    } else {
        cnn.weights().restore_buffers(&estimates)?;
    }
    let time = StepTime {
        data_secs: 0.0,
        forward_secs: (forward_done - started).as_secs_f64(),
        backward_secs: (backward_done - forward_done).as_secs_f64(),
        optimizer_secs: backward_done.elapsed().as_secs_f64(),
    };
    // Detached, so that what the gradient needed is freed within the step, whose time is to tell of it.
    Ok(Step { loss, gradient_norm, logits: logits.detach(), time })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ModelConfig, OptimizerConfig};
    use crate::data::DatasetInfo;
    use crate::ops::gradient_check::normal;
    use candle_core::{DType, Device};

    #[test]
    fn a_batch_that_is_not_finite_changes_nothing_and_the_next_one_is_as_if_it_had_not_been() -> anyhow::Result<()> {
        let config = ModelConfig { channels: vec![4, 6, 8], hidden: 16, ..ModelConfig::default() };
        let labels = Tensor::new(&[1u32, 2, 3, 4, 5], &Device::Cpu)?;
        let good = normal(1, &[5, 32, 32, 3]).to_dtype(DType::F32)?;
        let steps = |batches: &[&Tensor]| -> anyhow::Result<(Vec<bool>, [Vec<u8>; 2])> {
            let cnn = Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu)?;
            let mut adam = Adam::new(OptimizerConfig::default(), cnn.weights())?;
            let mut finite = vec![];
            for batch in batches {
                let mode = Mode::Train { seed: 0, step: 1 };
                finite.push(step(&cnn, &mut adam, 1e-3, batch, &labels, mode)?.is_finite());
            }
            Ok((finite, [cnn.weights().to_safetensors()?, adam.to_safetensors()?]))
        };
        let (expected_finite, expected) = steps(&[&good, &good])?;
        assert_eq!(expected_finite, [true, true]);
        for poison in [f64::NAN, f64::INFINITY, 1e38] {
            let bad = good.affine(1.0, poison)?;
            let (finite, bytes) = steps(&[&good, &bad, &good])?;
            assert_eq!(finite, [true, false, true], "{poison}");
            assert!(bytes == expected, "{poison}: the batch left a trace");
        }
        Ok(())
    }
}
