//! Whatever may block has a thread: talking to the trainer, reading probes, following the log.

use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::app::Update;
use super::inspector::{Loaded, ProbeKey};
use super::run_files::RunFiles;
use crate::ordinary_file;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::Command;
use crate::run::held_dir::HeldRunDir;
use crate::run::listing;
use crate::run::lock::Liveness;
use crate::run::log::{FollowError, Follower};
use crate::run::probe::Probe;
use crate::run::socket::{Reply, send};
use crate::terminal_image::{Detected, ImageBackend, OuterPlace, PaneChange, Protocol, TmuxWatch, detect_again};

const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
const LIVENESS_INTERVAL: Duration = Duration::from_secs(1);
const PANE_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of the log read at a time, some milliseconds of work.
const FOLLOW_BYTES: usize = 256 * 1024;

/// The thread that talks to the trainer, one command after the other.
pub fn send_commands(commands: std_mpsc::Receiver<Command>, mut run: HeldRunDir, updates: mpsc::Sender<Update>) {
    while let Ok(command) = commands.recv() {
        let mut command = command;
        let mut waiting: Vec<Command> = commands.try_iter().collect();
        waiting.reverse();
        loop {
            let next = waiting.pop();
            // Of several presses of `+` while the trainer was busy, only the last rate is sent.
            let superseded = matches!(command, Command::SetLearningRate { .. })
                && matches!(next, Some(Command::SetLearningRate { .. }));
            if !superseded {
                let answer = run.follow().map_err(|gone| gone.to_string()).and_then(|_| answer(&run, command));
                // Fails when the dashboard was left meanwhile: the commands that it gave are sent all the same.
                let _ = updates.blocking_send(Update::Answered { command, answer });
            }
            match next {
                Some(next) => command = next,
                None => break,
            }
        }
    }
}

/// What the trainer did, or why not.
fn answer(run: &RunDir, command: Command) -> Result<String, String> {
    match send(run, command) {
        Ok(Reply::Done { message }) => Ok(message),
        Ok(Reply::Error { message }) => Err(message),
        Err(error) => Err(error.to_string()),
    }
}

/// The thread that reads probes; of several requests that wait, only the last.
pub fn read_probes(wanted: std_mpsc::Receiver<ProbeKey>, mut run: HeldRunDir, updates: mpsc::Sender<Update>) {
    while let Ok(first) = wanted.recv() {
        let key = wanted.try_iter().last().unwrap_or(first);
        // One that is gone has no probes, which is told.
        let _ = run.follow();
        let path = run.probes().join(&key.file);
        let probe = ordinary_file::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|bytes| Probe::from_bytes(&bytes).map_err(|error| error.to_string()))
            .map(Arc::new)
            .map_err(|error| format!("{}: {error}", path.display()));
        if updates.blocking_send(Update::Probe(Loaded { key, probe })).is_err() {
            return;
        }
    }
}

/// What has become of the pane of tmux that the dashboard is in.
#[derive(Debug)]
pub enum PaneUpdate {
    OtherTerminals(Box<Detected>),
    /// Again, by the same terminals.
    Visible,
    /// Where it is now, for images past tmux.
    Place(Option<OuterPlace>),
}

/// The thread that looks, inside tmux, at which terminals show the dashboard.
pub fn watch_pane(mut pane: TmuxWatch, mut backend: ImageBackend, updates: mpsc::Sender<PaneUpdate>) {
    while !updates.is_closed() {
        thread::sleep(PANE_INTERVAL);
        let update = match pane.look() {
            Some(PaneChange::OtherTerminals) => {
                detect_again(&pane).map(|detected| PaneUpdate::OtherTerminals(Box::new(detected)))
            }
            _ if backend == ImageBackend::Protocol(Protocol::Iterm2PastTmux) => {
                Some(PaneUpdate::Place(OuterPlace::ask()))
            }
            Some(PaneChange::Visible) => Some(PaneUpdate::Visible),
            None => None,
        };
        if let Some(PaneUpdate::OtherTerminals(detected)) = &update {
            backend = detected.backend;
        }
        if let Some(update) = update
            && updates.blocking_send(update).is_err()
        {
            return;
        }
    }
}

/// The run that many places behind this one in the list of runs, or why there is none.
pub fn find_other(runs: &RunsDir, run: &RunDir, by: isize) -> Result<RunDir, String> {
    match listing::other(runs, run, by) {
        Ok(other) => other.ok_or_else(|| format!("there is no other run in {}", runs.path().display())),
        Err(error) => Err(error.to_string()),
    }
}

/// Looks for the run's directory, and takes the follower of its log there.
fn follow(run: &mut HeldRunDir, log: &mut Follower) -> Option<Update> {
    match run.follow() {
        Ok(false) => None,
        Ok(true) => {
            log.moved_to(run.events());
            Some(Update::Moved { name: run.name() })
        }
        Err(gone) => Some(Update::Fault(gone.to_string())),
    }
}

/// The thread that follows the log, checks where the run is and whether its trainer lives, and reads its other files.
pub fn watch(mut run: HeldRunDir, liveness: fn(&RunDir) -> Liveness, updates: mpsc::Sender<Update>) {
    let mut follower = Follower::new(run.events());
    let mut files = RunFiles::default();
    let mut liveness_due = Instant::now();
    let mut readable = true;
    // It would end at the next update, but a run that is left should cost nothing further.
    while !updates.is_closed() {
        // Before the log is read to its end: a trainer that is dead now has written all that it ever will.
        let mut seen = Vec::new();
        if Instant::now() >= liveness_due {
            seen.extend(follow(&mut run, &mut follower));
            seen.push(Update::Liveness(liveness(&run)));
            seen.extend(files.changed(&run));
        }
        while readable {
            let update = match follower.read(FOLLOW_BYTES) {
                Ok(records) if records.is_empty() => break,
                Ok(records) => Update::Records(records),
                // With the directory in which it is, or by itself.
                Err(error @ FollowError::Replaced { .. }) => match follow(&mut run, &mut follower) {
                    Some(update) => {
                        readable = matches!(update, Update::Moved { .. });
                        update
                    }
                    None => {
                        follower = Follower::new(run.events());
                        Update::LogReplaced(error.to_string())
                    }
                },
                Err(error) => {
                    readable = matches!(error, FollowError::Malformed { .. });
                    Update::Fault(error.to_string())
                }
            };
            if updates.blocking_send(update).is_err() {
                return;
            }
        }
        if !seen.is_empty() {
            liveness_due = Instant::now() + LIVENESS_INTERVAL;
        }
        for update in seen {
            if updates.blocking_send(update).is_err() {
                return;
            }
        }
        thread::sleep(FOLLOW_INTERVAL);
    }
}
