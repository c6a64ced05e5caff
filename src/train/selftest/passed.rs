//! Which cards have passed the self-test, with which driver and kernels: a file each in the user's cache folder.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cache_folder::cache_folder;
use crate::checksum::sha256;
use crate::cuda::Context;
use crate::durable;

/// Where it is noted that a card has passed.
pub struct Passed {
    /// None: the environment names no folder.
    folder: Option<PathBuf>,
    /// What may change what is computed.
    key: String,
}

impl Passed {
    pub fn of(context: &Context) -> Self {
        let (card, precision) = (context.card(), <&str>::from(context.precision()));
        let lines = [
            format!("taper {}, kernels {}, {precision}", env!("CARGO_PKG_VERSION"), sha256(context.ptx())),
            format!("driver of CUDA {}; {}", card.driver, driver_build()),
            format!("{}, compute capability {}, {}", card.name, card.capability, card.uuid),
        ];
        Self { folder: cache_folder().map(|cache| cache.join("selftest")), key: lines.join("\n") + "\n" }
    }

    fn file(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(&sha256(&self.key)[..16]))
    }

    pub fn is_noted(&self) -> bool {
        self.file().and_then(|file| fs::read_to_string(file).ok()).is_some_and(|noted| noted == self.key)
    }

    /// # Errors
    /// There is no folder for it, or it cannot be written.
    pub fn note(&self) -> Result<()> {
        let file = self.file().context("neither XDG_CACHE_HOME nor HOME names a folder for it")?;
        let write = || -> io::Result<()> {
            file.parent().map_or(Ok(()), fs::create_dir_all)?;
            durable::replace(&file, self.key.as_bytes())
        };
        write().with_context(|| file.display().to_string())
    }
}

/// The driver's own version and date, where the system tells it (Linux).
fn driver_build() -> String {
    let told = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    told.lines().next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_key_is_not_noted_and_what_cannot_be_written_is_an_error() {
        let cache = tempfile::tempdir().unwrap();
        let passed = |key: &str| Passed { folder: Some(cache.path().join("taper/selftest")), key: key.into() };
        assert!(!passed("a").is_noted());
        passed("a").note().unwrap();
        assert!(passed("a").is_noted() && !passed("b").is_noted());
        assert!(Passed { folder: None, key: "a".into() }.note().is_err());
        let file = cache.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Passed { folder: Some(file.join("selftest")), key: "a".into() }.note().is_err());
    }
}
