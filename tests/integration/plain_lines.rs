//! The real binary where no dashboard can be: on terminals without a cursor or a size, and where lines are wanted.

use portable_pty::CommandBuilder;
use rustix::process::{Pid, Signal, kill_process};
use taper::run::control_file::TrainerAddress;
use taper::run::event::Event;

use crate::binary::{Dir, Kind, TINY, Terminal, text, wait_for_end_of, wait_for_event, wait_for_steps};

/// `taper` with these arguments in a terminal, after a line of shell that may change the environment.
fn prepared(dir: &Dir, line: &str, args: &[&str]) -> Terminal {
    let mut shell = CommandBuilder::new("sh");
    shell.args(["-c", &format!("{line}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_taper")]);
    shell.args(args);
    dir.in_terminal(Kind::Mute, shell)
}

const WITHOUT_CURSOR: [(&str, &str); 3] =
    [("TERM=dumb", "TERM=dumb"), ("TERM=unknown", "TERM=unknown"), ("unset TERM", "TERM is not set")];

#[test]
fn a_terminal_without_a_cursor_gets_lines_as_they_happen() {
    for (number, (line, why)) in WITHOUT_CURSOR.into_iter().enumerate() {
        for plain in [&[][..], &["--no-tui"]] {
            let dir = Dir::new();
            let name = format!("run{number}");
            let train = ["train", "--name", &name, "--epochs", "100000"];
            let mut terminal = prepared(&dir, line, &[&train[..], &TINY, plain].concat());
            // Far from the end.
            terminal.wait_for("epoch 2/100000  train loss ");
            terminal.keys("\u{3}");
            assert_eq!(terminal.wait().exit_code(), 130);
            terminal.wait_for(&format!("to go on:  {} resume {name}", env!("CARGO_BIN_EXE_taper")));
            let received = text(&terminal.received());
            assert_eq!(received.contains(&format!("{why}: plain lines instead of the dashboard")), plain.is_empty());
            assert!(!received.contains('\u{1b}'), "{received}");
        }
    }
}

#[test]
fn attach_names_the_terminal_that_cannot_and_what_can() {
    let dir = Dir::new();
    dir.command(["train", "--no-tui", "--name", "done", "--epochs", "1"].into_iter().chain(TINY)).succeed();
    for (line, why) in WITHOUT_CURSOR {
        let mut terminal = prepared(&dir, line, &["attach", "done"]);
        assert_eq!(terminal.wait().exit_code(), 2);
        terminal.wait_for(&format!("error: {why}: this is no terminal that can show the dashboard; in plain lines: "));
        terminal.wait_for("attach done --no-tui");
        let mut terminal = prepared(&dir, line, &["attach", "done", "--no-tui"]);
        assert!(terminal.wait().success());
        terminal.wait_for("Run done: completed at step 32");
        assert!(!text(&terminal.received()).contains('\u{1b}'));
    }
}

#[test]
fn a_terminal_without_a_size_has_the_usual_one() {
    let dir = Dir::new();
    dir.command(["train", "--no-tui", "--name", "done", "--epochs", "1"].into_iter().chain(TINY)).succeed();
    let mut terminal = prepared(&dir, "stty rows 0 cols 0", &["attach", "done"]);
    terminal.wait_for("✓ completed");
    let first = terminal.contents().lines().next().unwrap_or_default().to_owned();
    assert_eq!(first.chars().count(), 79, "one column of 80 is a margin: {first}");
    terminal.keys("q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run done: completed");
    let mut terminal = prepared(&dir, "stty rows 0 cols 0", &["attach", "done", "--no-tui"]);
    assert!(terminal.wait().success());
    terminal.wait_for("epoch 1/1  train loss ");
}

#[test]
fn a_run_is_followed_in_lines_from_its_last_epochs_to_its_end() {
    let dir = Dir::new();
    let run = dir.start("far");
    let epoch = |number: u64| {
        wait_for_event(&run, "an epoch", |event| match event {
            Event::EpochDone(done) => (done.epoch >= number).then_some(()),
            _ => None,
        });
    };
    epoch(8);
    let follower = dir.command(["attach", "far", "--no-tui"]).spawn();
    dir.command(["pause", "far"]).succeed();
    dir.command(["resume", "far"]).succeed();
    wait_for_steps(&run, 64);
    dir.command(["stop", "far"]).succeed();
    let output = follower.wait_with_output().expect("an end");
    let out = text(&output.stdout);
    assert!(output.status.success(), "{out}");
    assert!(
        out.contains("run far: cnn 4-4-4, ") && out.contains(" earlier epoch") && !out.contains("epoch 1/"),
        "{out}"
    );
    assert!(out.contains("  paused at step ") && out.contains("  resumed at step "), "{out}");
    let time =
        |line: &&str| line.len() > 10 && line.is_char_boundary(10) && line[..10].ends_with("  ") && &line[2..3] == ":";
    let epochs: Vec<&str> = out.lines().filter(|line| line.contains("  train loss ")).collect();
    assert!(epochs.len() > 5 && epochs.iter().all(time), "{out}");
    assert!(epochs.iter().any(|line| line.contains("  ETA ")), "{out}");
    assert!(out.contains("Run far: stopped at step ") && out.contains("  to go on:  "), "{out}");

    // Of a run that has ended, at once.
    assert!(dir.command(["attach", "far", "--no-tui"]).succeed().contains("Run far: stopped at step "));
}

#[test]
fn whoever_follows_is_told_when_the_trainer_dies_and_may_leave() {
    let dir = Dir::new();
    let run = dir.start("far");
    wait_for_steps(&run, 10);
    let mut terminal = dir.terminal(["attach", "--no-tui"]);
    terminal.wait_for("run far: cnn 4-4-4, ");
    terminal.keys("\u{3}");
    assert_eq!(terminal.wait().exit_code(), 130);
    terminal.wait_for("Run far goes on training without you.");

    let follower = dir.command(["attach", "far", "--no-tui"]).spawn();
    let pid = TrainerAddress::read(&run).expect("a trainer").process.pid;
    kill_process(Pid::from_raw(pid.cast_signed()).expect("a process"), Signal::KILL).expect("killed");
    wait_for_end_of(pid);
    let output = follower.wait_with_output().expect("an end");
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("The trainer of run far exited unexpectedly; its log is "), "{out}");
}
