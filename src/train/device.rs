//! The device that a run trains on.

use std::error::Error;
use std::panic;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use candle_core::DeviceLocation;

use crate::run::limits;
use crate::simd;

/// What computes.
#[derive(Clone, Debug)]
pub enum Device {
    /// This crate's operations on candle's tensors.
    Cpu,
    /// candle's own CUDA backend, a second way to a card: behind the cargo feature `cuda`.
    CandleCuda(candle_core::Device),
}

impl Device {
    /// Where candle's tensors of the network live: for what is computed of them apart from training steps.
    pub fn candle(&self) -> &candle_core::Device {
        match self {
            Self::Cpu => &candle_core::Device::Cpu,
            Self::CandleCuda(device) => device,
        }
    }

    /// Such as `cpu (2 threads, avx2)` or `candle-cuda:0`.
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu => {
                let threads = rayon::current_num_threads();
                let plural = if threads == 1 { "" } else { "s" };
                // A device that was opened has a path.
                let path = simd::chosen().map_or(String::new(), |path| format!(", {path}"));
                format!("cpu ({threads} thread{plural}{path})")
            }
            Self::CandleCuda(device) => match device.location() {
                DeviceLocation::Cuda { gpu_id } => format!("candle-cuda:{gpu_id}"),
                other => format!("candle-cuda ({other:?})"),
            },
        }
    }
}

/// `auto`, `cpu`, `cuda`, `cuda:N`, `candle-cuda` or `candle-cuda:N`. `auto` takes the first card where one answers, and
/// else the CPU.
///
/// # Errors
/// One line that says what is missing: the feature at build time, the card, or the vector instructions that
/// [`simd::VARIABLE`] asks for.
pub fn open(name: &str) -> Result<Device> {
    let (backend, ordinal) = match name.split_once(':') {
        Some((backend, ordinal)) => (backend, ordinal.parse().ok()),
        None if name == "auto" => return own_cuda(0).or_else(|_| cpu()),
        None if name == "cpu" => return cpu(),
        None => (name, Some(0)),
    };
    match (backend, ordinal) {
        ("cuda", Some(ordinal)) => own_cuda(ordinal),
        ("candle-cuda", Some(ordinal)) => candle_cuda(ordinal),
        _ => bail!("device = {name:?}: expected auto, cpu, cuda[:N] or candle-cuda[:N]"),
    }
}

fn cpu() -> Result<Device> {
    simd::chosen()?;
    limits::check_memory().context("cannot compute")?;
    start_threads()?;
    Ok(Device::Cpu)
}

/// Rayon and candle would start them when they are first needed, and panic where they cannot.
fn start_threads() -> Result<()> {
    const ADVICE: &str = "set run.threads to fewer, or raise the limits (ulimit -u, ulimit -v)";
    // Without a cause, the error is that rayon has started them before.
    if let Err(Some(refused)) = rayon::ThreadPoolBuilder::new().build_global().as_ref().map_err(Error::source) {
        bail!("cannot start the compute threads: {refused}; {ADVICE}")
    }
    if !start_candle_threads() {
        bail!("cannot start the compute threads: the system refuses candle's; {ADVICE}")
    }
    Ok(())
}

/// Whether candle's own two pools are there. It has no other way to start them than one that panics.
fn start_candle_threads() -> bool {
    static STARTED: OnceLock<bool> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let started = panic::catch_unwind(|| {
            candle_core::utils::barrier_pool();
            candle_core::utils::with_threadpool(|| ());
        });
        panic::set_hook(hook);
        started.is_ok()
    })
}

/// The card of that number, with kernels of our own.
fn own_cuda(ordinal: usize) -> Result<Device> {
    bail!("device cuda:{ordinal}: this taper has no CUDA kernels of its own; take --device cpu")
}

fn candle_cuda(ordinal: usize) -> Result<Device> {
    if !cfg!(feature = "cuda") {
        bail!(
            "device candle-cuda:{ordinal}: this taper was built without candle's CUDA; \
             build it with `cargo build --release --features cuda`, or take --device cpu"
        )
    }
    let device = candle_core::Device::new_cuda(ordinal).map_err(|error| {
        // candle's errors carry a backtrace, a page long.
        let error = error.to_string();
        let first_line = error.lines().next().unwrap_or("no reason given");
        anyhow::anyhow!("device candle-cuda:{ordinal}: no CUDA device answers ({first_line})")
    })?;
    Ok(Device::CandleCuda(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_says_what_is_allowed() {
        for name in ["gpu", "cuda:", "cuda:x", "candle-cuda:x", "candle", "cpu:0", "auto:0", "CPU", ""] {
            let error = open(name).expect_err(name).to_string();
            assert!(error.contains("expected auto, cpu, cuda[:N] or candle-cuda[:N]"), "{error}");
        }
    }

    #[test]
    fn the_cpu_is_what_is_left() {
        for name in ["cpu", "auto"] {
            let device = open(name).expect("a device");
            assert!(matches!(device, Device::Cpu) && device.candle().is_cpu(), "{name}: {device:?}");
            assert!(device.describe().starts_with("cpu ("), "{}", device.describe());
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn candle_cuda_without_the_feature_is_one_clear_line() {
        for (name, device) in [("candle-cuda", "candle-cuda:0"), ("candle-cuda:1", "candle-cuda:1")] {
            let error = format!("{:#}", open(name).expect_err("not built in"));
            assert!(error.starts_with(&format!("device {device}: ")), "{error}");
            assert!(error.contains("built without candle's CUDA") && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn cuda_without_kernels_is_one_clear_line() {
        let error = format!("{:#}", open("cuda:1").expect_err("no kernels"));
        assert!(error.starts_with("device cuda:1: ") && error.lines().count() == 1, "{error}");
    }
}
