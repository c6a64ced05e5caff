//! Several processes, as mpirun starts them, train one run: in the bytes of one process, and whatever ends one of them ends all.
//!
//! Needs the feature `mpi`, and mpirun.

use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use taper::run::dir::RunDir;
use taper::run::event::{Event, Outcome};
use taper::run::lock::{Liveness, liveness};
use taper::train::checkpoint;

use crate::binary::{
    Dir, TestCommand, eventually, records, steps, text, wait_for_end_of, wait_for_event, wait_for_steps,
};
use crate::exactness::assert_same_end;

/// Convolutions of both kinds, gates, a linear layer that the ranks part, and batches that they cannot part evenly.
const NETWORK: [&str; 14] = [
    "--set",
    "model.channels=[16,32,32]",
    "--set",
    "model.hidden=64",
    "--set",
    "model.attention=se",
    "--set",
    "train.batch_size=22",
    "--set",
    "data.source=sample",
    "--set",
    "run.threads=1",
    "--set",
    "schedule.patience=0",
];

/// `taper` with these arguments, in so many processes on this machine, whoever we are and however few cores it has.
fn mpirun(dir: &Dir, ranks: usize, args: &[&str]) -> TestCommand {
    let ranks = ranks.to_string();
    let launcher = ["mpirun", "--oversubscribe", "-n", &ranks, env!("CARGO_BIN_EXE_taper")];
    let argv: Vec<String> = launcher.iter().chain(args).map(|&arg| arg.to_owned()).collect();
    [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        // No host but this one, no core for each, and no look into another process's memory, which a container forbids.
        ("OMPI_MCA_plm", "isolated"),
        ("OMPI_MCA_hwloc_base_binding_policy", "none"),
        ("OMPI_MCA_mpi_yield_when_idle", "1"),
        ("OMPI_MCA_btl", "self,vader"),
        ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
    ]
    .into_iter()
    .fold(dir.program(&argv), |command, (name, value)| command.env(name, value))
}

fn train<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--no-tui", "--name", name], &NETWORK[..], more].concat()
}

/// The processes of `taper` below that one, rank 0 first.
fn ranks_of(mpirun: &Child) -> Vec<u32> {
    let children = format!("/proc/{pid}/task/{pid}/children", pid = mpirun.id());
    let mut ranks: Vec<(String, u32)> = std::fs::read_to_string(children)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| {
            let environment = std::fs::read(Path::new("/proc").join(pid).join("environ")).ok()?;
            let variables = text(&environment);
            let rank = variables.split('\0').find_map(|pair| pair.strip_prefix("OMPI_COMM_WORLD_RANK="))?;
            Some((rank.to_owned(), pid.parse().ok()?))
        })
        .collect();
    ranks.sort();
    ranks.into_iter().map(|(_, pid)| pid).collect()
}

/// Starts a long run on so many ranks, and waits until it takes steps.
fn start(dir: &Dir, ranks: usize, name: &str) -> (Child, RunDir, Vec<u32>) {
    let mpirun = mpirun(dir, ranks, &train(name, &["--epochs", "100000", "--set", "checkpoint.every_steps=5"])).spawn();
    let run = dir.run(name);
    eventually("the run is there", || run.config().is_file().then_some(()));
    wait_for_steps(&run, 7);
    let pids = ranks_of(&mpirun);
    assert_eq!(pids.len(), ranks, "{pids:?}");
    (mpirun, run, pids)
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).expect("a process"), signal).expect("signalled");
}

/// The launcher ends, not with 0, and nothing is left of what it started; the latest checkpoint is whole.
fn assert_all_have_ended(mut mpirun: Child, run: &RunDir, pids: &[u32]) {
    let code = eventually("mpirun ends", || mpirun.try_wait().expect("a child"));
    assert!(!code.success());
    for &pid in pids {
        wait_for_end_of(pid);
    }
    assert_eq!(liveness(run), Liveness::Dead);
    assert!(checkpoint::latest(run).expect("whole").expect("a checkpoint").state.step > 0);
}

#[test]
fn every_number_of_ranks_ends_in_the_bytes_of_one_process() {
    let dir = Dir::new();
    // Into the second epoch: the last batch of the first has fewer images, and the evaluation moves the learning rate.
    let last = ["--max-steps", "100"];
    dir.command(train("alone", &last)).succeed();
    for ranks in [2, 4] {
        let name = format!("on-{ranks}");
        let said = mpirun(&dir, ranks, &train(&name, &last)).succeed();
        assert!(said.contains(&format!("{ranks} ranks on ")), "{said}");
        assert_eq!(said.matches("epoch 1/").count(), 1, "one rank speaks: {said}");
        assert_same_end(&dir.run(&name), &dir.run("alone"));
    }
}

#[test]
fn a_run_goes_on_with_any_number_of_ranks() {
    let dir = Dir::new();
    dir.command(train("alone", &["--max-steps", "60"])).succeed();
    mpirun(&dir, 4, &train("moved", &["--max-steps", "20"])).succeed();
    dir.command(["resume", "moved", "--no-tui", "--max-steps", "40"]).succeed();
    mpirun(&dir, 2, &["resume", "moved", "--no-tui", "--max-steps", "60"]).succeed();
    assert_same_end(&dir.run("moved"), &dir.run("alone"));
}

#[test]
fn commands_reach_all_ranks_at_the_same_step() {
    let dir = Dir::new();
    let (mpirun, run, _) = start(&dir, 2, "commanded");
    dir.command(["pause", "commanded"]).succeed();
    let paused = steps(&run);
    dir.command(["set-lr", "commanded", "0.0005"]).succeed();
    dir.command(["resume", "commanded"]).succeed();
    eventually("it goes on", || (steps(&run) > paused + 3).then_some(()));
    dir.command(["stop", "commanded"]).succeed();
    let output = mpirun.wait_with_output().expect("a child");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let ended = steps(&run);
    assert!(ended > paused);

    // The same, by one process.
    let [paused, ended] = [paused, ended].map(|step| step.to_string());
    dir.command(train("alone", &["--max-steps", &paused])).succeed();
    dir.command(["resume", "alone", "--no-tui", "--lr", "0.0005", "--max-steps", &ended]).succeed();
    let file = |name: &str| {
        let run = dir.run(name);
        let latest = checkpoint::latest(&run).expect("readable").expect("a checkpoint");
        std::fs::read(run.checkpoints().join(latest.name()).join("model.safetensors")).expect("weights")
    };
    assert!(file("commanded") == file("alone"));
}

#[test]
fn a_killed_rank_ends_all_and_the_run_goes_on() {
    let dir = Dir::new();
    for (name, victim) in [("first", 0), ("other", 1)] {
        let (mpirun, run, pids) = start(&dir, 2, name);
        signal(pids[victim], Signal::KILL);
        assert_all_have_ended(mpirun, &run, &pids);
        let saved = checkpoint::latest(&run).expect("whole").expect("a checkpoint").state.step;
        let last = (saved + 10).to_string();
        dir.command(["resume", name, "--no-tui", "--max-steps", &last]).succeed();
        dir.command(train(&format!("{name}-alone"), &["--max-steps", &last])).succeed();
        assert_same_end(&run, &dir.run(&format!("{name}-alone")));
    }
}

#[test]
fn a_signal_to_one_rank_or_to_all_saves_and_ends() {
    let dir = Dir::new();
    for (name, signalled) in [("to-first", &[0][..]), ("to-other", &[1]), ("to-all", &[0, 1])] {
        let (mpirun, run, pids) = start(&dir, 2, name);
        for &rank in signalled {
            signal(pids[rank], Signal::TERM);
        }
        assert_all_have_ended(mpirun, &run, &pids);
        let (step, outcome) = wait_for_event(&run, "its end", |event| match event {
            Event::RunEnded { step, outcome, .. } => Some((*step, *outcome)),
            _ => None,
        });
        assert_eq!(outcome, Outcome::Interrupted, "{name}");
        assert_eq!(
            checkpoint::latest(&run).expect("whole").expect("a checkpoint").state.step,
            step,
            "{name}: saved last"
        );
    }
}

#[test]
fn what_cannot_train_together_is_one_line() {
    let dir = Dir::new();
    let output = mpirun(&dir, 3, &train("three", &[])).output();
    let errors = text(&output.stderr);
    assert!(!output.status.success());
    assert_eq!(errors.matches("error: ").count(), 1, "{errors}");
    assert!(
        errors.contains("error: 3 processes were started together; batches are halved, so start 1, 2, 4, 8"),
        "{errors}"
    );
    assert!(!dir.run("three").path().exists());

    // Of a bad configuration the first tells.
    let output = mpirun(&dir, 2, &train("wrong", &["--set", "train.batch_size=0"])).output();
    let errors = text(&output.stderr);
    assert!(!output.status.success());
    assert_eq!(errors.matches("train.batch_size").count(), 1, "{errors}");
    assert!(!dir.run("wrong").path().exists());
}

#[test]
fn the_log_has_each_event_once() {
    let dir = Dir::new();
    mpirun(&dir, 2, &train("once", &["--max-steps", "95"])).succeed();
    let all = records(&dir.run("once"));
    let count = |is: fn(&Event) -> bool| all.iter().filter(|record| is(&record.event)).count();
    assert_eq!(count(|event| matches!(event, Event::RunStarted(_))), 1);
    assert_eq!(count(|event| matches!(event, Event::EpochDone(_))), 1);
    assert_eq!(count(|event| matches!(event, Event::RunEnded { .. })), 1);
    assert_eq!(steps(&dir.run("once")), 95);
}
