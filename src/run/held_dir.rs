//! The directory of a run that somebody is at work in, which may be renamed meanwhile.

use std::io;
use std::ops::Deref;

use super::dir::{RunDir, available_bytes};
use crate::held_folder::{Gone, HeldFolder};

#[derive(Clone, Debug)]
pub struct HeldRunDir {
    dir: RunDir,
    folder: HeldFolder,
}

impl HeldRunDir {
    /// # Errors
    /// There is no such directory, or it cannot be opened.
    pub fn hold(dir: &RunDir) -> io::Result<Self> {
        Ok(Self { dir: dir.clone(), folder: HeldFolder::hold(dir.path())? })
    }

    /// Looks for the directory; whether it has another path now.
    ///
    /// # Errors
    /// It is nowhere any more.
    pub fn follow(&mut self) -> Result<bool, Gone> {
        let has_moved = self.folder.follow()?;
        if has_moved {
            self.dir = RunDir::at(self.folder.path());
        }
        Ok(has_moved)
    }

    /// Space free to users without privileges on the run's file system, wherever the directory is.
    pub fn free_bytes(&self) -> io::Result<u64> {
        Ok(available_bytes(&rustix::fs::fstatvfs(self.folder.handle())?))
    }
}

/// As it was when last looked for.
impl Deref for HeldRunDir {
    type Target = RunDir;

    fn deref(&self) -> &RunDir {
        &self.dir
    }
}
