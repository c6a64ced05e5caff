//! What a batch normalisation remembers of the batches of training, for evaluation.

use candle_core::{DType, Result, Tensor, Var};

use super::weights::Builder;
use crate::ops::BatchStatistics;

/// Buffers, (C) but for the last, with PyTorch's names.
pub(super) struct RunningStatistics {
    pub mean: Var,
    pub variance: Var,
    /// A number.
    pub batches_tracked: Var,
}

impl RunningStatistics {
    /// Of the normalisation of that name, before any batch.
    pub fn new(builder: &mut Builder, name: &str, channels: usize) -> Result<Self> {
        let device = builder.device;
        let mut buffer = |part: &str, value: Tensor| builder.buffer(format!("{name}.{part}"), &value);
        Ok(Self {
            mean: buffer("running_mean", Tensor::zeros(channels, DType::F32, device)?)?,
            variance: buffer("running_var", Tensor::ones(channels, DType::F32, device)?)?,
            batches_tracked: buffer("num_batches_tracked", Tensor::zeros((), DType::I64, device)?)?,
        })
    }

    /// Moves them towards a batch. `momentum`: its weight.
    pub fn track(&self, batch: &BatchStatistics, momentum: f64) -> Result<()> {
        let move_towards = |running: &Var, batch: &Tensor| -> Result<()> {
            running.set(&((running.as_tensor() * (1.0 - momentum))? + (batch * momentum)?)?)
        };
        move_towards(&self.mean, &batch.mean)?;
        move_towards(&self.variance, &batch.variance)?;
        self.batches_tracked.set(&(self.batches_tracked.as_tensor() + self.batches_tracked.ones_like()?)?)
    }
}
