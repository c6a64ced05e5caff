//! Where a fetch makes everything before it is put in place.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::data::Dataset;
use crate::data::source::cifar::{self, BATCHES};
use crate::durable;

/// `DIR/.fetch`, where everything is made before it is put in place. One fetch at a time is in it.
pub struct Staging {
    folder: PathBuf,
    /// The data folder, locked.
    _lock: File,
}

impl Staging {
    pub fn enter(dir: &Path) -> Result<Self> {
        let lock = File::open(dir).with_context(|| format!("opening {}", dir.display()))?;
        // A file system without locks is no reason not to fetch.
        if let Err(fs::TryLockError::WouldBlock) = lock.try_lock() {
            bail!("another `taper data fetch` is at work in {}: wait for it", dir.display());
        }
        let staging = Self { folder: dir.join(".fetch"), _lock: lock };
        fs::create_dir_all(&staging.folder).with_context(|| format!("creating {}", staging.folder.display()))?;
        staging.clear();
        Ok(staging)
    }

    /// The archive as far as it has come.
    pub fn part(&self) -> PathBuf {
        self.folder.join("cifar-10-binary.tar.gz.part")
    }

    pub fn make_folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(folder)
    }

    /// Writes `batches` as files of the binary layout and moves their folder to `target`.
    pub fn install(self, batches: &[Dataset], target: &Path) -> Result<()> {
        let folder = self.make_folder("batches")?;
        for (batch, name) in batches.iter().zip(BATCHES) {
            let path = folder.join(format!("{name}.bin"));
            durable::create(&path, &cifar::to_records(batch)).with_context(|| format!("writing {}", path.display()))?;
        }
        durable::rename_folder(&folder, target)
            .with_context(|| format!("moving the batches to {}", target.display()))?;
        fs::remove_dir_all(&self.folder).with_context(|| format!("removing {}", self.folder.display()))
    }

    /// Removes all but a download that can be taken up; the folder too, if that leaves it empty.
    fn clear(&self) {
        // Left over, these only take up room.
        for folder in ["npm", "batches"] {
            let _ = fs::remove_dir_all(self.folder.join(folder));
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.clear();
        let part = self.part();
        if part.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(part);
        }
        // Fails while there is a download in it.
        let _ = fs::remove_dir(&self.folder);
    }
}
