//! Where control sockets lie: in a private directory of the user's, as tmux has it.
//!
//! Paths of sockets are limited to about 100 bytes, many shared file systems cannot hold one, and `$XDG_RUNTIME_DIR`
//! vanishes at logout, exactly when a detached run needs it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use super::super::dir::RunDir;

/// The path of the run's socket, in a directory that is ours alone.
pub(super) fn socket_path(dir: &RunDir) -> Result<PathBuf> {
    Ok(private_directory(&socket_directory())?.join(socket_name(dir)?))
}

fn socket_directory() -> PathBuf {
    PathBuf::from(format!("/tmp/taper-{}", geteuid().as_raw()))
}

/// Makes the directory if need be, and checks that it is ours alone: another owner could replace our socket.
fn private_directory(path: &Path) -> Result<PathBuf> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("control socket directory {}", path.display()));
        }
        _ => {}
    }
    let found = std::fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    let path_shown = path.display();
    if !found.is_dir() {
        bail!("{path_shown} is not a directory, and control sockets must lie in one of our own; remove it");
    }
    if found.uid() != geteuid().as_raw() {
        bail!(
            "{path_shown} belongs to user {}, and control sockets must lie in one of our own; remove it",
            found.uid()
        );
    }
    if found.mode() & 0o077 != 0 {
        bail!("{path_shown} is open to others; to close it: chmod 700 {path_shown}");
    }
    Ok(path.to_owned())
}

/// Short, and another for each run directory: of its path, and of its inode so that containers that share `/tmp` do
/// not take each other's.
fn socket_name(dir: &RunDir) -> Result<String> {
    let path = dir.path().canonicalize().with_context(|| dir.path().display().to_string())?;
    let inode = std::fs::metadata(&path).with_context(|| path.display().to_string())?.ino();
    let digest = Sha256::new().chain_update(path.as_os_str().as_bytes()).chain_update(inode.to_le_bytes()).finalize();
    Ok(digest[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_directory_must_be_ours_alone() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("taper");
        assert_eq!(private_directory(&path).unwrap(), path);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        private_directory(&path).unwrap();

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private_directory(&path).unwrap_err().to_string().contains("chmod 700"));

        let link = base.path().join("link");
        std::os::unix::fs::symlink(base.path(), &link).unwrap();
        assert!(private_directory(&link).unwrap_err().to_string().contains("is not a directory"));
        let file = base.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(private_directory(&file).unwrap_err().to_string().contains("is not a directory"));
    }

    #[test]
    fn sockets_of_two_runs_differ_and_their_paths_are_short() {
        let base = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| {
            let path = base.path().join(name);
            std::fs::create_dir(&path).unwrap();
            socket_name(&RunDir::at(path)).unwrap()
        });
        assert_ne!(one, two);
        assert!(socket_directory().join(one).as_os_str().len() < 60);
    }
}
