//! Errors as the user sees them: one line and an exit code, decided in one place.

use std::io;

use rustix::io::Errno;

use crate::config::ConfigError;
use crate::model::ShapeError;
use crate::run::dir::{CreateError, RenameError};
use crate::run::signals::CalledOff;
use crate::run::spawn::SpawnError;
use crate::simd::SimdPathError;
use crate::train::origin::OriginError;

/// Any failure without a code of its own.
pub const FAILURE: u8 = 1;
/// A bad command line, environment or configuration.
pub const USAGE: u8 = 2;

/// Of processes that were started together, the first says what is wrong: one line is enough.
#[derive(Debug, thiserror::Error)]
#[error("the first of the processes says what is wrong")]
pub struct ToldByTheFirst;

/// A bad request, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The error with its context, without candle's backtraces and without causes that the error above them repeats. One line,
/// except for a configuration with several faults, or a failed download, which lists the other sources.
pub fn describe(error: &anyhow::Error) -> String {
    let mut told: Vec<String> = vec![];
    for cause in error.chain() {
        let mut text = cause.to_string();
        if cause.is::<candle_core::Error>() {
            text = text.lines().next().unwrap_or_default().to_owned();
        }
        if !told.last().is_some_and(|above| above.contains(&text)) {
            told.push(text);
        }
    }
    let advice = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).find_map(advice);
    told.join(": ") + advice.unwrap_or_default()
}

/// What to do where the system has no more of something.
fn advice(error: &io::Error) -> Option<&'static str> {
    const SHORT: [(Errno, &str); 4] = [
        (Errno::MFILE, "; raise the limit on open files (ulimit -n)"),
        (Errno::NFILE, "; the whole system has too many files open"),
        (Errno::AGAIN, "; raise the limit on processes and threads (ulimit -u)"),
        (Errno::NOMEM, "; free memory, or raise its limit (ulimit -v)"),
    ];
    let code = error.raw_os_error()?;
    SHORT.into_iter().find_map(|(errno, advice)| (errno.raw_os_error() == code).then_some(advice))
}

pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(SpawnError::Failed { exit_code, .. }) = error.downcast_ref() {
        *exit_code
    } else if let Some(called_off) = error.downcast_ref::<CalledOff>() {
        called_off.exit_code()
    } else if error.is::<ConfigError>()
        || error.is::<UsageError>()
        || error.is::<SimdPathError>()
        || error.is::<ShapeError>()
        || matches!(error.downcast_ref(), Some(OriginError::Settings { .. }))
        || matches!(error.downcast_ref(), Some(CreateError::Name(..)))
        || matches!(error.downcast_ref(), Some(RenameError::Name(..)))
    {
        USAGE
    } else {
        FAILURE
    }
}

/// Whether the reader of our output has left, as `head` does.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_context_is_one_line_without_a_backtrace() {
        let error = anyhow!("gone").context("weights.safetensors").context("reading the initial weights");
        assert_eq!(describe(&error), "reading the initial weights: weights.safetensors: gone");
        let error = Err::<(), _>(candle_core::Error::Msg("bad shape\n  0: a frame\n  1: another".into()));
        assert_eq!(describe(&error.context("the model").unwrap_err()), "the model: bad shape");
        let told = CreateError::Io { path: "x".into(), source: io::Error::other("no room") };
        assert_eq!(describe(&told.into()), "runs directory x: no room; choose another with --runs-dir");
    }

    #[test]
    fn what_the_system_has_no_more_of_is_told_with_advice() {
        let error = anyhow::Error::from(io::Error::from_raw_os_error(24)).context("x");
        assert_eq!(describe(&error), "x: Too many open files (os error 24); raise the limit on open files (ulimit -n)");
    }

    #[test]
    fn each_kind_of_error_has_its_exit_code() {
        assert_eq!(exit_code(&anyhow!("anything")), FAILURE);
        assert_eq!(exit_code(&UsageError("no such thing".into()).into()), USAGE);
        assert_eq!(exit_code(&anyhow::Error::from(SimdPathError::Unknown("x".into())).context("device")), USAGE);
        assert_eq!(exit_code(&crate::config::Override::parse("x").unwrap_err().into()), USAGE);
        assert_eq!(exit_code(&SpawnError::Failed { message: "x".into(), exit_code: 2 }.into()), 2);
        assert_eq!(exit_code(&CreateError::Exists("x".into()).into()), FAILURE);
        assert!(is_broken_pipe(&anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("output")));
    }
}
