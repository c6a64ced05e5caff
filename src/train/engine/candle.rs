//! The engine on candle's tensors: the CPU with this crate's operations, other devices with candle's.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

use super::computed::{EvaluatedBatch, TakenStep};
use super::views::evaluate_views;
use super::weights_file::WeightsFile;
use crate::average::{Average, Companion};
use crate::config::{ClassWeights, Config, TestTimeAugmentation, TrainConfig};
use crate::data::loader::{Batch, EpochPlan, TrainBatches, evaluation_batch, train_batches};
use crate::data::{Dataset, DatasetInfo};
use crate::metrics::predicted;
use crate::model::{ActiveChannels, Mode, Network, NetworkShape, input};
use crate::ops::whole_batch::{self, SharedBatch};
use crate::ops::{self, CrossEntropyLoss};
use crate::optim::Optimizer;
use crate::ranks::{Communicator, Place};
use crate::run::step_time::StepTime;

pub struct CandleEngine {
    device: Device,
    /// The one that is trained.
    network: Network,
    from_data: FromData,
    optimizer: Optimizer,
    average: Average,
    /// The seed of the dropout.
    seed: u64,
    config: TrainConfig,
    loss: CrossEntropyLoss,
    /// With whom it computes the steps.
    ranks: Option<Arc<Communicator>>,
    interruption: Interruption,
    epoch: Option<Epoch>,
}

/// What an image of each class counts, so that each class counts as much: N / (classes * images of the class), as in scikit-learn.
/// A class without images counts nothing.
fn balanced(class_counts: &[usize]) -> Arc<[f64]> {
    let (images, classes) = (class_counts.iter().sum::<usize>() as f64, class_counts.len() as f64);
    let weight = |&count: &usize| if count > 0 { images / (classes * count as f64) } else { 0.0 };
    class_counts.iter().map(weight).collect()
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
    /// Of the run.
    total_steps: u64,
    is_frozen: bool,
}

/// Whether a rank was asked to end.
#[derive(Default)]
struct Interruption {
    /// This one; none where somebody else looks after that.
    of_this: Option<Arc<AtomicBool>>,
    /// Any, as of the last step.
    of_any: bool,
}

/// How a step moves the weights.
#[derive(Clone, Copy)]
struct OptimizerStep {
    /// From 1.
    number: u64,
    /// Of the run.
    total_steps: u64,
    learning_rate: f64,
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
        NetworkShape::check_progressive(config, dataset)?;
        let mut network = Network::new(&config.model, dataset, seed, device)?;
        // A CPU without bf16 takes no step in it, but may judge what was trained so.
        if ops::check_precision(config.train.precision).is_ok() {
            network.set_precision(config.train.precision);
        }
        let optimizer = Optimizer::new(&config.optimizer, &network.weights().parameters)?;
        let average = Average::new(config, dataset, device, network.weights())?;
        Ok(Self {
            device: device.clone(),
            network,
            from_data: FromData::Due,
            optimizer,
            average,
            seed,
            config: config.train.clone(),
            loss: CrossEntropyLoss { smoothing: config.train.label_smoothing, class_weights: None },
            ranks: None,
            interruption: Interruption::default(),
            epoch: None,
        })
    }

    /// One of the ranks that take every step together: each has the same weights, and computes its share of the batch.
    pub fn on_ranks(self, ranks: Arc<Communicator>) -> Self {
        Self { ranks: Some(ranks), ..self }
    }

    /// Where that becomes true, all ranks hear of it with the next step: see [`CandleEngine::is_interrupted`].
    pub fn ended_by(self, interrupted: Arc<AtomicBool>) -> Self {
        Self { interruption: Interruption { of_this: Some(interrupted), of_any: false }, ..self }
    }

    /// Whether a rank was asked to end before the last step.
    pub fn is_interrupted(&self) -> bool {
        self.interruption.of_any
    }

    /// The number of the next step of the epoch that was entered.
    pub fn next_number(&self) -> Option<u64> {
        self.epoch.as_ref().map(|epoch| epoch.next_step)
    }

    fn place(&self) -> Place {
        self.ranks.as_ref().map_or(Place::ALONE, |ranks| ranks.place())
    }

    /// As [`super::Engine::begin_epoch`].
    pub fn begin_epoch(&mut self, data: &Arc<Dataset>, plan: EpochPlan, first_step: u64) -> Result<()> {
        // Its threads end before others start.
        self.leave_epoch();
        self.prepare(data)?;
        let trained = self.config.whitening_bias_epochs;
        self.network.freeze_whitening_bias(trained > 0 && plan.epoch > trained);
        let is_frozen = self.config.freeze_after_first_epoch && plan.epoch > 1;
        let total_steps = self.config.total_steps(self.config.steps_per_epoch(data.len()));
        self.loss.class_weights = match self.config.class_weights {
            ClassWeights::None => None,
            ClassWeights::Balanced => Some(balanced(&data.class_counts())),
        };
        let batches = train_batches(Arc::clone(data), plan, self.place());
        self.epoch = Some(Epoch { batches, next_step: first_step, total_steps, is_frozen });
        Ok(())
    }

    /// As [`super::Engine::prepare`].
    pub fn prepare(&mut self, data: &Dataset) -> Result<()> {
        if self.from_data == FromData::Due {
            self.network.prepare(data)?;
            self.average.begin(self.network.weights())?;
            self.from_data = FromData::Known;
        }
        Ok(())
    }

    pub fn load_weights(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        self.network.weights().load_bytes(bytes, file)?;
        self.from_data = FromData::Known;
        Ok(self.average.begin(self.network.weights())?)
    }

    /// As [`super::Engine::load_weights_and`].
    pub fn load_weights_and(&mut self, model: WeightsFile, companion: Companion, beside: WeightsFile) -> Result<()> {
        let (trained, averaged) = match companion {
            Companion::Raw => (beside, model),
            Companion::Slow => (model, beside),
        };
        self.load_weights(trained.bytes, trained.path)?;
        self.average.load(companion, averaged.bytes, averaged.path)
    }

    /// As [`super::Engine::companion_to_safetensors`].
    pub fn companion_to_safetensors(&self) -> Result<Option<(Companion, Vec<u8>)>> {
        self.average.companion(self.network.weights())
    }

    /// As [`super::Engine::weights_are_finite`].
    pub fn weights_are_finite(&self) -> Result<bool> {
        Ok(self.network.weights().are_finite()? && self.average.is_finite()?)
    }

    pub fn leave_epoch(&mut self) {
        self.epoch = None;
    }

    /// Takes the next step of the epoch, and none ahead.
    pub fn next_step(&mut self, last: u64, learning_rate: &dyn Fn(u64) -> f64) -> Result<Option<TakenStep>> {
        let started = Instant::now();
        let Some(Epoch { batches, next_step, total_steps, is_frozen }) = &mut self.epoch else { return Ok(None) };
        let Some(batch) = batches.next().transpose()? else { return Ok(None) };
        let number = *next_step;
        debug_assert!(number <= last, "step {number} is not allowed before step {last} is dealt with");
        *next_step += 1;
        let (x, labels) = to_tensors(&batch, &self.device)?;
        let data_secs = started.elapsed().as_secs_f64();
        let total_steps = *total_steps;
        let mode = if *is_frozen { Mode::Evaluate } else { Mode::Train { seed: self.seed, step: number } };
        let device = self.device.clone();
        let learning_rate = learning_rate(number);
        let shared = self.ranks.clone().map(|communicator| SharedBatch { images: batch.of, communicator });
        let (logits, moved) = on_compute_thread(&device, || {
            let optimizer_step = OptimizerStep { number, total_steps, learning_rate };
            whole_batch::of_batch(shared, || self.step_on_device(&x, &labels, optimizer_step, mode))
        })?;
        let correct = count_correct(&logits.to_vec2()?, &batch.labels);
        let computed_secs = started.elapsed().as_secs_f64() - moved.time.exchange_secs;
        let (correct, rank_secs) = self.of_all_ranks(correct, computed_secs)?;
        Ok(Some(TakenStep {
            samples: batch.of as u64,
            loss: moved.loss,
            gradient_norm: moved.gradient_norm,
            correct,
            learning_rate,
            time: StepTime { data_secs, ..moved.time },
            rank_secs,
        }))
    }

    /// The images that all ranks classified right, from those of this one, and how long each has computed. With that each tells
    /// whether it was asked to end.
    fn of_all_ranks(&mut self, correct: u64, computed_secs: f64) -> Result<(u64, Vec<f32>)> {
        let Some(ranks) = &self.ranks else { return Ok((correct, vec![])) };
        let asked = self.interruption.of_this.as_ref().is_some_and(|asked| asked.load(Ordering::SeqCst));
        let own = [correct, u64::from(asked), (computed_secs * 1e6) as u64];
        let told = ranks.gather(&own, &vec![own.len(); ranks.size()])?;
        let (of_ranks, _) = told.as_chunks::<3>();
        self.interruption.of_any = of_ranks.iter().any(|[_, asked, _]| *asked > 0);
        let rank_secs = of_ranks.iter().map(|[_, _, micros]| *micros as f32 / 1e6).collect();
        Ok((of_ranks.iter().map(|[correct, ..]| correct).sum(), rank_secs))
    }

    /// The logits before the step, (N, classes), and what moved the weights.
    fn step_on_device(
        &mut self,
        x: &Tensor,
        labels: &Tensor,
        OptimizerStep { number, total_steps, learning_rate }: OptimizerStep,
        mode: Mode,
    ) -> candle_core::Result<(Tensor, Moved)> {
        let Self { network, loss, .. } = self;
        let weights = network.weights();
        let exchange_secs = || self.ranks.as_ref().map_or(0.0, |ranks| ranks.exchange_secs());
        let (started, exchanged) = (Instant::now(), exchange_secs());
        let running_statistics = weights.copy_buffers()?;
        let ((logits, loss), tape) = ops::tape::record(|| {
            let logits = network.forward(x, mode)?;
            let loss = loss.of(&logits, labels)?;
            Ok((logits, loss))
        })?;

        let (forward_done, forward_exchanged) = (Instant::now(), exchange_secs());
        let gradients = tape.backward(&loss)?.in_order_of(&weights.parameters, |name| network.is_frozen(name))?;
        // Waits for the device.
        let loss = loss.to_scalar::<f32>()?;

        let (backward_done, backward_exchanged) = (Instant::now(), exchange_secs());
        let gradient_norm = ops::global_norm(gradients.iter().flatten())? as f32;
        if loss.is_finite() && gradient_norm.is_finite() {
            self.optimizer.step(&gradients, learning_rate)?;
            self.average.after_step(number, total_steps, weights)?;
        } else {
            weights.restore_buffers(&running_statistics)?;
        }
        let of_forward = forward_exchanged - exchanged;
        let of_backward = backward_exchanged - forward_exchanged;
        let time = StepTime {
            data_secs: 0.0,
            forward_secs: (forward_done - started).as_secs_f64() - of_forward,
            backward_secs: (backward_done - forward_done).as_secs_f64() - of_backward,
            optimizer_secs: backward_done.elapsed().as_secs_f64(),
            exchange_secs: of_forward + of_backward,
        };
        // Detached, so that what the gradient needed is freed within the step, whose time is to tell of it.
        Ok((logits.detach(), Moved { loss, gradient_norm, time }))
    }

    pub fn evaluate(&self, batch: &Batch, active: &mut ActiveChannels) -> Result<EvaluatedBatch> {
        let (device, network) = (&self.device, self.network());
        let (x, labels) = to_tensors(batch, device)?;
        // Detached, so that no graph outlives the batch.
        let evaluated =
            on_compute_thread(device, || EvaluatedBatch::of(&network.evaluate(&x, active)?.detach(), &labels))?;
        Ok(evaluated)
    }

    /// Some images of the data set, of which each rank evaluates its share: what all of them gave.
    pub fn evaluate_together(
        &self,
        dataset: &Dataset,
        images: Range<usize>,
        augmentation: TestTimeAugmentation,
        active: &mut ActiveChannels,
    ) -> Result<EvaluatedBatch> {
        let ranks = self.ranks.as_ref().context("one process evaluates by itself")?;
        let share = ranks.share(images.len()).images;
        let own = images.start + share.start..images.start + share.end;
        let mut logits = vec![];
        if !own.is_empty() {
            let batch = evaluation_batch(dataset, own)?;
            let evaluate = |batch: &Batch, active: &mut ActiveChannels| self.evaluate(batch, active);
            logits = evaluate_views(&batch, augmentation, active, evaluate)?.logits.concat();
        }
        let classes = dataset.info.classes.len();
        let logits = Tensor::from_vec(
            ranks.gather_rows(images.len(), &logits, classes)?,
            (images.len(), classes),
            &self.device,
        )?;
        let shape = self.network().shape();
        let marks = active.to_bytes(shape.layers());
        for marks in ranks.gather(&marks, &vec![marks.len(); ranks.size()])?.chunks_exact(marks.len().max(1)) {
            active.merge_bytes(shape.layers(), marks);
        }
        let labels: Vec<u32> = dataset.labels[images].iter().map(|&label| label.into()).collect();
        Ok(EvaluatedBatch::of(&logits, &Tensor::new(labels, &self.device)?)?)
    }

    /// The one to evaluate.
    pub fn network(&self) -> &Network {
        self.average.network().unwrap_or(&self.network)
    }

    pub fn optimizer_to_safetensors(&self) -> Result<Vec<u8>> {
        self.optimizer.to_safetensors()
    }

    pub fn load_optimizer(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        self.optimizer.load(bytes, file)
    }
}

/// What `f` computes, on a compute thread, so that the many short parallel parts of a step need no hand-over to one.
fn on_compute_thread<T: Send>(device: &Device, f: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_some() { f() } else { device.with_context(f) }
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
    use std::collections::BTreeMap;

    use candle_core::DType;
    use strum::VariantArray;

    use super::*;
    use crate::config::{AttentionKind, AverageConfig, AverageKind, ModelConfig, OptimizerKind, Precision};
    use crate::data::source::sample;
    use crate::model::weights::deserialize;
    use crate::ranks::threads::on_ranks;
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

    fn averaging(kind: AverageKind, every: u64) -> Config {
        Config { average: AverageConfig { kind, every, ..AverageConfig::default() }, ..config() }
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

    /// All that a checkpoint has of it.
    fn saved(engine: &Engine) -> Result<Saved> {
        Ok(Saved {
            model: engine.network()?.weights().to_safetensors()?,
            optimizer: engine.optimizer_to_safetensors()?,
            companion: engine.companion_to_safetensors()?,
        })
    }

    #[derive(PartialEq)]
    struct Saved {
        model: Vec<u8>,
        optimizer: Vec<u8>,
        companion: Option<(Companion, Vec<u8>)>,
    }

    impl Saved {
        fn load(&self, engine: &mut Engine) -> Result<()> {
            let file = |bytes| WeightsFile { bytes, path: Path::new("saved") };
            match &self.companion {
                None => engine.load_weights(&self.model, Path::new("saved"))?,
                Some((companion, beside)) => engine.load_weights_and(file(&self.model), *companion, file(beside))?,
            }
            engine.load_optimizer(&self.optimizer, Path::new("saved"))
        }

        /// The floats of model and companion by name.
        fn floats(&self) -> Result<[BTreeMap<String, Vec<f32>>; 2]> {
            let floats = |bytes: &[u8]| -> Result<BTreeMap<String, Vec<f32>>> {
                let tensors = deserialize(bytes, &Device::Cpu)?.into_iter();
                let floats = tensors.filter(|(_, tensor)| tensor.dtype() == DType::F32);
                floats.map(|(name, tensor)| Ok((name, tensor.flatten_all()?.to_vec1()?))).collect()
            };
            let (_, companion) = self.companion.as_ref().context("a companion")?;
            Ok([floats(&self.model)?, floats(companion)?])
        }
    }

    #[test]
    fn an_epoch_entered_again_in_the_middle_is_the_same() -> Result<()> {
        let data = Arc::new(data());
        let through = |stops: &[u64]| -> Result<(Vec<TakenStep>, Saved)> {
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
        for &kind in AverageKind::VARIANTS {
            leaves_no_trace(&averaging(kind, 1))?;
        }
        Ok(())
    }

    fn leaves_no_trace(config: &Config) -> Result<()> {
        let good = Arc::new(data());
        let steps = |batches: &[(&Arc<Dataset>, u64)]| -> Result<(Vec<bool>, Saved)> {
            let (mut engine, mut finite) = (Engine::new(config, &good.info, &device::Device::CPU)?, vec![]);
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
            let bad =
                Arc::new(Dataset::from_parts(Arc::new(info), good.in_memory().expect("the sample").to_vec(), labels));
            let (finite, bytes) = steps(&[(&good, 0), (&bad, 1), (&good, 1)])?;
            assert_eq!(finite, [true, false, true], "{deviation}");
            assert!(bytes == expected, "{deviation}: the batch left a trace");
        }
        Ok(())
    }

    /// Through steps 11 to 15, in a new engine after each of `breaks`.
    fn through(config: &Config, data: &Arc<Dataset>, breaks: &[u64]) -> Result<Saved> {
        let new = || Engine::new(config, &data.info, &device::Device::CPU);
        let mut engine = new()?;
        engine.begin_epoch(data, plan(0), 11)?;
        for batch in 0..BATCHES {
            if breaks.contains(&batch) {
                let saved = saved(&engine)?;
                engine = new()?;
                saved.load(&mut engine)?;
                engine.prepare(data)?;
                engine.begin_epoch(data, plan(batch), 11 + batch)?;
            }
            step(&mut engine)?.expect("a batch");
        }
        saved(&engine)
    }

    #[test]
    fn averages_go_on_to_the_byte_wherever_they_were_saved() -> Result<()> {
        let data = Arc::new(data());
        let plain = through(&config(), &data, &[])?;
        for kind in [AverageKind::Ema, AverageKind::Lookahead] {
            let config = averaging(kind, 2);
            let whole = through(&config, &data, &[])?;
            for breaks in [&[1][..], &[2], &[3, 4], &[1, 2, 3, 4]] {
                assert!(through(&config, &data, breaks)? == whole, "{kind:?}, {breaks:?}");
            }
            assert!(whole.model != plain.model, "{kind:?}");
            assert_eq!(whole.optimizer == plain.optimizer, kind == AverageKind::Ema, "EMA leaves training alone");
        }
        let ema = through(&averaging(AverageKind::Ema, 2), &data, &[])?;
        assert!(ema.companion == Some((Companion::Raw, plain.model)));
        Ok(())
    }

    #[test]
    fn what_is_evaluated_is_the_average() -> Result<()> {
        let data = Arc::new(data());
        let mut averaged = Engine::new(&averaging(AverageKind::Ema, 2), &data.info, &device::Device::CPU)?;
        let loss = |engine: &Engine| -> Result<f32> {
            let batch = evaluation_batch(&data, 0..SAMPLES).expect("images");
            Ok(engine.evaluate(&batch, &mut ActiveChannels::default())?.mean_loss)
        };
        averaged.begin_epoch(&data, plan(0), 11)?;
        step(&mut averaged)?.expect("a batch");
        assert!(saved(&averaged)?.companion.is_none(), "there is none before the second step");
        for _ in 0..3 {
            step(&mut averaged)?.expect("a batch");
        }
        let saved = saved(&averaged)?;
        let (_, raw) = saved.companion.as_ref().context("raw weights")?;
        let [of_model, of_raw] = [&saved.model, raw].map(|bytes| -> Result<f32> {
            let mut other = engine(&data)?;
            other.load_weights(bytes, Path::new("saved"))?;
            loss(&other)
        });
        assert_eq!(loss(&averaged)?, of_model?);
        assert_ne!(loss(&averaged)?, of_raw?);
        Ok(())
    }

    #[test]
    fn lookahead_ends_at_its_slow_weights() -> Result<()> {
        let data = Arc::new(data());
        let mut config = averaging(AverageKind::Lookahead, 4);
        let [fast, slow] = through(&config, &data, &[])?.floats()?;
        assert!(fast != slow, "three steps after an update");
        config.train.max_steps = Some(15);
        let [fast, slow] = through(&config, &data, &[])?.floats()?;
        assert!(fast == slow, "the last step");
        Ok(())
    }

    #[test]
    fn weights_of_another_kind_of_average_are_refused() -> Result<()> {
        let data = Arc::new(data());
        let of_ema = through(&averaging(AverageKind::Ema, 2), &data, &[])?;
        for kind in [AverageKind::None, AverageKind::Lookahead] {
            let mut engine = Engine::new(&averaging(kind, 2), &data.info, &device::Device::CPU)?;
            let error = of_ema.load(&mut engine).expect_err("another kind").to_string();
            assert_eq!(error, "saved: the run that it is of has another average.kind");
        }
        Ok(())
    }

    #[test]
    fn numbers_that_are_not_finite_are_found_in_either_weights() -> Result<()> {
        let data = Arc::new(data());
        for kind in [AverageKind::Ema, AverageKind::Lookahead] {
            for of_average in [false, true] {
                let config = averaging(kind, 1);
                let mut engine = CandleEngine::new(&config, &data.info, &Device::Cpu)?;
                engine.begin_epoch(&data, plan(0), 11)?;
                engine.next_step(u64::MAX, &learning_rate)?.expect("a batch");
                assert!(engine.weights_are_finite()?);
                let weights = engine.network.weights();
                let bias = weights.parameters[1].1.clone();
                let kept = bias.copy()?;
                bias.set(&bias.affine(f64::INFINITY, 0.0)?)?;
                if of_average {
                    engine.average.after_step(12, 250, weights)?;
                    bias.set(&kept)?;
                }
                assert!(!engine.weights_are_finite()?, "{kind:?}, {of_average}");
            }
        }
        Ok(())
    }

    /// The whole of what it gives and keeps, after every batch of an epoch, the last of which is smaller, in bits.
    fn trained(
        config: &Config,
        data: &Arc<Dataset>,
        ranks: Option<Arc<Communicator>>,
    ) -> Result<(Vec<[u64; 3]>, Saved)> {
        let mut engine = CandleEngine::new(config, &data.info, &Device::Cpu)?;
        engine.ranks = ranks;
        engine.begin_epoch(data, EpochPlan::of(config, 1, 0), 1)?;
        let mut taken = vec![];
        while let Some(step) = engine.next_step(u64::MAX, &|_| 1e-2)? {
            taken.push([u64::from(step.loss.to_bits()), u64::from(step.gradient_norm.to_bits()), step.correct]);
        }
        Ok((taken, saved(&Engine::Candle(Box::new(engine)))?))
    }

    #[test]
    fn every_rank_ends_in_the_bytes_of_one_process() -> Result<()> {
        let data = Arc::new(data());
        let mut configs: Vec<Config> = AttentionKind::VARIANTS
            .iter()
            .map(|&attention| {
                let mut config = config();
                // With convolutions by Winograd's algorithm, and a linear layer of which each rank computes a part.
                (config.model.attention, config.model.channels, config.model.hidden) =
                    (attention, vec![16, 32, 32], 64);
                config.train.batch_size = 18;
                config
            })
            .collect();
        configs.push(Config { model: ModelConfig { channels: vec![32, 32], ..ModelConfig::airbench() }, ..config() });
        configs[0].train.class_weights = ClassWeights::Balanced;
        for precision in [Precision::F32, Precision::Bf16].into_iter().filter(|&p| ops::check_precision(p).is_ok()) {
            for config in &mut configs {
                config.train.precision = precision;
                let alone = trained(config, &data, None)?;
                for ranks in [2, 4, 8] {
                    for of_rank in on_ranks(ranks, |communicator| trained(config, &data, Some(communicator))) {
                        let (taken, saved) = of_rank?;
                        let what = format!("{:?} {precision:?} {ranks}", config.model.attention);
                        assert_eq!(taken, alone.0, "{what}");
                        assert!(saved == alone.1, "{what}: other weights");
                    }
                }
            }
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
