//! How a kernel is launched.

use std::ffi::c_void;
use std::ops::Range;

use cudarc::driver::result;

use super::context::Context;
use super::error::CudaError;
use super::kernel::Kernel;
use super::memory::{Buffer, MappedBuffer, Plain, Recorded};
use super::record::{Numbers, Written};

/// A launch that is being put together: the arguments are those of the kernel, in its order.
pub struct Launch<'a> {
    context: &'a Context,
    kernel: Kernel,
    grid: [u32; 3],
    /// Each argument in words of 8 bytes, and where it begins.
    words: Vec<u64>,
    starts: Vec<usize>,
    outputs: Vec<Output>,
}

/// Numbers that the kernel writes, all of them, and the same whenever its input is the same.
struct Output {
    what: &'static str,
    numbers: Numbers,
    address: u64,
    bytes: usize,
}

impl Context {
    /// Over a grid of blocks.
    pub fn launch(&self, kernel: Kernel, grid: [u32; 3]) -> Launch<'_> {
        Launch { context: self, kernel, grid, words: vec![], starts: vec![], outputs: vec![] }
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

    /// That it writes elements `range` of a buffer: these are kept while [`Context::record`] records.
    #[must_use]
    pub fn writes<T: Recorded>(self, what: &'static str, buffer: &Buffer<T>, range: Range<usize>) -> Self {
        assert!(range.end <= buffer.len(), "{range:?} of {} in {what}", buffer.len());
        self.writes_numbers(what, T::NUMBERS, buffer.address_of(range.start), range.len() * size_of::<T>())
    }

    /// As [`Launch::writes`], of what no type says.
    #[must_use]
    pub fn writes_numbers(mut self, what: &'static str, numbers: Numbers, address: u64, bytes: usize) -> Self {
        if bytes > 0 {
            self.outputs.push(Output { what, numbers, address, bytes });
        }
        self
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
        .map_err(CudaError::of("cuLaunchKernel"))
        .and_then(|()| self.context.keep(|| self.outputs.iter().map(|output| self.read(output)).collect()))
        .map_err(|error| error.in_kernel(self.kernel))
    }

    /// What is in an output when the kernel is done.
    fn read(&self, output: &Output) -> Result<Written, CudaError> {
        let &Output { what, numbers, address, bytes: len } = output;
        let mut bytes = vec![0u8; len];
        // SAFETY: the buffer has as many bytes; the slice lives until the wait below is over.
        unsafe { result::memcpy_dtoh_async(&mut bytes, address, self.context.stream) }
            .map_err(CudaError::of("cuMemcpyDtoHAsync"))?;
        self.context.wait()?;
        Ok(Written { kernel: self.kernel, what, numbers, bytes })
    }
}
