//! The list of runs, and going from one run to another: in memory, and the real binary in a real terminal.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Size;
use taper::run::dir::RunDir;
use taper::run::listing::{Figures, Listed};
use taper::run::lock::{Liveness, liveness};
use taper::run::log::Follower;
use taper::run::state::RunState;
use taper::tui::run_list::Kept;
use taper::tui::run_list::list::{RunList, Update};
use taper::tui::run_list::view::render;
use taper::tui::theme::Theme;

use crate::binary::{Dir, TINY, eventually};
use crate::follow::{drain, fixture};
use crate::screen::text_of;

/// Runs with fixture logs, the last activity of all but `training` long ago.
static RUNS: [(&str, &str, Liveness); 7] = [
    ("20261124-175203-cnn", "training", Liveness::Live),
    ("paused overnight", "paused", Liveness::Live),
    ("baseline", "completed", Liveness::Dead),
    ("killed", "first_epoch", Liveness::Dead),
    ("lr-too-high", "diverged", Liveness::Dead),
    ("not-begun", "empty", Liveness::Dead),
    ("of-another-version-of-taper-with-a-very-long-name", "", Liveness::Dead),
];

fn state(log: &str) -> RunState {
    let mut state = RunState::default();
    drain(&mut Follower::new(fixture(log)), 1 << 20).iter().for_each(|record| state.apply(record));
    state
}

struct Screen {
    list: RunList,
    terminal: Terminal<TestBackend>,
}

impl Screen {
    fn new(width: u16, height: u16, theme: Theme) -> Self {
        let mut list = RunList::new("runs", Kept::default(), theme);
        let now = state("training").last_activity_ms + 2000;
        list.now_ms = now;
        list.resized(Size { width, height });
        let path = |name: &str| PathBuf::from("/runs").join(name);
        let listed = RUNS.iter().zip(1..).map(|((name, log, liveness), number)| Listed {
            run: RunDir::at(path(name)),
            liveness: liveness.clone(),
            since: SystemTime::UNIX_EPOCH + Duration::from_millis(now - 5_000_000 * number),
            log_bytes: log.len() as u64,
        });
        list.update(Update::Listed(listed.collect()));
        let read = RUNS.iter().map(|(name, log, _)| match *log {
            "" => (path(name), Err("/runs/x/events.jsonl: line 1 is of log format 9".to_owned())),
            log => (path(name), Ok(Figures::of(&state(log)))),
        });
        list.update(Update::Read(read.collect()));
        Self { list, terminal: Terminal::new(TestBackend::new(width, height)).unwrap() }
    }

    fn press(&mut self, code: KeyCode) {
        self.list.handle_key(KeyEvent::new(code, KeyModifiers::NONE));
    }

    fn keys(&mut self, keys: &str) {
        keys.chars().for_each(|char| self.press(KeyCode::Char(char)));
    }

    fn text(&mut self) -> String {
        let Self { list, terminal } = self;
        terminal.draw(|frame| render(list, frame)).unwrap();
        text_of(terminal.backend().buffer())
    }
}

#[test]
fn the_list_at_three_sizes() {
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let mut screen = Screen::new(width, height, Theme::Plain);
        insta::assert_snapshot!(format!("run_list_{width}x{height}"), screen.text());
    }
}

#[test]
fn the_list_on_small_screens() {
    for (width, height) in [(40, 8), (60, 12), (79, 23)] {
        let mut screen = Screen::new(width, height, Theme::Plain);
        insta::assert_snapshot!(format!("run_list_{width}x{height}"), screen.text());
    }
    let mut screen = Screen::new(40, 8, Theme::Plain);
    screen.keys("?");
    insta::assert_snapshot!("run_list_help_40x8", screen.text());
    screen.press(KeyCode::End);
    assert!(screen.text().contains("taper runs lists"), "{}", screen.text());
}

#[test]
fn what_is_typed_marked_and_asked_is_shown() {
    let mut screen = Screen::new(80, 24, Theme::Plain);
    screen.keys(" /live 32");
    insta::assert_snapshot!("run_list_filtered_80x24", screen.text());
    screen.press(KeyCode::Esc);
    screen.keys("oooo");
    insta::assert_snapshot!("run_list_by_epoch_80x24", screen.text());
    screen.keys("?");
    insta::assert_snapshot!("run_list_help_80x24", screen.text());
    let mut odd = Screen::new(80, 24, Theme::Plain);
    odd.press(KeyCode::End);
    assert!(odd.text().contains("line 1 is of log format 9"), "{}", odd.text());
}

#[test]
fn no_size_panics() {
    for width in [1, 3, 4, 5, 12, 40, 79, 161] {
        for height in [1, 2, 3, 4, 5, 9, 30] {
            let mut screen = Screen::new(width, height, Theme::Plain);
            screen.text();
            screen.keys("G?");
            screen.text();
        }
    }
}

fn finished(dir: &Dir, name: &str) {
    dir.command(["train", "--no-tui", "--name", name, "--epochs", "2"].into_iter().chain(TINY)).succeed();
}

#[test]
fn runs_are_listed_opened_and_left_for_one_another() {
    let dir = Dir::new();
    finished(&dir, "done");
    let far = dir.start("far");
    let mut terminal = dir.terminal([] as [&str; 0]);
    terminal.wait_for("completed");
    terminal.wait_for("● 1 live");
    let shown = terminal.contents();
    assert!(shown.find("far").unwrap() < shown.find("done").unwrap(), "live ones first:\n{shown}");

    terminal.keys("\r");
    terminal.wait_for("● training");
    terminal.keys("R");
    terminal.wait_for("left run far, which goes on training");
    terminal.wait_for("● 1 live");
    terminal.keys("j\r");
    terminal.wait_for("✓ completed");
    terminal.keys("<");
    terminal.wait_for("left run done: completed");
    terminal.wait_for("● training");
    terminal.keys(">");
    terminal.wait_for("✓ completed");
    // The terminal was taken once.
    let taken = terminal.received().windows(8).filter(|bytes| bytes == b"\x1b[?1049h").count();
    assert_eq!(taken, 1);
    terminal.keys("q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run done: completed at step 64");
    assert_eq!(liveness(&far), Liveness::Live);
}

fn threads(terminal: &crate::binary::Terminal) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", terminal.pid().as_raw_nonzero()));
    tasks.expect("a process").count()
}

#[test]
fn going_from_run_to_run_leaves_no_thread_behind() {
    let dir = Dir::new();
    finished(&dir, "one");
    finished(&dir, "two");
    let mut terminal = dir.terminal(["attach", "--last"]);
    terminal.wait_for("taper  two");
    let before = threads(&terminal);
    for _ in 0..10 {
        for name in ["one", "two"] {
            terminal.keys(">");
            terminal.wait_for(&format!("taper  {name}"));
        }
    }
    eventually("the threads of the runs that were left end", || (threads(&terminal) <= before).then_some(()));
    terminal.keys("RR");
    terminal.wait_for("2 in runs");
    terminal.keys("q");
    assert!(terminal.wait().success());
}

#[test]
fn attach_lists_the_runs_where_not_exactly_one_is_live() {
    let dir = Dir::new();
    assert!(dir.command(["attach"]).fail(2).contains("there is none in"));
    finished(&dir, "done");
    let mut none_live = dir.terminal(["attach"]);
    none_live.wait_for("1 in runs");
    none_live.keys("q");
    assert!(none_live.wait().success());
    dir.start("far");
    let mut one_live = dir.terminal(["attach"]);
    one_live.wait_for("● training");
    one_live.keys("q");
    one_live.wait();
    dir.start("near");
    let mut several = dir.terminal(["attach"]);
    several.wait_for("● 2 live");
    several.keys("q");
    assert!(several.wait().success());
    assert!(dir.command(["attach"]).fail(2).contains("2 runs are live: far, near; name one"));
}

#[test]
fn the_list_follows_what_changes() {
    let dir = Dir::new();
    finished(&dir, "done");
    let mut terminal = dir.terminal(["attach"]);
    terminal.wait_for("completed");
    finished(&dir, "newer");
    terminal.wait_for("newer");
    std::fs::rename(dir.run("done").path(), dir.run("renamed").path()).unwrap();
    terminal.wait_for("renamed");
    eventually("the old name goes", || (!terminal.contents().contains("done")).then_some(()));
    terminal.keys("/rena\r\r");
    terminal.wait_for("✓ completed");
    std::fs::remove_dir_all(dir.run("newer").path()).unwrap();
    terminal.keys(">");
    terminal.wait_for("there is no other run");
    terminal.keys("q");
    terminal.wait();
    terminal.wait_for("Run renamed: completed");
}
