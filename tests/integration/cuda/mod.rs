//! The real binary on a box with a card, by a stand-in for the card's driver (`tests/cuda`) that runs the kernels that ship.

mod budget;
#[allow(dead_code, reason = "here one way to build it is enough")]
#[path = "../../../src/cuda/built.rs"]
mod built;
mod divergence;
mod faults;
mod training;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use taper::run::dir::RunDir;
use taper::run::event::Event;

use self::built::Built;
use crate::any_dataset::small;
use crate::binary::{Dir, TestCommand, eventually, records, text};
use crate::follow::fold;

/// A step takes a few milliseconds on the stand-in; an epoch of [`small`] has [`STEPS_PER_EPOCH`].
const NETWORK: [&str; 10] = [
    "--set",
    "model.channels=[4,6,8]",
    "--set",
    "model.hidden=16",
    "--set",
    "run.threads=1",
    "--set",
    "train.batch_size=8",
    "--set",
    "probe.images=[0,1]",
];
const STEPS_PER_EPOCH: u64 = 12;

/// With a few small images.
fn dir() -> Dir {
    let dir = Dir::new();
    small().write(&dir);
    // In the place of a driver: found first, and none.
    fs::create_dir(dir.path("no-driver")).expect("a folder");
    for name in ["libcuda.so", "libcuda.so.1"] {
        fs::write(dir.path("no-driver").join(name), "").expect("written");
    }
    dir
}

/// On a box with a card that has passed the self-test.
fn with_card(command: TestCommand) -> TestCommand {
    command.env("LD_LIBRARY_PATH", Built::Plain.folder()).env("XDG_CACHE_HOME", tested())
}

/// Where it is noted that the card has passed, so that a training begins with its first step.
fn tested() -> &'static Path {
    static TESTED: OnceLock<PathBuf> = OnceLock::new();
    TESTED.get_or_init(|| {
        let (dir, cache) = (dir(), Built::Plain.folder().join("cache"));
        let args = ["train", "--no-tui", "--device", "cuda", "--max-steps", "1"];
        let command = dir.command(args.iter().chain(&NETWORK));
        command.env("LD_LIBRARY_PATH", Built::Plain.folder()).env("XDG_CACHE_HOME", &cache).succeed();
        cache
    })
}

fn without_card(dir: &Dir, command: TestCommand) -> TestCommand {
    command.env("LD_LIBRARY_PATH", dir.path("no-driver"))
}

/// `taper train` of the small network on a box with a card.
fn train(dir: &Dir, name: &str, device: &str, further: &[&str]) -> TestCommand {
    let args = ["train", "--no-tui", "--name", name, "--device", device];
    with_card(dir.command(args.iter().chain(&NETWORK).chain(further)))
}

/// The same in the background, for as long as a test may take.
fn start(dir: &Dir, name: &str, device: &str, further: &[&str]) -> TestCommand {
    let args = ["train", "--detach", "--name", name, "--device", device, "--epochs", "100000"];
    with_card(dir.command(args.iter().chain(&NETWORK).chain(further)))
}

/// `taper resume` up to a step, on a box with a card.
fn resume(dir: &Dir, name: &str, last: u64, further: &[&str]) -> TestCommand {
    let last = last.to_string();
    with_card(dir.command(["resume", name, "--no-tui", "--max-steps", &last].iter().chain(further)))
}

/// Runs them beside each other; all must succeed.
fn all_succeed(commands: impl IntoIterator<Item = TestCommand>) {
    let started: Vec<_> = commands.into_iter().map(TestCommand::spawn).collect();
    for child in started {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    }
}

/// What the stand-in counted, once its process is gone.
fn report(dir: &Dir, name: &str) -> Value {
    let report = eventually("the report", || fs::read(dir.path(name)).ok());
    serde_json::from_slice(&report).expect("JSON")
}

/// Of every step, in order.
fn losses(run: &RunDir) -> Vec<f32> {
    fold(&records(run)).losses.values().to_vec()
}

/// What each trainer of the run computed on.
fn devices(run: &RunDir) -> Vec<String> {
    let started = records(run).into_iter().filter_map(|record| match record.event {
        Event::RunStarted(started) => Some(started.device),
        _ => None,
    });
    started.collect()
}

/// Weights and optimizer.
fn bytes(run: &RunDir, checkpoint: &str) -> [Vec<u8>; 2] {
    ["model.safetensors", "optimizer.safetensors"]
        .map(|file| fs::read(run.checkpoints().join(checkpoint).join(file)).expect("the file"))
}

/// Sums of different order differ in f32's last places, by parts in 10^6 at most in sums as short as these. That is all
/// there is to the loss of a first step; in later ones Adam, which divides by the gradient's size, carries it on.
const OF_FIRST_LOSS: f64 = 1e-5;
const OF_LOSSES: f64 = 1e-4;

fn assert_close(what: &str, card: f64, cpu: f64, share: f64) {
    assert!((card - cpu).abs() <= share * cpu.abs(), "{what}: {card} on the GPU, {cpu} on the CPU");
}

fn assert_close_losses(card: &[f32], cpu: &[f32]) {
    assert_eq!(card.len(), cpu.len());
    for (step, (&card, &cpu)) in card.iter().zip(cpu).enumerate() {
        let share = if step == 0 { OF_FIRST_LOSS } else { OF_LOSSES };
        assert_close(&format!("loss of step {}", step + 1), card.into(), cpu.into(), share);
    }
}
