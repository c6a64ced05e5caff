//! A trainer that is killed again and again loses nothing that was saved, and its run goes on without help.
//!
//! 20 times by default; `TAPER_KILLS=200 cargo test --test integration -- kills` takes some minutes.

use std::process::Child;
use std::thread;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use taper::run::dir::RunDir;
use taper::run::lock::{Liveness, liveness};
use taper::run::state::RunState;
use taper::train::checkpoint::{self, Checkpoint};

use crate::binary::{Dir, TINY, eventually, records};
use crate::exactness::assert_ends_as_if_uninterrupted;
use crate::follow::fold;

/// Most of the time goes into saving.
const SAVING: [&str; 6] =
    ["--set", "checkpoint.every_steps=2", "--set", "schedule.patience=0", "--set", "probe.images=[0,1]"];

/// Everything that a killed trainer left is whole. Returns the step of the latest checkpoint.
fn inspect(run: &RunDir, kill: usize) -> u64 {
    let paths = checkpoint::paths(run).expect("readable");
    for path in &paths {
        if let Err(error) = Checkpoint::read(path) {
            panic!("after kill {kill}: {error:#}");
        }
    }
    // `records` panics on a line that is no event.
    let state: RunState = fold(&records(run));
    let Some(latest) = checkpoint::latest(run).expect("readable") else { return 0 };
    assert_eq!(latest.name(), paths[0].file_name().expect("a name").to_string_lossy());
    if let Some(best) = &latest.state.best {
        let best = run.checkpoints().join(&best.checkpoint);
        assert!(paths.contains(&best), "after kill {kill}: the best is gone: {}", best.display());
    }
    let step = latest.state.step;
    let losses: Vec<f32> = state.losses.values().iter().copied().take(step as usize).collect();
    assert_eq!(losses.len(), step as usize, "after kill {kill}: the log lacks steps of the latest checkpoint");
    assert!(losses.iter().all(|loss| loss.is_finite()), "after kill {kill}: the curve has a hole");
    step
}

/// Kills the trainer: anywhere in its start, or in the work that follows.
fn kill(trainer: &mut Child, run: &RunDir, random: &mut ChaCha8Rng) {
    if random.random_bool(0.3) {
        thread::sleep(Duration::from_millis(random.random_range(0..300)));
    } else {
        let events = records(run).len() + random.random_range(1..30);
        eventually("the run goes on", || (records(run).len() >= events).then_some(()));
        thread::sleep(Duration::from_micros(random.random_range(0..5000)));
    }
    assert!(trainer.try_wait().expect("a child").is_none(), "the trainer ended by itself");
    trainer.kill().expect("killed");
    trainer.wait().expect("dead");
}

#[test]
fn a_run_killed_again_and_again_goes_on() {
    let kills: usize = std::env::var("TAPER_KILLS").map_or(20, |kills| kills.parse().expect("TAPER_KILLS: a number"));
    let mut random = ChaCha8Rng::seed_from_u64(kills as u64);
    let dir = Dir::new();
    let run = dir.run("killed");
    let train = ["train", "--no-tui", "--name", "killed", "--epochs", "100000"];
    let mut trainer = dir.command(train.into_iter().chain(TINY).chain(SAVING)).spawn();
    eventually("the run is there", || run.config().is_file().then_some(()));
    let mut saved = 0;
    for number in 1..=kills {
        kill(&mut trainer, &run, &mut random);
        assert_eq!(liveness(&run), Liveness::Dead);
        let step = inspect(&run, number);
        assert!(step >= saved, "kill {number} took a checkpoint: {saved}, then {step}");
        saved = step;
        trainer = dir.command(["resume", "killed", "--no-tui"]).spawn();
    }
    trainer.kill().expect("killed");
    trainer.wait().expect("dead");
    assert!(saved > kills as u64, "{saved}");
    println!("{kills} kills, {saved} steps");
    assert_ends_as_if_uninterrupted(&dir, "killed", &SAVING);
    let leftovers = std::fs::read_dir(run.checkpoints()).expect("checkpoints");
    let hidden = leftovers
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with('.')));
    assert_eq!(hidden.count(), 0);
}
