//! An exponential moving average of the weights (Polyak and Juditsky 1992; Tarvainen and Valpola 2017), as PyTorch's
//! `AveragedModel` has it with `use_buffers=True`, with the warm-up of TensorFlow's `ExponentialMovingAverage`.

use candle_core::{Result, Var};

use crate::config::AverageConfig;
use crate::model::weights::Weights;
use crate::ops::average_in;

pub struct Ema {
    decay: f64,
    /// Steps between two updates.
    every: u64,
    has_begun: bool,
}

impl Ema {
    /// Of nothing yet.
    pub fn new(config: &AverageConfig) -> Self {
        Self { decay: config.decay, every: config.every, has_begun: false }
    }

    /// Whether it is an average of something.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// It is of nothing again.
    pub fn begin(&mut self) {
        self.has_begun = false;
    }

    /// It is what was loaded.
    pub fn go_on(&mut self) {
        self.has_begun = true;
    }

    /// Moves `average` towards `raw`, a network's of the same shape, if the step of that number is followed by an update. The
    /// first one copies, so that the initial weights count for nothing.
    ///
    /// Running statistics are averaged like weights: the raw ones are of the raw weights, and at airbench's momentum of 0.4 of
    /// the last few batches alone. A count of batches is copied.
    pub fn after_step(&mut self, step: u64, raw: &Weights, average: &Weights) -> Result<()> {
        if !step.is_multiple_of(self.every) {
            return Ok(());
        }
        let weight = if self.has_begun { 1.0 - self.decay_of_update(step / self.every) } else { 1.0 };
        average.vars().zip(raw.vars()).try_for_each(|(average, raw)| update(average, raw, weight))?;
        self.has_begun = true;
        Ok(())
    }

    /// min(d, t / (9 + t)) at update t, from 1: TensorFlow's min(d, (1 + n) / (10 + n)) after n updates. So a young average
    /// is of about the last ninth of its updates.
    fn decay_of_update(&self, update: u64) -> f64 {
        let update = update as f64;
        self.decay.min(update / (9.0 + update))
    }
}

fn update(average: &Var, raw: &Var, weight: f64) -> Result<()> {
    if raw.dtype().is_float() { average_in(average, raw.as_tensor(), weight) } else { average.set(raw.as_tensor()) }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    fn weights(weight: f32, batches: i64) -> Result<Weights> {
        let var = |tensor: Tensor| Var::from_tensor(&tensor);
        Ok(Weights {
            parameters: vec![("weight".into(), var(Tensor::new(&[weight], &Device::Cpu)?)?)],
            buffers: vec![("num_batches_tracked".into(), var(Tensor::new(batches, &Device::Cpu)?)?)],
        })
    }

    #[test]
    fn the_first_update_copies_and_only_every_so_many_steps_is_one() -> Result<()> {
        let mut ema = Ema::new(&AverageConfig { decay: 0.9, every: 3, ..AverageConfig::default() });
        let average = weights(100.0, 0)?;
        let weight = || average.parameters[0].1.to_vec1::<f32>().map(|weights| weights[0]);
        for step in 1..=2 {
            ema.after_step(step, &weights(1.0, 1)?, &average)?;
            assert_eq!((weight()?, ema.has_begun()), (100.0, false));
        }
        ema.after_step(3, &weights(1.0, 3)?, &average)?;
        assert_eq!((weight()?, ema.has_begun()), (1.0, true));
        ema.after_step(6, &weights(12.0, 6)?, &average)?;
        assert!((weight()? - 10.0).abs() < 1e-5, "2 / 11 of it stay: {}", weight()?);
        assert_eq!(average.buffers[0].1.dtype(), DType::I64);
        assert_eq!(average.buffers[0].1.to_scalar::<i64>()?, 6, "counts are no average");
        Ok(())
    }

    #[test]
    fn the_decay_rises_to_that_of_the_configuration() {
        let ema = Ema::new(&AverageConfig { decay: 0.9, ..AverageConfig::default() });
        let decays = [1, 2, 9, 81, 82, 1_000_000].map(|update| ema.decay_of_update(update));
        assert_eq!(decays, [0.1, 2.0 / 11.0, 0.5, 0.9, 0.9, 0.9]);
    }
}
