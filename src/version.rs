//! Which taper this is.

use serde::{Deserialize, Serialize};

/// Such as `0.1.0 (c673cad19a)`, or `0.1.0 (commit unknown)`.
pub const VERSION: &str = env!("TAPER_VERSION");

/// A build of taper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Such as `0.1.0`.
    pub version: String,
    /// The commit that it was built from, such as `c673cad19a`, or `c673cad19a-dirty` where its sources were not those of the
    /// commit. Only release builds know it, and those from a checkout or a package of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl Build {
    /// This one.
    pub fn own() -> Self {
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), commit: option_env!("TAPER_COMMIT").map(str::to_owned) }
    }
}
