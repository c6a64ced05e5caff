//! A card that is in use: its context, one stream of work, and the kernels.

use std::ffi::CString;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::result::{self, ctx, device, module, primary_ctx, stream};
use cudarc::driver::sys::{self, CUcontext, CUctx_flags, CUdevice, CUfunction, CUmodule, CUresult, CUstream};
use strum::VariantArray;

use super::card::Card;
use super::error::CudaError;
use super::kernel::Kernel;
use super::record::Written;
use super::version::BF16_CAPABILITY;
use crate::config::Precision;

/// The kernels, made of `kernels/kernels.cu` by `kernels/make.sh`, which notes the hashes of both.
const PTX: &str = include_str!("kernels.ptx");
/// The same with products in bfloat16.
const PTX_BF16: &str = include_str!("kernels-bf16.ptx");

fn ptx(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => PTX,
        Precision::Bf16 => PTX_BF16,
    }
}

/// Work is queued on one stream of its own, in order; the host waits only where it says so.
pub struct Context {
    card: Card,
    device: CUdevice,
    context: CUcontext,
    pub(super) stream: CUstream,
    module: CUmodule,
    /// In the order of the kernels.
    functions: Vec<CUfunction>,
    precision: Precision,
    /// What kernels wrote, while it is being recorded.
    record: Mutex<Option<Vec<Written>>>,
}

// SAFETY: these are handles of the driver, which any thread may use; each use makes the context the thread's first.
unsafe impl Send for Context {}
// SAFETY: as above; the driver locks.
unsafe impl Sync for Context {}

impl Context {
    /// Takes the card into use; the first time on a box its driver compiles the kernels for it, which takes seconds.
    pub fn open(card: Card, precision: Precision) -> Result<Arc<Self>, CudaError> {
        if precision == Precision::Bf16 && card.capability < BF16_CAPABILITY {
            let Card { name, capability, .. } = card;
            return Err(CudaError::NoBf16 { name, capability });
        }
        let device = device::get(card.ordinal as i32).map_err(CudaError::of("cuDeviceGet"))?;
        // Memory of the host is to be mapped, and whoever waits is to sleep. Where another part of this process has the
        // context already, as it is.
        let flags = CUctx_flags::CU_CTX_MAP_HOST as u32 | CUctx_flags::CU_CTX_SCHED_BLOCKING_SYNC as u32;
        // SAFETY: the device is one that the driver gave.
        let set = unsafe { sys::cuDevicePrimaryCtxSetFlags_v2(device, flags) };
        if set != CUresult::CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE {
            set.result().map_err(CudaError::of("cuDevicePrimaryCtxSetFlags"))?;
        }
        // SAFETY: the device is one that the driver gave; the context is released when this is dropped.
        let context = unsafe { primary_ctx::retain(device) }.map_err(CudaError::of("cuDevicePrimaryCtxRetain"))?;
        let mut opened = Self {
            card,
            device,
            context,
            stream: std::ptr::null_mut(),
            module: std::ptr::null_mut(),
            functions: vec![],
            precision,
            record: Mutex::new(None),
        };
        opened.bind()?;
        opened.stream = stream::create(stream::StreamKind::NonBlocking).map_err(CudaError::of("cuStreamCreate"))?;
        let image = CString::new(ptx(precision)).expect("PTX is text without a zero");
        // SAFETY: the image is PTX and ends with a zero.
        opened.module =
            unsafe { module::load_data(image.as_ptr().cast()) }.map_err(CudaError::of("cuModuleLoadData"))?;
        for &kernel in Kernel::VARIANTS {
            let name = CString::new(<&str>::from(kernel)).expect("a name is text without a zero");
            // SAFETY: the module is loaded, and stays so as long as the functions are kept.
            let function =
                unsafe { module::get_function(opened.module, name) }.map_err(CudaError::of("cuModuleGetFunction"))?;
            opened.functions.push(function);
        }
        Ok(Arc::new(opened))
    }

    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Of products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The kernels as they ship, for this precision.
    pub fn ptx(&self) -> &'static str {
        ptx(self.precision)
    }

    /// What the kernels write that `queue` queues, each output of each launch when the kernel is done. Nothing else is to
    /// use the card meanwhile, and nothing to be captured.
    pub fn record<E: From<CudaError>>(&self, queue: impl FnOnce() -> Result<(), E>) -> Result<Vec<Written>, E> {
        *self.locked_record() = Some(vec![]);
        let queued = queue();
        let written = self.locked_record().take();
        queued.map(|()| written.unwrap_or_default())
    }

    /// Keeps what a launch wrote, if that is asked for.
    pub(super) fn keep(&self, read: impl FnOnce() -> Result<Vec<Written>, CudaError>) -> Result<(), CudaError> {
        match &mut *self.locked_record() {
            Some(record) => read().map(|written| record.extend(written)),
            None => Ok(()),
        }
    }

    fn locked_record(&self) -> MutexGuard<'_, Option<Vec<Written>>> {
        // What a panic left is as good as any: a record begins empty.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Free bytes of the card's memory, and all.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.bind()?;
        result::mem_get_info().map_err(CudaError::of("cuMemGetInfo"))
    }

    /// Makes it the context of this thread.
    pub(super) fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained.
        unsafe { ctx::set_current(self.context) }.map_err(CudaError::of("cuCtxSetCurrent"))
    }

    pub(super) fn function(&self, kernel: Kernel) -> CUfunction {
        self.functions[kernel as usize]
    }

    /// Waits until all that is queued is done.
    pub fn wait(&self) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: the stream exists as long as this.
        unsafe { stream::synchronize(self.stream) }.map_err(CudaError::of("cuStreamSynchronize"))
    }

    /// Whether all that is queued is done; does not wait.
    ///
    /// # Errors
    /// Some of it failed.
    pub fn is_idle(&self) -> Result<bool, CudaError> {
        self.bind()?;
        // SAFETY: the stream exists as long as this.
        let status = unsafe { sys::cuStreamQuery(self.stream) };
        match status {
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            status => status.result().map(|()| true).map_err(CudaError::of("cuStreamQuery")),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Context").field("card", &self.card).finish_non_exhaustive()
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // What fails here fails because the card is lost, which whoever used it has been told.
        let _ = self.bind();
        // SAFETY: all were made by `open`, and nothing uses them any more: buffers and graphs keep this alive.
        unsafe {
            if !self.stream.is_null() {
                let _ = stream::synchronize(self.stream);
                let _ = stream::destroy(self.stream);
            }
            if !self.module.is_null() {
                let _ = module::unload(self.module);
            }
            let _ = primary_ctx::release(self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sha2::{Digest, Sha256};

    /// Whoever changes a kernel runs `kernels/make.sh`.
    #[test]
    fn the_ptx_that_ships_is_made_of_the_sources() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda");
        let mut noted = 0;
        for line in include_str!("kernels.sha256").lines() {
            let (hash, file) = line.split_once("  ").expect("a hash and a file");
            let bytes = std::fs::read(folder.join(file)).expect(file);
            assert_eq!(format!("{:x}", Sha256::digest(bytes)), hash, "{file}: run src/cuda/kernels/make.sh");
            noted += 1;
        }
        let sources = std::fs::read_dir(folder.join("kernels")).expect("a folder").filter(|entry| {
            let name = entry.as_ref().expect("an entry").file_name();
            [".cu", ".cuh"].iter().any(|ending| name.to_string_lossy().ends_with(ending))
        });
        assert_eq!(noted, sources.count() + 2);
    }
}
