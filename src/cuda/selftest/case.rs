//! What the kernels are tried on: small networks, so that it takes a second at most, of sizes that fill no tile.

use std::sync::Arc;

use anyhow::Result;
use candle_core::{Device, Var};
use rand::{Rng, RngCore};

use crate::config::{AttentionKind, AugmentConfig, ModelConfig, OptimizerConfig, Pool, Sampler};
use crate::cuda::batches::{CardDataset, TrainData, draws};
use crate::cuda::context::Context;
use crate::cuda::feed::Feed;
use crate::cuda::kernel::Kernel;
use crate::cuda::network::{CardNetwork, Dropout};
use crate::cuda::record::{Numbers, Written};
use crate::cuda::step::{CardAdam, Counters, Position, Progress};
use crate::data::info::ImageSize;
use crate::data::loader::{EpochPlan, evaluation_batch};
use crate::data::{Dataset, DatasetInfo};
use crate::model::Network;
use crate::random::{Purpose, stream};

const SEED: u64 = 7;
/// The step, and the batch of its epoch: neither is the first.
const STEP: u64 = 3;
const BATCH: u32 = 1;
const LEARNING_RATES: [f64; 2] = [1e-3, 2e-3];
const OPTIMIZER_STEPS: u64 = 5;

pub struct Case {
    pub name: &'static str,
    channels: &'static [usize],
    attention: AttentionKind,
    pool: Pool,
    hidden: usize,
    size: ImageSize,
    batch_size: usize,
    /// Of the batch, which is not full.
    images: u32,
}

/// Together they have two tiles of pixels, outputs, features, images and hidden units, the last of each not full, odd rows
/// and columns that no window of a pool covers, and more images than a block has rows.
pub const CASES: [Case; 4] = [
    Case {
        name: "plain 6-70",
        channels: &[6, 70],
        attention: AttentionKind::None,
        pool: Pool::Flatten,
        hidden: 21,
        size: ImageSize { channels: 3, height: 13, width: 10 },
        batch_size: 7,
        images: 5,
    },
    Case {
        name: "se 16-33",
        channels: &[16, 33],
        attention: AttentionKind::Se,
        pool: Pool::Flatten,
        hidden: 19,
        size: ImageSize { channels: 3, height: 9, width: 14 },
        batch_size: 6,
        images: 4,
    },
    Case {
        name: "eca 16-18, average pool",
        channels: &[16, 18],
        attention: AttentionKind::Eca,
        pool: Pool::Average,
        hidden: 20,
        size: ImageSize { channels: 1, height: 11, width: 9 },
        batch_size: 5,
        images: 4,
    },
    Case {
        name: "plain 3, 67 images",
        channels: &[3],
        attention: AttentionKind::None,
        pool: Pool::Flatten,
        hidden: 70,
        size: ImageSize { channels: 1, height: 5, width: 4 },
        batch_size: 68,
        images: 67,
    },
];

impl Case {
    /// All that kernels write in a training step, in an evaluation of its images, and for a batch of the host's, in order.
    pub fn run(&self, context: &Arc<Context>, number: u64) -> Result<Vec<Written>> {
        let dataset = self.dataset(number);
        let model = ModelConfig {
            channels: self.channels.to_vec(),
            attention: self.attention,
            pool: self.pool,
            hidden: self.hidden,
            ..ModelConfig::default()
        };
        let network = Network::new(&model, &dataset.info, SEED, &Device::Cpu)?;
        // A half of them is dropped.
        let dropout = Dropout::new(SEED, 0.5);
        let card = CardNetwork::new(context, &network, dropout, self.batch_size, self.batch_size)?;
        let adam = CardAdam::new(context, &OptimizerConfig::default(), card.arena.len())?;
        fill(&card, &adam, &network, number)?;

        let on_card = CardDataset::new(context, &dataset, self.batch_size)?;
        let plan = EpochPlan {
            seed: SEED,
            epoch: 1,
            batch_size: self.batch_size,
            shuffle: true,
            sampler: Sampler::Uniform,
            augment: AugmentConfig::default(),
            image_scale: 1.0,
            first_batch: 0,
        };
        on_card.draws.upload(0, &draws(&dataset, &plan))?;
        let data = TrainData::OnCard(on_card);
        let progress = Progress::new(context, LEARNING_RATES.len(), card.arena.len())?;
        progress.learning_rates.upload(0, &LEARNING_RATES)?;
        progress.position.upload(0, &[Position { number: STEP, batch: BATCH, stopped: 0 }])?;
        progress.counters.upload(0, &[Counters { computed: 0, optimizer_steps: OPTIMIZER_STEPS }])?;

        let mut written = context.record(|| progress.queue(&card, &adam, &data, self.images))?;
        context.wait()?;
        written.push(result(&progress));
        // Of the same images, with the weights as they are now.
        written.extend(context.record(|| card.evaluate(self.images).map(|_| ()))?);
        // The next batch, as the host makes it.
        let mut feed = Feed::new(context, self.batch_size, self.size.bytes())?;
        feed.queue(BATCH as usize + 1, &evaluation_batch(&dataset, 0..self.images as usize)?)?;
        let fed = TrainData::Fed(feed);
        written.extend(context.record(|| progress.queue_batch(&card, &fed, self.images))?);
        Ok(written)
    }

    /// Images of noise, with bands of one colour, where maxima tie.
    fn dataset(&self, number: u64) -> Arc<Dataset> {
        let ImageSize { channels, height, width } = self.size;
        let samples = self.batch_size + self.images as usize;
        let mut images = vec![0; samples * self.size.bytes()];
        stream(SEED, Purpose::Augment, 1, number).fill_bytes(&mut images);
        for band in images.chunks_mut(64).skip(3).step_by(5) {
            band.fill(160);
        }
        let cifar = DatasetInfo::cifar10();
        let labels = (0..samples).map(|sample| (sample * 3 % cifar.classes.len()) as u16).collect();
        let (mean, std) = (cifar.mean[..channels].to_vec(), cifar.std[..channels].to_vec());
        let info = DatasetInfo { channels, height, width, mean, std, ..cifar };
        Arc::new(Dataset::from_parts(Arc::new(info), images, labels))
    }
}

/// Weights, moments and running estimates as if it had trained: none of them is 0 or 1.
fn fill(card: &CardNetwork, adam: &CardAdam, network: &Network, number: u64) -> Result<()> {
    let mut random = stream(SEED, Purpose::InitialiseWeights, 1, number);
    let mut noise = move |scale: f32| (random.random::<f32>() - 0.5) * scale;
    let parameters = &network.weights().parameters;
    let values = |(_, var): &(String, Var)| -> Result<Vec<f32>> { Ok(var.flatten_all()?.to_vec1()?) };
    let initial = parameters.iter().map(values).collect::<Result<Vec<_>>>()?;
    let mut around = |scale: f32, offset: fn(f32) -> f32| {
        let near = |values: &Vec<f32>| values.iter().map(|value| offset(*value) + noise(scale)).collect::<Vec<f32>>();
        initial.iter().map(near).collect::<Vec<_>>()
    };
    card.parameters.upload(0, &card.arena.arrange(around(0.2, |value| value)))?;
    adam.first_moment.upload(0, &card.arena.arrange(around(0.01, |_| 0.0)))?;
    adam.second_moment.upload(0, &card.arena.arrange(around(0.001, |_| 0.001)))?;
    let channels = card.channels();
    let running: Vec<f32> =
        (0..2 * channels).map(|index| if index < channels { 0.1 } else { 0.8 } + noise(0.2)).collect();
    Ok(card.running.upload(0, &running)?)
}

/// What the host is told of the step, without the times.
fn result(progress: &Progress) -> Written {
    // Nothing, where nothing was told.
    let words = progress.result(1).map(|told| [told.loss.to_bits(), told.gradient_norm.to_bits(), told.correct]);
    let bytes = words.into_iter().flatten().flat_map(u32::to_le_bytes).collect();
    Written { kernel: Kernel::FinishStep, what: "result", numbers: Numbers::F32, bytes }
}
