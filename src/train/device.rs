//! The device that a run trains on.

use std::env;
use std::error::Error;
use std::panic;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result, bail};
use candle_core::DeviceLocation;

use super::cpu;
use super::leader::Leader;
use crate::allocator;
use crate::config::{Config, Precision};
use crate::cuda::{Card, Context, CudaError, check_network, check_training};
use crate::ops;
use crate::run::limits;
use crate::simd;
use crate::system::CardId;

/// What computes.
#[derive(Clone, Debug)]
pub enum Device {
    /// This crate's operations on candle's tensors.
    Cpu(NoCard),
    /// This crate's kernels on a card.
    Cuda(Arc<Context>),
    /// As [`Device::Cpu`], on each of several ranks, of which this process is the first.
    Ranks(Arc<Leader>),
    /// candle's own CUDA backend, a second way to a card: behind the cargo feature `cuda`.
    CandleCuda(candle_core::Device),
}

/// Why no card computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoCard {
    /// None was asked for.
    NotWanted,
    /// `auto` found none that can take the run.
    NotFound(String),
}

impl Device {
    pub const CPU: Self = Self::Cpu(NoCard::NotWanted);

    /// Where candle's tensors of the network live: for what is computed of them apart from training steps.
    pub fn candle(&self) -> &candle_core::Device {
        match self {
            Self::Cpu(_) | Self::Ranks(_) | Self::Cuda(_) => &candle_core::Device::Cpu,
            Self::CandleCuda(device) => device,
        }
    }

    /// The card that it is, for the driver's tools.
    pub fn card(&self) -> Option<CardId> {
        match self {
            Self::Cpu(_) | Self::Ranks(_) => None,
            Self::Cuda(context) => Some(CardId::Uuid(context.card().uuid.clone())),
            Self::CandleCuda(device) => match device.location() {
                DeviceLocation::Cuda { gpu_id } => {
                    Some(card_numbered(gpu_id, env::var("CUDA_VISIBLE_DEVICES").ok().as_deref()))
                }
                DeviceLocation::Cpu | DeviceLocation::Metal { .. } => None,
            },
        }
    }

    /// Such as `cpu (2 threads, avx2)`, with why it is not a card where `auto` looked for one; or `cuda:0 (NVIDIA H100)`.
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu(no_card) => {
                let why = match no_card {
                    NoCard::NotWanted => String::new(),
                    NoCard::NotFound(why) => format!("; {why}"),
                };
                cpu::described(&why)
            }
            Self::Ranks(leader) => {
                let hosts = leader.hosts();
                let on = match &hosts[..] {
                    [host] => host.clone(),
                    hosts => format!("{} hosts: {}", hosts.len(), hosts.join(", ")),
                };
                format!("{} ranks on {on}, each {}", leader.communicator.size(), cpu::described(""))
            }
            Self::Cuda(context) => format!("cuda:{} ({})", context.card().ordinal, context.card().name),
            Self::CandleCuda(device) => match device.location() {
                DeviceLocation::Cuda { gpu_id } => format!("candle-cuda:{gpu_id}"),
                other => format!("candle-cuda ({other:?})"),
            },
        }
    }
}

/// Where CUDA sees but some of the cards, it numbers those alone.
fn card_numbered(number: usize, visible: Option<&str>) -> CardId {
    let entry = visible.and_then(|visible| visible.split(',').nth(number)).map(str::trim);
    match entry {
        Some(uuid) if uuid.starts_with("GPU-") => CardId::Uuid(uuid.to_owned()),
        entry => CardId::Ordinal(entry.and_then(|entry| entry.parse().ok()).unwrap_or(number as u32)),
    }
}

/// What `run.device` names: `auto`, `cpu`, `cuda`, `cuda:N`, `candle-cuda` or `candle-cuda:N`. `auto` takes the first card
/// where there is one that can train the configured network, and else the CPU.
///
/// # Errors
/// One line that says what is missing: the feature at build time, the card, a kernel for the network, or the vector
/// instructions that [`simd::VARIABLE`] asks for.
pub fn open(config: &Config) -> Result<Device> {
    let wanted = Wanted::parse(&config.run.device)?;
    // Whatever trains, the CPU explains.
    prepare_cpu()?;
    match wanted {
        Wanted::Cpu => {
            check_precision_of_cpu(config, "device cpu")?;
            Ok(Device::CPU)
        }
        Wanted::Auto => match open_card(config, 0) {
            Ok(context) => Ok(Device::Cuda(context)),
            Err(error) => {
                let why = why_no_card(&error);
                check_precision_of_cpu(config, &why)?;
                Ok(Device::Cpu(NoCard::NotFound(why)))
            }
        },
        Wanted::Cuda(ordinal) => {
            let context = open_card(config, ordinal).with_context(|| format!("device cuda:{ordinal}"))?;
            Ok(Device::Cuda(context))
        }
        Wanted::CandleCuda(ordinal) => {
            if config.train.precision == Precision::Bf16 {
                bail!("{}: train.precision = bf16 is of the devices cpu and cuda alone", config.run.device)
            }
            candle_cuda(ordinal)
        }
    }
}

/// As [`open`], for a process that is the first of several ranks.
fn open_on_ranks(config: &Config, leader: &Arc<Leader>) -> Result<Device> {
    match Wanted::parse(&config.run.device)? {
        Wanted::Cpu | Wanted::Auto => {
            prepare_cpu()?;
            check_precision_of_cpu(config, "device cpu")?;
            Ok(Device::Ranks(Arc::clone(leader)))
        }
        Wanted::Cuda(_) | Wanted::CandleCuda(_) => {
            let size = leader.communicator.size();
            bail!(
                "{}: {size} ranks train on their CPUs alone yet: take --device cpu, or one process",
                config.run.device
            )
        }
    }
}

/// What `begin` makes on the configured device, or on the CPUs of several ranks; where `auto` found a card, and that fails on it,
/// on the CPU.
///
/// # Errors
/// As [`open`], and those of `begin`.
pub fn begin_on<T>(
    config: &Config,
    leader: Option<&Arc<Leader>>,
    begin: impl Fn(&Device) -> Result<T>,
) -> Result<(Device, T)> {
    let device = match leader {
        None => open(config)?,
        Some(leader) => open_on_ranks(config, leader)?,
    };
    let error = match begin(&device) {
        Ok(begun) => return Ok((device, begun)),
        Err(error) if is_of_a_card(&error) => error,
        Err(error) => return Err(error),
    };
    match Wanted::parse(&config.run.device)? {
        Wanted::Auto => {
            let why = why_no_card(&error);
            check_precision_of_cpu(config, &why)?;
            begin_on_cpu(why, begin)
        }
        Wanted::Cuda(ordinal) => Err(error.context(format!("device cuda:{ordinal}"))),
        Wanted::Cpu | Wanted::CandleCuda(_) => Err(error),
    }
}

/// What `begin` makes on the configured device where it is there and can do it, and else on the CPU: for what needs no step.
///
/// # Errors
/// Those of the CPU and of `begin`.
pub fn begin_anywhere<T>(config: &Config, begin: impl Fn(&Device) -> Result<T>) -> Result<(Device, T)> {
    let device = match open(config) {
        Ok(device) => device,
        Err(error) => {
            prepare_cpu()?;
            return begin_on_cpu(format!("not {error:#}"), begin);
        }
    };
    match begin(&device) {
        Ok(begun) => Ok((device, begun)),
        Err(error) if is_of_a_card(&error) => begin_on_cpu(format!("not {}: {error:#}", device.describe()), begin),
        Err(error) => Err(error),
    }
}

fn begin_on_cpu<T>(why: String, begin: impl Fn(&Device) -> Result<T>) -> Result<(Device, T)> {
    let device = Device::Cpu(NoCard::NotFound(why));
    let begun = begin(&device)?;
    Ok((device, begun))
}

fn is_of_a_card(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<CudaError>())
}

/// In the words of a device line. That of a box without a card is short: most have none.
fn why_no_card(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(CudaError::NoDriver) => "no NVIDIA driver".to_owned(),
        _ => format!("no GPU: {error:#}"),
    }
}

fn open_card(config: &Config, ordinal: usize) -> Result<Arc<Context>> {
    let card = Card::find(ordinal)?;
    check_network(&config.model)?;
    check_training(config)?;
    Ok(Context::open(card, config.train.precision)?)
}

/// That the CPU computes in the configured precision. `device`: that it is asked for, or why it is not a card.
fn check_precision_of_cpu(config: &Config, device: &str) -> Result<()> {
    ops::check_precision(config.train.precision).with_context(|| format!("{device}: train.precision"))
}

/// # Errors
/// The vector instructions that [`simd::VARIABLE`] asks for are not there, or the system refuses memory or threads.
pub fn prepare_cpu() -> Result<()> {
    simd::chosen()?;
    limits::check_memory().context("cannot compute")?;
    allocator::keep_freed_memory();
    start_threads()
}

/// What `run.device` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Auto,
    Cpu,
    Cuda(usize),
    CandleCuda(usize),
}

impl Wanted {
    fn parse(name: &str) -> Result<Self> {
        let (backend, ordinal) = match name.split_once(':') {
            Some((backend, ordinal)) => (backend, ordinal.parse().ok()),
            None if name == "auto" => return Ok(Self::Auto),
            None if name == "cpu" => return Ok(Self::Cpu),
            None => (name, Some(0)),
        };
        match (backend, ordinal) {
            ("cuda", Some(ordinal)) => Ok(Self::Cuda(ordinal)),
            ("candle-cuda", Some(ordinal)) => Ok(Self::CandleCuda(ordinal)),
            _ => bail!("device = {name:?}: expected auto, cpu, cuda[:N] or candle-cuda[:N]"),
        }
    }
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

    fn on(device: &str) -> Config {
        let mut config = Config::default();
        config.run.device = device.into();
        config
    }

    #[test]
    fn a_name_that_is_none_says_what_is_allowed() {
        for name in ["gpu", "cuda:", "cuda:x", "candle-cuda:x", "candle", "cpu:0", "auto:0", "CPU", ""] {
            let error = open(&on(name)).expect_err(name).to_string();
            assert!(error.contains("expected auto, cpu, cuda[:N] or candle-cuda[:N]"), "{error}");
        }
    }

    #[test]
    fn the_cpu_trains_where_it_is_asked_for() {
        let device = open(&on("cpu")).expect("a device");
        assert!(matches!(device, Device::Cpu(NoCard::NotWanted)) && device.candle().is_cpu(), "{device:?}");
        assert!(device.describe().starts_with("cpu (") && device.describe().ends_with(')'), "{}", device.describe());
        let without = Device::Cpu(NoCard::NotFound(why_no_card(&CudaError::NoDriver.into())));
        assert!(without.describe().ends_with("; no NVIDIA driver)"), "{}", without.describe());
        assert_eq!(why_no_card(&CudaError::NoCard.into()), "no GPU: the NVIDIA driver finds no GPU");
    }

    #[test]
    fn a_card_is_found_among_those_that_cuda_sees() {
        assert_eq!(Device::CPU.card(), None);
        assert_eq!(card_numbered(1, None), CardId::Ordinal(1));
        assert_eq!(card_numbered(1, Some("")), CardId::Ordinal(1));
        assert_eq!(card_numbered(1, Some("5, 3")), CardId::Ordinal(3));
        assert_eq!(card_numbered(0, Some("GPU-8f0e,1")), CardId::Uuid("GPU-8f0e".into()));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn candle_cuda_without_the_feature_is_one_clear_line() {
        for (name, device) in [("candle-cuda", "candle-cuda:0"), ("candle-cuda:1", "candle-cuda:1")] {
            let error = format!("{:#}", open(&on(name)).expect_err("not built in"));
            assert!(error.starts_with(&format!("device {device}: ")), "{error}");
            assert!(error.contains("built without candle's CUDA") && error.lines().count() == 1, "{error}");
        }
    }
}
