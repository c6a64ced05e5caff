//! The network on the card: its buffers, made once, and the kernels of its passes in their order.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, bail};

use super::arena::Arena;
use super::context::Context;
use super::error::CudaError;
use super::kernel::{Kernel, LANES};
use super::launch::Launch;
use super::memory::{Buffer, Plain};
use super::shape::{BlockArguments, HeadArguments};
use super::state::{Outcome, Position};
use crate::config::{AttentionKind, ModelConfig, NetworkKind, Pool};
use crate::model::{BlockShape, HeadShape, Network, NetworkShape};
use crate::ops::DropoutRule;
use crate::random::Purpose;

/// Rows, columns and terms of a tile of a product, as in `kernels/product.cuh`.
pub(super) const TILE: u32 = 64;
const DEPTH: u32 = 16;
/// Blocks that a product is to have at least, if its terms can be divided. It is not the card's number of multiprocessors,
/// so that every card adds in the same order.
const LEAST_BLOCKS: u32 = 256;
/// Elements that an index of a kernel counts.
const MOST_ELEMENTS: u64 = 1 << 31;

/// # Errors
/// The kernels do not have the network, its pool or its attention.
pub fn check_network(config: &ModelConfig) -> Result<()> {
    if config.network != NetworkKind::Cnn {
        bail!("a GPU does not train the network {} yet; take --device cpu", <&str>::from(config.network))
    }
    if config.pool == Pool::Max {
        bail!("a GPU has the pools flatten and average, and not yet max; take --device cpu")
    }
    match config.attention {
        AttentionKind::None | AttentionKind::Se | AttentionKind::Eca => Ok(()),
        AttentionKind::Spatial | AttentionKind::Cbam | AttentionKind::NonLocal => bail!(
            "a GPU trains attention of the kinds none, se and eca, and not yet {}; take --device cpu",
            <&str>::from(config.attention)
        ),
    }
}

/// Where the numbers of a block's parameters are in the arena.
#[derive(Clone, Copy, Debug)]
struct BlockParameters {
    conv_weight: usize,
    conv_bias: usize,
    norm_weight: usize,
    norm_bias: usize,
    gates: GateParameters,
}

#[derive(Clone, Copy, Debug)]
enum GateParameters {
    None,
    SqueezeExcitation { reduce: usize, expand: usize, squeezed: u32 },
    Efficient { kernel: usize, taps: u32 },
}

impl GateParameters {
    fn squeezed(self) -> u32 {
        if let Self::SqueezeExcitation { squeezed, .. } = self { squeezed } else { 0 }
    }
}

struct HeadParameters {
    hidden_weight: usize,
    hidden_bias: usize,
    output_weight: usize,
    output_bias: usize,
}

/// As `GateWeights` in `kernels/gates.cuh`.
#[derive(Clone, Copy)]
#[repr(C)]
struct GateWeights {
    reduce: u64,
    expand: u64,
    kernel: u64,
    squeezed: u32,
    taps: u32,
}

// SAFETY: numbers without padding.
unsafe impl Plain for GateWeights {}

/// As `Dropout` in `kernels/head.cuh`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Dropout {
    seed: u64,
    purpose: u64,
    threshold: u64,
    kept: f32,
    padding: u32,
}

// SAFETY: numbers; the padding is a field.
unsafe impl Plain for Dropout {}

impl Dropout {
    /// As [`crate::ops::dropout`] drops in a run of that seed.
    pub fn new(seed: u64, probability: f32) -> Self {
        let DropoutRule { threshold, kept } = DropoutRule::new(probability);
        Self { seed, purpose: Purpose::Dropout as u64, threshold, kept, padding: 0 }
    }
}

/// A block's buffers. Feature maps are (N, H, W, C).
struct Block {
    shape: BlockShape,
    parameters: BlockParameters,
    /// Of its channels among those of all blocks.
    first_channel: usize,
    /// The convolution's output.
    y: Buffer<f32>,
    /// Of the tiles of pixels: mean of each channel, and the sum of squared deviations.
    tile_means: Buffer<f32>,
    tile_squares: Buffer<f32>,
    mean: Buffer<f32>,
    scale: Buffer<f32>,
    inverse_deviation: Buffer<f64>,
    /// The block's output, and the positions of the maxima.
    out: Buffer<f32>,
    positions: Buffer<u8>,
    d_out: Buffer<f32>,
    /// Of each image.
    plain: Buffer<f32>,
    with_centred: Buffer<f32>,
    slope: Buffer<f32>,
    offset: Buffer<f32>,
    gates: Option<Gates>,
}

/// Of each image: (N, C), but for the squeezed (N, S).
struct Gates {
    means: Buffer<f32>,
    counts: Buffer<f32>,
    centred: Buffer<f32>,
    squeezed: Buffer<f32>,
    gates: Buffer<f32>,
    slopes: Buffer<f32>,
    d_excited: Buffer<f32>,
    d_squeezed: Buffer<f32>,
    shares: Buffer<f32>,
}

/// The head's buffers.
struct Head {
    shape: HeadShape,
    parameters: HeadParameters,
    /// With an average pool: the means, and their gradient.
    averages: Option<[Buffer<f32>; 2]>,
    partial: Buffer<f32>,
    hidden: Buffer<f32>,
    factors: Buffer<f32>,
    d_hidden: Buffer<f32>,
    logits: Buffer<f32>,
    d_logits: Buffer<f32>,
    losses: Buffer<f64>,
    correct: Buffer<u32>,
}

/// How a batch goes through the network, as far as the kernels differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Train,
    Evaluate,
}

pub struct CardNetwork {
    context: Arc<Context>,
    /// At most so many images train and are evaluated at once.
    pub train_images: u32,
    pub evaluation_images: u32,
    blocks: Vec<Block>,
    head: Head,
    dropout: Dropout,
    pub arena: Arena,
    pub parameters: Buffer<f32>,
    pub gradients: Buffer<f32>,
    /// The running estimates: means of all blocks' channels, then variances; and those of the last batch.
    pub running: Buffer<f32>,
    pub of_batch: Buffer<f32>,
    /// The normalised images.
    pub x: Buffer<f32>,
    pub labels: Buffer<u32>,
    /// The gradient of the convolution's output of the block that is at work, and parts of the gradient of its weight.
    d_y: Buffer<f32>,
    weight_partial: Buffer<f32>,
    active: Buffer<u32>,
}

impl CardNetwork {
    /// Buffers for a network whose weights are not uploaded yet.
    ///
    /// # Errors
    /// The kernels have no such attention, a batch has too many elements, or the card has no room.
    pub fn new(
        context: &Arc<Context>,
        network: &Network,
        dropout: Dropout,
        train_images: usize,
        evaluation_images: usize,
    ) -> Result<Self> {
        let NetworkShape::Cnn(shape) = network.shape() else {
            bail!("a GPU does not train the network {}", network.summary())
        };
        let images = train_images.max(evaluation_images);
        let widest = shape.blocks().iter().map(|block| block.positions() * block.inputs.max(block.outputs)).max();
        let widest = widest.unwrap_or(0).max(shape.head().features).max(shape.head().hidden).max(shape.head().classes);
        if images as u64 * widest as u64 >= MOST_ELEMENTS {
            bail!("batches of {images} images have more than 2^31 numbers in a layer: a GPU takes smaller ones")
        }
        let arena = Arena::new(network, shape.head());
        let floats = |len: usize| Buffer::<f32>::new(context, len);
        let mut blocks = Vec::new();
        let mut first_channel = 0;
        for &block in shape.blocks() {
            blocks.push(Block::new(context, block, &arena, first_channel, train_images, images)?);
            first_channel += block.outputs;
        }
        let head = Head::new(context, shape.head(), &arena, train_images, images)?;
        let first = &shape.blocks()[0];
        let of_outputs = shape.blocks().iter().map(|block| train_images * block.positions() * block.outputs).max();
        let parts = blocks.iter().map(|block| weight_parts(&block.shape, train_images as u32));
        let of_parts = parts.map(|parts| parts.count as usize * parts.elements as usize).max();
        Ok(Self {
            train_images: train_images as u32,
            evaluation_images: evaluation_images as u32,
            dropout,
            parameters: Buffer::zeros(context, arena.len())?,
            // The gradients of the convolutions' biases are exactly 0, and are never written.
            gradients: Buffer::zeros(context, arena.len())?,
            running: Buffer::zeros(context, 2 * first_channel)?,
            of_batch: Buffer::zeros(context, 2 * first_channel)?,
            x: floats(images * first.positions() * first.inputs)?,
            labels: Buffer::zeros(context, train_images)?,
            d_y: floats(of_outputs.unwrap_or(0))?,
            weight_partial: floats(of_parts.unwrap_or(0))?,
            active: Buffer::zeros(context, first_channel)?,
            context: Arc::clone(context),
            blocks,
            head,
            arena,
        })
    }

    pub fn classes(&self) -> usize {
        self.head.shape.classes
    }

    /// Channels of all blocks.
    pub fn channels(&self) -> usize {
        self.of_batch.len() / 2
    }

    /// The losses (N), as f64, and the correct images of the last training batch.
    pub fn judged(&self) -> (&Buffer<f64>, &Buffer<u32>) {
        (&self.head.losses, &self.head.correct)
    }

    /// Queues the forward pass of a training batch in `x` and `labels`, to its losses and their gradient by the logits.
    pub fn queue_forward(&self, images: u32, position: &Buffer<Position>) -> Result<(), CudaError> {
        self.queue_blocks(images, Pass::Train)?;
        self.queue_head(images, Some(position))?;
        let (head, count) = (&self.head, images as usize);
        self.launch(Kernel::CrossEntropy, [images, 1, 1])
            .value(head.arguments(images))
            .buffer(&head.logits)
            .buffer(&self.labels)
            .buffer(&head.losses)
            .buffer(&head.correct)
            .buffer(&head.d_logits)
            .writes("losses", &head.losses, 0..count)
            .writes("correct", &head.correct, 0..count)
            .writes("d_logits", &head.d_logits, 0..count * head.shape.classes)
            .queue()
    }

    /// Queues the gradients of all parameters. `outcome` is told when it begins.
    pub fn queue_backward(&self, images: u32, outcome: &Buffer<Outcome>) -> Result<(), CudaError> {
        self.queue_head_gradients(images, outcome)?;
        for number in (0..self.blocks.len()).rev() {
            self.queue_block_gradients(number, images)?;
        }
        Ok(())
    }

    /// The logits (N, classes) of the images in `x`, in evaluation mode; and of each channel of all blocks whether it was
    /// active.
    pub fn evaluate(&self, images: u32) -> Result<(Vec<f32>, Vec<bool>), CudaError> {
        self.active.upload(0, &vec![0; self.active.len()])?;
        self.queue_blocks(images, Pass::Evaluate)?;
        self.queue_head(images, None)?;
        let mut logits = vec![0.0; images as usize * self.head.shape.classes];
        self.head.logits.download(0, &mut logits)?;
        let mut active = vec![0; self.active.len()];
        self.active.download(0, &mut active)?;
        Ok((logits, active.into_iter().map(|active| active > 0).collect()))
    }

    fn launch(&self, kernel: Kernel, grid: [u32; 3]) -> Launch<'_> {
        self.context.launch(kernel, grid)
    }

    /// Mean, scale and shift, of each channel: of the batch or running.
    fn normalisation(&self, block: &Block, pass: Pass) -> [u64; 3] {
        let mean = match pass {
            Pass::Train => block.mean.address(),
            Pass::Evaluate => self.running.address_of(block.first_channel),
        };
        [mean, block.scale.address(), self.parameters.address_of(block.parameters.norm_bias)]
    }

    fn gate_weights(&self, block: &Block) -> GateWeights {
        let none = GateWeights { reduce: 0, expand: 0, kernel: 0, squeezed: 0, taps: 0 };
        let address = |first| self.parameters.address_of(first);
        match block.parameters.gates {
            GateParameters::None => none,
            GateParameters::SqueezeExcitation { reduce, expand, squeezed } => {
                GateWeights { reduce: address(reduce), expand: address(expand), squeezed, ..none }
            }
            GateParameters::Efficient { kernel, taps } => GateWeights { kernel: address(kernel), taps, ..none },
        }
    }

    fn queue_blocks(&self, images: u32, pass: Pass) -> Result<(), CudaError> {
        let mut x = &self.x;
        for block in &self.blocks {
            self.queue_block(block, x, images, pass)?;
            x = &block.out;
        }
        Ok(())
    }

    fn queue_block(&self, block: &Block, x: &Buffer<f32>, images: u32, pass: Pass) -> Result<(), CudaError> {
        let shape = block.arguments(images);
        let groups = shape.outputs.div_ceil(LANES);
        let (channels, outputs) = (self.channels(), block.shape.outputs);
        let of_images = images as usize * outputs;
        let pooled = of_images * shape.pooled_area as usize;
        let tiles = shape.pixels.div_ceil(TILE);
        self.launch(Kernel::ConvForward, [tiles, shape.outputs.div_ceil(TILE), 1])
            .value(shape)
            .buffer(x)
            .part(&self.parameters, block.parameters.conv_weight)
            .part(&self.parameters, block.parameters.conv_bias)
            .buffer(&block.y)
            .buffer(&block.tile_means)
            .buffer(&block.tile_squares)
            .writes("y", &block.y, 0..outputs * shape.pixels as usize)
            .writes("tile means", &block.tile_means, 0..outputs * tiles as usize)
            .writes("tile squares", &block.tile_squares, 0..outputs * tiles as usize)
            .queue()?;
        match pass {
            Pass::Train => self
                .launch(Kernel::MergeStatistics, [groups, 1, 1])
                .value(shape)
                .buffer(&block.tile_means)
                .buffer(&block.tile_squares)
                .part(&self.parameters, block.parameters.norm_weight)
                .buffer(&block.mean)
                .buffer(&block.scale)
                .buffer(&block.inverse_deviation)
                .part(&self.of_batch, block.first_channel)
                .part(&self.of_batch, channels + block.first_channel)
                .writes("mean", &block.mean, 0..outputs)
                .writes("scale", &block.scale, 0..outputs)
                .writes("inverse deviation", &block.inverse_deviation, 0..outputs)
                .writes("batch mean", &self.of_batch, block.channel_range(0))
                .writes("batch variance", &self.of_batch, block.channel_range(channels))
                .queue()?,
            Pass::Evaluate => self
                .context
                .launch_over(Kernel::RunningScale, shape.outputs)
                .value(shape.outputs)
                .part(&self.parameters, block.parameters.norm_weight)
                .part(&self.running, channels + block.first_channel)
                .buffer(&block.scale)
                .writes("scale", &block.scale, 0..outputs)
                .queue()?,
        }
        let normalisation = self.normalisation(block, pass);
        self.context
            .launch_over(Kernel::NormaliseAndPool, images * shape.pooled_area * shape.outputs)
            .value(shape)
            .buffer(&block.y)
            .value(normalisation)
            .buffer(&block.out)
            .buffer(&block.positions)
            .writes("out", &block.out, 0..pooled)
            .writes("positions", &block.positions, 0..pooled)
            .queue()?;
        if pass == Pass::Evaluate {
            // Before the gates, which are positive.
            self.launch(Kernel::MarkActive, [images, groups, 1])
                .value(shape)
                .buffer(&block.out)
                .part(&self.active, block.first_channel)
                .writes("active", &self.active, block.channel_range(0))
                .queue()?;
        }
        let Some(gates) = &block.gates else { return Ok(()) };
        self.launch(Kernel::ActivatedSums, [images, groups, 1])
            .value(shape)
            .buffer(&block.y)
            .value(normalisation)
            .value(gates.values())
            .writes("means", &gates.means, 0..of_images)
            .writes("counts", &gates.counts, 0..of_images)
            .writes("centred", &gates.centred, 0..of_images)
            .queue()?;
        self.launch(Kernel::ApplyGates, [images, 1, 1])
            .value(shape)
            .value(self.gate_weights(block))
            .value(gates.values())
            .buffer(&block.out)
            .writes("squeezed", &gates.squeezed, 0..images as usize * block.parameters.gates.squeezed() as usize)
            .writes("gates", &gates.gates, 0..of_images)
            .writes("slopes", &gates.slopes, 0..of_images)
            .writes("out", &block.out, 0..pooled)
            .queue()
    }

    /// What the head takes: the last feature map, or its averages.
    fn features(&self) -> &Buffer<f32> {
        match &self.head.averages {
            Some([means, _]) => means,
            None => &self.last_block().out,
        }
    }

    fn last_block(&self) -> &Block {
        self.blocks.last().expect("a network has a block at least")
    }

    /// To the logits; drops units where the position of a training step is given.
    fn queue_head(&self, images: u32, position: Option<&Buffer<Position>>) -> Result<(), CudaError> {
        let (head, shape) = (&self.head, self.head.arguments(images));
        if let Some([means, _]) = &head.averages {
            let last = self.last_block().arguments(images);
            self.context
                .launch_over(Kernel::AveragePositions, images * last.outputs)
                .value(images)
                .value(last.pooled_area)
                .value(last.outputs)
                .buffer(&self.last_block().out)
                .buffer(means)
                .writes("means", means, 0..images as usize * head.shape.features)
                .queue()?;
        }
        let parts = hidden_parts(&head.shape);
        let units = images as usize * head.shape.hidden;
        self.launch(Kernel::HiddenPartial, [images.div_ceil(TILE), shape.hidden.div_ceil(TILE), parts])
            .value(shape)
            .buffer(self.features())
            .part(&self.parameters, head.parameters.hidden_weight)
            .buffer(&head.partial)
            .writes("partial", &head.partial, 0..parts as usize * units)
            .queue()?;
        let dropout = if position.is_some() { self.dropout } else { Dropout { threshold: 0, ..self.dropout } };
        self.context
            .launch_over(Kernel::HiddenLayer, images * shape.hidden)
            .value(shape)
            .value(parts)
            .buffer(&head.partial)
            .part(&self.parameters, head.parameters.hidden_bias)
            .value(dropout)
            .value(position.map_or(0, Buffer::address))
            .buffer(&head.hidden)
            .buffer(&head.factors)
            .writes("hidden", &head.hidden, 0..units)
            .writes("factors", &head.factors, 0..units)
            .queue()?;
        self.launch(Kernel::OutputLayer, [images, 1, 1])
            .value(shape)
            .buffer(&head.hidden)
            .part(&self.parameters, head.parameters.output_weight)
            .part(&self.parameters, head.parameters.output_bias)
            .buffer(&head.logits)
            .writes("logits", &head.logits, 0..images as usize * head.shape.classes)
            .queue()
    }

    fn queue_head_gradients(&self, images: u32, outcome: &Buffer<Outcome>) -> Result<(), CudaError> {
        let (head, shape, last) = (&self.head, self.head.arguments(images), self.last_block());
        let (HeadShape { features, hidden, classes, .. }, count) = (head.shape, images as usize);
        self.context
            .launch_over(Kernel::OutputLayerGradient, shape.classes * (shape.hidden + 1))
            .value(shape)
            .buffer(&head.d_logits)
            .buffer(&head.hidden)
            .part(&self.gradients, head.parameters.output_weight)
            .part(&self.gradients, head.parameters.output_bias)
            .buffer(outcome)
            .writes("d_weight", &self.gradients, region(head.parameters.output_weight, classes * hidden))
            .writes("d_bias", &self.gradients, region(head.parameters.output_bias, classes))
            .queue()?;
        self.context
            .launch_over(Kernel::HiddenGradient, images * shape.hidden)
            .value(shape)
            .buffer(&head.d_logits)
            .part(&self.parameters, head.parameters.output_weight)
            .buffer(&head.factors)
            .buffer(&head.d_hidden)
            .writes("d_hidden", &head.d_hidden, 0..count * hidden)
            .queue()?;
        self.launch(Kernel::HiddenWeightGradient, [shape.hidden.div_ceil(TILE), shape.features.div_ceil(TILE), 1])
            .value(shape)
            .buffer(&head.d_hidden)
            .buffer(self.features())
            .part(&self.gradients, head.parameters.hidden_weight)
            .part(&self.gradients, head.parameters.hidden_bias)
            .writes("d_weight", &self.gradients, region(head.parameters.hidden_weight, hidden * features))
            .writes("d_bias", &self.gradients, region(head.parameters.hidden_bias, hidden))
            .queue()?;
        let d_features = head.averages.as_ref().map_or(&last.d_out, |[_, gradient]| gradient);
        self.launch(Kernel::FeatureGradient, [images.div_ceil(TILE), shape.features.div_ceil(TILE), 1])
            .value(shape)
            .buffer(&head.d_hidden)
            .part(&self.parameters, head.parameters.hidden_weight)
            .buffer(d_features)
            .writes("d_features", d_features, 0..count * features)
            .queue()?;
        if head.averages.is_none() {
            return Ok(());
        }
        let last_shape = last.arguments(images);
        self.context
            .launch_over(Kernel::AveragePositionsGradient, images * last_shape.pooled_area * last_shape.outputs)
            .value(images)
            .value(last_shape.pooled_area)
            .value(last_shape.outputs)
            .buffer(d_features)
            .buffer(&last.d_out)
            .writes("d_x", &last.d_out, 0..count * features * last_shape.pooled_area as usize)
            .queue()
    }

    /// From the gradient of the block's output to those of its parameters and of its input.
    fn queue_block_gradients(&self, number: usize, images: u32) -> Result<(), CudaError> {
        let block = &self.blocks[number];
        let shape = block.arguments(images);
        let normalisation = self.normalisation(block, Pass::Train);
        let groups = shape.outputs.div_ceil(LANES);
        let outputs = block.shape.outputs;
        let of_images = images as usize * outputs;
        self.launch(Kernel::GradientSums, [images, groups, 1])
            .value(shape)
            .buffer(&block.y)
            .buffer(&block.mean)
            .buffer(&block.positions)
            .buffer(&block.d_out)
            .buffer(&block.plain)
            .buffer(&block.with_centred)
            .writes("plain", &block.plain, 0..of_images)
            .writes("with centred", &block.with_centred, 0..of_images)
            .queue()?;
        if let Some(gates) = &block.gates {
            self.queue_gate_gradients(block, gates, images)?;
        }
        self.launch(Kernel::NormalisationGradient, [groups, 1, 1])
            .value(shape)
            .buffer(&block.plain)
            .buffer(&block.with_centred)
            .part(&self.parameters, block.parameters.norm_weight)
            .buffer(&block.inverse_deviation)
            .buffer(&block.slope)
            .buffer(&block.offset)
            .part(&self.gradients, block.parameters.norm_weight)
            .part(&self.gradients, block.parameters.norm_bias)
            .writes("slope", &block.slope, 0..outputs)
            .writes("offset", &block.offset, 0..outputs)
            .writes("d_weight", &self.gradients, region(block.parameters.norm_weight, outputs))
            .writes("d_bias", &self.gradients, region(block.parameters.norm_bias, outputs))
            .queue()?;
        let gates = block.gates.as_ref().map_or([0, 0], |gates| [gates.gates.address(), gates.shares.address()]);
        self.context
            .launch_over(Kernel::ConvOutputGradient, shape.pixels * shape.outputs)
            .value(shape)
            .buffer(&block.y)
            .value(normalisation)
            .value([block.slope.address(), block.offset.address()])
            .value(gates)
            .buffer(&block.positions)
            .buffer(&block.d_out)
            .buffer(&self.d_y)
            .writes("d_y", &self.d_y, 0..outputs * shape.pixels as usize)
            .queue()?;
        let x = if number == 0 { &self.x } else { &self.blocks[number - 1].out };
        let parts = weight_parts(&block.shape, images);
        self.launch(Kernel::ConvWeightGradient, [parts.rows.div_ceil(TILE), shape.outputs.div_ceil(TILE), parts.count])
            .value(shape)
            .buffer(x)
            .buffer(&self.d_y)
            .buffer(&self.weight_partial)
            .writes("partial", &self.weight_partial, 0..(parts.count * parts.elements) as usize)
            .queue()?;
        self.context
            .launch_over(Kernel::SumParts, parts.elements)
            .value(parts.elements)
            .value(parts.count)
            .buffer(&self.weight_partial)
            .part(&self.gradients, block.parameters.conv_weight)
            .writes("d_weight", &self.gradients, region(block.parameters.conv_weight, parts.elements as usize))
            .queue()?;
        if number == 0 {
            return Ok(());
        }
        self.launch(Kernel::ConvInputGradient, [shape.pixels.div_ceil(TILE), shape.inputs.div_ceil(TILE), 1])
            .value(shape)
            .buffer(&self.d_y)
            .part(&self.parameters, block.parameters.conv_weight)
            .buffer(&self.blocks[number - 1].d_out)
            .writes("d_x", &self.blocks[number - 1].d_out, 0..(shape.pixels * shape.inputs) as usize)
            .queue()
    }

    fn queue_gate_gradients(&self, block: &Block, gates: &Gates, images: u32) -> Result<(), CudaError> {
        let (shape, outputs) = (block.arguments(images), block.shape.outputs);
        let of_images = images as usize * outputs;
        self.launch(Kernel::GateGradients, [images, 1, 1])
            .value(shape)
            .value(self.normalisation(block, Pass::Train))
            .value(self.gate_weights(block))
            .value(gates.values())
            .buffer(&block.plain)
            .buffer(&block.with_centred)
            .value(gates.gradients())
            .writes("d_excited", &gates.d_excited, 0..of_images)
            .writes("d_squeezed", &gates.d_squeezed, 0..images as usize * block.parameters.gates.squeezed() as usize)
            .writes("shares", &gates.shares, 0..of_images)
            .writes("plain", &block.plain, 0..of_images)
            .writes("with centred", &block.with_centred, 0..of_images)
            .queue()?;
        match block.parameters.gates {
            GateParameters::None => Ok(()),
            GateParameters::SqueezeExcitation { reduce, expand, squeezed } => self
                .context
                .launch_over(Kernel::SqueezeExciteGradient, 2 * squeezed * shape.outputs)
                .value(shape)
                .value(squeezed)
                .value(gates.values())
                .value(gates.gradients())
                .part(&self.gradients, reduce)
                .part(&self.gradients, expand)
                .writes("d_reduce", &self.gradients, region(reduce, squeezed as usize * outputs))
                .writes("d_expand", &self.gradients, region(expand, squeezed as usize * outputs))
                .queue(),
            GateParameters::Efficient { kernel, taps } => self
                .launch(Kernel::EfficientGradient, [taps, 1, 1])
                .value(shape)
                .value(taps)
                .value(gates.values())
                .value(gates.gradients())
                .part(&self.gradients, kernel)
                .writes("d_kernel", &self.gradients, region(kernel, taps as usize))
                .queue(),
        }
    }
}

/// How the gradient of a convolution's weight is divided.
pub(super) struct WeightParts {
    rows: u32,
    elements: u32,
    pub(super) count: u32,
}

impl Block {
    fn new(
        context: &Arc<Context>,
        shape: BlockShape,
        arena: &Arena,
        first_channel: usize,
        train_images: usize,
        images: usize,
    ) -> Result<Self> {
        let parameters = BlockParameters::new(&shape, arena)?;
        let (channels, pixels) = (shape.outputs, images * shape.positions());
        let pooled = (shape.height / 2) * (shape.width / 2) * channels;
        let floats = |len: usize| Buffer::<f32>::new(context, len);
        let tiles = pixels.div_ceil(TILE as usize);
        let gates = match parameters.gates {
            GateParameters::None => None,
            gates => Some(Gates::new(context, images, channels, gates.squeezed() as usize)?),
        };
        Ok(Self {
            shape,
            parameters,
            first_channel,
            y: floats(pixels * channels)?,
            tile_means: floats(tiles * channels)?,
            tile_squares: floats(tiles * channels)?,
            mean: floats(channels)?,
            scale: floats(channels)?,
            inverse_deviation: Buffer::new(context, channels)?,
            out: floats(images * pooled)?,
            positions: Buffer::new(context, images * pooled)?,
            d_out: floats(train_images * pooled)?,
            plain: floats(train_images * channels)?,
            with_centred: floats(train_images * channels)?,
            slope: floats(channels)?,
            offset: floats(channels)?,
            gates,
        })
    }

    fn arguments(&self, images: u32) -> BlockArguments {
        arguments(&self.shape, images)
    }

    /// Its channels among those of all blocks, behind `before` others.
    fn channel_range(&self, before: usize) -> Range<usize> {
        region(before + self.first_channel, self.shape.outputs)
    }
}

fn arguments(shape: &BlockShape, images: u32) -> BlockArguments {
    let &BlockShape { inputs, outputs, height, width, .. } = shape;
    BlockArguments::new(images, [height as u32, width as u32], inputs as u32, outputs as u32)
}

/// So that there are enough blocks, and no part without pixels to sum over.
pub(super) fn weight_parts(shape: &BlockShape, images: u32) -> WeightParts {
    let shape = arguments(shape, images);
    let rows = 9 * shape.inputs;
    let tiles = rows.div_ceil(TILE) * shape.outputs.div_ceil(TILE);
    let strips = shape.pixels.div_ceil(DEPTH);
    WeightParts { rows, elements: rows * shape.outputs, count: (LEAST_BLOCKS / tiles).clamp(1, strips) }
}

fn region(first: usize, len: usize) -> Range<usize> {
    first..first + len
}

/// Into how many parts the features are divided: whatever the number of images, so that each is evaluated alike in every
/// batch.
pub(super) fn hidden_parts(shape: &HeadShape) -> u32 {
    let (strips, tiles) = ((shape.features as u32).div_ceil(DEPTH), (shape.hidden as u32).div_ceil(TILE));
    (LEAST_BLOCKS / 2 / tiles).clamp(1, strips)
}

impl BlockParameters {
    fn new(shape: &BlockShape, arena: &Arena) -> Result<Self> {
        let number = shape.number;
        let first = |name: String| arena.parameter(&name).map(super::arena::Parameter::first);
        let gates = match shape.attention {
            AttentionKind::None => GateParameters::None,
            AttentionKind::Se => {
                let reduce = arena.parameter(&format!("ca{number}.fc.0.weight"))?;
                GateParameters::SqueezeExcitation {
                    reduce: reduce.first(),
                    expand: first(format!("ca{number}.fc.2.weight"))?,
                    squeezed: (reduce.range().len() / shape.outputs) as u32,
                }
            }
            AttentionKind::Eca => {
                let kernel = arena.parameter(&format!("eca{number}.conv.weight"))?;
                GateParameters::Efficient { kernel: kernel.first(), taps: kernel.range().len() as u32 }
            }
            AttentionKind::Spatial | AttentionKind::Cbam | AttentionKind::NonLocal => {
                bail!("there are no kernels of this attention")
            }
        };
        Ok(Self {
            conv_weight: first(format!("conv{number}.weight"))?,
            conv_bias: first(format!("conv{number}.bias"))?,
            norm_weight: first(format!("bn{number}.weight"))?,
            norm_bias: first(format!("bn{number}.bias"))?,
            gates,
        })
    }
}

impl Gates {
    fn new(context: &Arc<Context>, images: usize, channels: usize, squeezed: usize) -> Result<Self> {
        let of_channels = || Buffer::<f32>::new(context, images * channels);
        let of_squeezed = || Buffer::<f32>::new(context, images * squeezed);
        Ok(Self {
            means: of_channels()?,
            counts: of_channels()?,
            centred: of_channels()?,
            squeezed: of_squeezed()?,
            gates: of_channels()?,
            slopes: of_channels()?,
            d_excited: of_channels()?,
            d_squeezed: of_squeezed()?,
            shares: of_channels()?,
        })
    }

    /// As `GateValues` in `kernels/gates.cuh`.
    fn values(&self) -> [u64; 6] {
        [&self.means, &self.counts, &self.centred, &self.squeezed, &self.gates, &self.slopes].map(Buffer::address)
    }

    /// As `GateGradients` there.
    fn gradients(&self) -> [u64; 3] {
        [&self.d_excited, &self.d_squeezed, &self.shares].map(Buffer::address)
    }
}

impl Head {
    fn new(
        context: &Arc<Context>,
        shape: &HeadShape,
        arena: &Arena,
        train_images: usize,
        images: usize,
    ) -> Result<Self> {
        let &HeadShape { pool, features, hidden, classes } = shape;
        let floats = |len: usize| Buffer::<f32>::new(context, len);
        let first = |name: &str| arena.parameter(name).map(super::arena::Parameter::first);
        let averages = match pool {
            Pool::Flatten => None,
            Pool::Average => Some([floats(images * features)?, floats(train_images * features)?]),
            Pool::Max => bail!("a GPU has not the pool max"),
        };
        Ok(Self {
            shape: *shape,
            parameters: HeadParameters {
                hidden_weight: first("fc1.weight")?,
                hidden_bias: first("fc1.bias")?,
                output_weight: first("fc2.weight")?,
                output_bias: first("fc2.bias")?,
            },
            averages,
            partial: floats(hidden_parts(shape) as usize * images * hidden)?,
            hidden: floats(images * hidden)?,
            factors: floats(images * hidden)?,
            d_hidden: floats(train_images * hidden)?,
            logits: floats(images * classes)?,
            d_logits: floats(train_images * classes)?,
            losses: Buffer::new(context, train_images)?,
            correct: Buffer::new(context, train_images)?,
        })
    }

    fn arguments(&self, images: u32) -> HeadArguments {
        let HeadShape { features, hidden, classes, .. } = self.shape;
        HeadArguments { images, features: features as u32, hidden: hidden as u32, classes: classes as u32 }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::config::Precision;
    use crate::cuda::card::Card;
    use crate::cuda::stand_in::{Built, ORDERS, on_stand_in};
    use crate::data::DatasetInfo;
    use crate::model::{ActiveChannels, Mode};
    use crate::ops;
    use crate::random::stream;
    use rand::Rng;

    const SEED: u64 = 5;
    /// The step whose dropout mask is drawn.
    const STEP: u64 = 77;

    /// A network and images, on both sides.
    struct Case {
        network: Network,
        card: CardNetwork,
        context: Arc<Context>,
        x: Vec<f32>,
        shape: [usize; 4],
        labels: Vec<u32>,
    }

    impl Case {
        fn new(
            model: &ModelConfig,
            [images, height, width, channels]: [usize; 4],
            pixel: impl Fn(usize) -> f32,
        ) -> Self {
            let (mean, std) = (vec![0.5; channels], vec![0.5; channels]);
            let cifar = DatasetInfo::cifar10();
            let dataset = DatasetInfo { channels, height, width, mean, std, ..cifar };
            let network = Network::new(model, &dataset, SEED, &Device::Cpu).expect("a network");
            let context = Context::open(Card::find(0).expect("a GPU"), Precision::F32).expect("a context");
            let dropout = Dropout::new(SEED, model.dropout);
            let card = CardNetwork::new(&context, &network, dropout, images, images).expect("buffers");
            let values = |(_, var): &(String, candle_core::Var)| var.flatten_all()?.to_vec1::<f32>();
            let parameters: candle_core::Result<Vec<_>> = network.weights().parameters.iter().map(values).collect();
            card.parameters.upload(0, &card.arena.arrange(parameters.expect("numbers"))).expect("an upload");
            let ones = vec![1.0; card.channels()];
            card.running.upload(card.channels(), &ones).expect("an upload");
            let x: Vec<f32> = (0..images * height * width * channels).map(pixel).collect();
            let labels: Vec<u32> = (0..images).map(|image| (image * 3 % 10) as u32).collect();
            card.x.upload(0, &x).expect("an upload");
            card.labels.upload(0, &labels).expect("an upload");
            Self { network, card, context, x, shape: [images, height, width, channels], labels }
        }

        fn images(&self) -> Tensor {
            Tensor::from_slice(&self.x, &self.shape[..], &Device::Cpu).expect("images")
        }

        /// The mean loss, and the gradients of the parameters by name.
        fn on_the_cpu(&self) -> (f32, Vec<(String, Vec<f32>)>) {
            let labels = Tensor::from_slice(&self.labels, self.labels.len(), &Device::Cpu).expect("labels");
            let (loss, tape) = ops::tape::record(|| {
                let logits = self.network.forward(&self.images(), Mode::Train { seed: SEED, step: STEP })?;
                ops::cross_entropy(&logits, &labels)
            })
            .expect("a forward pass");
            let parameters = &self.network.weights().parameters;
            let gradients =
                tape.backward(&loss).expect("gradients").in_order_of(parameters, |_| false).expect("of all");
            let values = |tensor: &Tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers");
            let named = parameters
                .iter()
                .zip(gradients.iter().flatten())
                .map(|((name, _), gradient)| (name.clone(), values(gradient)));
            (loss.to_scalar().expect("a number"), named.collect())
        }

        /// The same on the card.
        fn on_the_card(&self) -> (f32, Vec<(String, Vec<f32>)>) {
            let images = self.labels.len() as u32;
            let position = Position { number: STEP, batch: 0, stopped: 0 };
            let position = Buffer::from_slice(&self.context, &[position]).expect("a position");
            let outcome = Buffer::zeros(&self.context, 1).expect("room");
            self.card.queue_forward(images, &position).expect("a forward pass");
            self.card.queue_backward(images, &outcome).expect("a backward pass");
            let mut losses = vec![0.0; images as usize];
            self.card.judged().0.download(0, &mut losses).expect("losses");
            let mut gradients = vec![0.0; self.card.arena.len()];
            self.card.gradients.download(0, &mut gradients).expect("gradients");
            let named = self
                .card
                .arena
                .parameters()
                .iter()
                .map(|parameter| (parameter.name.clone(), parameter.restore(&gradients[parameter.range()])));
            ((losses.iter().sum::<f64>() / f64::from(images)) as f32, named.collect())
        }

        fn gradients_are_alike(&self, what: &str) {
            let ((on_cpu, of_cpu), (on_card, of_card)) = (self.on_the_cpu(), self.on_the_card());
            assert!((on_cpu - on_card).abs() <= 2e-5 * on_cpu.abs(), "{what}: loss {on_card}, {on_cpu} on the CPU");
            for ((name, card), (_, cpu)) in of_card.iter().zip(&of_cpu) {
                let greatest = cpu.iter().fold(0f32, |greatest, x| greatest.max(x.abs()));
                for (index, (card, cpu)) in card.iter().zip(cpu).enumerate() {
                    assert!(
                        (card - cpu).abs() <= 2e-4 * greatest.max(1e-6),
                        "{what}: gradient {index} of {name} is {card}, {cpu} on the CPU, and the greatest {greatest}"
                    );
                }
            }
        }
    }

    fn noise(index: usize) -> f32 {
        stream(1, Purpose::Augment, 0, index as u64).random::<f32>() * 4.0 - 2.0
    }

    fn model(channels: &[usize], attention: AttentionKind, pool: Pool) -> ModelConfig {
        ModelConfig { channels: channels.to_vec(), attention, pool, hidden: 19, ..ModelConfig::default() }
    }

    fn gradients_of_all_kinds(pixel: fn(usize) -> f32, what: &str) {
        for (attention, pool) in [
            (AttentionKind::None, Pool::Flatten),
            (AttentionKind::None, Pool::Average),
            (AttentionKind::Se, Pool::Flatten),
            (AttentionKind::Eca, Pool::Average),
        ] {
            let model = model(&[17, 20], attention, pool);
            Case::new(&model, [5, 9, 14, 3], pixel).gradients_are_alike(&format!("{what}, {attention:?}, {pool:?}"));
        }
    }

    #[test]
    fn gradients_are_those_of_the_cpu() {
        on_stand_in("cuda::network::tests::gradients_are_those_of_the_cpu", Built::Plain, &ORDERS, || {
            gradients_of_all_kinds(noise, "noise");
            // One block, one image, one channel, more outputs and hidden units than a tile is wide.
            let model = ModelConfig { hidden: 70, ..model(&[66], AttentionKind::None, Pool::Flatten) };
            Case::new(&model, [1, 4, 4, 1], noise).gradients_are_alike("one of each");
            Case::new(&model, [70, 2, 3, 2], noise).gradients_are_alike("more images than a tile is high");
        });
    }

    /// Of equal maxima the first takes the gradient, as on the CPU.
    #[test]
    fn ties_are_broken_as_on_the_cpu() {
        on_stand_in("cuda::network::tests::ties_are_broken_as_on_the_cpu", Built::Plain, &ORDERS[..1], || {
            gradients_of_all_kinds(|index| if index / 63 % 2 == 0 { 0.5 } else { -1.0 }, "stripes");
        });
    }

    #[test]
    fn no_kernel_reads_or_writes_beside_its_buffers() {
        on_stand_in(
            "cuda::network::tests::no_kernel_reads_or_writes_beside_its_buffers",
            Built::Sanitized,
            &ORDERS[..1],
            || gradients_of_all_kinds(noise, "sanitized"),
        );
    }

    /// A pixel that is no number spoils its image alone.
    #[test]
    fn a_nan_is_seen_in_the_logits_of_its_image() {
        on_stand_in(
            "cuda::network::tests::a_nan_is_seen_in_the_logits_of_its_image",
            Built::Plain,
            &ORDERS[..1],
            || {
                let model = model(&[17, 20], AttentionKind::Se, Pool::Flatten);
                let shape = [3, 8, 8, 3];
                let whole = Case::new(&model, shape, noise);
                let spoilt = Case::new(&model, shape, |index| if index == 192 + 50 { f32::NAN } else { noise(index) });
                let logits = |case: &Case| case.card.evaluate(3).expect("logits").0;
                let (whole_logits, spoilt_logits) = (logits(&whole), logits(&spoilt));
                let classes = whole_logits.len() / 3;
                for (index, (whole, spoilt)) in whole_logits.iter().zip(&spoilt_logits).enumerate() {
                    assert_eq!(spoilt.is_nan(), index / classes == 1, "logit {index}");
                    assert!(index / classes == 1 || whole.to_bits() == spoilt.to_bits(), "logit {index}");
                }
                let mut active = ActiveChannels::default();
                let on_cpu = whole.network.evaluate(&whole.images(), &mut active).expect("logits");
                let on_cpu = on_cpu.flatten_all().and_then(|logits| logits.to_vec1::<f32>()).expect("numbers");
                for (card, cpu) in whole_logits.iter().zip(&on_cpu) {
                    assert!((card - cpu).abs() <= 1e-5 * cpu.abs().max(1.0), "{card}, {cpu} on the CPU");
                }
                assert!(spoilt.on_the_card().0.is_nan() && spoilt.on_the_cpu().0.is_nan());
            },
        );
    }
}
