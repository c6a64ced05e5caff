//! What can be wrong with a card.

use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;

use super::kernel::Kernel;
use super::version::{BF16_CAPABILITY, Capability, LEAST_CAPABILITY, LEAST_DRIVER, Version};

#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    #[error("there is no NVIDIA driver: libcuda.so.1 is not there")]
    NoDriver,
    #[error("the NVIDIA driver finds no GPU")]
    NoCard,
    #[error(
        "the NVIDIA driver is too old: it is of CUDA {0}, and {LEAST_DRIVER} is the oldest that is taken; update it"
    )]
    DriverTooOld(Version),
    #[error("there is no such GPU: this box has {count}, numbers 0 to {}", count - 1)]
    NoSuchCard { count: usize },
    #[error("{name} has compute capability {capability}, and {LEAST_CAPABILITY} is the least that is taken")]
    CapabilityTooLow { name: String, capability: Capability },
    #[error("train.precision = bf16: {name} has compute capability {capability}, and bf16 needs {BF16_CAPABILITY}")]
    NoBf16 { name: String, capability: Capability },
    #[error("the GPU has no memory left: {bytes} bytes are asked for, and {free} of {total} are free")]
    OutOfMemory { bytes: usize, free: usize, total: usize },
    #[error("{memory}; {advice}")]
    BatchTooLarge { memory: Box<Self>, advice: String },
    #[error(transparent)]
    Image(#[from] crate::data::folder::ImageError),
    #[error("{call} failed: {reason}")]
    Failed { call: &'static str, reason: String },
}

impl CudaError {
    /// Names the kernel that it came of.
    pub(super) fn in_kernel(self, kernel: Kernel) -> Self {
        match self {
            Self::Failed { call, reason } => {
                Self::Failed { call, reason: format!("{}: {reason}", <&str>::from(kernel)) }
            }
            other => other,
        }
    }

    /// Of the driver's function `call`.
    pub(super) fn of(call: &'static str) -> impl FnOnce(DriverError) -> Self {
        move |error| match error.0 {
            CUresult::CUDA_ERROR_NO_DEVICE => Self::NoCard,
            _ => Self::Failed { call, reason: describe(error) },
        }
    }
}

/// The driver's name and words for an error, such as `CUDA_ERROR_LAUNCH_FAILED, unspecified launch failure`.
fn describe(error: DriverError) -> String {
    let text = |words: Result<&std::ffi::CStr, DriverError>| words.map(|words| words.to_string_lossy().into_owned());
    match (text(error.error_name()), text(error.error_string())) {
        (Ok(name), Ok(words)) if name != words => format!("{name}, {words}"),
        (Ok(name), _) => name,
        (Err(_), _) => format!("error {}", error.0 as u32),
    }
}
