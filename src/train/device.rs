//! The device that a run trains on.

use std::env;
use std::error::Error;
use std::panic;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use candle_core::{Device, DeviceLocation};

use crate::run::limits;
use crate::simd;
use crate::system::CardId;

/// `auto`, `cpu`, `cuda` or `cuda:N`. `auto` takes CUDA where it is built in and a card answers.
///
/// # Errors
/// One line that says what is missing: the feature at build time, the card, or the vector instructions that
/// [`simd::VARIABLE`] asks for.
pub fn open(name: &str) -> Result<Device> {
    let ordinal = match name {
        "cpu" => return cpu(),
        "auto" if cfg!(feature = "cuda") => return cuda(0).or_else(|_| cpu()),
        "auto" => return cpu(),
        "cuda" => 0,
        _ => match name.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => ordinal,
            _ => bail!("device = {name:?}: expected auto, cpu, cuda or cuda:N"),
        },
    };
    cuda(ordinal)
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

fn cuda(ordinal: usize) -> Result<Device> {
    if !cfg!(feature = "cuda") {
        bail!(
            "device cuda:{ordinal}: this taper was built without CUDA; \
             build it with `cargo build --release --features cuda`, or take --device cpu"
        )
    }
    Device::new_cuda(ordinal).map_err(|error| {
        // candle's errors carry a backtrace, a page long.
        let error = error.to_string();
        let first_line = error.lines().next().unwrap_or("no reason given");
        anyhow::anyhow!("device cuda:{ordinal}: no CUDA device answers ({first_line})")
    })
}

/// The card that the device is. Where CUDA sees but some of the cards, it numbers those alone.
pub fn card(device: &Device) -> Option<CardId> {
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => {
            Some(card_numbered(gpu_id, env::var("CUDA_VISIBLE_DEVICES").ok().as_deref()))
        }
        DeviceLocation::Cpu | DeviceLocation::Metal { .. } => None,
    }
}

fn card_numbered(number: usize, visible: Option<&str>) -> CardId {
    let entry = visible.and_then(|visible| visible.split(',').nth(number)).map(str::trim);
    match entry {
        Some(uuid) if uuid.starts_with("GPU-") => CardId::Uuid(uuid.to_owned()),
        entry => CardId::Ordinal(entry.and_then(|entry| entry.parse().ok()).unwrap_or(number as u32)),
    }
}

/// Such as `cpu (2 threads, avx2)` or `cuda:0`.
pub fn describe(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => {
            let threads = rayon::current_num_threads();
            let plural = if threads == 1 { "" } else { "s" };
            // A device that was opened has a path.
            let path = simd::chosen().map_or(String::new(), |path| format!(", {path}"));
            format!("cpu ({threads} thread{plural}{path})")
        }
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_says_what_is_allowed() {
        for name in ["gpu", "cuda:", "cuda:x", "CPU", ""] {
            let error = open(name).expect_err(name).to_string();
            assert!(error.contains("expected auto, cpu, cuda or cuda:N"), "{error}");
        }
    }

    #[test]
    fn a_card_is_found_among_those_that_cuda_sees() {
        assert_eq!(card(&Device::Cpu), None);
        assert_eq!(card_numbered(1, None), CardId::Ordinal(1));
        assert_eq!(card_numbered(1, Some("")), CardId::Ordinal(1));
        assert_eq!(card_numbered(1, Some("5, 3")), CardId::Ordinal(3));
        assert_eq!(card_numbered(0, Some("GPU-8f0e,1")), CardId::Uuid("GPU-8f0e".into()));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_without_the_feature_is_one_clear_line() {
        let error = format!("{:#}", open("cuda:1").expect_err("not built in"));
        assert!(error.contains("built without CUDA") && error.lines().count() == 1, "{error}");
        assert!(open("auto").expect("a device").is_cpu());
    }
}
