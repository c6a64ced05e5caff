//! Where control sockets lie: in a private directory of the user's, as tmux has it.
//!
//! Paths of sockets are limited to about 100 bytes, many shared file systems cannot hold one, and `$XDG_RUNTIME_DIR`
//! vanishes at logout, exactly when a detached run needs it: it and the others serve where `/tmp` does not.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use super::super::dir::RunDir;

/// What the systems' addresses of sockets hold, with the zero at the end: 104 bytes on some, 108 on Linux.
const MOST_PATH_BYTES: usize = 103;

/// Paths for the run's socket, the best first, each in a directory that is ours alone, or why not.
pub(super) fn socket_paths(dir: &RunDir) -> impl Iterator<Item = Result<PathBuf>> {
    directories(dir, |variable| std::env::var_os(variable)).into_iter().map(|directory| {
        let path = directory.join(socket_name(dir)?);
        let bytes = path.as_os_str().len();
        if bytes > MOST_PATH_BYTES {
            bail!("{}: a socket's path has at most {MOST_PATH_BYTES} bytes, and this has {bytes}", path.display());
        }
        private_directory(&directory)?;
        Ok(path)
    })
}

fn directories(dir: &RunDir, variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let own = format!("taper-{}", geteuid().as_raw());
    let mut directories = vec![PathBuf::from("/tmp").join(&own)];
    for name in ["XDG_RUNTIME_DIR", "TMPDIR"] {
        let set = variable(name).map(PathBuf::from).filter(|path| path.is_absolute()).map(|path| path.join(&own));
        if let Some(path) = set
            && !directories.contains(&path)
        {
            directories.push(path);
        }
    }
    directories.push(dir.path().join(".socket"));
    directories
}

/// Makes the directory if need be, and checks that it is ours alone: another owner could replace our socket.
fn private_directory(path: &Path) -> Result<()> {
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
    Ok(())
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
        private_directory(&path).unwrap();
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
        let first = &directories(&RunDir::at(base.path()), |_| None)[0];
        assert!(first.join(one).as_os_str().len() < 60);
    }

    #[test]
    fn other_directories_serve_where_the_first_does_not() {
        let own = format!("taper-{}", geteuid().as_raw());
        let variable = |name: &str| match name {
            "XDG_RUNTIME_DIR" => Some("/run/user/7".into()),
            _ => Some("/tmp".into()),
        };
        let run = RunDir::at("/data/runs/x");
        let expected = [format!("/tmp/{own}"), format!("/run/user/7/{own}"), "/data/runs/x/.socket".into()];
        assert_eq!(directories(&run, variable), expected.map(PathBuf::from));
        assert_eq!(directories(&run, |_| Some("relative".into())).len(), 2);
    }
}
