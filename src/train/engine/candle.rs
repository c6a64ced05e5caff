//! The engine on candle's tensors: the CPU with this crate's operations, other devices with candle's.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::computed::{EvaluatedBatch, TakenStep};
use crate::config::{Config, TrainConfig};
use crate::data::loader::{Batch, EpochPlan, TrainBatches, train_batches};
use crate::data::{Dataset, DatasetInfo};
use crate::metrics::predicted;
use crate::model::{ActiveChannels, Mode, Network, input};
use crate::ops;
use crate::optim::Optimizer;
use crate::run::step_time::StepTime;

pub struct CandleEngine {
    device: Device,
    network: Network,
    from_data: FromData,
    optimizer: Optimizer,
    /// The seed of the dropout.
    seed: u64,
    freeze_after_first_epoch: bool,
    label_smoothing: f64,
    /// 0: all.
    whitening_bias_epochs: u64,
    epoch: Option<Epoch>,
}

/// The weights that the network has of the training images.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FromData {
    /// Nothing yet.
    Due,
    /// Made, or loaded.
    Known,
}

/// The epoch that steps are taken in.
struct Epoch {
    batches: TrainBatches,
    next_step: u64,
    is_frozen: bool,
}

/// What a step moved the weights by, if it is finite.
struct Moved {
    loss: f32,
    gradient_norm: f32,
    /// Without the data's part.
    time: StepTime,
}

impl CandleEngine {
    pub fn new(config: &Config, dataset: &DatasetInfo, device: &Device) -> Result<Self> {
        let seed = config.run.seed;
        let mut network = Network::new(&config.model, dataset, seed, device)?;
        // A CPU without bf16 takes no step in it, but may judge what was trained so.
        if ops::check_precision(config.train.precision).is_ok() {
            network.set_precision(config.train.precision);
        }
        let optimizer = Optimizer::new(&config.optimizer, &network.weights().parameters)?;
        let &TrainConfig { freeze_after_first_epoch, label_smoothing, whitening_bias_epochs, .. } = &config.train;
        Ok(Self {
            device: device.clone(),
            network,
            from_data: FromData::Due,
            optimizer,
            seed,
            freeze_after_first_epoch,
            label_smoothing,
            whitening_bias_epochs,
            epoch: None,
        })
    }

    /// As [`super::Engine::begin_epoch`].
    pub fn begin_epoch(&mut self, data: &Arc<Dataset>, plan: EpochPlan, first_step: u64) -> Result<()> {
        // Its threads end before others start.
        self.leave_epoch();
        self.prepare(data)?;
        let trained = self.whitening_bias_epochs;
        self.network.freeze_whitening_bias(trained > 0 && plan.epoch > trained);
        let is_frozen = self.freeze_after_first_epoch && plan.epoch > 1;
        self.epoch = Some(Epoch { batches: train_batches(Arc::clone(data), plan), next_step: first_step, is_frozen });
        Ok(())
    }

    /// As [`super::Engine::prepare`].
    pub fn prepare(&mut self, data: &Dataset) -> Result<()> {
        if self.from_data == FromData::Due {
            self.network.prepare(data)?;
            self.from_data = FromData::Known;
        }
        Ok(())
    }

    pub fn load_weights(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        self.network.weights().load_bytes(bytes, file)?;
        self.from_data = FromData::Known;
        Ok(())
    }

    pub fn leave_epoch(&mut self) {
        self.epoch = None;
    }

    /// Takes the next step of the epoch, and none ahead.
    pub fn next_step(&mut self, last: u64, learning_rate: &dyn Fn(u64) -> f64) -> Result<Option<TakenStep>> {
        let started = Instant::now();
        let Some(Epoch { batches, next_step, is_frozen }) = &mut self.epoch else { return Ok(None) };
        let Some(batch) = batches.next() else { return Ok(None) };
        let number = *next_step;
        debug_assert!(number <= last, "step {number} is not allowed before step {last} is dealt with");
        *next_step += 1;
        let (x, labels) = to_tensors(&batch, &self.device)?;
        let data_secs = started.elapsed().as_secs_f64();
        let mode = if *is_frozen { Mode::Evaluate } else { Mode::Train { seed: self.seed, step: number } };
        let device = self.device.clone();
        let learning_rate = learning_rate(number);
        // On a compute thread, so that the many short parallel parts of a step need no hand-over to one.
        let (logits, moved) = device.with_context(|| self.step_on_device(&x, &labels, learning_rate, mode))?;
        Ok(Some(TakenStep {
            samples: batch.labels.len() as u64,
            loss: moved.loss,
            gradient_norm: moved.gradient_norm,
            correct: count_correct(&logits.to_vec2()?, &batch.labels),
            learning_rate,
            time: StepTime { data_secs, ..moved.time },
        }))
    }

    /// The logits before the step, (N, classes), and what moved the weights.
    fn step_on_device(
        &mut self,
        x: &Tensor,
        labels: &Tensor,
        learning_rate: f64,
        mode: Mode,
    ) -> candle_core::Result<(Tensor, Moved)> {
        let Self { network, label_smoothing, .. } = self;
        let label_smoothing = *label_smoothing;
        let weights = network.weights();
        let started = Instant::now();
        let running_statistics = weights.copy_buffers()?;
        let ((logits, loss), tape) = ops::tape::record(|| {
            let logits = network.forward(x, mode)?;
            let loss = ops::smoothed_cross_entropy(&logits, labels, label_smoothing)?;
            Ok((logits, loss))
        })?;

        let forward_done = Instant::now();
        let gradients = tape.backward(&loss)?.of_trained(&weights.parameters, |name| network.is_frozen(name))?;
        // Waits for the device.
        let loss = loss.to_scalar::<f32>()?;

        let backward_done = Instant::now();
        let gradient_norm = ops::global_norm(gradients.iter().flatten())? as f32;
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
        Ok((logits.detach(), Moved { loss, gradient_norm, time }))
    }

    pub fn evaluate(&self, batch: &Batch, active: &mut ActiveChannels) -> Result<EvaluatedBatch> {
        let Self { device, network, .. } = self;
        let (x, labels) = to_tensors(batch, device)?;
        let (logits, mean_loss) = device.with_context(|| {
            // Detached, so that no graph outlives the batch.
            let logits = network.evaluate(&x, active)?.detach();
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
    use candle_core::DType;

    use super::*;
    use crate::config::{ModelConfig, OptimizerKind, Precision};
    use crate::data::source::sample;
    use crate::train::device;
    use crate::train::engine::Engine;

    const SAMPLES: usize = 23;
    const BATCHES: u64 = 5;

    fn config() -> Config {
        let mut config = Config::default();
        (config.model.channels, config.model.hidden, config.train.batch_size) = (vec![4, 6, 8], 16, 5);
        config
    }

    fn data() -> Dataset {
        sample::read().expect("the sample").0.select(&(0..SAMPLES).collect::<Vec<_>>())
    }

    fn engine(data: &Dataset) -> Result<Engine> {
        Engine::new(&config(), &data.info, &device::Device::CPU)
    }

    /// Epoch 2 from a batch on.
    fn plan(first_batch: u64) -> EpochPlan {
        EpochPlan::of(&config(), 2, first_batch as usize)
    }

    fn learning_rate(step: u64) -> f64 {
        1e-3 / step as f64
    }

    fn step(engine: &mut Engine) -> Result<Option<TakenStep>> {
        engine.next_step(u64::MAX, &learning_rate)
    }

    fn saved(engine: &Engine) -> Result<[Vec<u8>; 2]> {
        Ok([engine.network()?.weights().to_safetensors()?, engine.optimizer_to_safetensors()?])
    }

    #[test]
    fn an_epoch_entered_again_in_the_middle_is_the_same() -> Result<()> {
        let data = Arc::new(data());
        let through = |stops: &[u64]| -> Result<(Vec<TakenStep>, [Vec<u8>; 2])> {
            let (mut engine, mut taken) = (engine(&data)?, vec![]);
            for (index, &first) in stops.iter().enumerate() {
                engine.begin_epoch(&data, plan(first), 11 + first)?;
                for _ in first..stops.get(index + 1).copied().unwrap_or(BATCHES) {
                    taken.extend(step(&mut engine)?);
                    assert!(engine.finish_started()?.is_none());
                }
            }
            assert!(step(&mut engine)?.is_none() && engine.finish_started()?.is_none());
            Ok((taken, saved(&engine)?))
        };
        let (steps, whole) = through(&[0])?;
        assert_eq!(steps.iter().map(|step| step.samples).collect::<Vec<_>>(), [5, 5, 5, 5, 3]);
        let rates: Vec<f64> = steps.iter().map(|step| step.learning_rate).collect();
        assert_eq!(rates, [11, 12, 13, 14, 15].map(learning_rate));
        for stops in [[0, 2, 3], [0, 1, 4]] {
            let (again, parts) = through(&stops)?;
            let losses = |steps: &[TakenStep]| steps.iter().map(|step| step.loss).collect::<Vec<_>>();
            assert_eq!(losses(&again), losses(&steps), "{stops:?}");
            assert!(parts == whole, "{stops:?}");
        }
        Ok(())
    }

    #[test]
    fn frozen_epochs_train_the_weights_without_dropout_and_keep_the_running_statistics() -> Result<()> {
        let data = Arc::new(data());
        let buffers = |engine: &Engine| -> Result<Vec<Vec<f32>>> {
            let buffers = &engine.network()?.weights().buffers;
            let numbers = buffers.iter().map(|(_, buffer)| buffer.to_dtype(DType::F32)?.flatten_all()?.to_vec1());
            Ok(numbers.collect::<candle_core::Result<_>>()?)
        };
        let trained = |freeze_after_first_epoch, dropout, seed| -> Result<(bool, bool, f32)> {
            let mut config = config();
            (config.model.dropout, config.train.freeze_after_first_epoch) = (dropout, freeze_after_first_epoch);
            let mut engine = Engine::new(&config, &data.info, &device::Device::CPU)?;
            engine.begin_epoch(&data, EpochPlan { epoch: 1, ..plan(0) }, 1)?;
            let first = buffers(&engine)?;
            step(&mut engine)?.expect("a batch");
            let moved_first = buffers(&engine)? != first;
            // The seed of the dropout alone.
            if let Engine::Candle(engine) = &mut engine {
                engine.seed = seed;
            }
            engine.begin_epoch(&data, plan(0), 2)?;
            let before = (saved(&engine)?, buffers(&engine)?);
            let loss = step(&mut engine)?.expect("a batch").loss;
            assert!(saved(&engine)? != before.0, "the weights have moved");
            Ok((moved_first, buffers(&engine)? != before.1, loss))
        };
        let [frozen, another_seed] = [1, 2].map(|seed| trained(true, 0.5, seed));
        let (frozen, another_seed) = (frozen?, another_seed?);
        assert_eq!((frozen.0, frozen.1), (true, false), "the first epoch alone moves the statistics");
        assert_eq!(frozen.2, another_seed.2, "nothing is dropped");
        let ordinary = trained(false, 0.5, 1)?;
        assert_eq!((ordinary.0, ordinary.1), (true, true));
        assert_ne!(ordinary.2, trained(false, 0.5, 2)?.2);
        Ok(())
    }

    #[test]
    fn the_whitening_bias_is_trained_in_its_epochs_alone() -> Result<()> {
        let data = Arc::new(data());
        let mut config = Config { model: ModelConfig::airbench(), ..config() };
        (config.model.channels, config.train.whitening_bias_epochs) = (vec![4, 6], 1);
        for kind in [OptimizerKind::Adam, OptimizerKind::Sgd, OptimizerKind::Muon] {
            config.optimizer.kind = kind;
            let mut engine = Engine::new(&config, &data.info, &device::Device::CPU)?;
            let numbers = |engine: &Engine| -> Result<Vec<Vec<f32>>> {
                let parameters = &engine.network()?.weights().parameters;
                let numbers = parameters.iter().map(|(_, parameter)| parameter.flatten_all()?.to_vec1());
                Ok(numbers.collect::<candle_core::Result<_>>()?)
            };
            let moved = |engine: &mut Engine, epoch: u64| -> Result<Vec<bool>> {
                engine.begin_epoch(&data, EpochPlan { epoch, ..plan(0) }, epoch)?;
                let before = numbers(engine)?;
                step(engine)?.expect("a batch");
                Ok(before.iter().zip(numbers(engine)?).map(|(before, after)| *before != after).collect())
            };
            assert!(moved(&mut engine, 1)?.into_iter().all(|moved| moved), "{kind:?}");
            let second = moved(&mut engine, 2)?;
            assert!(!second[0] && second[1..].iter().all(|&moved| moved), "{kind:?}: {second:?}");
            assert!(moved(&mut engine, 1)?.into_iter().all(|moved| moved), "{kind:?}: gone back");
        }
        Ok(())
    }

    #[test]
    fn an_epoch_that_is_left_ends_its_threads() -> Result<()> {
        let data = Arc::new(data());
        let mut engine = engine(&data)?;
        assert!(step(&mut engine)?.is_none(), "none was entered");
        engine.begin_epoch(&data, plan(0), 1)?;
        assert!(step(&mut engine)?.is_some());
        engine.begin_epoch(&data, plan(3), 4)?;
        assert!(step(&mut engine)?.is_some());
        engine.leave_epoch();
        assert_eq!(Arc::strong_count(&data), 1);
        assert!(step(&mut engine)?.is_none());
        Ok(())
    }

    #[test]
    fn a_batch_that_is_not_finite_leaves_no_trace() -> Result<()> {
        let good = Arc::new(data());
        let steps = |batches: &[(&Arc<Dataset>, u64)]| -> Result<(Vec<bool>, [Vec<u8>; 2])> {
            let (mut engine, mut finite) = (engine(&good)?, vec![]);
            for &(data, batch) in batches {
                engine.begin_epoch(data, plan(batch), 1 + batch)?;
                finite.push(step(&mut engine)?.expect("a batch").is_finite());
            }
            Ok((finite, saved(&engine)?))
        };
        let (expected_finite, expected) = steps(&[(&good, 0), (&good, 1)])?;
        assert_eq!(expected_finite, [true, true]);
        // Pixels that are no number, infinite, and too great.
        for deviation in [f32::NAN, 0.0, 1e-38] {
            let info = DatasetInfo { std: vec![deviation; 3], ..DatasetInfo::clone(&good.info) };
            let labels = good.labels.clone();
            let bad = Arc::new(Dataset::from_parts(Arc::new(info), good.all_images().to_vec(), labels));
            let (finite, bytes) = steps(&[(&good, 0), (&bad, 1), (&good, 1)])?;
            assert_eq!(finite, [true, false, true], "{deviation}");
            assert!(bytes == expected, "{deviation}: the batch left a trace");
        }
        Ok(())
    }

    #[test]
    fn the_first_of_equal_logits_is_the_prediction() {
        let logits = [vec![0.0, 2.0, 2.0], vec![1.0, 1.0, 0.0], vec![-1.0, -2.0, -0.5]];
        assert_eq!(count_correct(&logits, &[1, 0, 2]), 3);
        assert_eq!(count_correct(&logits, &[2, 1, 0]), 0);
    }

    #[test]
    fn bf16_trains_nearly_as_f32() -> Result<()> {
        // Elsewhere `device::open` refuses it.
        if ops::check_precision(Precision::Bf16).is_err() {
            return Ok(());
        }
        let data = Arc::new(data());
        let losses = |precision: Precision| -> Result<Vec<f32>> {
            let mut config = config();
            (config.model.channels, config.train.precision) = (vec![32, 32, 64], precision);
            let mut engine = Engine::new(&config, &data.info, &device::Device::CPU)?;
            engine.begin_epoch(&data, plan(0), 1)?;
            let mut losses = vec![];
            while let Some(taken) = step(&mut engine)? {
                losses.push(taken.loss);
            }
            Ok(losses)
        };
        let (exact, rounded) = (losses(Precision::F32)?, losses(Precision::Bf16)?);
        assert_eq!(exact.len(), BATCHES as usize);
        let differences = exact.iter().zip(&rounded).map(|(exact, rounded)| (exact - rounded).abs() / exact);
        let greatest = differences.fold(0f32, f32::max);
        assert!((1e-6..0.02).contains(&greatest), "{exact:?}, in bf16 {rounded:?}");
        Ok(())
    }
}
