//! The non-local block (Wang et al. 2018, section 3, embedded Gaussian): each position looks at all others,
//! y = x + W softmax(θ(x) φ(x)ᵀ) g(x).
//!
//! In the last block alone, for the attention matrix has the square of the number of positions: of the study's images of
//! 32 x 32 pixels it has 4 096 numbers there, and would have 65 536 in the second block and 1 048 576 in the first.

use candle_core::{Result, Tensor};

use super::kind::{Attended, Attention, AttentionWeights, Kind, expect_parameters};
use crate::model::block::BlockShape;
use crate::model::init::Init;
use crate::model::weights::ParameterSpec;
use crate::ops::{self, Epilogue};

/// The attention matrix of so many takes 64 MiB for each image.
const MAX_POSITIONS: usize = 64 * 64;

pub(super) static KIND: Kind = Kind {
    min_channels: 2,
    max_positions: MAX_POSITIONS,
    only_in_last_block: true,
    parameters,
    flops,
    build: |parameters| {
        let [theta, theta_bias, phi, phi_bias, g, g_bias, out, out_bias] = expect_parameters(parameters);
        Box::new(NonLocal {
            theta: Projection { weight: theta, bias: theta_bias },
            phi: Projection { weight: phi, bias: phi_bias },
            g: Projection { weight: g, bias: g_bias },
            out: Projection { weight: out, bias: out_bias },
        })
    },
};

/// With the names that most implementations give. W and its bias begin as zeros (section 3.3), so the network begins as the
/// plain one.
fn parameters(block: &BlockShape) -> Vec<ParameterSpec> {
    let &BlockShape { number, outputs: channels, .. } = block;
    let inner = inner(block);
    let projection = |name, outputs, inputs, init| {
        let name = format!("nl{number}.{name}");
        [
            ParameterSpec::new(format!("{name}.weight"), &[outputs, inputs, 1, 1], init),
            ParameterSpec::new(format!("{name}.bias"), &[outputs], init),
        ]
    };
    let mut parameters = vec![];
    for name in ["theta", "phi", "g"] {
        parameters.extend(projection(name, inner, channels, Init::Uniform { fan_in: channels }));
    }
    parameters.extend(projection("W", channels, inner, Init::Zeros));
    parameters
}

/// Four projections, the comparison of all pairs of positions and the sums over them.
fn flops(block: &BlockShape) -> u64 {
    let (inner, positions) = (inner(block), block.positions());
    (4 * 2 * block.outputs * inner * positions + 2 * 2 * inner * positions * positions) as u64
}

/// Channels in which positions are compared.
fn inner(block: &BlockShape) -> usize {
    block.outputs / 2
}

struct NonLocal {
    /// From C to C / 2 channels, as the two that follow.
    theta: Projection,
    phi: Projection,
    g: Projection,
    /// W, from C / 2 to C channels.
    out: Projection,
}

/// A convolution of 1 x 1.
struct Projection {
    /// (O, C, 1, 1)
    weight: Tensor,
    /// (O)
    bias: Tensor,
}

impl Projection {
    fn view(&self) -> ops::Projection<'_> {
        ops::Projection { weight: &self.weight, bias: &self.bias }
    }
}

impl NonLocal {
    fn projections(&self) -> ops::NonLocal<'_> {
        ops::NonLocal { theta: self.theta.view(), phi: self.phi.view(), g: self.g.view(), out: self.out.view() }
    }
}

impl Attention for NonLocal {
    fn epilogue(&self) -> Epilogue<'_> {
        Epilogue::Relu
    }

    fn finish(&self, y: Tensor) -> Result<Tensor> {
        ops::non_local_attention_and_pool(&y, self.projections())
    }

    fn attend(&self, x: &Tensor) -> Result<Attended> {
        let ops::NonLocallyAttended { output, pairs } = self.projections().attend(x)?;
        Ok(Attended { output, weights: AttentionWeights { matrix: Some(pairs), ..Default::default() } })
    }
}
