//! Memory of the card, and memory of the host that the card writes to.

use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdeviceptr, CUresult, CUstream};

use super::context::Context;
use super::error::CudaError;
use super::record::Numbers;

/// A type without padding or pointers, of which all bytes are values.
///
/// # Safety
/// It is `repr(C)` or a number, has no padding, and every pattern of bits is a value of it.
pub unsafe trait Plain: Copy + 'static {}

// SAFETY: numbers.
unsafe impl Plain for u8 {}
// SAFETY: a number.
unsafe impl Plain for u32 {}
// SAFETY: a number.
unsafe impl Plain for u64 {}
// SAFETY: a number.
unsafe impl Plain for f32 {}
// SAFETY: a number.
unsafe impl Plain for f64 {}

// SAFETY: numbers beside each other.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// What can be recorded.
pub trait Recorded: Plain {
    const NUMBERS: Numbers;
}

impl Recorded for u8 {
    const NUMBERS: Numbers = Numbers::U8;
}

impl Recorded for u32 {
    const NUMBERS: Numbers = Numbers::U32;
}

impl Recorded for f32 {
    const NUMBERS: Numbers = Numbers::F32;
}

impl Recorded for f64 {
    const NUMBERS: Numbers = Numbers::F64;
}

/// Elements in the card's memory. Whatever is queued uses them in order with copies to and from them.
pub struct Buffer<T: Plain> {
    context: Arc<Context>,
    address: CUdeviceptr,
    len: usize,
    elements: PhantomData<T>,
}

impl<T: Plain> Buffer<T> {
    /// With whatever is in that memory.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn new(context: &Arc<Context>, len: usize) -> Result<Self, CudaError> {
        context.bind()?;
        let bytes = len.max(1) * size_of::<T>();
        // SAFETY: freed when this is dropped, and never read before it is written: kernels write what others read.
        let address = unsafe { result::malloc_sync(bytes) }.map_err(|error| match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, total) = context.memory().unwrap_or((0, 0));
                CudaError::OutOfMemory { bytes, free, total }
            }
            _ => CudaError::of("cuMemAlloc")(error),
        })?;
        Ok(Self { context: Arc::clone(context), address, len, elements: PhantomData })
    }

    /// With zeros.
    pub fn zeros(context: &Arc<Context>, len: usize) -> Result<Self, CudaError> {
        let buffer = Self::new(context, len)?;
        // SAFETY: the buffer has as many bytes.
        unsafe { result::memset_d8_async(buffer.address, 0, buffer.bytes(), context.stream) }
            .map_err(CudaError::of("cuMemsetD8Async"))?;
        Ok(buffer)
    }

    /// With those elements.
    pub fn from_slice(context: &Arc<Context>, elements: &[T]) -> Result<Self, CudaError> {
        let buffer = Self::new(context, elements.len())?;
        buffer.upload(0, elements)?;
        Ok(buffer)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    pub fn address(&self) -> u64 {
        self.address
    }

    pub fn address_of(&self, first: usize) -> u64 {
        assert!(first <= self.len, "element {first} of {}", self.len);
        self.address + (first * size_of::<T>()) as u64
    }

    /// Writes elements from `first` on, in order with what is queued, and waits.
    pub fn upload(&self, first: usize, elements: &[T]) -> Result<(), CudaError> {
        assert!(first + elements.len() <= self.len, "{} elements at {first} of {}", elements.len(), self.len);
        if elements.is_empty() {
            return Ok(());
        }
        self.context.bind()?;
        // SAFETY: there is room; the elements live until the wait below is over.
        unsafe { result::memcpy_htod_async(self.address_of(first), elements, self.context.stream) }
            .map_err(CudaError::of("cuMemcpyHtoDAsync"))?;
        self.context.wait()
    }

    /// Reads elements from `first` on, when all that is queued is done.
    pub fn download(&self, first: usize, elements: &mut [T]) -> Result<(), CudaError> {
        assert!(first + elements.len() <= self.len, "{} elements at {first} of {}", elements.len(), self.len);
        if elements.is_empty() {
            return Ok(());
        }
        self.context.bind()?;
        // SAFETY: as many are there; the slice lives until the wait below is over.
        unsafe { result::memcpy_dtoh_async(elements, self.address_of(first), self.context.stream) }
            .map_err(CudaError::of("cuMemcpyDtoHAsync"))?;
        self.context.wait()
    }
}

impl<T: Plain> Drop for Buffer<T> {
    fn drop(&mut self) {
        // What fails here fails because the card is lost, which whoever used it has been told.
        let _ = self.context.bind();
        // SAFETY: made by `new`; whatever is queued is waited for first.
        unsafe {
            let _ = result::stream::synchronize(self.context.stream);
            let _ = result::free_sync(self.address);
        }
    }
}

/// Elements in the host's memory that kernels write to, while the host looks.
pub struct MappedBuffer<T: Plain> {
    context: Arc<Context>,
    host: *mut T,
    address: CUdeviceptr,
    len: usize,
}

// SAFETY: the memory is this value's alone on the host's side; it is read as volatile.
unsafe impl<T: Plain + Send> Send for MappedBuffer<T> {}

impl<T: Plain> MappedBuffer<T> {
    /// With zeros.
    pub fn zeros(context: &Arc<Context>, len: usize) -> Result<Self, CudaError> {
        context.bind()?;
        let bytes = len.max(1) * size_of::<T>();
        // SAFETY: freed when this is dropped.
        let host = unsafe { result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_DEVICEMAP) }
            .map_err(CudaError::of("cuMemHostAlloc"))?
            .cast::<T>();
        // SAFETY: there are as many bytes.
        unsafe { host.cast::<u8>().write_bytes(0, bytes) };
        let mut address = 0;
        // SAFETY: the memory is mapped, and the function writes one address.
        let mapped = unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut address, host.cast(), 0).result() };
        let buffer = Self { context: Arc::clone(context), host, address, len };
        mapped.map_err(CudaError::of("cuMemHostGetDevicePointer")).map(|()| buffer)
    }

    pub fn address(&self) -> u64 {
        self.address
    }

    /// Writes elements from `first` on. No copy of them may be under way.
    pub fn write(&mut self, first: usize, elements: &[T]) {
        assert!(first + elements.len() <= self.len, "{} elements at {first} of {}", elements.len(), self.len);
        // SAFETY: there is room, and the memory is this value's alone.
        unsafe { self.host.add(first).copy_from_nonoverlapping(elements.as_ptr(), elements.len()) };
    }

    /// Queues a copy of `len` elements from `first` on to the same places of `to`; does not wait. They must stay as they are
    /// until it is done.
    pub(super) fn queue_copy(
        &self,
        to: &Buffer<T>,
        first: usize,
        len: usize,
        stream: CUstream,
    ) -> Result<(), CudaError> {
        assert!(first + len <= self.len.min(to.len), "{len} elements at {first} of {} and {}", self.len, to.len);
        // SAFETY: as many are there, and live as long as this, which waits for what is queued when it is dropped.
        let elements = unsafe { std::slice::from_raw_parts(self.host.add(first), len) };
        // SAFETY: there is room, just checked.
        unsafe { result::memcpy_htod_async(to.address_of(first), elements, stream) }
            .map_err(CudaError::of("cuMemcpyHtoDAsync"))
    }

    /// A field of element `index`, as it is now.
    pub fn read<F: Plain>(&self, index: usize, field: impl FnOnce(*const T) -> *const F) -> F {
        assert!(index < self.len, "element {index} of {}", self.len);
        // SAFETY: the element is there, and the field within it; the card may be writing, so it is read as volatile.
        unsafe { field(self.host.add(index)).read_volatile() }
    }
}

impl<T: Plain> Drop for MappedBuffer<T> {
    fn drop(&mut self) {
        let _ = self.context.bind();
        // SAFETY: made by `zeros`; no kernel that writes to it is under way after the wait.
        unsafe {
            let _ = result::stream::synchronize(self.context.stream);
            let _ = result::free_host(self.host.cast());
        }
    }
}
