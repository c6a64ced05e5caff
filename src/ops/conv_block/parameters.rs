//! The parameters of a block, as tensors and as the slices that its kernels take.

use candle_core::{Result, Tensor};

use crate::config::Precision;
use crate::ops::attention::channel::{ChannelGates, GateKind, Gates};
use crate::ops::concat::concat;

/// The parameters of a block.
#[derive(Clone, Copy)]
pub struct BlockParameters<'a> {
    /// (O, C, K, K), K odd.
    pub weight: &'a Tensor,
    /// (O), as the two that follow.
    pub bias: &'a Tensor,
    pub norm_weight: &'a Tensor,
    pub norm_bias: &'a Tensor,
    pub epilogue: Epilogue<'a>,
    /// Of the convolution's products.
    pub precision: Precision,
}

impl<'a> BlockParameters<'a> {
    pub(super) fn gates(&self) -> Option<ChannelGates<'a>> {
        match self.epilogue {
            Epilogue::GateAndPool(gates) => Some(gates),
            Epilogue::Pool | Epilogue::Relu => None,
        }
    }

    /// The parameters beside the convolution's weight as one vector, in the order of [`ChannelParameters`].
    pub(super) fn channels(&self) -> Result<Tensor> {
        let gates = self.gates();
        let of_gates = gates.iter().flat_map(ChannelGates::weights);
        concat(&[self.bias, self.norm_weight, self.norm_bias].into_iter().chain(of_gates).collect::<Vec<_>>())
    }
}

/// What follows a block's ReLU.
#[derive(Clone, Copy)]
pub enum Epilogue<'a> {
    Pool,
    /// Attention to channels, and the pool. A gate is positive, so it commutes with the maximum, and is applied after the
    /// pool, to a quarter of the numbers.
    GateAndPool(ChannelGates<'a>),
    /// Nothing: the block's output is (N, H, W, O).
    Relu,
}

/// The parameters beside the convolution's weight, which the operation takes one after another.
pub struct ChannelParameters<'a> {
    pub bias: &'a [f32],
    pub norm_weight: &'a [f32],
    pub norm_bias: &'a [f32],
    pub gates: Option<Gates<'a>>,
}

impl<'a> ChannelParameters<'a> {
    pub fn split(concatenated: &'a [f32], channels: usize, gates: Option<GateKind>) -> Self {
        let (bias, rest) = concatenated.split_at(channels);
        let (norm_weight, rest) = rest.split_at(channels);
        let (norm_bias, rest) = rest.split_at(channels);
        Self { bias, norm_weight, norm_bias, gates: gates.map(|kind| Gates::split(kind, rest)) }
    }
}
