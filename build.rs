//! Tells the program which it is, in `TAPER_VERSION`, and the commit that it is built from, in `TAPER_COMMIT`. Only release builds
//! look for a commit: every other build would be made anew after each. Where none is found that variable is not set.

use std::path::Path;
use std::process::Command;

/// What the program is made of, apart from the data that is embedded in it.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_release = std::env::var("PROFILE").as_deref() == Ok("release");
    let commit = is_release.then(|| commit_of_package().or_else(commit_of_checkout)).flatten();
    let version = std::env::var("CARGO_PKG_VERSION").expect("Cargo sets it");
    println!("cargo::rustc-env=TAPER_VERSION={version} ({})", commit.as_deref().unwrap_or("commit unknown"));
    if let Some(commit) = commit {
        println!("cargo::rustc-env=TAPER_COMMIT={commit}");
    }
}

/// `cargo package` writes the commit beside the sources.
fn commit_of_package() -> Option<String> {
    let info = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, hash) = info.split_once("\"sha1\"")?;
    let hash: String = hash.chars().skip_while(|c| !c.is_ascii_hexdigit()).take(10).collect();
    (hash.len() == 10).then_some(hash)
}

fn commit_of_checkout() -> Option<String> {
    // Sources that lie somewhere in another repository are not of its commit.
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    let branch = git(&["symbolic-ref", "-q", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        // Cargo builds anew each time where a file that it is to look at is not there.
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let changes = git(&[&["status", "--porcelain", "--"][..], &SOURCES].concat())?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

fn git(args: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    // A hook sets them, for the repository that it is of.
    git.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").arg("--no-optional-locks");
    let output = git.args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
