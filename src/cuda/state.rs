//! Where a run is, as the card has it.

use super::memory::{Plain, Recorded};
use super::record::Numbers;

/// As in `kernels/common.cuh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Position {
    /// The next step of the run.
    pub number: u64,
    /// Its batch, among those of the plan.
    pub batch: u32,
    pub stopped: u32,
}

// SAFETY: numbers without padding.
unsafe impl Plain for Position {}

/// As in `kernels/common.cuh`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    pub computed: u64,
    pub optimizer_steps: u64,
}

// SAFETY: numbers without padding.
unsafe impl Plain for Counters {}

/// As in `kernels/common.cuh`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Outcome {
    loss: f32,
    gradient_norm: f32,
    correct: u32,
    finite: u32,
    step_size: f32,
    root_correction: f32,
    pub(super) began: u64,
    forward_done: u64,
    backward_done: u64,
}

// SAFETY: numbers without padding.
unsafe impl Plain for Outcome {}

impl Recorded for Position {
    const NUMBERS: Numbers = Numbers::U32;
}

impl Recorded for Counters {
    const NUMBERS: Numbers = Numbers::U32;
}
