//! The elements of a variable, to change where they are.

use std::cell::RefCell;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Var, bail};

/// Elements handled by one task: where the tasks begin does not depend on the threads.
pub const TASK_ELEMENTS: usize = 1 << 15;

/// Calls `f` with the elements of a contiguous f32 variable on the CPU, to change.
pub fn with_elements_mut(variable: &Var, f: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<()> {
    /// candle lends an operation one tensor to change. Operations within operations lend all that one pass needs.
    struct Lend<F>(RefCell<Option<F>>);

    impl<F: FnOnce(&mut [f32]) -> Result<()>> InplaceOp1 for Lend<F> {
        fn name(&self) -> &'static str {
            "in_place"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let dtype = storage.dtype();
            match (storage, layout.contiguous_offsets(), self.0.take()) {
                (CpuStorage::F32(values), Some((start, end)), Some(f)) => f(&mut values[start..end]),
                _ => bail!("an optimizer takes contiguous f32 tensors, not {dtype:?} {:?}", layout.shape()),
            }
        }
    }

    variable.inplace_op1(&Lend(RefCell::new(Some(f))))
}
