//! Versions: of the driver, and of cards.

use std::fmt;

/// That of the PTX: it is loaded by drivers of this version and newer.
pub const LEAST_DRIVER: Version = Version { major: 11, minor: 8 };
/// That which the PTX is compiled for.
pub const LEAST_CAPABILITY: Capability = Capability { major: 7, minor: 5 };

/// That of the first tensor cores with bfloat16.
pub const BF16_CAPABILITY: Capability = Capability { major: 8, minor: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
