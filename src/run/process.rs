//! A process by host, number and start time, so that a later process of the same number is not taken for it.

use std::fmt;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub host: String,
    pub pid: u32,
    /// Start time as the kernel counts it; `None` where the system does not tell.
    pub start_ticks: Option<u64>,
}

impl Process {
    /// This process.
    pub fn own() -> Self {
        Self::local(std::process::id())
    }

    /// The process of this host that has this number now, if one does and has not ended.
    pub fn find(pid: u32) -> Option<Self> {
        let has_ended = matches!(stat(pid), Some((state, _)) if is_end(&state));
        Some(Self::local(pid)).filter(|found| !has_ended && found.is_alive())
    }

    fn local(pid: u32) -> Self {
        Self { host: host(), pid, start_ticks: start_ticks(pid) }
    }

    pub fn is_on_this_host(&self) -> bool {
        self.host == host()
    }

    /// Whether the process lives. Only meaningful for a process on this host.
    pub fn is_alive(&self) -> bool {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return false };
        match (test_kill_process(pid), stat(self.pid)) {
            (Err(Errno::SRCH), _) => false,
            // Another user's, of whom `/proc` tells nothing (hidepid).
            (Err(Errno::PERM), None) => true,
            _ => self.start_ticks == start_ticks(self.pid),
        }
    }
}

impl Process {
    /// Whether a signal has stopped it (SIGSTOP, or Ctrl-Z in its shell), so that it does nothing until it is continued. Only
    /// meaningful for a process on this host.
    pub fn is_stopped(&self) -> bool {
        self.is_alive() && matches!(stat(self.pid), Some((state, _)) if matches!(state.as_str(), "T" | "t"))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "process {} on {}", self.pid, self.host)
    }
}

/// The name of this host.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// `None` for a process that has ended and was not waited for.
fn start_ticks(pid: u32) -> Option<u64> {
    let (state, start_ticks) = stat(pid)?;
    if is_end(&state) { None } else { Some(start_ticks) }
}

/// Of a process that has ended and was not waited for.
fn is_end(state: &str) -> bool {
    matches!(state, "Z" | "X")
}

/// State and start time: fields 3 and 22 of `/proc/PID/stat`, counted from behind the process name, which may hold spaces and
/// parentheses.
fn stat(pid: u32) -> Option<(String, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_another_start_time_is_another() {
        let own = Process::own();
        assert!(own.is_on_this_host() && own.is_alive());
        if let Some(ticks) = own.start_ticks {
            assert!(!Process { start_ticks: Some(ticks + 1), ..own.clone() }.is_alive());
        }
        assert!(!Process { pid: u32::MAX, ..own.clone() }.is_alive());
        assert!(!Process { pid: 0, ..own }.is_alive());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_zombie_is_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::local(child.id());
        assert!(process.is_alive());
        child.kill().unwrap();
        while start_ticks(child.id()).is_some() {
            std::thread::yield_now();
        }
        assert!(!process.is_alive() && Process::find(child.id()).is_none());
        child.wait().unwrap();
    }
}
