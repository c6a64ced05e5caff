//! The shape of a block.

use super::init::Init;
use super::layer::LayerInfo;
use super::weights::ParameterSpec;
use crate::config::AttentionKind;

/// Side of every convolution's kernel; half of it, rounded down, is the padding.
const KERNEL: usize = 3;

/// Convolution, batch normalisation, ReLU, attention and max-pool.
#[derive(Clone, Copy, Debug)]
pub struct BlockShape {
    /// From 1, as in the names of its parameters.
    pub number: usize,
    /// Channels of its input.
    pub inputs: usize,
    /// Channels of its convolution.
    pub outputs: usize,
    /// The height of the input and of the convolution's output; the pool halves it, as the width.
    pub height: usize,
    pub width: usize,
    pub attention: AttentionKind,
}

impl BlockShape {
    pub(super) fn layer(&self) -> LayerInfo {
        let &Self { number, outputs, height, width, .. } = self;
        LayerInfo { name: format!("conv{number}"), channels: outputs, height, width }
    }

    /// Height times width of the convolution's output.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Weight and bias of the convolution and of the normalisation.
    pub(super) fn parameters(&self) -> [ParameterSpec; 4] {
        let &Self { number, inputs, outputs, .. } = self;
        let init = Init::Uniform { fan_in: inputs * KERNEL * KERNEL };
        [
            ParameterSpec::new(format!("conv{number}.weight"), &[outputs, inputs, KERNEL, KERNEL], init),
            ParameterSpec::new(format!("conv{number}.bias"), &[outputs], init),
            ParameterSpec::new(format!("bn{number}.weight"), &[outputs], Init::Ones),
            ParameterSpec::new(format!("bn{number}.bias"), &[outputs], Init::Zeros),
        ]
    }
}
