//! The kernels by name, and how they are launched.

use std::ffi::c_void;

use cudarc::driver::result;
use strum::{IntoStaticStr, VariantArray};

use super::context::Context;
use super::error::CudaError;
use super::memory::{Buffer, MappedBuffer, Plain};

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

/// A launch that is being put together: the arguments are those of the kernel, in its order.
pub struct Launch<'a> {
    context: &'a Context,
    kernel: Kernel,
    grid: [u32; 3],
    /// Each argument in words of 8 bytes, and where it begins.
    words: Vec<u64>,
    starts: Vec<usize>,
}

impl Context {
    /// Over a grid of blocks.
    pub fn launch(&self, kernel: Kernel, grid: [u32; 3]) -> Launch<'_> {
        Launch { context: self, kernel, grid, words: vec![], starts: vec![] }
    }

    /// Over as many blocks as have a thread for each element.
    pub fn launch_over(&self, kernel: Kernel, elements: u32) -> Launch<'_> {
        self.launch(kernel, [elements.div_ceil(kernel.threads()), 1, 1])
    }
}

impl Launch<'_> {
    #[must_use]
    pub fn value<T: Plain>(mut self, value: T) -> Self {
        self.starts.push(self.words.len());
        self.words.resize(self.words.len() + size_of::<T>().div_ceil(8), 0);
        let start = self.starts[self.starts.len() - 1];
        // SAFETY: there is room for it, just made; `Plain` values are plain bytes.
        unsafe { self.words.as_mut_ptr().add(start).cast::<T>().write_unaligned(value) };
        self
    }

    /// The address of a buffer, which must live until the work is done: a graph launches it again and again.
    #[must_use]
    pub fn buffer<T: Plain>(self, buffer: &Buffer<T>) -> Self {
        self.value(buffer.address())
    }

    /// The address of element `first` of a buffer.
    #[must_use]
    pub fn part<T: Plain>(self, buffer: &Buffer<T>, first: usize) -> Self {
        self.value(buffer.address_of(first))
    }

    #[must_use]
    pub fn mapped<T: Plain>(self, buffer: &MappedBuffer<T>) -> Self {
        self.value(buffer.address())
    }

    /// Queues it; does not wait.
    pub fn queue(mut self) -> Result<(), CudaError> {
        if self.grid.contains(&0) {
            return Ok(());
        }
        self.context.bind()?;
        let words = self.words.as_mut_ptr();
        // SAFETY: every start is within the words.
        let mut arguments: Vec<*mut c_void> =
            self.starts.iter().map(|&start| unsafe { words.add(start) }.cast()).collect();
        let [x, y, z] = self.grid;
        // SAFETY: the function is that of a loaded module. A kernel writes to the card's memory, and to mapped memory, which
        // Rust reads as volatile; nothing else of this process can be reached by it. The driver copies the arguments.
        unsafe {
            result::launch_kernel(
                self.context.function(self.kernel),
                (x, y, z),
                (self.kernel.threads(), 1, 1),
                0,
                self.context.stream,
                &mut arguments,
            )
        }
        .map_err(|error| match CudaError::of("cuLaunchKernel")(error) {
            CudaError::Failed { call, reason } => {
                CudaError::Failed { call, reason: format!("{}: {reason}", <&str>::from(self.kernel)) }
            }
            other => other,
        })
    }
}
