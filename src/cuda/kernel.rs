//! The kernels by name.

use strum::{IntoStaticStr, VariantArray};

/// What is in `kernels.ptx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Kernel {
    LoadBatch,
    TakeBatch,
    ConvForward,
    MergeStatistics,
    RunningScale,
    NormaliseAndPool,
    MarkActive,
    ActivatedSums,
    ApplyGates,
    AveragePositions,
    HiddenPartial,
    HiddenLayer,
    OutputLayer,
    CrossEntropy,
    OutputLayerGradient,
    HiddenGradient,
    HiddenWeightGradient,
    FeatureGradient,
    AveragePositionsGradient,
    GradientSums,
    GateGradients,
    SqueezeExciteGradient,
    EfficientGradient,
    NormalisationGradient,
    ConvOutputGradient,
    ConvWeightGradient,
    SumParts,
    ConvInputGradient,
    SumOfSquares,
    JudgeStep,
    Adam,
    FinishStep,
}

/// Threads of a block, as in `kernels/common.cuh`.
pub const THREADS: u32 = 256;
/// Channels beside each other in a block that sums over positions.
pub const LANES: u32 = 32;

impl Kernel {
    pub fn threads(self) -> u32 {
        match self {
            Self::MergeStatistics | Self::NormalisationGradient => 1024,
            _ => THREADS,
        }
    }
}
