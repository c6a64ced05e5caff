//! Where on the terminal outside tmux a pane is, for what is drawn there past tmux.

use std::env;
use std::fs;
use std::process::Command;

use ratatui::layout::Rect;

use super::tmux::output;

const PANE_FORMAT: &str = "place|#{window_id}|#{pane_left}|#{pane_top}|#{pane_width}|#{pane_height}|#{pane_active}|\
                           #{window_zoomed_flag}|#{pane_in_mode}|#{P:#{pane_floating_flag}}|#{window_layout}";
const CLIENT_FORMAT: &str =
    "on|#{window_id}|#{window_bigger}|#{status}|#{status-position}|#{client_activity}|#{client_tty}";

/// Where a pane is while it is whole and uncovered on exactly one terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OuterPlace {
    /// In characters of the terminal.
    pub area: Rect,
    /// The terminal.
    pub tty: String,
    /// How the window is divided: when that changes, tmux draws all of it anew.
    pub layout: String,
    /// When a key was pressed there last, in seconds since the Unix epoch.
    pub active_s: u64,
}

impl OuterPlace {
    /// Of the pane of this process. Asks tmux, for a quarter of a second at most. `None` where the pane is hidden, covered,
    /// in copy mode, cut off, or on several terminals, or where tmux does not answer.
    pub fn ask() -> Option<Self> {
        let pane = env::var("TMUX_PANE").ok()?;
        let questions = ["display-message", "-p", "-t", &pane, PANE_FORMAT, ";", "list-clients", "-F", CLIENT_FORMAT];
        let answer = output(Command::new("tmux").args(questions).args([";", "show-messages", "-J"])).ok()?;
        Self::parse(&answer, has_terminal)
    }

    /// Whether it is the same cells of the same terminal.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.area, &self.tty, &self.layout) == (other.area, &other.tty, &other.layout)
    }

    /// A popup is known by its program, which tmux lists among its jobs, with a terminal of its own.
    fn parse(answer: &str, has_terminal: impl Fn(u32) -> bool) -> Option<Self> {
        let pane = answer.lines().find_map(|line| line.strip_prefix("place|"))?;
        let [window, left, top, width, height, is_active, is_zoomed, mode, floating, layout] =
            pane.splitn(10, '|').collect::<Vec<_>>().try_into().ok()?;
        let is_covered = (is_zoomed == "1" && is_active != "1") || floating.contains('1');
        let is_in_mode = mode.parse::<u32>() != Ok(0);
        let mut clients = answer
            .lines()
            .filter_map(|line| line.strip_prefix("on|"))
            .filter_map(|line| <[&str; 6]>::try_from(line.splitn(6, '|').collect::<Vec<_>>()).ok())
            .filter(|[of_window, ..]| *of_window == window);
        let [_, is_cut, status, position, active_s, tty] = clients.next()?;
        let is_alone = clients.next().is_none();
        let has_popup = answer.lines().filter_map(job).any(has_terminal);
        if is_covered || is_in_mode || is_cut == "1" || !is_alone || has_popup {
            return None;
        }
        let status_lines = match status {
            "off" => 0,
            "on" => 1,
            count => count.parse().ok()?,
        };
        let above = if position == "top" { status_lines } else { 0 };
        let number = |text: &str| text.parse::<u16>().ok();
        Some(Self {
            area: Rect::new(number(left)?, number(top)?.checked_add(above)?, number(width)?, number(height)?),
            tty: tty.to_owned(),
            layout: layout.to_owned(),
            active_s: active_s.parse().ok()?,
        })
    }
}

/// Has tmux draw all that the terminal shows once more. It may be gone.
pub fn redraw(tty: &str) {
    let _ = output(Command::new("tmux").args(["refresh-client", "-t", tty]));
}

/// The process of a line such as `Job 0: htop [fd=12, pid=8087, status=0]`.
fn job(line: &str) -> Option<u32> {
    let facts = line.strip_prefix("Job ")?.rsplit_once(" [")?.1;
    facts.split(", ").find_map(|fact| fact.strip_prefix("pid="))?.parse().ok()
}

/// Where there is no `/proc`, it does not look so.
fn has_terminal(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| terminal_of(&stat).is_some_and(|tty| tty != 0))
}

/// From `/proc/PID/stat`, where the name in parentheses may hold anything.
fn terminal_of(stat: &str) -> Option<i64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANE: &str = "place|@3|41|5|80|24|1|0|0||bb62,121x30,0,0{40x30,0,0,0,80x30,41,0,1}";
    const CLIENT: &str = "on|@3|0|on|bottom|1700|/dev/pts/1";

    fn place(lines: &[&str]) -> Option<OuterPlace> {
        OuterPlace::parse(&lines.join("\n"), |pid| pid == 7)
    }

    #[test]
    fn a_pane_is_below_what_stands_above_it() {
        let at = |client: &str| place(&[PANE, client]).expect("shown").area;
        assert_eq!(at(CLIENT), Rect::new(41, 5, 80, 24));
        assert_eq!(at("on|@3||on|top|1700|/dev/pts/1"), Rect::new(41, 6, 80, 24));
        assert_eq!(at("on|@3|0|3|top|1700|/dev/pts/1").y, 8);
        assert_eq!(at("on|@3|0|off|top|1700|/dev/pts/1").y, 5);
        let elsewhere = "on|@4|0|on|bottom|1700|/dev/pts/2";
        assert_eq!(place(&[PANE, elsewhere, CLIENT]).expect("shown").tty, "/dev/pts/1");
    }

    #[test]
    fn a_pane_that_is_not_whole_on_one_terminal_has_no_place() {
        assert_eq!(place(&[PANE]), None, "detached");
        assert_eq!(place(&[PANE, CLIENT, "on|@3|0|on|bottom|1700|/dev/pts/2"]), None, "two terminals");
        assert_eq!(place(&[PANE, "on|@3|1|on|bottom|1700|/dev/pts/1"]), None, "a window larger than the terminal");
        for covered in ["place|@3|0|0|80|24|0|1|0||x", "place|@3|0|0|80|24|1|0|1||x", "place|@3|0|0|80|24|1|0|0|001|x"]
        {
            assert_eq!(place(&[covered, CLIENT]), None, "{covered}");
        }
        let popup = "Job 0: htop [-d 5] [fd=12, pid=7, status=0]";
        assert_eq!(place(&[PANE, CLIENT, popup]), None);
        assert!(place(&[PANE, CLIENT, "Job 0: date [fd=12, pid=8, status=0]"]).is_some(), "of a status line");
        assert_eq!(place(&["no server running"]), None);
    }

    #[test]
    fn the_terminal_of_a_process_is_found_in_proc() {
        assert_eq!(terminal_of("42 (a (b) 7) S 41 42 42 34816 42"), Some(34816));
        assert_eq!(terminal_of(""), None);
        assert!(!has_terminal(u32::MAX));
    }
}
