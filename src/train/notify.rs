//! Runs the user's `notify.command` with each alarm and the end of the run.
//!
//! It has a thread of its own, so that it never holds up training; the trainer waits for it at its very end alone.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::run::dir::RunDir;
use crate::run::event::{Event, Record};
use crate::run::held_dir::HeldRunDir;

/// A command that takes longer is killed.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Events that wait for the command; more are dropped.
const WAITING: usize = 16;

pub struct Notifier {
    events: Option<SyncSender<Record>>,
    /// When the thread gives up on what is left; set when the run has ended.
    give_up_at: Arc<OnceLock<Instant>>,
    thread: Option<JoinHandle<()>>,
}

impl Notifier {
    /// `command`: a line for `sh -c`. What goes wrong with it is for `trainer.log`.
    pub fn start(command: &str, dir: &HeldRunDir) -> Result<Self> {
        let (events, waiting) = sync_channel(WAITING);
        let (command, dir, give_up_at) = (command.to_owned(), dir.clone(), Arc::new(OnceLock::new()));
        let end = give_up_at.clone();
        let deliver = move || deliver_all(&command, dir, waiting, &end);
        let thread = thread::Builder::new().name("notify".into()).spawn(deliver)?;
        Ok(Self { events: Some(events), give_up_at, thread: Some(thread) })
    }

    /// Passes on alarms and the end of the run.
    pub fn tell(&self, record: &Record) {
        if matches!(record.event, Event::AlarmRaised { .. } | Event::RunEnded { .. })
            && let Some(events) = &self.events
            && events.try_send(record.clone()).is_err()
        {
            tracing::warn!("notify.command: {WAITING} events are waiting for it already; this one is left out");
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        // The thread ends when it has delivered what waits.
        let _ = self.give_up_at.set(Instant::now() + TIMEOUT);
        drop(self.events.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("notify.command: its thread panicked");
        }
    }
}

fn deliver_all(command: &str, mut dir: HeldRunDir, events: Receiver<Record>, give_up_at: &OnceLock<Instant>) {
    for record in events {
        if let Err(gone) = dir.follow() {
            tracing::warn!("notify.command: {gone}");
        }
        if let Err(error) = deliver(command, &dir, &record, TIMEOUT, give_up_at) {
            tracing::warn!("notify.command: {error:#}");
        }
    }
}

/// Runs the command with the event on its stdin, as a line of JSON, for so long, and not beyond `give_up_at`.
fn deliver(
    command: &str,
    dir: &RunDir,
    record: &Record,
    timeout: Duration,
    give_up_at: &OnceLock<Instant>,
) -> Result<()> {
    let log = OpenOptions::new().create(true).append(true).open(dir.trainer_log()).context("trainer.log")?;
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("TAPER_RUN", dir.name())
        .env("TAPER_RUN_DIR", dir.path())
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // What it starts in turn is killed with it.
        .process_group(0)
        .spawn()
        .context("cannot run sh")?;
    // A command need not read what it is told; an event fits in the pipe.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&line));
    let deadline = Instant::now() + timeout;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let now = Instant::now();
        if now >= deadline || give_up_at.get().is_some_and(|&end| now >= end) {
            if let Some(group) = Pid::from_raw(child.id() as i32) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait()?;
            bail!("{command:?} took too long, and was killed")
        }
        thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        bail!("{command:?} failed: {status}")
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{AlarmKind, Outcome};

    fn alarm(step: u64) -> Record {
        let event = Event::AlarmRaised { step, kind: AlarmKind::Plateau, message: "no \"news\"".into() };
        Record { time_ms: 7, event }
    }

    fn run() -> (tempfile::TempDir, HeldRunDir) {
        let root = tempfile::tempdir().expect("a folder");
        let dir = RunDir::at(root.path().join("night"));
        std::fs::create_dir(dir.path()).expect("made");
        (root, HeldRunDir::hold(&dir).expect("held"))
    }

    #[test]
    fn the_command_is_given_the_alarms_and_the_end_and_nothing_else() {
        let (_root, dir) = run();
        let notifier =
            Notifier::start(r#"cat >> "$TAPER_RUN_DIR/told"; echo "$TAPER_RUN" >> "$TAPER_RUN_DIR/told""#, &dir)
                .expect("a thread");
        let end = Event::RunEnded { step: 9, outcome: Outcome::Completed, message: "all".into() };
        let records =
            [alarm(3), Record { time_ms: 8, event: Event::Paused { step: 4 } }, Record { time_ms: 9, event: end }];
        records.iter().for_each(|record| notifier.tell(record));
        drop(notifier);
        let told = std::fs::read_to_string(dir.path().join("told")).expect("told");
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!((lines.len(), lines[1], lines[3]), (4, "night", "night"), "{told}");
        assert_eq!(serde_json::from_str::<Record>(lines[0]).expect("an event"), records[0]);
        assert_eq!(serde_json::from_str::<Record>(lines[2]).expect("an event"), records[2]);
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_all_that_it_started() {
        let (_root, dir) = run();
        // Its own shell waits for a child that would hold the pipe open.
        let hanging = r#"sleep 1000 & echo $! > "$TAPER_RUN_DIR/child"; wait"#;
        let started = Instant::now();
        let error = deliver(hanging, &dir, &alarm(1), Duration::from_millis(300), &OnceLock::new())
            .expect_err("killed")
            .to_string();
        assert!(error.contains("took too long") && started.elapsed() < Duration::from_secs(60), "{error}");
        let child =
            std::fs::read_to_string(dir.path().join("child")).expect("started").trim().parse().expect("a number");
        // Killed it is at once, gone when its new parent has taken notice.
        let stat = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let deadline = Instant::now() + Duration::from_secs(60);
        let child: Pid = Pid::from_raw(child).expect("a process");
        while rustix::process::test_kill_process(child).is_ok() && !stat().contains(") Z ") {
            assert!(Instant::now() < deadline, "it lives");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_command_that_fails_or_does_not_read_is_told_and_no_more() {
        let (_root, dir) = run();
        let error = deliver("echo oops >&2; exit 3", &dir, &alarm(1), TIMEOUT, &OnceLock::new())
            .expect_err("failed")
            .to_string();
        assert!(error.contains("exit status: 3"), "{error}");
        assert_eq!(std::fs::read_to_string(dir.trainer_log()).expect("the log"), "oops\n");
        deliver("exec <&-; true", &dir, &alarm(1), TIMEOUT, &OnceLock::new()).expect("done");
    }

    #[test]
    fn a_slow_command_holds_up_nobody() {
        let (_root, dir) = run();
        let slow = r#"until [ -e "$TAPER_RUN_DIR/go" ]; do sleep 0.01; done; echo x >> "$TAPER_RUN_DIR/told""#;
        let notifier = Notifier::start(slow, &dir).expect("a thread");
        // All of it, while the first command waits.
        (0..1000).for_each(|step| notifier.tell(&alarm(step)));
        let told = dir.path().join("told");
        assert!(!told.exists());
        std::fs::write(dir.path().join("go"), "").expect("written");
        drop(notifier);
        let told = std::fs::read_to_string(told).expect("told").lines().count();
        assert!((WAITING..=WAITING + 1).contains(&told), "{told}");
    }

    #[test]
    fn at_the_end_nobody_waits_longer_than_for_one_command() {
        let (_root, dir) = run();
        let give_up_at = OnceLock::from(Instant::now());
        let error = deliver("sleep 1000", &dir, &alarm(1), TIMEOUT, &give_up_at).expect_err("killed").to_string();
        assert!(error.contains("was killed"), "{error}");
    }
}
