//! NVIDIA's cards, as their driver tells of them. Its library, NVML, is loaded when it is first asked: without it there is no
//! card, and no harm.

use std::ffi::OsStr;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use thiserror::Error;

use crate::run::system_sample::{CardSample, ThrottleReason};

/// The driver's library, where the system's loader finds it.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// Which card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardId {
    /// In the driver's order, which is that of the buses. CUDA's own may be another.
    Ordinal(u32),
    /// Such as `00000000:65:00.0`.
    PciBusId(String),
    /// Such as `GPU-8f0e6c0e-5b1d-…`.
    Uuid(String),
}

/// Why the driver tells of no card.
#[derive(Debug, Error)]
pub enum NoCards {
    #[error("no NVIDIA driver: {LIBRARY} is not there")]
    NoLibrary,
    #[error("the NVIDIA driver cannot be loaded: {0}")]
    NotLoadable(String),
    #[error("the NVIDIA driver does not answer: {0}")]
    NoAnswer(NvmlError),
}

/// The cards of this machine.
pub struct Cards(Nvml);

/// What of a card does not change while somebody looks, and how warm it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardDescription {
    pub name: Option<String>,
    pub driver_version: Option<String>,
    pub memory_bytes: Option<u64>,
    pub power_limit_watts: Option<u32>,
    pub temperature_celsius: Option<u32>,
    /// Of CUDA, such as `9.0`.
    pub compute_capability: Option<String>,
}

impl Cards {
    /// May take seconds where the driver has been idle.
    ///
    /// # Errors
    /// There is no driver, or it does not answer.
    pub fn open() -> Result<Self, NoCards> {
        Self::open_library(LIBRARY.as_ref())
    }

    /// With the library in that file.
    ///
    /// # Errors
    /// As [`Cards::open`].
    pub fn open_library(library: &OsStr) -> Result<Self, NoCards> {
        let nvml = Nvml::builder().lib_path(library).init();
        nvml.map(Self).map_err(|error| match error {
            NvmlError::LibloadingError(error) => not_loaded(error.to_string()),
            error => NoCards::NoAnswer(error),
        })
    }

    /// What the card is doing; what its driver does not tell is absent. None: it does not tell of this card at all.
    pub fn look(&self, id: &CardId) -> Option<CardSample> {
        let card = self.find(id).ok()?;
        let memory = card.memory_info().ok();
        let sample = CardSample {
            name: card.name().ok(),
            utilisation_percent: card.utilization_rates().ok().map(|rates| rates.gpu.into()),
            memory_used_bytes: memory.as_ref().map(|memory| memory.used),
            memory_total_bytes: memory.map(|memory| memory.total),
            power_watts: card.power_usage().ok().map(watts),
            power_limit_watts: card.enforced_power_limit().ok().map(watts),
            temperature_celsius: card.temperature(TemperatureSensor::Gpu).ok(),
            sm_clock_mhz: card.clock_info(Clock::SM).ok(),
            memory_clock_mhz: card.clock_info(Clock::Memory).ok(),
            throttle_reasons: card.current_throttle_reasons().ok().map(reasons),
        };
        (sample != CardSample::default()).then_some(sample)
    }

    /// Every card, in the driver's order.
    ///
    /// # Errors
    /// The driver does not say how many there are.
    pub fn describe(&self) -> Result<Vec<CardDescription>, NoCards> {
        let driver_version = self.0.sys_driver_version().ok();
        let describe = |ordinal| {
            let Ok(card) = self.find(&CardId::Ordinal(ordinal)) else { return CardDescription::default() };
            CardDescription {
                name: card.name().ok(),
                driver_version: driver_version.clone(),
                memory_bytes: card.memory_info().ok().map(|memory| memory.total),
                power_limit_watts: card.enforced_power_limit().ok().map(|milliwatts| milliwatts / 1000),
                temperature_celsius: card.temperature(TemperatureSensor::Gpu).ok(),
                compute_capability: card
                    .cuda_compute_capability()
                    .ok()
                    .map(|capability| format!("{}.{}", capability.major, capability.minor)),
            }
        };
        Ok((0..self.0.device_count().map_err(NoCards::NoAnswer)?).map(describe).collect())
    }

    fn find(&self, id: &CardId) -> Result<Device<'_>, NvmlError> {
        match id {
            CardId::Ordinal(ordinal) => self.0.device_by_index(*ordinal),
            CardId::PciBusId(id) => self.0.device_by_pci_bus_id(id.as_str()),
            CardId::Uuid(uuid) => self.0.device_by_uuid(uuid.as_str()),
        }
    }
}

/// The C library's loader tells what is wrong in words alone.
fn not_loaded(error: String) -> NoCards {
    if error.contains("No such file") { NoCards::NoLibrary } else { NoCards::NotLoadable(error) }
}

fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1e3
}

fn reasons(flags: ThrottleReasons) -> Vec<ThrottleReason> {
    let table = [
        (ThrottleReasons::GPU_IDLE, ThrottleReason::Idle),
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, ThrottleReason::ClocksSetting),
        (ThrottleReasons::SW_POWER_CAP, ThrottleReason::PowerCap),
        (ThrottleReasons::HW_SLOWDOWN, ThrottleReason::HardwareSlowdown),
        (ThrottleReasons::SYNC_BOOST, ThrottleReason::SyncBoost),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, ThrottleReason::SoftwareThermal),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, ThrottleReason::HardwareThermal),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, ThrottleReason::PowerBrake),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, ThrottleReason::DisplayClocks),
    ];
    table.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, reason)| reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let all = reasons(ThrottleReasons::all());
        let words: std::collections::BTreeSet<&str> = all.iter().map(|reason| reason.words()).collect();
        assert_eq!((all.len(), words.len()), (9, 9));
        assert_eq!(reasons(ThrottleReasons::NONE), []);
        assert_eq!(reasons(ThrottleReasons::SW_POWER_CAP | ThrottleReasons::GPU_IDLE).len(), 2);
    }

    #[test]
    fn a_library_that_is_not_there_is_said() {
        let error = Cards::open_library("/nowhere/libnvidia-ml.so.1".as_ref()).err().expect("none");
        assert_eq!(error.to_string(), "no NVIDIA driver: libnvidia-ml.so.1 is not there");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = Cards::open_library(file.path().as_os_str()).err().expect("none").to_string();
        assert!(error.starts_with("the NVIDIA driver cannot be loaded: "), "{error}");
    }
}
