//! Training as one of several processes that an MPI launcher started together.

use std::sync::Arc;

use anyhow::Result;

use super::failure::{ToldByTheFirst, UsageError};
use crate::ranks::launch::Launch;
use crate::run::signals::Listening;
use crate::train::leader::Leader;

/// Whether this process was started with others, and is not the first: then it has no run, and trains as the first says.
///
/// # Errors
/// They cannot train together; the first process says why.
pub fn is_led() -> Result<bool> {
    let Some(Launch { rank, size, .. }) = Launch::detect() else { return Ok(false) };
    let wrong = if cfg!(not(feature = "mpi")) {
        format!(
            "{size} processes were started together, but this taper is built without MPI; install it with MPI \
             (cargo install --path . --features mpi), or start one process"
        )
    } else if !size.is_power_of_two() {
        format!(
            "{size} processes were started together; batches are halved, so start 1, 2, 4, 8 or another power of two"
        )
    } else {
        return Ok(rank > 0);
    };
    Err(if rank == 0 { UsageError(wrong).into() } else { ToldByTheFirst.into() })
}

/// Compute threads of a process that was started together with others, if `run.threads` is 0.
pub fn threads(launch: Launch, available: usize) -> usize {
    launch.threads(available, cores_of_host().unwrap_or(available))
}

/// Those that this process may run on and the others; where the system tells it (Linux).
fn cores_of_host() -> Option<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let of_range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()? + 1 - first.parse::<usize>().ok()?)
    };
    text.trim().split(',').map(of_range).sum()
}

/// Trains by `train`; with the processes that were started together with this one, if any. One of them that is not the first has
/// no run: it trains as the first says, to the end.
///
/// # Errors
/// The processes do not find each other, or those of `train`.
#[cfg(feature = "mpi")]
pub fn with_the_others(
    listening: Listening,
    train: impl FnOnce(Listening, Option<Arc<Leader>>) -> Result<u8>,
) -> Result<u8> {
    use crate::ranks::mpi::Mpi;

    let Some(launch) = Launch::detect() else { return train(listening, None) };
    let (mpi, communicator) = match Mpi::begin(launch) {
        Ok(begun) => begun,
        Err(error) if launch.rank == 0 => return Err(error.into()),
        Err(_) => return Err(ToldByTheFirst.into()),
    };
    let communicator = Arc::new(communicator);
    watch_for_lost_hosts(&communicator)?;
    let ended = match communicator.rank() {
        0 => train(listening, Some(Arc::new(Leader::new(communicator)))),
        _ => {
            follow(&communicator, listening);
            Ok(0)
        }
    };
    // Waits for the others.
    drop(mpi);
    ended
}

#[cfg(not(feature = "mpi"))]
pub fn with_the_others(
    listening: Listening,
    train: impl FnOnce(Listening, Option<Arc<Leader>>) -> Result<u8>,
) -> Result<u8> {
    train(listening, None)
}

/// Ends this process, and by that all, where it waits for ranks that are no more.
#[cfg(feature = "mpi")]
fn watch_for_lost_hosts(communicator: &Arc<crate::ranks::Communicator>) -> Result<()> {
    use std::time::Duration;

    use anyhow::Context;
    use rustix::process::{Signal, getpid, kill_process};

    use crate::run::process::host;

    let communicator = Arc::downgrade(communicator);
    let watch = move || {
        while let Some(communicator) = communicator.upgrade() {
            if let Some(waited) = communicator.overdue() {
                let (rank, secs) = (communicator.rank(), waited.as_secs());
                eprintln!(
                    "error: rank {rank} on {} has waited {secs} s for the others: a host or a process is lost",
                    host()
                );
                // The thread that waits cannot be asked to end.
                let _ = kill_process(getpid(), Signal::KILL);
            }
            drop(communicator);
            std::thread::sleep(Duration::from_secs(1));
        }
    };
    std::thread::Builder::new().name("lost hosts".into()).spawn(watch).context("cannot watch for lost hosts")?;
    Ok(())
}

/// Ends all ranks where this one cannot go on.
#[cfg(feature = "mpi")]
fn follow(communicator: &Arc<crate::ranks::Communicator>, listening: Listening) {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::commands::failure;
    use crate::run::process::host;
    use crate::run::signals::{self, Asked};
    use crate::train::engine;

    let interrupted = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&interrupted);
    let Listening { runtime, mut signals } = listening;
    let listener = std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                match signals.next().await {
                    Asked::ToEnd(_) => told.store(true, Ordering::SeqCst),
                    Asked::AtOnce(signal) => std::process::exit(signals::exit_code(signal).into()),
                }
            }
        })
    });
    let followed = std::panic::catch_unwind(AssertUnwindSafe(|| engine::follow(communicator, &interrupted)));
    let failed = match (listener, followed) {
        (Ok(_), Ok(Ok(()))) => return,
        (Err(error), _) => error.to_string(),
        (_, Ok(Err(error))) => failure::describe(&error),
        (_, Err(_)) => "it panicked".to_owned(),
    };
    eprintln!("error: rank {} on {}: {failed}", communicator.rank(), host());
    communicator.abort(failure::FAILURE);
}
