//! A run on a file system that is mounted read-only: it can be looked at in every way, and not trained.

use std::path::{Path, PathBuf};

use taper::run::event::Event;

use crate::binary::{Dir, TINY, wait_for_event};

#[test]
fn a_run_on_a_read_only_disk_is_not_trained() {
    let Some(dir) = Dir::on_small_disk(24) else { return };
    let run = dir.start("far");
    wait_for_event(&run, "an epoch", |event| matches!(event, Event::ProbeSaved(_)).then_some(()));
    dir.command(["stop", "far"]).succeed();
    dir.make_read_only();
    let before = contents(&dir.path("."));

    let mut terminal = dir.terminal(["attach", "far"]);
    terminal.wait_for("stopped");
    terminal.keys("q");
    assert_eq!(terminal.wait().exit_code(), 0);
    assert!(dir.command(["runs"]).succeed().contains("far"));
    assert!(!dir.command(["doctor", "far"]).succeed().contains("DAMAGED"));
    assert!(dir.command(["eval", "far"]).succeed().contains('%'));
    dir.command(["explain", "far", "--image", "7", "--images", "blocks"]).succeed();

    let no_room_to_write = |args: &[&str]| {
        let error = dir.command(args).fail(1);
        assert!(error.contains("far/lock: Read-only file system"), "{error}");
        assert!(error.contains("runs/far writable, or copy it elsewhere and resume the copy"), "{error}");
    };
    no_room_to_write(&["doctor", "far", "--repair"]);
    for how in ["--no-tui", "--detach"] {
        no_room_to_write(&["resume", "far", how]);
        no_room_to_write(&["resume", "far", how, "--epochs", "3"]);
        let error = dir.command([&["train", "--name", "new", how][..], &TINY].concat()).fail(1);
        assert!(error.contains("runs directory runs: Read-only file system"), "{error}");
        assert!(error.contains("choose another with --runs-dir"), "{error}");
    }
    assert!(contents(&dir.path(".")) == before, "nothing is half done");
}

/// Every file under a folder, and what is in it.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}
