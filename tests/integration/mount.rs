//! A small file system of a test's own, mounted in a mount namespace of its own: nobody else sees it, and it goes with the
//! test.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::geteuid;

/// A tmpfs at a folder, for those who are in the namespace.
pub struct Mount {
    folder: PathBuf,
    /// Is in the namespace, and does nothing.
    keeper: Child,
    kind: Namespace,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    OfRoot,
    /// Where a user is root.
    OfUser,
}

impl Mount {
    /// None where the system lets nobody have a namespace, which is said on stderr. Continuous integration (`CI`) must be
    /// able to.
    pub fn at(folder: &Path, mebibytes: u32) -> Option<Self> {
        match Self::try_at(folder, mebibytes) {
            Ok(mount) => Some(mount),
            Err(reason) => {
                skip(&format!("a file system of its own cannot be mounted: {reason}"));
                None
            }
        }
    }

    fn try_at(folder: &Path, mebibytes: u32) -> Result<Self, String> {
        let kind = if geteuid().is_root() { Namespace::OfRoot } else { Namespace::OfUser };
        // The trainer takes its user for root there, and would share a folder for sockets with the true one.
        if kind == Namespace::OfUser
            && std::fs::metadata(ROOTS_SOCKETS).is_ok_and(|found| found.uid() != geteuid().as_raw())
        {
            return Err(format!("{ROOTS_SOCKETS} belongs to another user"));
        }
        let mut unshare = Command::new("unshare");
        if kind == Namespace::OfUser {
            unshare.args(["--user", "--map-root-user"]);
        }
        let script = r#"mount -t tmpfs -o "size=$0m" taper "$1" && echo mounted && exec cat"#;
        unshare.args(["--mount", "sh", "-c", script, &mebibytes.to_string()]).arg(folder);
        let spawned = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut keeper = spawned.map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        let said = BufReader::new(keeper.stdout.take().expect("a pipe")).read_line(&mut line);
        if said.is_ok() && line == "mounted\n" {
            MOUNTS.fetch_add(1, Ordering::SeqCst);
            return Ok(Self { folder: folder.to_owned(), keeper, kind });
        }
        let output = keeper.wait_with_output().map_err(|error| error.to_string())?;
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// The folder, as it is seen from without.
    pub fn seen(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.folder.strip_prefix("/").expect("an absolute path"))
    }

    /// What executes a program within, in the folder.
    pub fn enter(&self, program: &OsStr, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Vec<OsString> {
        let target = self.keeper.id().to_string();
        let mut argv: Vec<OsString> = ["nsenter", "--target", &target, "--mount"].map(OsString::from).to_vec();
        if self.kind == Namespace::OfUser {
            argv.extend(["--user", "--preserve-credentials"].map(OsString::from));
        }
        argv.extend(["sh", "-c", r#"cd "$0" && exec "$@""#].map(OsString::from));
        argv.extend([self.folder.clone().into_os_string(), program.to_owned()]);
        argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        argv
    }

    /// Lays something over the folder for sockets that is open to others, and so takes none.
    pub fn hide_sockets(&self) -> Result<(), String> {
        let script = r#"mkdir -m 700 -p "$0" && mount -t tmpfs -o mode=755 taper "$0""#;
        self.run_within("sh", ["-c", script, ROOTS_SOCKETS].map(OsStr::new))
    }

    /// Fails as long as somebody has a file open for writing.
    pub fn make_read_only(&self) -> Result<(), String> {
        let folder = self.folder.as_os_str();
        // With `bind` the mount is changed and not the tmpfs, some of whose options no user may repeat.
        self.run_within("mount", [OsStr::new("-o"), OsStr::new("remount,bind,ro"), folder])
    }

    fn run_within<const N: usize>(&self, program: &str, args: [&OsStr; N]) -> Result<(), String> {
        let argv = self.enter(OsStr::new(program), args);
        let output = Command::new(&argv[0]).args(&argv[1..]).output().expect("nsenter");
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let is_last = MOUNTS.fetch_sub(1, Ordering::SeqCst) == 1;
        if self.kind == Namespace::OfUser && is_last {
            // Ours, and empty.
            let _ = std::fs::remove_dir(ROOTS_SOCKETS);
        }
    }
}

const ROOTS_SOCKETS: &str = "/tmp/taper-0";

/// Of this process.
static MOUNTS: AtomicUsize = AtomicUsize::new(0);

/// Says that a test is left out, and why; where `CI` is set it fails.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("LEFT OUT: {reason}");
}
