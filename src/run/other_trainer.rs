//! Runs that another program trains, which writes a log as docs/writing-runs.md says and nothing else that taper's own do.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use super::dir::RunDir;
use super::event::{Event, Record, RunStarted};
use super::process::{self, Process};
use crate::ordinary_file;

/// The program that trains a run, by the first line of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherTrainer {
    pub name: String,
    /// None: it does not say.
    host: Option<String>,
    /// None: it does not say.
    pid: Option<u32>,
    start_ticks: Option<u64>,
}

/// A first line that is longer is none of another program.
const LONGEST_LINE: u64 = 64 << 10;
/// A program that says nothing of its process is taken to live as long as it has written so recently.
const LONGEST_SILENCE: Duration = Duration::from_secs(10 * 60);

impl OtherTrainer {
    /// `None` where taper trains the run, or nothing is known of it.
    pub fn of(run: &RunDir) -> Option<Self> {
        let log = ordinary_file::open(&run.events()).ok()?;
        let mut line = Vec::new();
        BufReader::new(log.take(LONGEST_LINE)).read_until(b'\n', &mut line).ok()?;
        match serde_json::from_slice(&line).ok()? {
            Record { event: Event::RunStarted(started), .. } => Self::by_start(*started),
            _ => None,
        }
    }

    fn by_start(started: RunStarted) -> Option<Self> {
        let RunStarted { trainer, host, pid, start_ticks, .. } = started;
        let name = trainer?;
        let name = if name.is_empty() { "another program".to_owned() } else { name };
        Some(Self {
            name,
            host: Some(host).filter(|host| !host.is_empty()),
            pid: Some(pid).filter(|&pid| pid > 0),
            start_ticks,
        })
    }

    /// The other host that it says it is on.
    pub fn elsewhere(&self) -> Option<&str> {
        self.host.as_deref().filter(|&host| host != process::host())
    }

    /// Whether it lives, if it has not ended the run: by its process, where it names one of this host, else by its last line.
    pub fn is_at_work(&self, run: &RunDir) -> bool {
        match (self.elsewhere(), self.pid) {
            (None, Some(pid)) => Process::find(pid).is_some_and(|found| match (self.start_ticks, found.start_ticks) {
                (Some(told), Some(found)) => told == found,
                _ => true,
            }),
            _ => {
                let written = std::fs::metadata(run.events()).and_then(|log| log.modified()).ok();
                // A time in the future is recent.
                written.is_some_and(|time| time.elapsed().map_or(true, |age| age < LONGEST_SILENCE))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn run(first_line: &str) -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        std::fs::write(run.events(), format!("{first_line}\n")).unwrap();
        (dir, run)
    }

    fn told(fields: &str) -> (tempfile::TempDir, RunDir) {
        run(&format!("{{\"time_ms\":1,\"event\":\"run_started\",\"version\":1,\"trainer\":\"x\"{fields}}}"))
    }

    #[test]
    fn only_a_log_that_names_its_trainer_is_of_another_one() {
        let (_dir, run_of_x) = told("");
        assert_eq!(OtherTrainer::of(&run_of_x).unwrap().name, "x");
        for line in [
            "",
            "{\"time_ms\":1",
            "{\"time_ms\":1,\"event\":\"run_started\",\"version\":1}",
            "{\"time_ms\":1,\"event\":\"paused\",\"step\":1,\"trainer\":\"x\"}",
        ] {
            let (_dir, run) = run(line);
            assert_eq!(OtherTrainer::of(&run), None, "{line}");
        }
    }

    #[test]
    fn a_process_of_this_host_lives_or_not() {
        let own = std::process::id();
        let is_at_work = |fields: &str| {
            let (_dir, run) = told(fields);
            // Whenever it was written.
            let log = std::fs::File::options().write(true).open(run.events()).unwrap();
            log.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            OtherTrainer::of(&run).unwrap().is_at_work(&run)
        };
        assert!(is_at_work(&format!(",\"pid\":{own}")));
        assert!(is_at_work(&format!(",\"pid\":{own},\"host\":\"{}\"", process::host())));
        assert!(!is_at_work(",\"pid\":4294967295"));
        assert!(!is_at_work(&format!(",\"pid\":{own},\"host\":\"node7\"")), "that cannot be told from here");
        if cfg!(target_os = "linux") {
            assert!(!is_at_work(&format!(",\"pid\":{own},\"start_ticks\":1")));
        }
    }

    #[test]
    fn without_a_process_the_last_line_counts() {
        let (_dir, run) = told("");
        let trainer = OtherTrainer::of(&run).unwrap();
        assert!(trainer.is_at_work(&run));
        let log = std::fs::File::options().write(true).open(run.events()).unwrap();
        log.set_modified(SystemTime::now() - LONGEST_SILENCE * 2).unwrap();
        assert!(!trainer.is_at_work(&run));
        log.set_modified(SystemTime::now() + LONGEST_SILENCE).unwrap();
        assert!(trainer.is_at_work(&run));
    }
}
