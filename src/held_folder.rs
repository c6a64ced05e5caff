//! A folder that is found again when it is renamed: whoever is at work in it holds a handle of it.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use thiserror::Error;

/// What is in the folder need not be readable.
#[cfg(target_os = "linux")]
const FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
#[cfg(not(target_os = "linux"))]
const FLAGS: OFlags = OFlags::DIRECTORY;

#[derive(Clone, Debug)]
pub struct HeldFolder {
    path: PathBuf,
    handle: Arc<File>,
}

/// The folder cannot be followed.
#[derive(Debug, Error)]
pub enum Gone {
    #[error("{} was removed, or moved to another file system", .0.display())]
    Removed(PathBuf),
    #[error("{} is another folder now, and where it went cannot be told", .0.display())]
    Lost(PathBuf),
}

impl HeldFolder {
    /// # Errors
    /// There is no folder at `path`, or it cannot be opened.
    pub fn hold(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let handle = OpenOptions::new().read(true).custom_flags(FLAGS.bits() as i32).open(&path)?;
        Ok(Self { path, handle: Arc::new(handle) })
    }

    /// As it was when last looked for.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// Looks for the folder; whether it has another path now.
    ///
    /// # Errors
    /// It is nowhere any more.
    pub fn follow(&mut self) -> Result<bool, Gone> {
        let Ok(own) = self.handle.metadata() else { return Ok(false) };
        match std::fs::metadata(&self.path) {
            Ok(found) if is_same(&found, &own) => return Ok(false),
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                // Such as a parent that may not be entered at the moment.
                return Ok(false);
            }
            _ => {}
        }
        if own.nlink() == 0 {
            return Err(Gone::Removed(self.path.clone()));
        }
        match path_of(&self.handle) {
            // A file system that changes the numbers of its files.
            Some(path) if self.path.canonicalize().is_ok_and(|canonical| canonical == path) => Ok(false),
            Some(path) if std::fs::metadata(&path).is_ok_and(|found| is_same(&found, &own)) => {
                self.path = path;
                Ok(true)
            }
            _ => Err(Gone::Lost(self.path.clone())),
        }
    }
}

/// Whether two files are one and the same.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Where the kernel has it, which Linux tells.
fn path_of(handle: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd())).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_is_followed_wherever_it_goes() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("a/folder")).unwrap();
        fs::create_dir(path("b")).unwrap();
        let mut folder = HeldFolder::hold(path("a/folder")).unwrap();
        assert!(!folder.follow().unwrap());
        // Renamed, with another in its place; moved; with its parent.
        let moves = [("a/folder", "a/renamed"), ("a/renamed", "b/folder"), ("b", "c")];
        for ((from, to), found) in moves.iter().zip(["a/renamed", "b/folder", "c/folder"]) {
            fs::rename(path(from), path(to)).unwrap();
            fs::create_dir(path(from)).unwrap();
            assert!(folder.follow().unwrap());
            assert_eq!(folder.path().canonicalize().unwrap(), path(found).canonicalize().unwrap());
            assert!(!folder.follow().unwrap());
        }
        fs::remove_dir(path("c/folder")).unwrap();
        assert!(matches!(folder.follow(), Err(Gone::Removed(_))));
    }

    #[test]
    fn only_a_folder_is_held() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        assert!(HeldFolder::hold(root.path().join("file")).is_err());
        assert!(HeldFolder::hold(root.path().join("nothing")).is_err());
    }
}
