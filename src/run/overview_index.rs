//! Overviews of many runs, at once. What the logs of runs told is kept in the user's cache, so that a long list need not read
//! every log again.
//!
//! It is a shortcut and no authority: an entry counts where the log is the very file that it was made from, unchanged by its
//! size and the times that the file system keeps; else the log is read. Whether a run lives is always asked anew.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::ThreadPoolBuilder;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dir::{RunDir, RunsDir};
use super::events_index::VERSION;
use super::log::{is_whole, with_checksum};
use super::overview::{Overview, Told};
use crate::cache_folder::cache_folder;
use crate::checksum::sha256;
use crate::durable;
use crate::ordinary_file;

/// Bytes of logs that are worth keeping what they told.
const WORTH_BYTES: u64 = 4 << 20;
/// A log that was written to so shortly before may be again within the same tick of the file system's clock.
const SETTLED_SECS: i64 = 2;

/// Of each of the runs, in their order; most of them lie in `runs`.
pub fn overviews(runs: &RunsDir, all: &[RunDir]) -> Vec<Overview> {
    let now_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    overviews_at(now_secs, index_file(runs).as_deref(), WORTH_BYTES, all)
}

fn overviews_at(now_secs: i64, file: Option<&Path>, worth_bytes: u64, all: &[RunDir]) -> Vec<Overview> {
    let known = file.and_then(load).unwrap_or_default();
    let look = |run: &RunDir| look(run, known.get(run.path()), now_secs);
    let looked_at: Vec<(Overview, Option<Entry>, u64)> = match ThreadPoolBuilder::new().build() {
        Ok(pool) => pool.install(|| all.par_iter().map(look).collect()),
        // No more threads may be started: this one does it.
        Err(_) => all.iter().map(look).collect(),
    };
    let read_bytes: u64 = looked_at.iter().map(|(.., bytes)| bytes).sum();
    let (overviews, entries): (Vec<Overview>, Vec<Option<Entry>>) =
        looked_at.into_iter().map(|(overview, entry, _)| (overview, entry)).unzip();
    if let Some(file) = file.filter(|_| read_bytes >= worth_bytes) {
        // What is known of runs that were not asked for stays.
        let mut known = known;
        known.extend(all.iter().zip(entries).filter_map(|(run, entry)| Some((run.path().to_owned(), entry?))));
        known.retain(|path, _| path.is_dir());
        if let Err(error) = save(file, &known) {
            tracing::debug!("{}: {error}", file.display());
        }
    }
    overviews
}

/// The run, what is worth keeping of it, and the bytes that had to be read.
fn look(run: &RunDir, known: Option<&Entry>, now_secs: i64) -> (Overview, Option<Entry>, u64) {
    let log = LogFile::of(run);
    if let (Some(log), Some(entry)) = (log, known)
        && entry.log == log
    {
        return (Overview::new(run, Ok(entry.told.clone())), Some(entry.clone()), 0);
    }
    let told = Told::by_log(run);
    let entry = match (&told, log) {
        (Ok(told), Some(log)) if log.is_settled(now_secs) && LogFile::of(run) == Some(log) => {
            Some(Entry { log, told: told.clone() })
        }
        _ => None,
    };
    (Overview::new(run, told), entry, log.map_or(0, |log| log.bytes))
}

#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    log: LogFile,
    told: Told,
}

/// A log as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LogFile {
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds since the Unix epoch: of the last write, and of the last change of any kind, which no program
    /// can set back.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl LogFile {
    fn of(run: &RunDir) -> Option<Self> {
        let log = fs::metadata(run.events()).ok()?;
        Some(Self {
            device: log.dev(),
            inode: log.ino(),
            bytes: log.len(),
            modified: (log.mtime(), log.mtime_nsec()),
            changed: (log.ctime(), log.ctime_nsec()),
        })
    }

    fn is_settled(&self, now_secs: i64) -> bool {
        self.changed.0 + SETTLED_SECS < now_secs
    }
}

#[derive(Serialize, Deserialize)]
struct Index {
    version: String,
    runs: HashMap<PathBuf, Entry>,
}

/// One for each folder of runs.
fn index_file(runs: &RunsDir) -> Option<PathBuf> {
    let path = runs.path().canonicalize().ok()?;
    Some(cache_folder()?.join("runs").join(&sha256(path.as_os_str().as_encoded_bytes())[..16]))
}

/// None where there is no index, or none of this version, or it is damaged.
fn load(file: &Path) -> Option<HashMap<PathBuf, Entry>> {
    let bytes = ordinary_file::read(file).ok()?;
    let index: Index = is_whole(&bytes).then(|| serde_json::from_slice(&bytes).ok()).flatten()?;
    (index.version == VERSION).then_some(index.runs)
}

/// Not durably: what is lost is made anew.
fn save(file: &Path, known: &HashMap<PathBuf, Entry>) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let index = Index { version: VERSION.to_owned(), runs: known.clone() };
    let mut unfinished = durable::unfinished_file(folder)?;
    unfinished.write_all(&with_checksum(&index)?)?;
    unfinished.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::run::event::{Event, RunStarted};
    use crate::run::log::EventLog;
    use crate::run::state::Phase;

    const LATER: i64 = i64::MAX / 2;

    struct Listed {
        _dir: tempfile::TempDir,
        runs: RunsDir,
        file: PathBuf,
    }

    impl Listed {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (runs, file) = (RunsDir::at(dir.path().join("runs")), dir.path().join("cache/index"));
            for name in ["a", "b"] {
                let run = runs.create(Some(name), &Config::default()).unwrap();
                let started = RunStarted { continued_from: None, ..RunStarted::example() };
                append(&run, [Event::RunStarted(Box::new(started)), Event::Paused { step: 0 }]);
            }
            Self { _dir: dir, runs, file }
        }

        fn list(&self, now_secs: i64) -> Vec<Overview> {
            overviews_at(now_secs, Some(&self.file), 1, &self.runs.list().unwrap())
        }

        /// The phases by the index, which must be those by the logs.
        fn phases(&self) -> Vec<Phase> {
            let listed = self.list(LATER);
            let by_logs: Vec<Overview> = self.runs.list().unwrap().iter().map(Overview::of).collect();
            assert_eq!(serde_json::to_value(&listed).unwrap(), serde_json::to_value(&by_logs).unwrap());
            listed.iter().map(|run| run.told.summary.phase).collect()
        }

        /// What the index says of a run is wrong from now on.
        fn falsify(&self) {
            let mut known = load(&self.file).unwrap();
            known.values_mut().for_each(|entry| entry.told.summary.phase = Phase::Evaluating);
            save(&self.file, &known).unwrap();
        }
    }

    fn append(run: &RunDir, events: impl IntoIterator<Item = Event>) {
        let mut log = EventLog::open(&run.events()).unwrap();
        for event in events {
            log.append(event).unwrap();
        }
    }

    #[test]
    fn a_log_that_is_as_it_was_is_not_read_again_and_one_that_is_not_is() {
        let listed = Listed::new();
        assert_eq!(listed.phases(), [Phase::Paused; 2]);
        assert_eq!(listed.phases(), [Phase::Paused; 2]);
        listed.falsify();
        let phases = |now_secs| listed.list(now_secs).iter().map(|run| run.told.summary.phase).collect::<Vec<_>>();
        assert_eq!(phases(LATER), [Phase::Evaluating; 2], "it is taken from the index");

        let (a, b) = (listed.runs.open("a").unwrap(), listed.runs.open("b").unwrap());
        append(&a, [Event::Resumed { step: 0 }]);
        assert_eq!(phases(LATER), [Phase::Training, Phase::Evaluating]);
        // Another of the same size, with the same time of its last write.
        let (log, before) = (fs::read(b.events()).unwrap(), LogFile::of(&b));
        let modified = fs::metadata(b.events()).unwrap().modified().unwrap();
        // The clock of the file system ticks every few milliseconds.
        while LogFile::of(&b) == before {
            fs::write(b.events(), &log).unwrap();
            fs::File::options().append(true).open(b.events()).unwrap().set_modified(modified).unwrap();
        }
        assert_eq!(listed.phases(), [Phase::Training, Phase::Paused]);
        // Another run of that name.
        listed.falsify();
        b.rename("c").unwrap();
        a.rename("b").unwrap();
        assert_eq!(listed.phases(), [Phase::Training, Phase::Paused]);
    }

    #[test]
    fn a_log_that_may_be_written_to_in_the_same_moment_is_not_kept() {
        let listed = Listed::new();
        let changed = LogFile::of(&listed.runs.open("a").unwrap()).unwrap().changed.0;
        listed.list(changed + SETTLED_SECS);
        assert_eq!(load(&listed.file).unwrap().len(), 0);
        listed.list(changed + SETTLED_SECS + 2);
        assert_eq!(load(&listed.file).unwrap().len(), 2);
    }

    #[test]
    fn an_index_that_is_damaged_or_of_another_version_is_left_out() {
        let listed = Listed::new();
        listed.phases();
        let index = fs::read(&listed.file).unwrap();
        for at in [0, index.len() / 2, index.len() - 3] {
            let mut damaged = index.clone();
            damaged[at] ^= 1;
            fs::write(&listed.file, damaged).unwrap();
            assert!(load(&listed.file).is_none());
            assert_eq!(listed.phases(), [Phase::Paused; 2]);
        }
        let other = Index { version: "0".to_owned(), runs: load(&listed.file).unwrap() };
        fs::write(&listed.file, with_checksum(&other).unwrap()).unwrap();
        assert!(load(&listed.file).is_none());
    }

    #[test]
    fn runs_that_are_gone_are_forgotten_and_errors_not_kept() {
        let listed = Listed::new();
        listed.phases();
        fs::remove_dir_all(listed.runs.path().join("a")).unwrap();
        let b = listed.runs.open("b").unwrap();
        fs::write(b.events(), "{\"time_ms\":1,\"event\":\"run_started\",\"version\":9}\n").unwrap();
        assert!(listed.list(LATER)[0].error.is_some());
        let entry = load(&listed.file).unwrap().remove(b.path()).unwrap();
        assert_ne!(Some(entry.log), LogFile::of(&b), "that of the log before");
        assert_eq!(load(&listed.file).unwrap().len(), 1);
    }
}
