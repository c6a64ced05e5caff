//! Random sequences of what users do to a run. Each answer is held against what a model of the run expects, and the end
//! against an uninterrupted run of the same configuration.
//!
//! Four sequences by default. `TAPER_SEQUENCES=200 cargo test --test integration -- sequences` draws that many others,
//! and `TAPER_SEQUENCE_SEED=1234` repeats the one of that seed.

mod model;
mod resume;
mod user;

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::thread;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use taper::run::dir::RunDir;
use taper::run::event::Event;

use self::model::{Model, Operation};
use self::user::User;
use crate::any_dataset::grey;
use crate::binary::{Dir, eventually, records};
use crate::exactness::{assert_same_end, wait_for_death};
use crate::follow::fold;

const SEEDS: [u64; 4] = [2, 3, 6, 11];

/// What is repeated where a sequence fails.
struct History {
    seed: u64,
    operations: Vec<String>,
}

impl Drop for History {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the sequence of TAPER_SEQUENCE_SEED={}:\n  {}", self.seed, self.operations.join("\n  "));
        }
    }
}

/// The configuration of the first trainer.
fn settings(model: &Model, batch_size: u32) -> Vec<String> {
    let fixed = [
        "model.channels=[4,4,4]".to_owned(),
        "model.hidden=8".to_owned(),
        "schedule.patience=0".to_owned(),
        "schedule.threshold=0.01".to_owned(),
        format!("train.batch_size={batch_size}"),
    ];
    let edited = model.settings.iter().map(|(key, value)| format!("{key}={value}"));
    fixed.into_iter().chain(edited).flat_map(|set| ["--set".to_owned(), set]).collect()
}

/// Starts a run over the bundled sample or over other images, which lie aside otherwise.
fn begin(random: &mut ChaCha8Rng) -> (User, Vec<String>) {
    let mut user = User { dir: Dir::new(), model: Model::new(), by_path: false };
    let is_sample = random.random_bool(0.5);
    grey().write(&user.dir);
    if is_sample {
        user.swap_data();
        user.model.is_data_swapped = false;
    }
    let (dir, model) = (&user.dir, &user.model);
    let name = model.place.name;
    assert!(dir.command(["runs"]).succeed().starts_with("No runs in runs"));
    assert!(dir.command(["resume", name]).fail(1).contains(&format!("there is no run {name} in runs")));
    let settings = settings(model, if is_sample { 64 } else { 16 });
    let train = ["train", "--detach", "--name", name].map(str::to_owned);
    dir.command(train.iter().chain(&settings)).succeed();
    // A run that has saved nothing may begin again over other images.
    eventually("the first checkpoint", || {
        let saved = |event: &Event| matches!(event, Event::CheckpointSaved(_));
        records(&user.run()).iter().any(|record| saved(&record.event)).then_some(())
    });
    (user, settings)
}

/// Brings the run to its last step, and compares it with one that nobody touched.
fn finish(user: &mut User, settings: &[String]) {
    if user.model.is_data_swapped {
        user.swap_data();
    }
    if user.model.is_poisoned() {
        user.edit(Model::remedy());
    }
    if user.model.phase.is_live() {
        user.act(&Operation::Stop);
    }
    user.complete(40);
    user.doctor();
    user.assert_listed();
    wait_for_death(&user.run());

    let run = user.run();
    let state = fold(&records(&run));
    let last = &user.model.settings[model::MAX_STEPS];
    assert_eq!(state.step.to_string(), *last);
    let losses = state.losses.values();
    assert!(losses.len() as u64 == state.step && losses.iter().all(|loss| loss.is_finite()), "the curve has a hole");
    let epochs: Vec<u64> = state.epochs.iter().map(|epoch| epoch.epoch).collect();
    assert!(epochs.iter().copied().eq(1..=epochs.len() as u64), "{epochs:?}");
    if user.model.is_exact {
        let train = ["--runs-dir", "reference", "train", "--no-tui", "--name", "whole", "--max-steps", last];
        let settings = settings.iter().map(String::as_str);
        user.dir.command(train.into_iter().chain(settings)).succeed();
        assert_same_end(&run, &RunDir::at(user.dir.path("reference/whole")));
    }
}

/// Draws and carries out the sequence of a seed.
fn play(seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut history = History { seed, operations: vec![] };
    let (mut user, settings) = begin(&mut random);
    let length = random.random_range(10..=24);
    for _ in 0..length {
        let operation = user.model.draw(&mut random);
        user.by_path = random.random_bool(0.3);
        // Otherwise the next operation finds the trainer where this one has left it.
        let looks = random.random_bool(0.7);
        history.operations.push(format!("{:?}: {operation:?}", user.model.phase));
        user.act(&operation);
        if looks {
            user.assert_listed();
        }
    }
    history.operations.push("the end".to_owned());
    finish(&mut user, &settings);
    let how = if user.model.is_exact { "the same to the byte" } else { "with another learning rate" };
    println!("seed {seed}: {length} operations, {} steps, {how}", user.model.settings[model::MAX_STEPS]);
}

/// Short enough to be typed.
fn fresh_seed() -> u64 {
    RandomState::new().hash_one(0) >> 32
}

#[test]
fn whatever_users_do_to_a_run_it_answers_and_ends_as_it_should() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    match (number("TAPER_SEQUENCE_SEED"), number("TAPER_SEQUENCES")) {
        (Some(seed), _) => play(seed),
        (None, Some(count)) => (0..count).for_each(|_| play(fresh_seed())),
        (None, None) => SEEDS.into_iter().for_each(play),
    }
}
