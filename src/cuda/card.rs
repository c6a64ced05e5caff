//! The cards of this box, as CUDA's driver tells of them.

use cudarc::driver::result::{self, device};
use cudarc::driver::sys::{self, CUdevice, CUdevice_attribute};

use super::error::CudaError;
use super::version::{Capability, LEAST_CAPABILITY, LEAST_DRIVER, Version};

/// A card that can train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// From 0, as CUDA counts them: `CUDA_VISIBLE_DEVICES` hides some.
    pub ordinal: usize,
    pub name: String,
    pub capability: Capability,
    /// The newest CUDA that the driver knows.
    pub driver: Version,
    pub memory_bytes: usize,
    pub multiprocessors: u32,
    /// Of the multiprocessors.
    pub clock_khz: u32,
    /// Of the memory, and the width of its bus: two transfers a cycle.
    pub memory_clock_khz: u32,
    pub memory_bus_bits: u32,
    /// As the driver's management library knows it.
    pub uuid: String,
}

impl Card {
    /// # Errors
    /// There is no driver, or it is too old, or no such card, or one that is too old.
    pub fn find(ordinal: usize) -> Result<Self, CudaError> {
        let driver = start_driver()?;
        let count = count()?;
        if ordinal >= count {
            return Err(if count == 0 { CudaError::NoCard } else { CudaError::NoSuchCard { count } });
        }
        let device = device::get(ordinal as i32).map_err(CudaError::of("cuDeviceGet"))?;
        let card = Self::describe(device, ordinal, driver)?;
        if card.capability < LEAST_CAPABILITY {
            let Self { name, capability, .. } = card;
            return Err(CudaError::CapabilityTooLow { name, capability });
        }
        Ok(card)
    }

    /// All that the driver tells of, also those that are too old.
    ///
    /// # Errors
    /// There is no driver, or it is too old, or there is no card.
    pub fn all() -> Result<Vec<Self>, CudaError> {
        let driver = start_driver()?;
        let of = |ordinal: usize| {
            let device = device::get(ordinal as i32).map_err(CudaError::of("cuDeviceGet"))?;
            Self::describe(device, ordinal, driver)
        };
        match count()? {
            0 => Err(CudaError::NoCard),
            count => (0..count).map(of).collect(),
        }
    }

    /// Operations a second in f32 at most: a multiply-add a cycle in each core.
    pub fn f32_peak(&self) -> f64 {
        let cores = match (self.capability.major, self.capability.minor) {
            (7, _) | (8, 0) => 64,
            _ => 128,
        };
        self.per_sec(2 * cores)
    }

    /// The same of dense products in bfloat16 with sums in f32, on tensor cores (NVIDIA's white papers of the
    /// architectures); None where taper does not know it.
    pub fn bf16_peak(&self) -> Option<f64> {
        let of_multiprocessor = match (self.capability.major, self.capability.minor) {
            (8, 0) => 2048,
            (8, _) | (12, _) => 512,
            (9, _) => 4096,
            (10, _) => 8192,
            _ => return None,
        };
        Some(self.per_sec(of_multiprocessor))
    }

    fn per_sec(&self, of_multiprocessor_and_cycle: u32) -> f64 {
        f64::from(self.multiprocessors) * f64::from(self.clock_khz) * 1e3 * f64::from(of_multiprocessor_and_cycle)
    }

    /// Bytes a second between the card and its memory at most.
    pub fn memory_peak(&self) -> f64 {
        2.0 * f64::from(self.memory_clock_khz) * 1e3 * f64::from(self.memory_bus_bits) / 8.0
    }

    fn describe(device: CUdevice, ordinal: usize, driver: Version) -> Result<Self, CudaError> {
        use CUdevice_attribute as Attribute;
        let attribute = |attribute| attribute_of(device, attribute);
        let uuid = device::get_uuid(device).map_err(CudaError::of("cuDeviceGetUuid"))?;
        // SAFETY: the device is one that the driver gave.
        let memory_bytes = unsafe { device::total_mem(device) }.map_err(CudaError::of("cuDeviceTotalMem"))?;
        Ok(Self {
            ordinal,
            name: device::get_name(device).map_err(CudaError::of("cuDeviceGetName"))?,
            capability: Capability {
                major: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                minor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            },
            driver,
            memory_bytes,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            clock_khz: attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?,
            memory_clock_khz: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?,
            memory_bus_bits: attribute(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?,
            uuid: format_uuid(&uuid.bytes.map(|byte| byte as u8)),
        })
    }
}

/// How many cards the driver tells of.
fn count() -> Result<usize, CudaError> {
    let count = device::get_count().map_err(CudaError::of("cuDeviceGetCount"))?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Opens the driver and checks its version.
fn start_driver() -> Result<Version, CudaError> {
    if !is_driver_there() {
        return Err(CudaError::NoDriver);
    }
    let mut version = 0;
    // SAFETY: the library is there, and the function writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version).result() }.map_err(CudaError::of("cuDriverGetVersion"))?;
    let version = u32::try_from(version).unwrap_or(0);
    let version = Version { major: version / 1000, minor: version % 1000 / 10 };
    if version < LEAST_DRIVER {
        return Err(CudaError::DriverTooOld(version));
    }
    result::init().map_err(CudaError::of("cuInit"))?;
    Ok(version)
}

/// cudarc panics where it is asked for a driver that is not there.
#[cfg(not(feature = "cuda"))]
fn is_driver_there() -> bool {
    // SAFETY: opening the library runs its initialisers, which is what using it means.
    unsafe { sys::is_culib_present() }
}

/// Linked: without it this program would not have started.
#[cfg(feature = "cuda")]
fn is_driver_there() -> bool {
    true
}

fn attribute_of(device: CUdevice, attribute: CUdevice_attribute) -> Result<u32, CudaError> {
    // SAFETY: the device is one that the driver gave.
    let value = unsafe { device::get_attribute(device, attribute) }.map_err(CudaError::of("cuDeviceGetAttribute"))?;
    Ok(u32::try_from(value).unwrap_or(0))
}

/// As `nvidia-smi -L` writes it.
fn format_uuid(bytes: &[u8; 16]) -> String {
    let hex = |range: std::ops::Range<usize>| bytes[range].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("GPU-{}-{}-{}-{}-{}", hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_capabilities_are_ordered_by_number() {
        let version = |major, minor| Version { major, minor };
        assert!(version(11, 7) < LEAST_DRIVER && version(12, 0) > LEAST_DRIVER && version(11, 8) >= LEAST_DRIVER);
        let capability = |major, minor| Capability { major, minor };
        assert!(capability(7, 0) < LEAST_CAPABILITY && capability(8, 0) > LEAST_CAPABILITY);
        assert_eq!((version(12, 4).to_string(), capability(9, 0).to_string()), ("12.4".into(), "9.0".into()));
    }

    /// NVIDIA states 66.9 TFLOP/s and 3.35 TB/s; and 989.4 in bf16, at a clock of 1.83 GHz.
    #[test]
    fn the_peaks_of_an_h100() {
        let card = Card {
            ordinal: 0,
            name: "NVIDIA H100 80GB HBM3".into(),
            capability: Capability { major: 9, minor: 0 },
            driver: LEAST_DRIVER,
            memory_bytes: 80 << 30,
            multiprocessors: 132,
            clock_khz: 1_980_000,
            memory_clock_khz: 2_619_000,
            memory_bus_bits: 5120,
            uuid: "GPU-0".into(),
        };
        assert_eq!((card.f32_peak() / 1e9).round(), 66_908.0);
        assert_eq!(card.bf16_peak().map(|peak| (peak / 1e12).round()), Some(1071.0));
        assert_eq!((card.memory_peak() / 1e9).round(), 3352.0);
    }

    #[test]
    fn a_uuid_is_written_as_the_drivers_tools_do() {
        let bytes = std::array::from_fn(|i| i as u8 * 16 + 1);
        assert_eq!(format_uuid(&bytes), "GPU-01112131-4151-6171-8191-a1b1c1d1e1f1");
    }
}
