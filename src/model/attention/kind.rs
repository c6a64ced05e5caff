//! What a kind of attention consists of.

use candle_core::{Result, Tensor};

use crate::model::block::BlockShape;
use crate::model::weights::ParameterSpec;
use crate::ops::{ChannelGates, Epilogue};

/// A block's attention, with its parameters.
pub(crate) trait Attention: Send + Sync {
    /// What follows the ReLU in the block's operation.
    fn epilogue(&self) -> Epilogue<'_>;

    /// From what the block's operation gives to the block's output, (N, H / 2, W / 2, C): the same, where the operation
    /// includes the attention.
    ///
    /// # Errors
    /// Those of the operations, as of [`Attention::attend`].
    fn finish(&self, y: Tensor) -> Result<Tensor> {
        Ok(y)
    }

    /// The attention to a feature map `x` (N, H, W, C) after its ReLU, by candle's operations: slower, and shows the weights.
    fn attend(&self, x: &Tensor) -> Result<Attended>;
}

/// How a kind of attention is built, and what it costs.
pub(crate) struct Kind {
    /// The fewest channels of a block that it can attend to.
    pub min_channels: usize,
    /// The most positions, height times width, of such a block.
    pub max_positions: usize,
    pub only_in_last_block: bool,
    pub parameters: fn(&BlockShape) -> Vec<ParameterSpec>,
    /// Operations for an image, as [`crate::model::Flops`] counts them.
    pub flops: fn(&BlockShape) -> u64,
    /// From the values of `parameters`.
    pub build: fn(Vec<Tensor>) -> Box<dyn Attention>,
}

/// A feature map after attention, and the weights of its parts.
pub(crate) struct Attended {
    /// Before the pool, (N, H, W, C).
    pub output: Tensor,
    pub weights: AttentionWeights,
}

/// How much a block attends to what.
#[derive(Clone, Default)]
pub struct AttentionWeights {
    /// Channel attention, (N, C), between 0 and 1.
    pub channels: Option<Tensor>,
    /// Spatial attention, (N, H, W), between 0 and 1.
    pub positions: Option<Tensor>,
    /// The attention matrix, (N, H · W, H · W): how much each position, row by row, attends to every other; each row sums
    /// to 1.
    pub matrix: Option<Tensor>,
}

impl AttentionWeights {
    /// Apart from the graph that computed them.
    pub(crate) fn detach(&self) -> Self {
        let detached = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::detach);
        let Self { channels, positions, matrix } = self;
        Self { channels: detached(channels), positions: detached(positions), matrix: detached(matrix) }
    }
}

/// `x` (N, H, W, C) times channel attention.
pub(super) fn attend_channels(x: &Tensor, gates: ChannelGates) -> Result<Attended> {
    let channels = gates.gates(&x.mean((1, 2))?)?;
    let output = x.broadcast_mul(&channels.unsqueeze(1)?.unsqueeze(1)?)?;
    Ok(Attended { output, weights: AttentionWeights { channels: Some(channels), ..Default::default() } })
}

/// The parameters that a module was specified to have.
pub(super) fn expect_parameters<const N: usize>(parameters: Vec<Tensor>) -> [Tensor; N] {
    parameters.try_into().expect("a module is built from as many parameters as it specifies")
}
