//! The engine on candle's tensors: the CPU with this crate's operations, other devices with candle's.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::computed::{EvaluatedBatch, TakenStep};
use crate::config::Config;
use crate::data::DatasetInfo;
use crate::data::loader::Batch;
use crate::metrics::predicted;
use crate::model::{ActiveChannels, Mode, Network, input};
use crate::ops;
use crate::optim::Optimizer;
use crate::run::step_time::StepTime;

pub struct CandleEngine {
    device: Device,
    network: Network,
    optimizer: Optimizer,
    /// The seed of the dropout.
    seed: u64,
}

impl CandleEngine {
    pub fn new(config: &Config, dataset: &DatasetInfo, device: &Device) -> Result<Self> {
        let seed = config.run.seed;
        let network = Network::new(&config.model, dataset, seed, device)?;
        let optimizer = Optimizer::new(&config.optimizer, &network.weights().parameters)?;
        Ok(Self { device: device.clone(), network, optimizer, seed })
    }

    pub fn take_step(&mut self, batch: &Batch, learning_rate: f64, number: u64) -> Result<TakenStep> {
        let started = Instant::now();
        let (x, labels) = to_tensors(batch, &self.device)?;
        let data_secs = started.elapsed().as_secs_f64();
        let mode = Mode::Train { seed: self.seed, step: number };
        let device = self.device.clone();
        // On a compute thread, so that the many short parallel parts of a step need no hand-over to one.
        let (logits, step) = device.with_context(|| self.step_on_device(&x, &labels, learning_rate, mode))?;
        let correct = count_correct(&logits.to_vec2()?, &batch.labels);
        Ok(TakenStep { correct, time: StepTime { data_secs, ..step.time }, ..step })
    }

    /// The logits before the step, (N, classes), and the step without data and correct images.
    fn step_on_device(
        &mut self,
        x: &Tensor,
        labels: &Tensor,
        learning_rate: f64,
        mode: Mode,
    ) -> candle_core::Result<(Tensor, TakenStep)> {
        let weights = self.network.weights();
        let started = Instant::now();
        let running_statistics = weights.copy_buffers()?;
        let ((logits, loss), tape) = ops::tape::record(|| {
            let logits = self.network.forward(x, mode)?;
            let loss = ops::cross_entropy(&logits, labels)?;
            Ok((logits, loss))
        })?;

        let forward_done = Instant::now();
        let gradients = tape.backward(&loss)?.in_order_of(&weights.parameters)?;
        // Waits for the device.
        let loss = loss.to_scalar::<f32>()?;

        let backward_done = Instant::now();
        let gradient_norm = ops::global_norm(&gradients)? as f32;
        if loss.is_finite() && gradient_norm.is_finite() {
            self.optimizer.step(&gradients, learning_rate)?;
        } else {
            weights.restore_buffers(&running_statistics)?;
        }
        let time = StepTime {
            data_secs: 0.0,
            forward_secs: (forward_done - started).as_secs_f64(),
            backward_secs: (backward_done - forward_done).as_secs_f64(),
            optimizer_secs: backward_done.elapsed().as_secs_f64(),
        };
        // Detached, so that what the gradient needed is freed within the step, whose time is to tell of it.
        Ok((logits.detach(), TakenStep { loss, gradient_norm, correct: 0, time }))
    }

    pub fn evaluate(&self, batch: &Batch, active: &mut ActiveChannels) -> Result<EvaluatedBatch> {
        let (x, labels) = to_tensors(batch, &self.device)?;
        let (logits, mean_loss) = self.device.with_context(|| {
            // Detached, so that no graph outlives the batch.
            let logits = self.network.evaluate(&x, active)?.detach();
            let mean_loss = ops::cross_entropy(&logits, &labels)?.to_scalar::<f32>()?;
            candle_core::Result::Ok((logits, mean_loss))
        })?;
        Ok(EvaluatedBatch { mean_loss, logits: logits.to_vec2()? })
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    pub fn optimizer_to_safetensors(&self) -> Result<Vec<u8>> {
        self.optimizer.to_safetensors()
    }

    pub fn load_optimizer(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        self.optimizer.load(bytes, file)
    }
}

/// Images (N, H, W, C) and labels (N) on `device`.
fn to_tensors(batch: &Batch, device: &Device) -> candle_core::Result<(Tensor, Tensor)> {
    let labels = Tensor::from_slice(&batch.labels, batch.labels.len(), device)?;
    Ok((input::images(batch, device)?, labels))
}

/// Images whose greatest logit, the first of equals, is the one of their label.
fn count_correct(logits: &[Vec<f32>], labels: &[u32]) -> u64 {
    logits.iter().zip(labels).filter(|(logits, label)| predicted(logits) == **label as usize).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::normal;

    #[test]
    fn a_batch_that_is_not_finite_leaves_no_trace() -> Result<()> {
        let mut config = Config::default();
        (config.model.channels, config.model.hidden) = (vec![4, 6, 8], 16);
        let dataset = DatasetInfo::cifar10();
        let size = dataset.size();
        let images = normal(1, &[5 * size.bytes()]).to_dtype(candle_core::DType::F32)?.to_vec1()?;
        let good = Batch { size, images, labels: vec![1, 2, 3, 4, 5] };
        let steps = |batches: &[&Batch]| -> Result<(Vec<bool>, [Vec<u8>; 2])> {
            let mut engine = CandleEngine::new(&config, &dataset, &Device::Cpu)?;
            let finite = batches.iter().map(|batch| Ok(engine.take_step(batch, 1e-3, 1)?.is_finite()));
            let finite = finite.collect::<Result<_>>()?;
            Ok((finite, [engine.network().weights().to_safetensors()?, engine.optimizer_to_safetensors()?]))
        };
        let (expected_finite, expected) = steps(&[&good, &good])?;
        assert_eq!(expected_finite, [true, true]);
        for poison in [f32::NAN, f32::INFINITY, 1e38] {
            let images = good.images.iter().map(|x| x + poison).collect();
            let bad = Batch { images, ..good.clone() };
            let (finite, bytes) = steps(&[&good, &bad, &good])?;
            assert_eq!(finite, [true, false, true], "{poison}");
            assert!(bytes == expected, "{poison}: the batch left a trace");
        }
        Ok(())
    }

    #[test]
    fn the_first_of_equal_logits_is_the_prediction() {
        let logits = [vec![0.0, 2.0, 2.0], vec![1.0, 1.0, 0.0], vec![-1.0, -2.0, -0.5]];
        assert_eq!(count_correct(&logits, &[1, 0, 2]), 3);
        assert_eq!(count_correct(&logits, &[2, 1, 0]), 0);
    }
}
