//! A training step as one graph: it is launched as a whole, waits for nothing, and copies nothing. Where the epoch is,
//! counts and learning rates are on the card; results come through a ring in the host's memory.

use std::mem::offset_of;
use std::sync::Arc;

use super::batches::TrainData;
use super::context::Context;
use super::error::CudaError;
use super::feed::SLOTS;
use super::graph::Graph;
use super::kernel::Kernel;
use super::memory::{Buffer, MappedBuffer, Plain};
use super::network::CardNetwork;
use super::record::Numbers;
use super::state::Outcome;
pub use super::state::{Counters, Position};
use crate::config::OptimizerConfig;

/// Lines of the ring: more than steps are ever under way.
const RING: u64 = 64;
/// Elements whose squares a block sums, as in `kernels/optimizer.cuh`.
const NORM_ELEMENTS: usize = 4096;

/// What the card tells of a step: `Result` in `kernels/common.cuh`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ComputedStep {
    computed: u64,
    pub loss: f32,
    pub gradient_norm: f32,
    pub correct: u32,
    pub forward_nanos: u32,
    pub backward_nanos: u32,
    pub optimizer_nanos: u32,
}

// SAFETY: numbers without padding.
unsafe impl Plain for ComputedStep {}

/// All that a step brings to the host.
const _: () = assert!(size_of::<ComputedStep>() == 32);

/// The optimizer's state, in the order of the arena.
pub struct CardAdam {
    pub first_moment: Buffer<f32>,
    pub second_moment: Buffer<f32>,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

impl CardAdam {
    pub fn new(context: &Arc<Context>, config: &OptimizerConfig, elements: usize) -> Result<Self, CudaError> {
        let &OptimizerConfig { beta1, beta2, epsilon, .. } = config;
        let zeros = || Buffer::zeros(context, elements);
        Ok(Self { first_moment: zeros()?, second_moment: zeros()?, beta1, beta2, epsilon })
    }
}

/// What steps need besides network, optimizer and data.
pub struct Progress {
    context: Arc<Context>,
    pub position: Buffer<Position>,
    pub counters: Buffer<Counters>,
    outcome: Buffer<Outcome>,
    /// Of the batches of the plan.
    pub learning_rates: Buffer<f64>,
    /// Sums of squares of parts of the gradient.
    squares: Buffer<f64>,
    ring: MappedBuffer<ComputedStep>,
}

impl Progress {
    /// For epochs of at most `batches`.
    pub fn new(context: &Arc<Context>, batches: usize, elements: usize) -> Result<Self, CudaError> {
        Ok(Self {
            position: Buffer::zeros(context, 1)?,
            counters: Buffer::zeros(context, 1)?,
            outcome: Buffer::zeros(context, 1)?,
            learning_rates: Buffer::zeros(context, batches)?,
            squares: Buffer::zeros(context, elements.div_ceil(NORM_ELEMENTS))?,
            ring: MappedBuffer::zeros(context, RING as usize)?,
            context: Arc::clone(context),
        })
    }

    /// What the card told of step `computed`, counted from 1 as long as this lives; None as long as it is under way.
    pub fn result(&self, computed: u64) -> Option<ComputedStep> {
        let line = (computed % RING) as usize;
        let told: u64 = self.ring.read(line, |line| line.wrapping_byte_add(offset_of!(ComputedStep, computed)).cast());
        // The number is written last, so it is read first.
        std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
        (told == computed).then(|| self.ring.read(line, |line| line))
    }

    /// The graph of a step of `images` images.
    pub fn capture(
        &self,
        network: &CardNetwork,
        adam: &CardAdam,
        data: &TrainData,
        images: u32,
    ) -> Result<Graph, CudaError> {
        Graph::capture(&self.context, || self.queue(network, adam, data, images))
    }

    /// Queues the making of the next batch.
    pub(super) fn queue_batch(&self, network: &CardNetwork, data: &TrainData, images: u32) -> Result<(), CudaError> {
        match data {
            TrainData::OnCard(data) => self
                .context
                .launch(Kernel::LoadBatch, [images, 1, 1])
                .value(data.arguments())
                .buffer(&data.images)
                .buffer(&data.draws)
                .value(network.train_images)
                .buffer(&self.position)
                .buffer(&data.normalised)
                .buffer(&data.scratch)
                .buffer(&network.x)
                .buffer(&network.labels)
                .buffer(&self.outcome)
                .writes("bytes", &data.scratch, 0..images as usize * data.image_bytes())
                .writes("x", &network.x, 0..images as usize * data.image_bytes())
                .writes("labels", &network.labels, 0..images as usize)
                .queue(),
            TrainData::Fed(feed) => {
                let elements = images * feed.image_len as u32;
                self.context
                    .launch_over(Kernel::TakeBatch, elements)
                    .value(elements)
                    .value((feed.batch_size * feed.image_len) as u32)
                    .value(images)
                    .value(feed.batch_size as u32)
                    .value(SLOTS)
                    .buffer(&feed.images)
                    .buffer(&feed.labels)
                    .buffer(&self.position)
                    .buffer(&network.x)
                    .buffer(&network.labels)
                    .buffer(&self.outcome)
                    .writes("x", &network.x, 0..elements as usize)
                    .writes("labels", &network.labels, 0..images as usize)
                    .queue()
            }
        }
    }

    /// Queues a step.
    pub fn queue(
        &self,
        network: &CardNetwork,
        adam: &CardAdam,
        data: &TrainData,
        images: u32,
    ) -> Result<(), CudaError> {
        self.queue_batch(network, data, images)?;
        network.queue_forward(images, &self.position)?;
        network.queue_backward(images, &self.outcome)?;
        let (elements, parts) = (network.arena.len() as u32, self.squares.len() as u32);
        self.context
            .launch(Kernel::SumOfSquares, [parts, 1, 1])
            .value(elements)
            .buffer(&network.gradients)
            .buffer(&self.squares)
            .writes("squares", &self.squares, 0..self.squares.len())
            .queue()?;
        let (losses, correct) = network.judged();
        self.context
            .launch(Kernel::JudgeStep, [1, 1, 1])
            .value(images)
            .buffer(losses)
            .buffer(correct)
            .value(parts)
            .buffer(&self.squares)
            .value([adam.beta1, adam.beta2])
            .buffer(&self.learning_rates)
            .buffer(&self.position)
            .buffer(&self.counters)
            .buffer(&self.outcome)
            // Without the times.
            .writes_numbers("outcome", Numbers::F32, self.outcome.address(), offset_of!(Outcome, began))
            .queue()?;
        self.context
            .launch_over(Kernel::Adam, elements)
            .value(elements)
            .value([(1.0 - adam.beta1) as f32, adam.beta2 as f32, (1.0 - adam.beta2) as f32, adam.epsilon as f32])
            .buffer(&self.outcome)
            .buffer(&network.gradients)
            .buffer(&adam.first_moment)
            .buffer(&adam.second_moment)
            .buffer(&network.parameters)
            .writes("first moment", &adam.first_moment, 0..network.arena.len())
            .writes("second moment", &adam.second_moment, 0..network.arena.len())
            .writes("parameters", &network.parameters, 0..network.arena.len())
            .queue()?;
        self.context
            .launch(Kernel::FinishStep, [1, 1, 1])
            .value(network.of_batch.len() as u32)
            .buffer(&network.of_batch)
            .buffer(&network.running)
            .buffer(&self.outcome)
            .buffer(&self.position)
            .buffer(&self.counters)
            .mapped(&self.ring)
            .writes("running", &network.running, 0..network.running.len())
            .writes("position", &self.position, 0..1)
            .writes("counters", &self.counters, 0..1)
            .queue()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AugmentConfig, ModelConfig, Precision, Sampler};
    use crate::cuda::batches::draws;
    use crate::cuda::card::Card;
    use crate::cuda::network::Dropout;
    use crate::cuda::stand_in::{Built, ORDERS, on_stand_in};
    use crate::data::Dataset;
    use crate::data::info::ImageSize;
    use crate::data::loader::{EpochPlan, train_batches_here};
    use crate::data::source::sample::cropped;
    use crate::model::Network;

    /// The batches of an epoch on the card are those of the host to the bit.
    fn is_made_alike(data: &Arc<Dataset>, augment: AugmentConfig) {
        const BATCH: usize = 10;
        let context = Context::open(Card::find(0).expect("a GPU"), Precision::F32).expect("a context");
        let model = ModelConfig { channels: vec![1], hidden: 1, ..ModelConfig::default() };
        let network = Network::new(&model, &data.info, 0, &candle_core::Device::Cpu).expect("a network");
        let dropout = Dropout::new(0, 0.0);
        let network = CardNetwork::new(&context, &network, dropout, BATCH, BATCH).expect("buffers");
        let there = TrainData::new(&context, data, BATCH).expect("the data on the GPU");
        let TrainData::OnCard(on_card) = &there else { panic!("there is room for the data") };
        let progress = Progress::new(&context, data.len(), 1).expect("buffers");
        let plan = EpochPlan {
            seed: 3,
            epoch: 2,
            batch_size: BATCH,
            shuffle: true,
            sampler: Sampler::Uniform,
            augment,
            image_scale: 1.0,
            first_batch: 1,
        };
        on_card.draws.upload(0, &draws(data, &plan)).expect("draws");
        for (number, batch) in (0..).zip(train_batches_here(Arc::clone(data), plan)) {
            let batch = batch.expect("images");
            progress.position.upload(0, &[Position { number: 1, batch: number, stopped: 0 }]).expect("a position");
            progress.queue_batch(&network, &there, batch.labels.len() as u32).expect("a launch");
            let (mut x, mut labels) = (vec![0.0; batch.images.len()], vec![0; batch.labels.len()]);
            network.x.download(0, &mut x).expect("images");
            network.labels.download(0, &mut labels).expect("labels");
            assert_eq!(labels, batch.labels);
            let different = x.iter().zip(&batch.images).filter(|(card, host)| card.to_bits() != host.to_bits()).count();
            assert_eq!(different, 0, "of {} in batch {number} of {:?}", x.len(), data.info.size());
        }
    }

    #[test]
    fn batches_are_those_of_the_host_to_the_bit() {
        on_stand_in("cuda::step::tests::batches_are_those_of_the_host_to_the_bit", Built::Plain, &ORDERS, || {
            let size = |channels, height, width| ImageSize { channels, height, width };
            let default = AugmentConfig::default;
            is_made_alike(&cropped(143, size(3, 32, 32)), default());
            is_made_alike(&cropped(34, size(1, 28, 28)), default());
            is_made_alike(&cropped(34, size(3, 9, 17)), default());
            let great = AugmentConfig { crop_padding: 40, brightness: 3.0, contrast: 5.0, hue: 0.5, ..default() };
            is_made_alike(&cropped(34, size(3, 32, 32)), AugmentConfig { rotation_degrees: 180.0, ..great });
            is_made_alike(&cropped(34, size(3, 32, 32)), AugmentConfig { enabled: false, ..default() });
            let crop = AugmentConfig { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0, ..default() };
            is_made_alike(&cropped(34, size(3, 32, 32)), AugmentConfig { rotation_degrees: 0.0, ..crop });
        });
    }
}
