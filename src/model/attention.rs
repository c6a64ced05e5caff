//! Attention modules: what a block makes more or less of, learned with the rest.
//!
//! All are between a block's ReLU and its pool. Gates of channels are positive and commute with the pool, so they are a part
//! of the block's operation; what attends to positions does not, and follows it.

use candle_core::{DType, Result, Tensor};

use super::weights::Builder;
use crate::config::AttentionKind;
use crate::ops::{self, ChannelGates, Epilogue, SpatialGates};

/// Channels of a block for each of the squeeze.
pub const REDUCTION: usize = 16;
/// Side of the kernel of spatial attention (Woo et al. 2018, section 3.1).
const SPATIAL_KERNEL: usize = 7;
/// The block that has the non-local module: the last, whose images have 8 x 8 = 64 positions. A map of all pairs of positions
/// has 4 096 numbers there, and would have 65 536 in the second block and 1 048 576 in the first, of each image.
pub const NON_LOCAL_BLOCK: usize = 3;

/// What a block attends to.
pub enum Attention {
    None,
    SqueezeExcitation(SqueezeExcitation),
    Efficient(EfficientChannelAttention),
    Spatial(SpatialAttention),
    Cbam(Cbam),
    NonLocal(NonLocal),
}

/// SqueezeExcite-and-excitation (Hu et al. 2018, section 3): a gate for each channel from the means of all of them,
/// s = σ(E relu(R z)).
pub struct SqueezeExcitation {
    /// R, (C / 16, C)
    pub reduce: Tensor,
    /// E, (C, C / 16)
    pub expand: Tensor,
}

/// Efficient channel attention (ECA-Net, Wang et al. 2020, section 3.3): a gate for each channel from its mean and those of
/// its neighbours, s = σ(w ∗ z).
pub struct EfficientChannelAttention {
    /// (1, 1, K), with K from the number of channels: 3 of 32 and of 64, 5 of 128.
    pub kernel: Tensor,
}

/// Spatial attention (Woo et al. 2018, section 3.1): a gate for each position from the mean and the greatest of its channels,
/// and of those of its neighbours, s = σ(w ∗ [mean; max]).
pub struct SpatialAttention {
    /// (1, 2, 7, 7)
    pub kernel: Tensor,
}

/// The convolutional block attention module (CBAM, Woo et al. 2018, section 3): channels, and then positions.
pub struct Cbam {
    /// Of the means and of the greatest of the channels: s = σ(E relu(R mean) + E relu(R max)).
    pub channels: SqueezeExcitation,
    pub positions: SpatialAttention,
}

/// The non-local block (Wang et al. 2018, section 3, embedded Gaussian): each position looks at all others,
/// y = x + W softmax(θ(x) φ(x)ᵀ) g(x). In the last block alone: see [`NON_LOCAL_BLOCK`].
///
/// W and its bias begin as zeros (section 3.3), so the network begins as the plain one.
pub struct NonLocal {
    /// From C to C / 2 channels, as the two that follow.
    pub theta: Projection,
    pub phi: Projection,
    pub g: Projection,
    /// W, from C / 2 to C channels.
    pub out: Projection,
}

/// A convolution of 1 x 1.
pub struct Projection {
    /// (O, C, 1, 1)
    pub weight: Tensor,
    /// (O)
    pub bias: Tensor,
}

/// What a block made of its feature map, and what it attended to.
pub struct Attended {
    /// Before the pool, (N, H, W, C).
    pub output: Tensor,
    pub weights: AttentionWeights,
}

/// How much a block attends to what.
#[derive(Default)]
pub struct AttentionWeights {
    /// Of the channels, (N, C), between 0 and 1.
    pub gates: Option<Tensor>,
    /// Of the positions, (N, H, W), between 0 and 1.
    pub map: Option<Tensor>,
    /// (N, H · W, H · W): how much each position, row by row, looks at every other; each row sums to 1.
    pub pairs: Option<Tensor>,
}

impl AttentionWeights {
    /// Without the way back.
    pub fn detach(&self) -> Self {
        let detached = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::detach);
        Self { gates: detached(&self.gates), map: detached(&self.map), pairs: detached(&self.pairs) }
    }
}

impl Attention {
    /// Of block `number`, from 1, whose convolution has `channels` outputs.
    pub(super) fn new(builder: &mut Builder, kind: AttentionKind, number: usize, channels: usize) -> Result<Self> {
        Ok(match kind {
            AttentionKind::None => Self::None,
            AttentionKind::Se => Self::SqueezeExcitation(SqueezeExcitation::new(builder, number, channels)?),
            AttentionKind::Eca => {
                let taps = efficient_taps(channels);
                let kernel = builder.uniform(format!("eca{number}.conv.weight"), &[1, 1, taps], taps)?;
                Self::Efficient(EfficientChannelAttention { kernel })
            }
            AttentionKind::Spatial => Self::Spatial(SpatialAttention::new(builder, number)?),
            AttentionKind::Cbam => {
                let channels = SqueezeExcitation::new(builder, number, channels)?;
                Self::Cbam(Cbam { channels, positions: SpatialAttention::new(builder, number)? })
            }
            AttentionKind::NonLocal if number == NON_LOCAL_BLOCK => {
                Self::NonLocal(NonLocal::new(builder, number, channels)?)
            }
            AttentionKind::NonLocal => Self::None,
        })
    }

    /// What follows the ReLU in the block's operation.
    pub(super) fn epilogue(&self) -> Epilogue<'_> {
        match self {
            Self::None => Epilogue::Pool,
            Self::SqueezeExcitation(module) => Epilogue::GateAndPool(module.gates()),
            Self::Efficient(module) => Epilogue::GateAndPool(module.gates()),
            Self::Spatial(_) | Self::Cbam(_) | Self::NonLocal(_) => Epilogue::Relu,
        }
    }

    /// From what the block's operation gives to what the block gives, (N, H / 2, W / 2, C).
    pub(super) fn after_block(&self, y: Tensor) -> Result<Tensor> {
        match self {
            Self::None | Self::SqueezeExcitation(_) | Self::Efficient(_) => Ok(y),
            Self::Spatial(module) => ops::attend_positions_and_pool(&y, module.gates()),
            Self::Cbam(module) => ops::attend_positions_and_pool(&y, module.gates()),
            Self::NonLocal(module) => ops::attend_pairs_and_pool(&y, module.projections()),
        }
    }

    /// What becomes of a activated feature map `x` (N, H, W, C), by candle's operations: slower, and shows what it attends to.
    pub fn attend(&self, x: &Tensor) -> Result<Attended> {
        let gated = |gates: ChannelGates| -> Result<Attended> {
            let gates = gates.gates(&x.mean((1, 2))?)?;
            let output = x.broadcast_mul(&gates.unsqueeze(1)?.unsqueeze(1)?)?;
            Ok(Attended { output, weights: AttentionWeights { gates: Some(gates), ..Default::default() } })
        };
        let spatially = |gates: SpatialGates| -> Result<Attended> {
            let ops::SpatiallyAttended { output, gates, map } = gates.attend(x)?;
            Ok(Attended { output, weights: AttentionWeights { gates, map: Some(map), pairs: None } })
        };
        match self {
            Self::None => Ok(Attended { output: x.clone(), weights: AttentionWeights::default() }),
            Self::SqueezeExcitation(module) => gated(module.gates()),
            Self::Efficient(module) => gated(module.gates()),
            Self::Spatial(module) => spatially(module.gates()),
            Self::Cbam(module) => spatially(module.gates()),
            Self::NonLocal(module) => {
                let ops::NonLocallyAttended { output, pairs } = module.projections().attend(x)?;
                Ok(Attended { output, weights: AttentionWeights { pairs: Some(pairs), ..Default::default() } })
            }
        }
    }
}

impl SqueezeExcitation {
    /// With the names of the study's module, which CBAM's channel attention has in most implementations too.
    fn new(builder: &mut Builder, number: usize, channels: usize) -> Result<Self> {
        let squeezed = channels / REDUCTION;
        Ok(Self {
            reduce: builder.uniform(format!("ca{number}.fc.0.weight"), &[squeezed, channels], channels)?,
            expand: builder.uniform(format!("ca{number}.fc.2.weight"), &[channels, squeezed], squeezed)?,
        })
    }

    fn gates(&self) -> ChannelGates<'_> {
        ChannelGates::SqueezeExcitation { reduce: &self.reduce, expand: &self.expand }
    }
}

impl EfficientChannelAttention {
    fn gates(&self) -> ChannelGates<'_> {
        ChannelGates::Efficient { kernel: &self.kernel }
    }
}

impl SpatialAttention {
    fn new(builder: &mut Builder, number: usize) -> Result<Self> {
        let shape = [1, 2, SPATIAL_KERNEL, SPATIAL_KERNEL];
        let kernel = builder.uniform(format!("sa{number}.conv.weight"), &shape, shape.iter().product())?;
        Ok(Self { kernel })
    }

    fn gates(&self) -> SpatialGates<'_> {
        SpatialGates { channels: None, kernel: &self.kernel }
    }
}

impl Cbam {
    fn gates(&self) -> SpatialGates<'_> {
        let SqueezeExcitation { reduce, expand } = &self.channels;
        SpatialGates { channels: Some([reduce, expand]), ..self.positions.gates() }
    }
}

impl NonLocal {
    /// With the names that most implementations give.
    fn new(builder: &mut Builder, number: usize, channels: usize) -> Result<Self> {
        let inner = channels / 2;
        let mut projection = |name: &str| -> Result<Projection> {
            let weight = builder.uniform(format!("nl{number}.{name}.weight"), &[inner, channels, 1, 1], channels)?;
            Ok(Projection { weight, bias: builder.uniform(format!("nl{number}.{name}.bias"), &[inner], channels)? })
        };
        let [theta, phi, g] = [projection("theta")?, projection("phi")?, projection("g")?];
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, builder.device);
        let (weight, bias) = (zeros(&[channels, inner, 1, 1])?, zeros(&[channels])?);
        let weight = builder.parameter(format!("nl{number}.W.weight"), &weight)?;
        let bias = builder.parameter(format!("nl{number}.W.bias"), &bias)?;
        Ok(Self { theta, phi, g, out: Projection { weight, bias } })
    }

    fn projections(&self) -> ops::NonLocal<'_> {
        ops::NonLocal { theta: self.theta.view(), phi: self.phi.view(), g: self.g.view(), out: self.out.view() }
    }
}

impl Projection {
    fn view(&self) -> ops::Projection<'_> {
        ops::Projection { weight: &self.weight, bias: &self.bias }
    }
}

/// The odd number next to (log₂(C) + b) / γ, with γ = 2 and b = 1, as the authors' code rounds it: down, and then up to the
/// next odd one (Wang et al. 2020, equation 12).
fn efficient_taps(channels: usize) -> usize {
    let taps = (((channels as f64).log2() + 1.0) / 2.0) as usize;
    if taps % 2 == 1 { taps } else { taps + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_efficient_channel_attention_grows_with_the_channels() {
        for (channels, taps) in [(1, 1), (2, 1), (16, 3), (32, 3), (64, 3), (128, 5), (256, 5), (2048, 7)] {
            assert_eq!(efficient_taps(channels), taps, "{channels} channels");
        }
    }
}
