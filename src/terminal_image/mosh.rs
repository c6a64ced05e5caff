//! Whether the way to the terminal leads through mosh, which passes no images on.

use std::fs;

/// Whether the process was started, however indirectly, by mosh's server. Where there is no `/proc`, it does not look so.
pub fn is_under_mosh(pid: u32) -> bool {
    /// More ancestors than any process has.
    const LIMIT: usize = 100;
    let parent = |&pid: &u32| parent_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    let is_mosh = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| is_server(&name));
    std::iter::successors(Some(pid), parent).take(LIMIT).take_while(|&pid| pid > 1).any(is_mosh)
}

fn is_server(name: &str) -> bool {
    name.trim_end() == "mosh-server"
}

/// From `/proc/PID/stat`, where the name in parentheses may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_found_in_proc() {
        assert_eq!(parent_of("42 (a (b) 7) S 41 42 42 0"), Some(41));
        assert_eq!(parent_of(""), None);
        assert!(is_server("mosh-server\n") && !is_server("sshd\n"));
        assert!(!is_under_mosh(u32::MAX));
    }
}
