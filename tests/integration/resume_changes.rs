//! What changes around a run between two of its trainers: its data, its configuration, its folder.

use std::fs;

use rustix::process::{Signal, kill_process};
use taper::run::dir::RunDir;
use taper::run::event::{Event, LearningRateReason};
use taper::run::lock::{Liveness, liveness};
use taper::train::checkpoint;

use crate::any_dataset::grey;
use crate::binary::{Dir, TINY, records, steps, wait_for_event, wait_for_steps};
use crate::exactness::{trainer_pid, wait_for_death};

const NETWORK: [&str; 6] = ["--set", "model.channels=[4,4,4]", "--set", "model.hidden=8", "--set", "run.threads=1"];

/// Trains a run called `run` for forty steps, an epoch and a bit, on whatever data there is.
fn trained(dir: &Dir, further: &[&str]) -> RunDir {
    let args = ["train", "--no-tui", "--name", "run", "--max-steps", "40"];
    dir.command(args.iter().chain(&NETWORK).chain(further)).succeed();
    dir.run("run")
}

/// Configuration, log and checkpoints: what a refused command leaves as it was.
pub fn contents(run: &RunDir) -> Vec<Vec<u8>> {
    let mut names: Vec<_> =
        fs::read_dir(run.checkpoints()).expect("checkpoints").map(|entry| entry.expect("one").path()).collect();
    names.sort_unstable();
    let mut contents = vec![fs::read(run.config()).expect("a configuration"), fs::read(run.events()).expect("a log")];
    contents.extend(names.into_iter().map(|name| name.display().to_string().into_bytes()));
    contents
}

fn setting_changes(run: &RunDir) -> Vec<(String, Option<String>, Option<String>)> {
    let changes = records(run).into_iter().filter_map(|record| match record.event {
        Event::SettingChanged { key, from, to, .. } => Some((key, from, to)),
        _ => None,
    });
    changes.collect()
}

/// Changes the configuration as a person does: the line of the checksum deleted, as it says.
fn edit(run: &RunDir, from: &str, to: &str) {
    let config = fs::read_to_string(run.config()).expect("a configuration");
    let (_, config) = config.split_once('\n').expect("a line with the checksum");
    assert!(config.contains(from), "{from} in {config}");
    fs::write(run.config(), config.replace(from, to)).expect("written");
}

#[test]
fn a_run_does_not_go_on_over_other_images() {
    let dir = Dir::new();
    let run = trained(&dir, &[]);
    let resume = ["resume", "run", "--no-tui", "--max-steps", "60"];
    let before = contents(&run);
    grey().write(&dir);
    let error = dir.command(resume).fail(1);
    for told in
        ["was trained on CIFAR-10 sample (built in, 2,000 training and 500 test images", "finds ", "376 training"]
    {
        assert!(error.contains(told), "{told} in {error}");
    }
    assert!(error.contains("taper train --init ") && error.contains("e0002-s000040/model.safetensors"), "{error}");
    assert_eq!(contents(&run), before);
    // Nor is it evaluated or explained by them.
    for command in [&["eval", "run"][..], &["explain", "run", "--image", "0"]] {
        let error = dir.command(command).fail(1);
        assert!(error.contains("was judged by CIFAR-10 sample") && error.contains("376 training"), "{error}");
    }

    fs::rename(dir.path("data"), dir.path("elsewhere")).expect("moved");
    dir.command(resume).succeed();
    assert_eq!(steps(&run), 60);
}

#[test]
fn a_run_does_not_go_on_over_the_sample_when_its_data_is_gone() {
    let dir = Dir::new();
    grey().write(&dir);
    let run = trained(&dir, &["--set", "train.batch_size=16"]);
    let moved = dir.path("elsewhere");
    fs::rename(dir.path("data"), &moved).expect("moved");
    let error = dir.command(["resume", "run", "--no-tui", "--max-steps", "60"]).fail(1);
    assert!(error.contains("376 training") && error.contains("finds CIFAR-10 sample (built in"), "{error}");
    assert_eq!(steps(&run), 40);
    // The same images in another place are the same.
    let place = format!("data.dir={}", moved.display());
    dir.command(["resume", "run", "--no-tui", "--max-steps", "60", "--set", &place]).succeed();
    assert_eq!(steps(&run), 60);
}

#[test]
fn what_a_step_depends_on_does_not_change() {
    let dir = Dir::new();
    let run = trained(&dir, &[]);
    let before = contents(&run);
    for (key, was, now) in [
        ("train.batch_size", "64", "128"),
        ("train.batch_size", "64", "32"),
        ("data.validation_examples", "0", "100"),
        ("data.shuffle", "true", "false"),
        ("run.seed", "0", "1"),
        ("model.hidden", "8", "9"),
        ("model.attention", "\"none\"", "\"se\""),
        ("model.pool", "\"flatten\"", "\"average\""),
    ] {
        let set = format!("{key}={now}");
        let error = dir.command(["resume", "run", "--no-tui", "--max-steps", "60", "--set", &set]).fail(2);
        let told = [format!("was trained with {key} = {was}"), format!("has {key} = {now}")];
        assert!(told.iter().all(|told| error.contains(told)), "{told:?} in {error}");
        assert_eq!(contents(&run), before, "{key}");
    }
    // Nor in the file, nor in a process of its own.
    edit(&run, "batch_size = 64", "batch_size = 32");
    for how in ["--no-tui", "--detach"] {
        let error = dir.command(["resume", "run", how, "--max-steps", "60"]).fail(2);
        assert!(error.contains("trained with train.batch_size = 64"), "{error}");
    }
    let error =
        dir.command(["resume", "run", "--no-tui", "--set", "train.batch_size=64", "--max-steps", "41"]).succeed();
    assert_eq!(steps(&run), 41, "{error}");
}

#[test]
fn what_may_change_takes_effect_and_is_logged() {
    let dir = Dir::new();
    let run = trained(&dir, &[]);
    let rate = "optimizer.learning_rate=0.01";
    for how in [&["--no-tui", "--max-steps", "50", "--set", rate][..], &["--no-tui", "--max-steps", "60"]] {
        dir.command(["resume", "run"].iter().chain(how)).succeed();
    }
    let some = |text: &str| Some(text.to_owned());
    let changes = setting_changes(&run);
    let expected = [
        ("optimizer.learning_rate".to_owned(), some("0.001"), some("0.01")),
        ("train.max_steps".to_owned(), some("40"), some("50")),
        ("train.max_steps".to_owned(), some("50"), some("60")),
    ];
    assert_eq!(changes, expected, "each is told once");
    let rates: Vec<_> = records(&run)
        .into_iter()
        .filter_map(|record| match record.event {
            Event::LearningRateChanged { step, from, to, reason, .. } => Some((step, from, to, reason)),
            _ => None,
        })
        .collect();
    assert_eq!(rates, [(40, 1e-3, 1e-2, LearningRateReason::Configuration)]);
    let saved = checkpoint::latest(&run).expect("readable").expect("one").state;
    assert_eq!((saved.step, saved.learning_rate), (60, 1e-2));
    assert!(fs::read_to_string(run.config()).expect("a configuration").contains("learning_rate = 0.01"));
}

#[test]
fn a_changed_rate_keeps_what_a_person_has_made_of_it() {
    let dir = Dir::new();
    let run = dir.start("run");
    wait_for_steps(&run, 5);
    dir.command(["set-lr", "run", "0.002"]).succeed();
    dir.command(["stop", "run"]).succeed();
    let more = (checkpoint::latest(&run).expect("readable").expect("one").state.step + 5).to_string();
    let rate = "optimizer.learning_rate=0.01";
    dir.command(["resume", "run", "--no-tui", "--max-steps", &more, "--set", rate]).succeed();
    let saved = checkpoint::latest(&run).expect("readable").expect("one").state;
    assert_eq!(saved.learning_rate, 0.02, "twice the schedule's, as before");
}

#[test]
fn a_run_that_ended_early_says_so_and_goes_on_when_told() {
    let dir = Dir::new();
    let args = ["train", "--no-tui", "--name", "run", "--epochs", "20", "--set", "train.early_stop=1"];
    // With such a rate no epoch is better than the first.
    dir.command(args.iter().chain(&TINY).chain(&["--set", "optimizer.learning_rate=1e-12"])).succeed();
    let run = dir.run("run");
    let ended = steps(&run);
    assert!(ended < 640, "{ended}");
    let error = dir.command(["resume", "run", "--no-tui", "--epochs", "30"]).fail(2);
    assert!(error.contains("ended early") && error.contains("--set train.early_stop=0"), "{error}");
    let further = ["--set", "train.early_stop=0", "--epochs", "21"];
    dir.command(["resume", "run", "--no-tui"].iter().chain(&further)).succeed();
    assert_eq!(steps(&run), 21 * 32);
}

#[test]
fn only_what_a_trainer_left_unfinished_is_removed() {
    let dir = Dir::new();
    let run = trained(&dir, &[]);
    let folder = |name: &str| run.checkpoints().join(name);
    for name in [".backup", ".ipynb_checkpoints", ".removed-by-me", ".unfinished-x", ".removed-e0001-s000001"] {
        fs::create_dir(folder(name)).expect("a folder");
    }
    dir.command(["resume", "run", "--no-tui", "--max-steps", "41"]).succeed();
    for name in [".backup", ".ipynb_checkpoints", ".removed-by-me"] {
        assert!(folder(name).is_dir(), "{name}");
    }
    for name in [".unfinished-x", ".removed-e0001-s000001"] {
        assert!(!folder(name).exists(), "{name}");
    }
}

#[test]
fn a_run_that_is_ending_is_waited_for() {
    let dir = Dir::new();
    let run = dir.start("run");
    for _ in 0..4 {
        wait_for_steps(&run, 3);
        dir.command(["stop", "run"]).succeed();
        dir.command(["resume", "run", "--detach"]).succeed();
    }
    // At once, while it is still ending: no other command breaks.
    dir.command(["stop", "run"]).succeed();
    let error = dir.command(["pause", "run"]).fail(2);
    assert!(
        error.contains("run run has no live trainer; to go on with it: ") && error.contains(" resume run"),
        "{error}"
    );
    assert_eq!(liveness(&run), Liveness::Dead);
}

#[test]
fn two_signals_at_once_are_one() {
    let dir = Dir::new();
    let run = dir.start("run");
    wait_for_steps(&run, 5);
    let pid = trainer_pid(&run);
    for _ in 0..3 {
        kill_process(pid, Signal::TERM).expect("it is there");
    }
    wait_for_death(&run);
    wait_for_event(&run, "the end", |event| matches!(event, Event::RunEnded { .. }).then_some(()));
    assert_eq!(checkpoint::latest(&run).expect("readable").expect("one").state.step, steps(&run));
}
