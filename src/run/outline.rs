//! Folds the beginning of a long log without the losses of its steps, on all cores.

use std::ops::Range;
use std::path::Path;
use std::thread;

use super::log::{Entry, FollowError, Follower, Position, line_end_before};
use super::state::RunState;

/// Bytes read at a time where there is one thread.
const WINDOW: usize = 1 << 20;
/// Bytes that each thread reads before what all have read is folded.
const SHARE: u64 = 4 << 20;

/// Folds what follows, up to about that byte of the log. Damaged lines are passed over.
///
/// # Errors
/// The log cannot be read, or is of another format.
pub fn fold_up_to(end: u64, state: &mut RunState, log: &mut Follower) -> Result<(), FollowError> {
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    while log.position().bytes < end {
        let shares = shares(log, threads, end)?;
        // Without a checksum, what a line may be depends on those before it.
        if shares.is_empty() || !log.expects_checksums() {
            match outline(log, end)? {
                Some(entries) if entries.is_empty() => break,
                entries => fold(state, &entries.unwrap_or_default()),
            }
            continue;
        }
        for (share, read) in shares.iter().zip(read_on_threads(log.path(), &shares)) {
            let (entries, lines) = read?;
            fold(state, &entries);
            let position = Position { bytes: share.end, lines: log.position().lines + lines };
            *log = Follower::from_position(log.path().to_owned(), position);
        }
    }
    Ok(())
}

fn fold(state: &mut RunState, entries: &[Entry]) {
    entries.iter().for_each(|entry| match entry {
        Entry::Record(record) => state.apply(record),
        Entry::Steps(steps) => state.pass_over(steps),
        Entry::Unknown => {}
    });
}

/// Bytes of whole lines for each thread, in their order: none where a line is longer than all shares.
fn shares(log: &Follower, threads: u64, end: u64) -> Result<Vec<Range<u64>>, FollowError> {
    let mut start = log.position().bytes;
    let mut shares = Vec::new();
    for share in 1..=threads {
        let bytes = end.min(log.position().bytes + share * SHARE);
        let line_end = line_end_before(log.path(), bytes)
            .map_err(|source| FollowError::Io { path: log.path().to_owned(), source })?;
        if line_end > start {
            shares.push(start..line_end);
            start = line_end;
        }
    }
    Ok(shares)
}

type Read = Result<(Vec<Entry>, u64), FollowError>;

fn read_on_threads(path: &Path, shares: &[Range<u64>]) -> Vec<Read> {
    thread::scope(|scope| {
        let started: Vec<_> = shares
            .iter()
            .map(|share| thread::Builder::new().spawn_scoped(scope, || read_share(path, share.clone())))
            .collect();
        let read = started.into_iter().zip(shares).map(|(thread, share)| match thread {
            Ok(thread) => thread.join().expect("a log is read without a panic"),
            // There may be no more threads.
            Err(_) => read_share(path, share.clone()),
        });
        read.collect()
    })
}

/// The lines in these bytes, and how many they are.
fn read_share(path: &Path, bytes: Range<u64>) -> Read {
    let mut log = Follower::from_position(path, Position { bytes: bytes.start, lines: 0 });
    let mut all = Vec::new();
    while log.position().bytes < bytes.end {
        match outline(&mut log, bytes.end)? {
            Some(entries) if entries.is_empty() => break,
            entries => all.extend(entries.unwrap_or_default()),
        }
    }
    Ok((all, log.position().lines))
}

/// The next lines, up to about byte `end`. None: a damaged line was passed over.
fn outline(log: &mut Follower, end: u64) -> Result<Option<Vec<Entry>>, FollowError> {
    let left = usize::try_from(end - log.position().bytes).unwrap_or(WINDOW);
    match log.outline(WINDOW.min(left)) {
        Ok(entries) => Ok(Some(entries)),
        Err(FollowError::Malformed { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::run::dir::RunDir;
    use crate::run::event::Event;
    use crate::run::log::EventLog;
    use crate::run::replay::replay;

    #[test]
    fn shares_on_threads_are_the_lines_of_the_log_once_each() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        let mut log = EventLog::open(&run.events()).unwrap();
        for step in 0..1000 {
            log.append(Event::Paused { step }).unwrap();
        }
        let whole = fs::read(run.events()).unwrap();
        // Damaged, of a later version, and longer than a share.
        let line_end = |bytes: u64| line_end_before(&run.events(), bytes).unwrap() as usize;
        let (damaged, later, long) = (line_end(20_000), line_end(40_000), line_end(60_000));
        let later_line = crate::run::log::with_checksum(&serde_json::json!({"time_ms": 1, "event": "later"})).unwrap();
        let long_line = [&vec![b'x'; 100_000][..], b"\n"].concat();
        let text =
            [&whole[..damaged], b"damaged\n", &whole[damaged..later], &later_line, &whole[later..long], &long_line]
                .concat();
        fs::write(run.events(), [&text[..], &whole[long..]].concat()).unwrap();
        let size = fs::metadata(run.events()).unwrap().len();
        for shares in [1, 2, 7, 100] {
            let bounds: Vec<u64> =
                (0..=shares).map(|share| line_end_before(&run.events(), size * share / shares).unwrap()).collect();
            let shares: Vec<Range<u64>> =
                bounds.windows(2).map(|pair| pair[0]..pair[1]).filter(|share| !share.is_empty()).collect();
            let mut state = RunState::default();
            let mut lines = 0;
            for read in read_on_threads(&run.events(), &shares) {
                let (entries, count) = read.unwrap();
                fold(&mut state, &entries);
                lines += count;
            }
            assert_eq!((lines, state.notes.len() + state.dropped_notes), (1003, 1000));
            assert_eq!(state.summary(), replay(&run).unwrap().summary());
        }
    }
}
