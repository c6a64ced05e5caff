//! `taper rm` and `taper rename`, with the real program.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use taper::run::control_file::TrainerAddress;
use taper::run::dir::RunDir;
use taper::run::event::Event;
use taper::run::lock::{Liveness, RunLock, liveness};

use crate::binary::{Dir, TINY, eventually, text, wait_for_event, wait_for_steps};
use crate::exactness::{kill, wait_for_death};

fn trained(dir: &Dir, name: &str) -> RunDir {
    dir.command(["train", "--no-tui", "--max-steps", "1", "--name", name].into_iter().chain(TINY)).succeed();
    dir.run(name)
}

fn names(dir: &Dir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.runs().path())
        .expect("runs")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// As if the run had been active last so many days ago, by its log.
fn age(run: &RunDir, days: u64) {
    let log = fs::read_to_string(run.events()).expect("a log");
    let now_ms = SystemTime::UNIX_EPOCH.elapsed().expect("a time").as_millis() as u64;
    let then_ms = now_ms - Duration::from_secs(days * 86_400).as_millis() as u64;
    let lines = log.lines().map(|line| {
        let mut event: serde_json::Map<_, _> = serde_json::from_str(line).expect("an event");
        event.remove("crc32");
        event["time_ms"] = then_ms.into();
        String::from_utf8(taper::run::log::with_checksum(&event).expect("JSON")).expect("UTF-8")
    });
    let aged: String = lines.collect();
    fs::write(run.events(), aged).expect("written");
}

#[test]
fn what_goes_is_told_and_confirmed() {
    let dir = Dir::new();
    for name in ["one", "two", "three"] {
        trained(&dir, name);
    }
    let listed = dir.command(["rm", "one", "two", "one", "--dry-run"]).succeed();
    assert!(listed.lines().any(|line| line.starts_with("one ") && line.ends_with(" kB")), "{listed}");
    assert!(listed.contains("2 runs, ") && listed.contains("nothing was deleted (--dry-run)"), "{listed}");
    let unasked = dir.command(["rm", "one"]).fail(2);
    assert!(unasked.contains("without a terminal nobody can be asked; to delete all the same: --yes"), "{unasked}");
    assert!(dir.command(["rm", "one", "onne"]).fail(1).contains("did you mean one?"));
    let none = dir.command(["rm"]).output();
    assert!(none.status.code() == Some(2) && text(&none.stderr).contains("<RUNS>"), "{none:?}");
    assert_eq!(names(&dir), ["one", "three", "two"]);

    let mut terminal = dir.terminal(["rm", "one"]);
    terminal.wait_for("for good? [y/N]");
    terminal.keys("\r");
    terminal.wait_for("Nothing was deleted");
    assert_eq!(terminal.wait().exit_code(), 1);
    let mut terminal = dir.terminal(["rm", "one"]);
    terminal.wait_for("for good? [y/N]");
    terminal.keys("yes\r");
    terminal.wait_for("Deleted 1 run: ");
    assert_eq!(terminal.wait().exit_code(), 0);
    assert_eq!(names(&dir), ["three", "two"]);

    let path = dir.run("two").path().display().to_string();
    let deleted = dir.command(["rm", &path, "three", "--yes"]).succeed();
    assert!(deleted.contains("Deleted 2 runs: ") && deleted.contains(" kB are free"), "{deleted}");
    assert_eq!(names(&dir), Vec::<String>::new());
}

#[test]
fn a_live_run_is_never_deleted() {
    let dir = Dir::new();
    let live = dir.start("live");
    trained(&dir, "done");
    let refused = dir.command(["rm", "done", "live", "--yes"]).fail(1);
    assert!(refused.contains("run live is live; to end it first: ") && refused.contains(" stop live"), "{refused}");
    assert_eq!(names(&dir), ["done", "live"], "and nothing beside it");
    wait_for_steps(&live, 5);
    dir.command(["pause", "live"]).succeed();
    age(&dir.run("done"), 8);
    let chosen = dir.command(["rm", "--older-than", "7d", "--failed", "--yes"]).succeed();
    assert!(chosen.contains("No run is chosen"), "it is completed, not failed: {chosen}");
    dir.command(["rm", "--older-than", "7d", "--yes"]).succeed();
    assert_eq!(names(&dir), ["live"]);
    assert_eq!(liveness(&live), Liveness::Live);

    // Of which it cannot be told whether it lives.
    let process = TrainerAddress::read(&live).expect("a live trainer").process;
    kill(&live, Signal::KILL);
    wait_for_death(&live);
    let elsewhere = TrainerAddress {
        socket: "/x".into(),
        process: taper::run::process::Process { host: "node7".into(), ..process },
    };
    elsewhere.write(&live).expect("written");
    let lock = RunLock::acquire(&live);
    assert!(dir.command(["rm", "live", "--yes"]).fail(1).contains("node7"), "{lock:?}");
    assert!(live.path().exists());
}

#[test]
fn runs_are_chosen_by_how_they_ended_and_when() {
    let dir = Dir::new();
    trained(&dir, "done");
    age(&trained(&dir, "old"), 31);
    let dead = dir.start("dead");
    wait_for_steps(&dead, 1);
    kill(&dead, Signal::KILL);
    wait_for_death(&dead);
    // One that somebody may be starting just now, and one that never began.
    for name in ["starting", "empty"] {
        dir.runs().create(Some(name), &taper::config::Config::default()).expect("made");
    }
    let made = fs::File::options().write(true).open(dir.run("empty").config()).expect("a configuration");
    made.set_modified(SystemTime::now() - Duration::from_secs(120)).expect("set");

    let failed = dir.command(["rm", "--failed", "--dry-run"]).succeed();
    assert!(failed.contains("2 runs, ") && failed.contains("dead") && failed.contains("not begun"), "{failed}");
    assert!(dir.command(["rm", "--failed", "--older-than", "1d", "--yes"]).succeed().contains("No run is chosen"));
    dir.command(["rm", "--failed", "--yes"]).succeed();
    assert_eq!(names(&dir), ["done", "old", "starting"]);
    dir.command(["rm", "--older-than", "1mo", "--yes"]).succeed();
    assert_eq!(names(&dir), ["done", "starting"]);
    assert!(
        dir.command(["rm", "--older-than", "soon"]).fail(2).contains("--older-than soon: must be an age such as 12h")
    );
}

#[test]
fn a_trainer_and_a_removal_at_once_leave_a_run_or_none() {
    for _ in 0..4 {
        let dir = Dir::new();
        let run = trained(&dir, "run");
        let removal = dir.command(["rm", "run", "--yes"]).spawn();
        let resumed = dir.command(["resume", "run", "--detach", "--max-steps", "100000"]).output();
        let removed = removal.wait_with_output().expect("an end");
        let (said, why) = (text(&removed.stdout) + &text(&removed.stderr), text(&resumed.stderr));
        assert!(!why.contains("panicked") && !said.contains("panicked"), "{said}\n{why}");
        if resumed.status.success() {
            assert_eq!(removed.status.code(), Some(1), "{said}");
            wait_for_steps(&run, 1);
            dir.command(["stop", "run"]).succeed();
        } else {
            assert!(removed.status.success(), "{said}\n{why}");
            eventually("nothing is left", || names(&dir).is_empty().then_some(()));
        }
    }
}

#[test]
fn what_an_interruption_left_is_no_run_and_goes_with_the_next_removal() {
    let dir = Dir::new();
    trained(&dir, "one");
    let run = trained(&dir, "two");
    fs::rename(run.path(), dir.runs().path().join(".removed-two")).expect("renamed");
    let listed = dir.command(["runs"]).succeed();
    assert!(!listed.contains("two") && listed.contains("1 run"), "{listed}");
    dir.command(["rm", "one", "--dry-run"]).succeed();
    assert_eq!(names(&dir), [".removed-two", "one"]);
    let said = dir.command(["rm", "one", "--yes"]).succeed();
    assert!(said.contains("Deleted what an interrupted taper rm had left of two"), "{said}");
    assert_eq!(names(&dir), Vec::<String>::new());
}

#[test]
fn symbolic_links_are_not_followed() {
    let dir = Dir::new();
    let run = trained(&dir, "real");
    let kept = dir.path("kept");
    fs::write(&kept, "x").expect("written");
    std::os::unix::fs::symlink(&kept, run.path().join("link")).expect("linked");
    std::os::unix::fs::symlink(run.path(), dir.runs().path().join("alias")).expect("linked");
    for command in [&["rm", "alias", "--yes"][..], &["rename", "alias", "other"]] {
        assert!(dir.command(command).fail(1).contains("alias is a symbolic link"));
    }
    dir.command(["rm", "real", "--yes"]).succeed();
    assert!(kept.exists() && !run.path().exists());
}

#[test]
fn a_run_is_renamed_dead_or_live() {
    let dir = Dir::new();
    trained(&dir, "first");
    assert_eq!(dir.command(["rename", "first", "second"]).succeed(), "run first is second now\n");
    assert!(dir.command(["rename", "first", "third"]).fail(1).contains("there is no run first"));
    assert!(dir.command(["runs"]).succeed().contains("second"));
    dir.command(["doctor", "second"]).succeed();
    dir.command(["resume", "second", "--no-tui", "--max-steps", "2"]).succeed();

    dir.start("live");
    let taken = dir.command(["rename", "live", "second"]).fail(1);
    assert!(taken.contains("second exists: choose another name"), "{taken}");
    assert!(dir.command(["rename", "live", "a/b"]).fail(2).contains("a name has no slash"));
    assert_eq!(dir.command(["rename", "live", "moved"]).succeed(), "run live is moved now, and goes on training\n");
    let moved = dir.run("moved");
    let path = wait_for_event(&moved, "a notice", |event| match event {
        Event::DirectoryMoved { path, .. } => Some(path.clone()),
        _ => None,
    });
    assert_eq!(Path::new(&path).canonicalize().expect("there"), moved.path().canonicalize().expect("there"));
    wait_for_steps(&moved, 5);
    assert!(dir.command(["stop", "moved"]).succeed().contains("stopped at step "));
    assert!(!dir.run("live").path().exists());
}
