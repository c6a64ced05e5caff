//! The names of runs, for a shell that completes a command line.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap_complete::CompletionCandidate;

use crate::run::dir::{DEFAULT_RUNS_DIR, RunDir, RunsDir};
use crate::run::lock::{Liveness, liveness};

/// Of all runs.
pub fn all() -> Vec<CompletionCandidate> {
    candidates(|_| true)
}

/// Of those with a trainer, or perhaps with one.
pub fn live() -> Vec<CompletionCandidate> {
    candidates(|run| liveness(run) != Liveness::Dead)
}

/// A shell can do nothing with an error: there is nothing to choose from then.
fn candidates(is_wanted: impl Fn(&RunDir) -> bool) -> Vec<CompletionCandidate> {
    let runs = RunsDir::at(runs_dir(std::env::args_os(), std::env::var_os("TAPER_RUNS_DIR")));
    let runs = runs.list().unwrap_or_default();
    runs.iter().filter(|run| is_wanted(run)).map(|run| CompletionCandidate::new(run.name())).collect()
}

/// Where the runs lie by the command line that is being completed, or by the environment.
fn runs_dir(mut args: impl Iterator<Item = OsString>, variable: Option<OsString>) -> PathBuf {
    const OPTION: &str = "--runs-dir";
    while let Some(arg) = args.next() {
        let joined = arg.to_str().and_then(|arg| arg.strip_prefix(OPTION)?.strip_prefix('='));
        let given = if arg == OPTION { args.next() } else { joined.map(OsString::from) };
        if let Some(given) = given.filter(|given| !given.is_empty()) {
            return given.into();
        }
    }
    variable.filter(|path| !path.is_empty()).unwrap_or(OsStr::new(DEFAULT_RUNS_DIR).to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_are_those_of_the_line_or_of_the_environment() {
        let of = |line: &str, variable: Option<&str>| {
            runs_dir(line.split(' ').map(OsString::from), variable.map(OsString::from)).display().to_string()
        };
        assert_eq!(of("taper -- taper attach", None), "runs");
        assert_eq!(of("taper -- taper attach", Some("there")), "there");
        assert_eq!(of("taper -- taper attach --runs-dir here", Some("there")), "here");
        assert_eq!(of("taper -- taper --runs-dir=here attach", None), "here");
        assert_eq!(of("taper -- taper attach --runs-dir", Some("")), "runs");
    }
}
