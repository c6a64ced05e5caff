//! The thread that reads the runs: first what there is, then log by log on all cores, and again what has changed.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::mpsc;

use super::list::Update;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::listing::{Figures, Listed, list};
use crate::run::log::{FollowError, Follower};
use crate::run::replay::{fold_rest, outline_and_log};
use crate::run::state::RunState;

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How soon the thread notices that nobody looks any more.
const PATIENCE: Duration = Duration::from_millis(50);
/// Logs that are read before the first rows are told, and between each telling.
const CHUNK: usize = 32;

/// How much of a run's log was read.
struct Known {
    log_bytes: u64,
    since: SystemTime,
    /// Of a live run, whose log grows: it is not read from its beginning each time.
    open: Option<Open>,
}

pub fn read_runs(runs: RunsDir, updates: mpsc::Sender<Update>) {
    // Without threads of its own it reads one log after the other.
    let pool = ThreadPoolBuilder::new().thread_name(|_| "read runs".to_owned()).build().ok();
    let mut known: HashMap<PathBuf, Known> = HashMap::new();
    while !updates.is_closed() {
        let looked = Instant::now();
        match list(&runs) {
            Ok(listed) => {
                let there: HashSet<_> = listed.iter().map(|listed| listed.run.path().to_owned()).collect();
                known.retain(|path, _| there.contains(path));
                let changed: Vec<Listed> =
                    listed.iter().filter(|listed| has_changed(listed, &known)).cloned().collect();
                if updates.blocking_send(Update::Listed(listed)).is_err() {
                    return;
                }
                for chunk in changed.chunks(CHUNK) {
                    let read = read_chunk(chunk, &mut known, pool.as_ref());
                    if updates.blocking_send(Update::Read(read)).is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                if updates.blocking_send(Update::Fault(error.to_string())).is_err() {
                    return;
                }
            }
        }
        while looked.elapsed() < LOOK_INTERVAL && !updates.is_closed() {
            thread::sleep(PATIENCE);
        }
    }
}

fn has_changed(listed: &Listed, known: &HashMap<PathBuf, Known>) -> bool {
    known.get(listed.run.path()).is_none_or(|known| {
        known.log_bytes != listed.log_bytes || known.since != listed.since || known.open.is_some() != listed.is_live()
    })
}

type Open = Box<(RunState, Follower)>;
type Read = (PathBuf, Result<Figures, String>);

fn read_chunk(chunk: &[Listed], known: &mut HashMap<PathBuf, Known>, pool: Option<&ThreadPool>) -> Vec<Read> {
    let opened: Vec<(Listed, Option<Open>)> = chunk
        .iter()
        .map(|listed| (listed.clone(), known.remove(listed.run.path()).and_then(|known| known.open)))
        .collect();
    let one = |(listed, open): (Listed, Option<Open>)| {
        let read = read(&listed.run, open);
        (listed, read)
    };
    let read: Vec<_> = match pool {
        Some(pool) => pool.install(|| opened.into_par_iter().map(one).collect()),
        None => opened.into_iter().map(one).collect(),
    };
    let told = read.into_iter().map(|(listed, read)| {
        let (open, figures) = match read {
            Ok(open) => {
                let figures = Figures::of(&open.0);
                (listed.is_live().then_some(open), Ok(figures))
            }
            Err(error) => (None, Err(error.to_string())),
        };
        let path = listed.run.path().to_owned();
        known.insert(path.clone(), Known { log_bytes: listed.log_bytes, since: listed.since, open });
        (path, figures)
    });
    told.collect()
}

/// Reads on where a log was read before, and else, or where it went back behind what was read, from its beginning.
fn read(run: &RunDir, open: Option<Open>) -> Result<Open, FollowError> {
    if let Some(mut open) = open
        && fold_rest(&mut open.0, &mut open.1).is_ok()
        && open.0.is_summary_known()
    {
        return Ok(open);
    }
    outline_and_log(run).map(Box::new)
}
