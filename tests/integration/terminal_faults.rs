//! Whatever befalls the dashboard and its terminal, the trainer does not notice; a terminal that is still there is given
//! back.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portable_pty::CommandBuilder;
use rustix::process::{Signal, kill_process};
use taper::run::dir::{RunDir, RunsDir};
use taper::run::lock::{Liveness, liveness};
use taper::terminal_image::Images;
use taper::tui::theme::ThemeChoice;
use taper::tui::{self, Place, Session};

use crate::binary::{Dir, Kind, TINY, Terminal, eventually, wait_for_steps};

fn attached(dir: &Dir) -> Terminal {
    let terminal = dir.terminal(["train", "--name", "far", "--epochs", "100000"].into_iter().chain(TINY));
    terminal.wait_for("● training");
    assert!(terminal.is_taken());
    terminal
}

fn trainer_goes_on(dir: &Dir) {
    wait_for_steps(&dir.run("far"), 20);
    assert_eq!(liveness(&dir.run("far")), Liveness::Live);
}

/// As the kernel tells: R, S, T and so on.
fn state_of(terminal: &Terminal) -> char {
    let stat = fs::read_to_string(format!("/proc/{}/stat", terminal.pid().as_raw_nonzero())).expect("a process");
    stat.rsplit_once(") ").and_then(|(_, fields)| fields.chars().next()).expect("a state")
}

/// Set in the process that [`a_panic_gives_the_terminal_back`] starts.
const PANICS: &str = "TAPER_TEST_PANICS";

/// The dashboard of a run whose trainer cannot be asked without a panic, the second time.
fn panicking_dashboard() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let liveness = |_: &RunDir| match ASKED.fetch_add(1, Ordering::SeqCst) {
        0 => Liveness::Live,
        _ => panic!("a fault that was put in"),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let runs = RunsDir::at(folder.path());
    let first = Place::Run(RunDir::at(folder.path()));
    let (images, theme) = (Images::Blocks, ThemeChoice::Plain);
    let error = tui::run(Session { runs, first, images, theme, mouse: false, liveness }).expect_err("a panic");
    assert!(error.to_string().contains("panicked"), "{error:#}");
}

#[test]
fn a_panic_gives_the_terminal_back() {
    if std::env::var_os(PANICS).is_some() {
        return panicking_dashboard();
    }
    let dir = Dir::new();
    // This very test, in a terminal.
    let mut command = CommandBuilder::new(std::env::current_exe().expect("a path"));
    command.args(["terminal_faults::a_panic_gives_the_terminal_back", "--exact", "--nocapture"]);
    command.env(PANICS, "1");
    let mut terminal = dir.in_terminal(Kind::Mute, command);
    eventually("the terminal is taken", || terminal.is_taken().then_some(()));
    eventually("the terminal is given back", || (!terminal.is_taken()).then_some(()));
    terminal.wait_for("a fault that was put in");
    assert!(terminal.wait().success(), "{}", terminal.contents());
}

#[test]
fn sigterm_gives_the_terminal_back() {
    let dir = Dir::new();
    let mut terminal = attached(&dir);
    kill_process(terminal.pid(), Signal::TERM).expect("killed");
    assert_eq!(terminal.wait().exit_code(), 143);
    eventually("the terminal is given back", || (!terminal.is_taken()).then_some(()));
    trainer_goes_on(&dir);
}

#[test]
fn sigkill_costs_the_dashboard_only() {
    let dir = Dir::new();
    let mut terminal = attached(&dir);
    kill_process(terminal.pid(), Signal::KILL).expect("killed");
    terminal.wait();
    trainer_goes_on(&dir);
    let mut again = dir.terminal(["attach", "far"]);
    again.wait_for("● training");
    again.keys("q");
    assert!(again.wait().success());
}

#[test]
fn stopped_it_gives_the_terminal_back_and_continued_it_takes_it_again() {
    let dir = Dir::new();
    let mut terminal = attached(&dir);
    for _ in 0..3 {
        kill_process(terminal.pid(), Signal::TSTP).expect("stopped");
        eventually("it is stopped", || (state_of(&terminal) == 'T').then_some(()));
        eventually("the terminal is given back", || (!terminal.is_taken()).then_some(()));
        trainer_goes_on(&dir);
        kill_process(terminal.pid(), Signal::CONT).expect("continued");
        eventually("the terminal is taken again", || terminal.is_taken().then_some(()));
        terminal.wait_for("● training");
    }
    terminal.keys("q");
    assert!(terminal.wait().success());
}

#[test]
fn two_hundred_resizes_at_once_leave_a_whole_dashboard() {
    let dir = Dir::new();
    let mut terminal = attached(&dir);
    for i in 0..200u16 {
        terminal.resize(1 + i * 7 % 60, 2 + i * 13 % 200);
    }
    terminal.resize(24, 80);
    terminal.wait_for("● training");
    terminal.wait_for("q leave");
    trainer_goes_on(&dir);
    terminal.keys("q");
    assert!(terminal.wait().success());
}

#[test]
fn a_terminal_that_is_not_read_stops_the_dashboard_and_nothing_else() {
    let dir = Dir::new();
    let mut terminal = attached(&dir);
    terminal.stop_reading();
    // Every size is drawn anew, until it waits in a write that nobody takes.
    let (mut rows, mut written, mut since) = (0, 0, Instant::now());
    eventually("the dashboard waits for its terminal", || {
        rows = (rows + 1) % 30;
        terminal.resize(30 + rows, 200);
        let now = bytes_written(&terminal);
        if now != written {
            (written, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_secs(1)).then_some(())
    });
    trainer_goes_on(&dir);
    terminal.go_on_reading();
    terminal.resize(40, 120);
    terminal.wait_for("● training");
    terminal.keys("q");
    assert!(terminal.wait().success());
}

/// By all of its threads so far.
fn bytes_written(terminal: &Terminal) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", terminal.pid().as_raw_nonzero())).expect("a process");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("a count");
    line.parse().expect("a number")
}
