//! The real binary in a real terminal: the dashboard comes up, obeys keys, is left and come back to.

use std::io::Write;

use portable_pty::CommandBuilder;
use rustix::process::{Pid, Signal, kill_process};
use taper::run::control_file::TrainerAddress;
use taper::run::event::{Command, Event, Outcome};
use taper::run::lock::{Liveness, liveness};

use crate::binary::{
    Dir, Kind, TINY, Terminal, eventually, records, text, wait_for_end_of, wait_for_event, wait_for_steps,
};

/// `taper train` in a terminal, with a run called `far` that goes on for as long as a test may take.
fn train(dir: &Dir) -> Terminal {
    let terminal = dir.terminal(["train", "--name", "far", "--epochs", "100000"].into_iter().chain(TINY));
    terminal.wait_for("● training");
    terminal
}

#[test]
fn pause_leave_come_back_resume_and_stop() {
    let dir = Dir::new();
    let mut terminal = train(&dir);
    let run = dir.run("far");
    terminal.wait_for("space pause");
    terminal.keys(" ");
    terminal.wait_for("‖ paused");
    terminal.wait_for("space resume");
    wait_for_event(&run, "the pause", |event| matches!(event, Event::Paused { .. }).then_some(()));

    terminal.keys("q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run far stays paused.");
    let shown = terminal.contents();
    for command in ["taper resume far", "taper attach far", "taper stop far"] {
        assert!(shown.contains(command), "{shown}");
    }
    assert_eq!(liveness(&run), Liveness::Live);

    // The history is there at once, and with it what was done by the first dashboard.
    let mut again = dir.terminal(["attach"]);
    again.wait_for("‖ paused");
    again.wait_for("command: pause");
    again.keys(" ");
    again.wait_for("● training");
    wait_for_steps(&run, 10);

    let pid = TrainerAddress::read(&run).unwrap().process.pid;
    again.keys("s");
    again.keys("y");
    again.wait_for("■ stopped");
    assert_eq!(
        wait_for_event(&run, "the end", |event| match event {
            Event::RunEnded { outcome, .. } => Some(*outcome),
            _ => None,
        }),
        Outcome::Stopped
    );
    wait_for_end_of(pid);
    again.keys("q");
    assert!(again.wait().success());
    again.wait_for("Run far: stopped at step ");
    again.wait_for("/runs/far/checkpoints/e");
}

#[test]
fn a_closed_terminal_and_a_hang_up_cost_the_dashboard_only() {
    let dir = Dir::new();
    let mut terminal = train(&dir);
    let run = dir.run("far");
    terminal.close();
    terminal.wait();
    wait_for_steps(&run, 20);

    let mut terminal = dir.terminal(["attach", "far"]);
    terminal.wait_for("● training");
    kill_process(terminal.pid(), Signal::HUP).unwrap();
    terminal.wait();
    wait_for_steps(&run, 20);
    assert_eq!(liveness(&run), Liveness::Live);
}

#[test]
fn the_trainers_log_and_the_configuration_have_pages_and_its_death_is_told_without_a_key() {
    let dir = Dir::new();
    let mut terminal = train(&dir);
    let run = dir.run("far");
    terminal.keys("L");
    terminal.wait_for("Trainer's Log");
    let mut log = std::fs::OpenOptions::new().append(true).open(run.trainer_log()).unwrap();
    writeln!(log, "2026-11-24T17:52:04.1Z  WARN taper: a warning that comes later").unwrap();
    terminal.wait_for("a warning that comes later");
    terminal.keys(",");
    terminal.wait_for("default 50");
    terminal.keys("C");
    terminal.wait_for("prec");
    terminal.keys("q");
    assert!(terminal.wait().success());
    let again = dir.terminal(["attach", "far"]);
    again.wait_for("● training");
    let pid = TrainerAddress::read(&run).unwrap().process.pid;
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    again.wait_for("the trainer is gone, and did not say why");
}

#[test]
fn two_dashboards_see_the_same_and_either_may_command() {
    let dir = Dir::new();
    let mut one = train(&dir);
    let mut two = dir.terminal(["attach", "far"]);
    two.wait_for("● training");
    two.keys(" ");
    one.wait_for("‖ paused");
    two.wait_for("‖ paused");
    one.keys(" ");
    two.wait_for("● training");
    one.keys("+");
    two.wait_for("by hand");
    one.keys("\u{3}");
    assert!(one.wait().success(), "Ctrl-C leaves");
    two.keys("c");
    // What was saved a moment ago, at the end of an epoch, is not saved again.
    wait_for_event(&dir.run("far"), "the command", |event| {
        matches!(event, Event::CommandReceived { command: Command::Checkpoint, .. }).then_some(())
    });
    assert_eq!(liveness(&dir.run("far")), Liveness::Live);
}

#[test]
fn a_finished_run_opens_the_same_way() {
    let dir = Dir::new();
    dir.command(["train", "--no-tui", "--name", "done", "--epochs", "2"].into_iter().chain(TINY)).succeed();
    let mut terminal = dir.terminal(["attach", "done"]);
    terminal.wait_for("✓ completed");
    terminal.wait_for("taper resume done --epochs N");
    assert!(!terminal.contents().contains("space pause"));
    terminal.keys("q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run done: completed at step 64");
    terminal.wait_for("best epoch");
}

#[test]
fn a_bad_start_is_one_line_in_the_shell_and_no_dashboard() {
    let dir = Dir::new();
    let mut terminal = dir.terminal(["train", "--name", "x", "--set", "data.source=cifar10"]);
    assert_eq!(terminal.wait().exit_code(), 1);
    terminal.wait_for("error: no CIFAR-10 under ");
    assert!(!dir.run("x").path().exists());
}

#[test]
fn ctrl_c_in_the_foreground_of_a_terminal_saves_and_gives_130() {
    let dir = Dir::new();
    let args = ["train", "--no-tui", "--name", "near", "--epochs", "100000"];
    let mut terminal = dir.terminal(args.into_iter().chain(TINY));
    let run = dir.run("near");
    terminal.wait_for("epoch 1/100000 ");
    wait_for_steps(&run, 1);
    terminal.keys("\u{3}");
    assert_eq!(terminal.wait().exit_code(), 130);
    let saved = eventually("a checkpoint", || std::fs::read_dir(run.checkpoints()).ok()?.next());
    assert!(saved.unwrap().path().join("state.json").is_file());
}

#[test]
fn without_a_command_it_trains() {
    let dir = Dir::new();
    let mut terminal = dir.terminal([] as [&str; 0]);
    terminal.wait_for("cnn 32-64-128");
    terminal.keys("q");
    assert!(terminal.wait().success());
    terminal.wait_for("goes on training without you");
}

#[test]
fn a_terminal_without_an_alternate_screen_shows_the_dashboard_alone() {
    let dir = Dir::new();
    dir.command(["train", "--no-tui", "--name", "done", "--epochs", "1"].into_iter().chain(TINY)).succeed();
    let mut shell = CommandBuilder::new("sh");
    shell.args(["-c", "seq 100 140; exec \"$0\" attach done", env!("CARGO_BIN_EXE_taper")]);
    let mut terminal = dir.in_terminal(Kind::Mute, shell);
    // As GNU screen does by default, and Linux's console.
    let shown_without = |terminal: &Terminal| {
        let received = text(&terminal.received()).replace("\x1b[?1049h", "").replace("\x1b[?1049l", "");
        let mut screen = vt100::Parser::new(40, 120, 0);
        screen.process(received.as_bytes());
        screen.screen().contents()
    };
    terminal.wait_for("✓ completed");
    eventually("the dashboard alone", || (shown_without(&terminal) == terminal.contents()).then_some(()));
    terminal.keys("q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run done: completed");
    let left = shown_without(&terminal);
    assert!(left.starts_with("Run done: completed") && !left.contains("Batch Loss"), "{left}");
}

#[test]
fn the_mouse_is_taken_where_asked_and_given_back() {
    const TAKEN: &[u8] = b"\x1b[?1000h";
    const GIVEN_BACK: &[u8] = b"\x1b[?1000l";
    let count = |received: &[u8], what: &[u8]| received.windows(what.len()).filter(|window| *window == what).count();
    let dir = Dir::new();
    let mut terminal =
        dir.terminal(["train", "--mouse", "--name", "far", "--epochs", "100000"].into_iter().chain(TINY));
    terminal.wait_for("● training");
    // On the loss chart, twice: the focus, then its page.
    terminal.keys("\x1b[<0;20;18M\x1b[<0;20;18m");
    terminal.wait_for("▸ 1 Loss");
    terminal.keys("\x1b[<0;20;18M\x1b[<0;20;18m");
    terminal.wait_for("smoothing off");
    terminal.keys("q");
    assert!(terminal.wait().success());
    assert_eq!((count(&terminal.received(), TAKEN), count(&terminal.received(), GIVEN_BACK)), (1, 1));
    let mut without = dir.terminal(["attach", "far"]);
    without.wait_for("● training");
    without.keys("q");
    without.wait();
    assert_eq!(count(&without.received(), TAKEN), 0);
}

#[test]
fn a_run_of_short_epochs_takes_no_more_than_a_slow_link_has() {
    /// What is allowed, and how long is measured: by the run's own clock.
    const MOST_BYTES_PER_SEC: u64 = 20_000;
    const MEASURED_MS: u64 = 8000;
    let dir = Dir::new();
    let run = dir.start("far");
    let terminal = dir.terminal_of(Kind::TrueColour, ["attach", "far"]);
    terminal.resize(50, 200);
    terminal.wait_for("● training");
    terminal.wait_for("Checkpoints");
    let last_ms = || records(&run).last().map_or(0, |record| record.time_ms);
    let (start_ms, before) = (last_ms(), terminal.received().len());
    let took_ms = eventually("some seconds pass", || {
        let took_ms = last_ms().saturating_sub(start_ms);
        (took_ms >= MEASURED_MS).then_some(took_ms)
    });
    let bytes = (terminal.received().len() - before) as u64;
    let bytes_per_sec = 1000 * bytes / took_ms;
    println!("{bytes_per_sec} bytes a second");
    assert!((1000..MOST_BYTES_PER_SEC).contains(&bytes_per_sec), "{bytes_per_sec} bytes a second");
}
