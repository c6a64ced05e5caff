//! The threads that read the compared runs, one for each: all of the log, with its progress, and then what is added.

use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::config::Values;
use crate::run::comparison::configuration;
use crate::run::dir::RunDir;
use crate::run::event::Record;
use crate::run::lock::Liveness;
use crate::run::log::{FollowError, Follower};
use crate::run::replay::replay_and_log;
use crate::run::state::RunState;

const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);
const LIVENESS_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of the log read at a time, some milliseconds of work.
const FOLLOW_BYTES: usize = 256 * 1024;
/// Percent by which the reading goes on between two reports.
const PROGRESS_STEP: u64 = 2;

/// What is told of the run with that number.
#[derive(Debug)]
pub struct Update {
    pub run: usize,
    pub news: News,
}

#[derive(Debug)]
pub enum News {
    /// Percent of the log that were read.
    Progress(u64),
    Configuration(Result<Values, String>),
    /// The log, up to now.
    Loaded(Box<RunState>),
    Records(Vec<Record>),
    Liveness(Liveness),
    /// Why its log cannot be read, or not all of it.
    Fault(String),
}

/// Returns when nobody takes the updates any more.
pub fn read_run(number: usize, run: &RunDir, liveness: fn(&RunDir) -> Liveness, updates: &mpsc::Sender<Update>) {
    let tell = |news| updates.blocking_send(Update { run: number, news }).is_ok();
    if !tell(News::Liveness(liveness(run))) {
        return;
    }
    while !updates.is_closed() {
        let fault = match load(number, run, updates) {
            Ok(mut log) => match follow(&mut log, run, liveness, updates, &tell) {
                // Replaced: it is read again.
                Some(FollowError::Replaced { .. }) => continue,
                Some(error) => error,
                None => return,
            },
            Err(error) => error,
        };
        if !tell(News::Fault(fault.to_string())) {
            return;
        }
        // What cannot be read may be put right.
        let failed = Instant::now();
        while failed.elapsed() < LIVENESS_INTERVAL && !updates.is_closed() {
            thread::sleep(FOLLOW_INTERVAL);
        }
    }
}

fn load(number: usize, run: &RunDir, updates: &mpsc::Sender<Update>) -> Result<Follower, FollowError> {
    let size = std::fs::metadata(run.events()).map_or(0, |log| log.len()).max(1);
    let mut told = 0;
    let progress = |bytes: u64| {
        let percent = (100 * bytes / size).min(100);
        if percent >= told + PROGRESS_STEP {
            told = percent;
            // Nobody waits for this one: a later one says more.
            let _ = updates.try_send(Update { run: number, news: News::Progress(percent) });
        }
    };
    let (state, log) = replay_and_log(run, progress)?;
    // The log says whose configuration it is.
    let configuration = configuration(run, &state).map_err(|error| format!("{error:#}").replace('\n', "; "));
    for news in [News::Configuration(configuration), News::Loaded(Box::new(state))] {
        // Fails when nobody looks any more, which the caller notices.
        let _ = updates.blocking_send(Update { run: number, news });
    }
    Ok(log)
}

/// Tells what is added. `None`: nobody takes it any more.
fn follow(
    log: &mut Follower,
    run: &RunDir,
    liveness: fn(&RunDir) -> Liveness,
    updates: &mpsc::Sender<Update>,
    tell: &impl Fn(News) -> bool,
) -> Option<FollowError> {
    let mut liveness_due = Instant::now();
    while !updates.is_closed() {
        let asked = (Instant::now() >= liveness_due).then(|| liveness(run));
        loop {
            match log.read(FOLLOW_BYTES) {
                Ok(records) if records.is_empty() => break,
                Ok(records) => {
                    if !tell(News::Records(records)) {
                        return None;
                    }
                }
                Err(error @ FollowError::Malformed { .. }) => {
                    if !tell(News::Fault(error.to_string())) {
                        return None;
                    }
                }
                Err(error) => return Some(error),
            }
        }
        if let Some(liveness) = asked {
            liveness_due = Instant::now() + LIVENESS_INTERVAL;
            if !tell(News::Liveness(liveness)) {
                return None;
            }
        }
        thread::sleep(FOLLOW_INTERVAL);
    }
    None
}
