//! The engine on a card, with kernels of our own: weights, optimizer and data stay there, a step is one launch, and up to
//! [`MOST_UNDER_WAY`] steps are under way. What explains and saves works on a copy of the weights on the CPU.

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use candle_core::{Device, Tensor, Var};

use super::computed::{EvaluatedBatch, TakenStep};
use crate::config::Config;
use crate::cuda::batches::{TrainData, draws};
use crate::cuda::network::{CardNetwork, Dropout};
use crate::cuda::step::{CardAdam, ComputedStep, Counters, Position, Progress};
use crate::cuda::{Context, CudaError, Graph};
use crate::data::loader::{Batch, EpochPlan, TrainBatches, train_batches};
use crate::data::{Dataset, DatasetInfo};
use crate::model::{ActiveChannels, Network};
use crate::optim::Optimizer;
use crate::ranks::Place;
use crate::run::step_time::StepTime;

/// Enough that the card never waits for the host.
const MOST_UNDER_WAY: usize = 8;
/// What is under way takes no longer, by the time of the last step, unless it is a single one: a command waits for it.
const UNDER_WAY_SECS: f64 = 0.04;
/// Images that are evaluated at once at most, if training takes no more: their feature maps take memory.
const EVALUATED_AT_ONCE: usize = 256;
/// Between two looks at the ring.
const LOOK_INTERVAL: Duration = Duration::from_micros(100);
/// Between two questions whether the card still works.
const QUESTION_INTERVAL: Duration = Duration::from_millis(50);

pub struct CudaEngine {
    context: Arc<Context>,
    /// What is to be dropped before what it uses is first.
    graphs: Vec<(u32, Graph)>,
    epoch: Option<Epoch>,
    data: Option<(Arc<Dataset>, TrainData)>,
    progress: Option<Progress>,
    adam: CardAdam,
    card: CardNetwork,
    /// Network and optimizer on the card have room for one image alone.
    made_room: bool,
    config: Config,
    /// Copies on the CPU, of what the card has or had.
    network: Network,
    optimizer: Optimizer,
    copies: Cell<Copies>,
    /// Steps that were started as long as this progress lives.
    started: u64,
    under_way: VecDeque<Started>,
    /// Of the last step, by the card's clock; 0 before the first.
    step_secs: f64,
    /// Steps of the optimizer, and batches that each block has counted, when the copies were uploaded.
    uploaded: Counted,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    Current,
    Stale,
}

#[derive(Clone, Default)]
struct Counted {
    optimizer_steps: u64,
    batches: Vec<i64>,
}

/// The epoch that steps are taken in.
struct Epoch {
    /// Images of each batch.
    batches: Vec<u32>,
    /// What the host makes of them, if it does.
    fed: Option<TrainBatches>,
    /// Those that are started.
    started: usize,
    first_step: u64,
    /// Of each batch, as the card has them; NaN where it has none.
    learning_rates: Vec<f64>,
}

/// A step that is under way.
struct Started {
    images: u32,
    learning_rate: f64,
    /// Of waiting for the host's batch.
    data_secs: f64,
}

impl CudaEngine {
    pub fn new(config: &Config, dataset: &DatasetInfo, context: &Arc<Context>) -> Result<Self> {
        let network = Network::new(&config.model, dataset, config.run.seed, &Device::Cpu)?;
        let optimizer = Optimizer::new(&config.optimizer, &network.weights().parameters)?;
        let (card, adam) = buffers(config, &network, context)?;
        let mut engine = Self {
            context: Arc::clone(context),
            graphs: vec![],
            epoch: None,
            data: None,
            progress: None,
            adam,
            card,
            made_room: false,
            config: config.clone(),
            network,
            optimizer,
            copies: Cell::new(Copies::Current),
            started: 0,
            under_way: VecDeque::new(),
            step_secs: 0.0,
            uploaded: Counted::default(),
        };
        engine.upload()?;
        Ok(engine)
    }

    /// As [`super::Engine::begin_epoch`].
    pub fn begin_epoch(&mut self, data: &Arc<Dataset>, plan: EpochPlan, first_step: u64) -> Result<()> {
        debug_assert!(self.under_way.is_empty(), "an epoch begins when nothing is under way");
        // Its threads end before others start.
        self.leave_epoch();
        self.prepare(data)?;
        let (Some((_, there)), Some(progress)) = (&self.data, &self.progress) else { bail!("no data on the GPU") };
        let position = Position { number: first_step, batch: 0, stopped: 0 };
        progress.position.upload(0, &[position])?;
        let images = data.len().saturating_sub(plan.first_batch * plan.batch_size);
        let batches: Vec<u32> =
            (0..images).step_by(plan.batch_size).map(|first| plan.batch_size.min(images - first) as u32).collect();
        let learning_rates = vec![f64::NAN; batches.len()];
        let fed = match there {
            TrainData::OnCard(on_card) => {
                on_card.draws.upload(0, &draws(data, &plan))?;
                None
            }
            TrainData::Fed(_) => Some(train_batches(Arc::clone(data), plan, Place::ALONE)),
        };
        self.epoch = Some(Epoch { batches, fed, started: 0, first_step, learning_rates });
        Ok(())
    }

    /// As [`super::Engine::launches`].
    pub fn launches(&self) -> Option<usize> {
        self.graphs.first().map(|(_, graph)| graph.nodes())
    }

    pub fn leave_epoch(&mut self) {
        self.epoch = None;
    }

    /// Brings the data set to the card, if another is there, and makes graphs for its batches.
    pub fn prepare(&mut self, data: &Arc<Dataset>) -> Result<()> {
        if self.data.as_ref().is_some_and(|(there, _)| Arc::ptr_eq(there, data)) {
            return Ok(());
        }
        if self.made_room {
            (self.card, self.adam) = buffers(&self.config, &self.network, &self.context)?;
            self.made_room = false;
            self.upload()?;
        }
        self.graphs.clear();
        self.data = None;
        let counters = self.counters()?;
        let train = &self.config.train;
        let batches = train.steps_per_epoch(data.len()) as usize;
        let progress = Progress::new(&self.context, batches, self.card.arena.len())?;
        let there = TrainData::new(&self.context, data, train.batch_size)?;
        if let TrainData::Fed(_) = there {
            tracing::info!("the training images do not fit on the GPU: the host makes the batches");
        }
        let optimizer_steps = counters.optimizer_steps;
        progress.counters.upload(0, &[Counters { computed: 0, optimizer_steps }])?;
        let (whole, rest) = (train.batch_size.min(data.len()), data.len() % train.batch_size);
        for images in [whole, rest].into_iter().filter(|&images| images > 0) {
            let images = images as u32;
            if !self.graphs.iter().any(|(of, _)| *of == images) {
                self.graphs.push((images, progress.capture(&self.card, &self.adam, &there, images)?));
            }
        }
        (self.data, self.progress, self.started) = (Some((Arc::clone(data), there)), Some(progress), 0);
        Ok(())
    }

    /// As [`super::Engine::make_room`].
    pub fn make_room(&mut self) -> Result<()> {
        self.download()?;
        self.uploaded = self.counted()?;
        self.leave_epoch();
        self.graphs.clear();
        (self.data, self.progress, self.started) = (None, None, 0);
        let dropout = Dropout::new(self.config.run.seed, self.config.model.dropout);
        self.card = CardNetwork::new(&self.context, &self.network, dropout, 1, 1)?;
        self.made_room = true;
        self.upload()
    }

    /// As [`super::Engine::next_step`].
    pub fn next_step(&mut self, last: u64, learning_rate: &dyn Fn(u64) -> f64) -> Result<Option<TakenStep>> {
        let most = ((UNDER_WAY_SECS / self.step_secs) as usize).clamp(1, MOST_UNDER_WAY);
        while self.under_way.len() < most && self.start_step(last, learning_rate)? {}
        self.finish_started()
    }

    /// Whether there was a step to start.
    fn start_step(&mut self, last: u64, learning_rate: &dyn Fn(u64) -> f64) -> Result<bool> {
        let (Some(epoch), Some(progress)) = (&mut self.epoch, &self.progress) else { return Ok(false) };
        let batch = epoch.started;
        let number = epoch.first_step + batch as u64;
        let Some(&images) = epoch.batches.get(batch).filter(|_| number <= last) else { return Ok(false) };
        let rate = learning_rate(number);
        if rate.to_bits() != epoch.learning_rates[batch].to_bits() {
            // Those of all that is left, so that the card has what a schedule makes of the whole epoch.
            let rates: Vec<f64> =
                (batch..epoch.batches.len()).map(|batch| learning_rate(epoch.first_step + batch as u64)).collect();
            progress.learning_rates.upload(batch, &rates)?;
            epoch.learning_rates.splice(batch.., rates);
        }
        let mut data_secs = 0.0;
        if let (Some(fed), Some((_, TrainData::Fed(feed)))) = (&mut epoch.fed, &mut self.data) {
            let asked = Instant::now();
            let made = fed.next().context("the host has no more batches")??;
            data_secs = asked.elapsed().as_secs_f64();
            feed.queue(batch, &made)?;
        }
        let graph = self.graphs.iter_mut().find(|(of, _)| *of == images).map(|(_, graph)| graph);
        graph.context("a batch of a size that no graph is of")?.launch()?;
        epoch.started += 1;
        self.started += 1;
        self.under_way.push_back(Started { images, learning_rate: rate, data_secs });
        self.copies.set(Copies::Stale);
        Ok(true)
    }

    /// As [`super::Engine::finish_started`].
    pub fn finish_started(&mut self) -> Result<Option<TakenStep>> {
        let Some(started) = self.under_way.pop_front() else { return Ok(None) };
        let computed = self.wait_for(self.started - self.under_way.len() as u64)?;
        let secs = |nanos: u32| f64::from(nanos) / 1e9;
        let taken = TakenStep {
            samples: u64::from(started.images),
            loss: computed.loss,
            gradient_norm: computed.gradient_norm,
            correct: u64::from(computed.correct),
            learning_rate: started.learning_rate,
            time: StepTime {
                data_secs: started.data_secs,
                forward_secs: secs(computed.forward_nanos),
                backward_secs: secs(computed.backward_nanos),
                optimizer_secs: secs(computed.optimizer_nanos),
                exchange_secs: 0.0,
            },
            rank_secs: vec![],
        };
        self.step_secs = taken.time.total_secs() - taken.time.data_secs;
        if !taken.is_finite() {
            // The card held back this one and those after it.
            self.context.wait()?;
            self.under_way.clear();
        }
        Ok(Some(taken))
    }

    fn wait_for(&self, number: u64) -> Result<ComputedStep> {
        let Some(progress) = &self.progress else { bail!("no step was started") };
        let mut asked = Instant::now();
        loop {
            if let Some(computed) = progress.result(number) {
                return Ok(computed);
            }
            thread::sleep(LOOK_INTERVAL);
            if asked.elapsed() >= QUESTION_INTERVAL {
                asked = Instant::now();
                let idle = self.context.is_idle()?;
                if idle && progress.result(number).is_none() {
                    bail!("the GPU has done all its work and told nothing of step {number}")
                }
            }
        }
    }

    /// As [`super::Engine::evaluate`].
    pub fn evaluate(&self, batch: &Batch, active: &mut ActiveChannels) -> Result<EvaluatedBatch> {
        let classes = self.card.classes();
        let image = batch.size.bytes();
        let at_once = self.card.evaluation_images as usize;
        let mut logits = Vec::with_capacity(batch.labels.len() * classes);
        for images in batch.images.chunks(at_once * image) {
            self.card.x.upload(0, images)?;
            let (of_chunk, active_channels) = self.card.evaluate((images.len() / image) as u32)?;
            logits.extend(of_chunk);
            let mut rest = &active_channels[..];
            for (layer, info) in self.network.layers().iter().enumerate() {
                let (of_layer, others) = rest.split_at(info.channels);
                active.merge(self.network.layers(), layer, of_layer);
                rest = others;
            }
        }
        let of_batch = Tensor::from_slice(&logits, (batch.labels.len(), classes), &Device::Cpu)?;
        let labels = Tensor::from_slice(&batch.labels, batch.labels.len(), &Device::Cpu)?;
        Ok(EvaluatedBatch::of(&of_batch, &labels)?)
    }

    /// What the network is, whatever its weights are by now.
    pub fn described(&self) -> &Network {
        &self.network
    }

    /// As [`super::Engine::network`].
    pub fn network(&self) -> Result<&Network> {
        self.download()?;
        Ok(&self.network)
    }

    pub fn load_weights(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        self.download()?;
        self.network.weights().load_bytes(bytes, file)?;
        self.upload()
    }

    pub fn optimizer_to_safetensors(&self) -> Result<Vec<u8>> {
        self.download()?;
        self.optimizer.to_safetensors()
    }

    pub fn load_optimizer(&mut self, bytes: &[u8], file: &Path) -> Result<()> {
        self.download()?;
        self.optimizer.load(bytes, file)?;
        self.upload()
    }

    /// The optimizer's state: a step count, and two moments of each parameter.
    fn optimizer_state(&self) -> (Var, Vec<[Var; 2]>) {
        let mut state = self.optimizer.state().into_iter().map(|(_, var)| var);
        let steps = state.next().expect("Adam counts its steps");
        let mut moments = vec![];
        while let (Some(first), Some(second)) = (state.next(), state.next()) {
            moments.push([first, second]);
        }
        (steps, moments)
    }

    /// The running estimates: means of all blocks, variances, and counts of batches.
    fn buffers(&self) -> [Vec<&Var>; 3] {
        let buffers = &self.network.weights().buffers;
        ["running_mean", "running_var", "num_batches_tracked"]
            .map(|kind| buffers.iter().filter(|(name, _)| name.ends_with(kind)).map(|(_, var)| var).collect())
    }

    fn counters(&self) -> Result<Counters> {
        let mut counters = [Counters { computed: 0, optimizer_steps: self.uploaded.optimizer_steps }];
        if let Some(progress) = &self.progress {
            progress.counters.download(0, &mut counters)?;
        }
        Ok(counters[0])
    }

    /// What the copies have counted.
    fn counted(&self) -> Result<Counted> {
        let (steps, _) = self.optimizer_state();
        let [_, _, batches] = self.buffers();
        let batches = batches.iter().map(|var| var.to_scalar::<i64>()).collect::<candle_core::Result<_>>()?;
        Ok(Counted { optimizer_steps: steps.to_scalar::<i64>()? as u64, batches })
    }

    /// Gives the card what the copies hold.
    fn upload(&mut self) -> Result<()> {
        let arena = &self.card.arena;
        let parameters = &self.network.weights().parameters;
        let arranged = |vars: Vec<&Var>| -> Result<Vec<f32>> {
            Ok(arena.arrange(vars.into_iter().map(values).collect::<Result<Vec<_>>>()?))
        };
        self.card.parameters.upload(0, &arranged(parameters.iter().map(|(_, var)| var).collect())?)?;
        let (_, moments) = self.optimizer_state();
        self.adam.first_moment.upload(0, &arranged(moments.iter().map(|[first, _]| first).collect())?)?;
        self.adam.second_moment.upload(0, &arranged(moments.iter().map(|[_, second]| second).collect())?)?;
        let [means, variances, _] = self.buffers();
        let running = means.into_iter().chain(variances).map(values).collect::<Result<Vec<_>>>()?.concat();
        self.card.running.upload(0, &running)?;
        self.uploaded = self.counted()?;
        let optimizer_steps = self.uploaded.optimizer_steps;
        if let Some(progress) = &self.progress {
            progress.counters.upload(0, &[Counters { computed: self.started, optimizer_steps }])?;
        }
        self.copies.set(Copies::Current);
        Ok(())
    }

    /// Takes what the card has into the copies, if it has moved on.
    fn download(&self) -> Result<()> {
        debug_assert!(self.under_way.is_empty(), "weights are read when nothing is under way");
        if self.copies.get() == Copies::Current {
            return Ok(());
        }
        let arena = &self.card.arena;
        let mut numbers = vec![0.0; arena.len()];
        let mut restore = |buffer: &crate::cuda::Buffer<f32>, vars: &mut dyn Iterator<Item = &Var>| -> Result<()> {
            buffer.download(0, &mut numbers)?;
            for (parameter, var) in arena.parameters().iter().zip(vars) {
                set(var, parameter.restore(&numbers[parameter.range()]))?;
            }
            Ok(())
        };
        restore(&self.card.parameters, &mut self.network.weights().parameters.iter().map(|(_, var)| var))?;
        let (steps, moments) = self.optimizer_state();
        restore(&self.adam.first_moment, &mut moments.iter().map(|[first, _]| first))?;
        restore(&self.adam.second_moment, &mut moments.iter().map(|[_, second]| second))?;
        let mut running = vec![0.0; self.card.running.len()];
        self.card.running.download(0, &mut running)?;
        let [means, variances, batches] = self.buffers();
        let mut rest = &running[..];
        for var in means.into_iter().chain(variances) {
            let (of_block, others) = rest.split_at(var.elem_count());
            set(var, of_block.to_vec())?;
            rest = others;
        }
        let optimizer_steps = self.counters()?.optimizer_steps;
        let since = optimizer_steps.wrapping_sub(self.uploaded.optimizer_steps) as i64;
        steps.set(&Tensor::new(optimizer_steps as i64, &Device::Cpu)?)?;
        for (var, uploaded) in batches.into_iter().zip(&self.uploaded.batches) {
            var.set(&Tensor::new(uploaded + since, &Device::Cpu)?)?;
        }
        self.copies.set(Copies::Current);
        Ok(())
    }
}

/// Of network and optimizer, for batches of the configured size.
fn buffers(config: &Config, network: &Network, context: &Arc<Context>) -> Result<(CardNetwork, CardAdam)> {
    let batch_size = config.train.batch_size;
    let evaluated = config.train.eval_batch_size.min(EVALUATED_AT_ONCE.max(batch_size));
    let dropout = Dropout::new(config.run.seed, config.model.dropout);
    let card = CardNetwork::new(context, network, dropout, batch_size, evaluated)?;
    let adam = CardAdam::new(context, &config.optimizer, card.arena.len())?;
    Ok((card, adam))
}

fn values(var: &Var) -> Result<Vec<f32>> {
    Ok(var.flatten_all()?.to_vec1()?)
}

fn set(var: &Var, values: Vec<f32>) -> Result<()> {
    Ok(var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?)
}

/// `error`; of memory that does not suffice for training on `data`, with the greatest half of the batch size for which it
/// does. Nothing else of the run is to be on the card.
pub fn with_fitting_batch_size(
    error: anyhow::Error,
    config: &Config,
    data: &Arc<Dataset>,
    context: &Arc<Context>,
) -> anyhow::Error {
    let memory = match error.downcast::<CudaError>() {
        Ok(memory @ CudaError::OutOfMemory { .. }) => Box::new(memory),
        Ok(other) => return other.into(),
        Err(other) => return other,
    };
    let fits = |size: &usize| {
        let mut config = config.clone();
        config.train.batch_size = *size;
        CudaEngine::new(&config, &data.info, context).and_then(|mut engine| engine.prepare(data)).is_ok()
    };
    let batch_size = config.train.batch_size;
    let mut halves = std::iter::successors(Some(batch_size / 2), |size| Some(size / 2)).take_while(|&size| size > 0);
    let advice = match halves.find(fits) {
        Some(size) => format!("train.batch_size = {size} would fit, {batch_size} does not"),
        None => "no batch would fit: another program may be using the GPU".to_owned(),
    };
    CudaError::BatchTooLarge { memory, advice }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AttentionKind, Pool, Precision};
    use crate::cuda::feed::SLOTS;
    use crate::cuda::stand_in::{Built, ORDERS, on_stand_in};
    use crate::cuda::{Buffer, Card};
    use crate::data::info::ImageSize;
    use crate::data::loader::evaluation_batch;
    use crate::data::source::sample::cropped;
    use crate::train::device::Device as Trained;
    use crate::train::engine::Engine;

    fn card(precision: Precision) -> Trained {
        Trained::Cuda(Context::open(Card::find(0).expect("a GPU"), precision).expect("a context"))
    }

    /// As these tests are named.
    const TESTS: &str = "train::engine::cuda::tests::";

    const CIFAR: ImageSize = ImageSize { channels: 3, height: 32, width: 32 };

    fn config(channels: &[usize], attention: AttentionKind, batch_size: usize) -> Config {
        let mut config = Config::default();
        (config.model.channels, config.model.attention, config.model.hidden) = (channels.to_vec(), attention, 21);
        config.train.batch_size = batch_size;
        config
    }

    fn rate(step: u64) -> f64 {
        1e-3 / step as f64
    }

    fn train(engine: &mut Engine, config: &Config, data: &Arc<Dataset>, epochs: u64) -> Vec<TakenStep> {
        let mut taken = vec![];
        for epoch in 1..=epochs {
            let first = taken.len() as u64 + 1;
            engine.begin_epoch(data, EpochPlan::of(config, epoch, 0), first).expect("an epoch");
            while let Some(step) = engine.next_step(u64::MAX, &rate).expect("a step") {
                taken.push(step);
            }
        }
        taken
    }

    /// The networks and images that the kernels are held to the CPU's with: odd sizes, batches that are not full, one channel,
    /// one block, and more channels than a tile is wide.
    fn cases() -> Vec<(Config, Arc<Dataset>)> {
        let size = |channels, height, width| ImageSize { channels, height, width };
        let mut average = config(&[16, 18], AttentionKind::Eca, 4);
        average.model.pool = Pool::Average;
        vec![
            (config(&[4, 6, 8], AttentionKind::None, 5), cropped(13, CIFAR)),
            (config(&[16, 33], AttentionKind::Se, 6), cropped(9, size(3, 13, 18))),
            (average, cropped(7, size(1, 11, 9))),
            (config(&[70], AttentionKind::None, 3), cropped(4, size(3, 7, 6))),
        ]
    }

    fn close(what: &str, card: f64, cpu: f64, tolerance: f64) {
        assert!((card - cpu).abs() <= tolerance * cpu.abs().max(1e-3), "{what}: {card} on the GPU, {cpu} on the CPU");
    }

    #[test]
    fn steps_and_evaluation_are_those_of_the_cpu() {
        let test = format!("{TESTS}steps_and_evaluation_are_those_of_the_cpu");
        on_stand_in(&test, Built::Plain, &ORDERS, || {
            cases().iter().for_each(|(config, data)| is_as_the_cpu(config, data, Precision::F32, [1e-4, 2e-3]));
        });
    }

    #[test]
    fn tensor_cores_come_close() {
        let test = format!("{TESTS}tensor_cores_come_close");
        on_stand_in(&test, Built::Bf16, &ORDERS[2..], || {
            cases().iter().for_each(|(config, data)| is_as_the_cpu(config, data, Precision::Bf16, [0.03, 0.3]));
        });
    }

    /// A card with room for the network and a few batches, but not for the images.
    #[test]
    fn images_that_do_not_fit_are_fed_by_the_host_to_the_same_bits() {
        let test = format!("{TESTS}images_that_do_not_fit_are_fed_by_the_host_to_the_same_bits");
        on_stand_in(&test, Built::Plain, &ORDERS[..1], || {
            let (config, data) = (config(&[3, 4], AttentionKind::None, 2), cropped(203, CIFAR));
            let trained = |device: &Trained| {
                let mut engine = Engine::new(&config, &data.info, device).expect("an engine");
                let losses: Vec<f32> = train(&mut engine, &config, &data, 1).iter().map(|step| step.loss).collect();
                let weights = engine.network().expect("weights").weights().to_safetensors().expect("bytes");
                (losses, weights)
            };
            let whole = card(Precision::F32);
            let Trained::Cuda(context) = &whole else { panic!("a GPU") };
            let on_card = trained(&whole);
            assert_eq!(on_card.0.len(), 102);
            let free = || context.memory().expect("known").0;
            let all = free();
            let engine = Engine::new(&config, &data.info, &whole).expect("an engine");
            let of_engine = all - free();
            drop(engine);
            let of_batches = SLOTS as usize * 2 * CIFAR.bytes() * size_of::<f32>() + 100_000;
            assert!(of_batches < data.in_memory().expect("the sample").len(), "the images would fit");
            let taken = Buffer::<u8>::new(context, all - of_engine - of_batches).expect("room");
            assert!(trained(&whole) == on_card);
            drop(taken);
        });
    }

    /// Within these shares of loss and gradient norm.
    fn is_as_the_cpu(config: &Config, data: &Arc<Dataset>, precision: Precision, [of_loss, of_norm]: [f64; 2]) {
        let [mut card, mut cpu] =
            [card(precision), Trained::CPU].map(|device| Engine::new(config, &data.info, &device).expect("an engine"));
        let [on_card, on_cpu] = [&mut card, &mut cpu].map(|engine| train(engine, config, data, 2));
        assert_eq!(on_card.len(), on_cpu.len());
        let model = &config.model;
        for (step, (card, cpu)) in on_card.iter().zip(&on_cpu).enumerate() {
            close(&format!("{model:?} loss {step}"), card.loss.into(), cpu.loss.into(), of_loss);
            let norms = [card, cpu].map(|step| step.gradient_norm.into());
            close(&format!("{model:?} norm {step}"), norms[0], norms[1], of_norm);
            assert_eq!((card.samples, card.learning_rate), (cpu.samples, cpu.learning_rate));
        }
        let batch = evaluation_batch(data, 0..data.len()).expect("images");
        let mut active = [ActiveChannels::default(), ActiveChannels::default()];
        let on_card = card.evaluate(&batch, &mut active[0]).expect("logits");
        let on_cpu = cpu.evaluate(&batch, &mut active[1]).expect("logits");
        close(&format!("{model:?} evaluated"), on_card.mean_loss.into(), on_cpu.mean_loss.into(), 10.0 * of_loss);
        assert_eq!(active[0], active[1]);
    }
}
