//! What other programs do to the folder and the log of a run while its trainer is at work.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use taper::run::dir::RunDir;
use taper::run::event::{AlarmKind, Event};
use taper::run::lock::{Liveness, liveness};
use taper::run::replay::replay;
use taper::run::state::RunState;
use taper::train::checkpoint;

use crate::binary::{Dir, TINY, eventually, records, text, wait_for_end_of, wait_for_event, wait_for_steps};
use crate::exactness::trainer_pid;
use crate::follow::fold;

fn rename(from: &RunDir, to: &RunDir) {
    fs::rename(from.path(), to.path()).expect("renamed");
}

/// The run ended well, and its log has the loss of every step up to its last checkpoint.
fn assert_nothing_is_lost(run: &RunDir) -> RunState {
    assert_eq!(liveness(run), Liveness::Dead);
    let (state, saved) = (fold(&records(run)), checkpoint::latest(run).expect("readable").expect("one").state);
    assert_eq!((state.losses.len() as u64, state.step), (saved.step, saved.step));
    assert!(state.losses.values().iter().all(|loss| loss.is_finite()));
    state
}

fn log_alarms(run: &RunDir) -> Vec<String> {
    let alarms = records(run).into_iter().filter_map(|record| match record.event {
        Event::AlarmRaised { kind: AlarmKind::EventLog, message, .. } => Some(message),
        _ => None,
    });
    alarms.collect()
}

#[test]
fn a_run_that_is_renamed_under_its_trainer_goes_on() {
    let dir = Dir::new();
    let (far, near) = (dir.start("far"), dir.run("near"));
    let mut terminal = dir.terminal(["attach", "far"]);
    terminal.wait_for("● training");
    rename(&far, &near);
    // Another has its name now, and its files stay as they are.
    fs::create_dir(far.path()).expect("made");
    fs::write(far.events(), "of another").expect("written");

    dir.command(["checkpoint", "near"]).succeed();
    let saved = checkpoint::latest(&near).expect("readable").expect("one").state.step;
    dir.command(["probe", "near"]).succeed();
    // That of an epoch's end may be there too.
    assert!(fs::read_dir(near.probes()).expect("probes").count() >= 1);
    let path = wait_for_event(&near, "a notice", |event| match event {
        Event::DirectoryMoved { path, .. } => Some(path.clone()),
        _ => None,
    });
    assert_eq!(Path::new(&path).canonicalize().expect("there"), near.path().canonicalize().expect("there"));
    terminal.wait_for("near");
    terminal.keys(" ");
    terminal.wait_for("‖ paused");

    // Once more, in a pause.
    let last = dir.run("last");
    rename(&near, &last);
    terminal.wait_for("last");
    terminal.keys("q");
    terminal.wait_for("attach last");
    terminal.wait();
    let stopped = dir.command(["stop", "last"]).succeed();
    assert!(stopped.contains("stopped at step"), "{stopped}");
    eventually("the trainer is gone", || (liveness(&last) == Liveness::Dead).then_some(()));
    assert!(assert_nothing_is_lost(&last).step >= saved);
    assert!(!last.control().exists() && !near.path().exists());
    assert_eq!(fs::read_dir(far.path()).expect("a folder").count(), 1);
    assert_eq!(fs::read_to_string(far.events()).expect("a file"), "of another");
    dir.command(["doctor", "last"]).succeed();
    let steps = (fold(&records(&last)).step + 5).to_string();
    dir.command(["resume", "last", "--no-tui", "--max-steps", &steps]).succeed();
}

#[test]
fn a_run_that_is_removed_under_its_trainer_ends_with_a_clear_word() {
    let dir = Dir::new();
    let run = dir.start("far");
    let mut terminal = dir.terminal(["attach", "far"]);
    terminal.wait_for("● training");
    let pid = trainer_pid(&run).as_raw_nonzero().get() as u32;
    // It may write a file just then.
    eventually("the folder is removed", || fs::remove_dir_all(run.path()).ok());
    wait_for_end_of(pid);
    assert!(!run.path().exists());
    terminal.wait_for("removed,");
    terminal.keys("q");
    assert_eq!(terminal.wait().exit_code(), 1);
    assert!(terminal.contents().contains("nothing of run far is left"), "{}", terminal.contents());

    let run = dir.run("again");
    let train = ["train", "--no-tui", "--name", "again", "--epochs", "100000"];
    let trainer = dir.command(train.into_iter().chain(TINY)).spawn();
    wait_for_steps(&run, 5);
    eventually("the folder is removed", || fs::remove_dir_all(run.path()).ok());
    let output = trainer.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("the run's directory is gone") && error.contains("was removed"), "{error}");
}

#[test]
fn a_log_that_is_removed_or_replaced_is_put_back() {
    let dir = Dir::new();
    let run = dir.start("far");
    let terminal = dir.terminal(["attach", "far"]);
    terminal.wait_for("● training");
    wait_for_steps(&run, 50);
    fs::remove_file(run.events()).expect("removed");
    wait_for_event(&run, "an alarm", |event| match event {
        Event::AlarmRaised { message, .. } => message.contains("removed the event log: it was put back").then_some(()),
        _ => None,
    });
    terminal.wait_for("was cut or replaced by another program");
    let other = dir.path("other");
    fs::write(&other, "mine").expect("written");
    fs::rename(&other, run.events()).expect("replaced");
    let aside = run.path().join("events.jsonl.replaced-1");
    eventually("the other file is kept", || (fs::read_to_string(&aside).ok()? == "mine").then_some(()));
    wait_for_steps(&run, 20);
    terminal.wait_for("● training");
    // At the very end there is no time to wait.
    dir.command(["pause", "far"]).succeed();
    fs::remove_file(run.events()).expect("removed");
    dir.command(["stop", "far"]).succeed();
    terminal.wait_for("■ stopped");
    eventually("the trainer is gone", || (liveness(&run) == Liveness::Dead).then_some(()));
    assert_nothing_is_lost(&run);
    assert_eq!(log_alarms(&run).len(), 3, "{:?}", log_alarms(&run));
}

#[test]
fn a_log_that_is_cut_goes_on_with_all_that_can_be_known() {
    let dir = Dir::new();
    let run = dir.start("far");
    let terminal = dir.terminal(["attach", "far"]);
    terminal.wait_for("● training");
    for (times, share) in [(1, 2), (2, u64::MAX)] {
        wait_for_steps(&run, 50);
        dir.command(["pause", "far"]).succeed();
        let log = File::options().append(true).open(run.events()).expect("a log");
        log.set_len(log.metadata().expect("a log").len() / share).expect("cut");
        dir.command(["checkpoint", "far"]).succeed();
        wait_for_event(&run, "an alarm", |event| match event {
            Event::AlarmRaised { message, .. } => message.contains("cut the event log from").then_some(()),
            _ => None,
        });
        terminal.wait_for("‖ paused");
        let state = fold(&records(&run));
        let saved = checkpoint::latest(&run).expect("readable").expect("one").state;
        assert_eq!((state.step, state.learning_rate), (saved.step, Some(saved.learning_rate)), "{times}");
        dir.command(["resume", "far"]).succeed();
        terminal.wait_for("● training");
    }
    // Half a line, as of an editor.
    File::options().append(true).open(run.events()).expect("a log").write_all(b"half a line").expect("written");
    dir.command(["set-lr", "far", "0.0005"]).succeed();
    dir.command(["stop", "far"]).succeed();
    terminal.wait_for("■ stopped");
    eventually("the trainer is gone", || (liveness(&run) == Liveness::Dead).then_some(()));
    // Passes over the line.
    let (state, saved) = (replay(&run).expect("read"), checkpoint::latest(&run).expect("readable").expect("one").state);
    assert_eq!((state.step, state.learning_rate), (saved.step, Some(0.0005)));
    assert!(state.alarms.iter().any(|alarm| alarm.message.contains("wrote 0.0 kB to the event log")));
    let listed = dir.command(["runs"]).succeed();
    assert!(listed.contains("stopped"), "{listed}");
}
