//! The `control` file: where a run's trainer can be reached, and which process it is.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use super::dir::RunDir;
use crate::durable;

/// What the `control` file says, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    pub socket: PathBuf,
    pub host: String,
    pub pid: u32,
    /// Start time of the process as the kernel counts it, so that a later process with the same number is not taken
    /// for it. None where the system does not tell.
    pub start_ticks: Option<u64>,
}

impl Control {
    /// This process, listening at `socket`.
    pub fn own(socket: PathBuf) -> Self {
        let pid = std::process::id();
        Self { socket, host: host(), pid, start_ticks: start_ticks(pid) }
    }

    /// None where the run has no such file, or one that cannot be read: then no trainer can be reached.
    pub fn read(dir: &RunDir) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.control()).ok()?).ok()
    }

    pub fn write(&self, dir: &RunDir) -> io::Result<()> {
        let mut json = serde_json::to_vec(self)?;
        json.push(b'\n');
        durable::replace(&dir.control(), &json)
    }

    pub fn is_on_this_host(&self) -> bool {
        self.host == host()
    }

    /// Whether the process lives. Only asked of a process on this host.
    pub fn process_lives(&self) -> bool {
        process_lives(self.pid, self.start_ticks)
    }
}

/// Whether there is a process of this number that started then.
pub(super) fn process_lives(pid: u32, started: Option<u64>) -> bool {
    let Some(found) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    test_kill_process(found) != Err(Errno::SRCH) && started == start_ticks(pid)
}

/// The name of this host.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Field 22 of `/proc/PID/stat`; the fields after the process name, which may hold spaces and parentheses. None of a
/// process that has ended and that nobody has waited for yet.
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X");
    if is_dead { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_with_another_start_time_does_not() {
        let own = Control::own("/nowhere".into());
        assert!(own.is_on_this_host() && own.process_lives());
        if let Some(ticks) = own.start_ticks {
            assert!(!Control { start_ticks: Some(ticks + 1), ..own.clone() }.process_lives());
        }
        assert!(!Control { pid: u32::MAX, ..own.clone() }.process_lives());
        assert!(!Control { pid: 0, ..own }.process_lives());
    }

    #[test]
    fn a_process_that_nobody_has_waited_for_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let control = Control { pid: child.id(), start_ticks: start_ticks(child.id()), ..Control::own("/x".into()) };
        assert!(control.process_lives());
        child.kill().unwrap();
        while start_ticks(child.id()).is_some() {
            std::thread::yield_now();
        }
        assert!(control.start_ticks.is_none() || !control.process_lives());
        child.wait().unwrap();
    }

    #[test]
    fn a_control_file_is_read_back_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        assert_eq!(Control::read(&run), None);
        let own = Control::own("/tmp/x".into());
        own.write(&run).unwrap();
        assert_eq!(Control::read(&run), Some(own));
        std::fs::write(run.control(), "{\"socket\"").unwrap();
        assert_eq!(Control::read(&run), None);
    }
}
