//! The real binary diverges: the step is not taken, and what was asked for is done about it.

use std::fs;

use candle_core::Device;
use taper::config::Config;
use taper::model::weights::{deserialize, serialize};
use taper::run::control_file::TrainerAddress;
use taper::run::dir::RunDir;
use taper::run::event::{AlarmKind, Event, LearningRateReason, Outcome, Record};
use taper::run::state::{Phase, RunState};

use crate::binary::{Calls, Dir, TINY, eventually, records, wait_for_end_of};
use crate::follow::fold;

/// Smaller than any f32 above zero: Adam divides by nothing where a gradient is exactly zero, as that of a convolution's
/// bias before batch normalisation is. The first step makes NaN of the weights, the loss of the second shows it.
const POISON: f64 = 1e-300;

fn train(dir: &Dir, name: &str, further: &[&str]) -> std::process::Output {
    let args = ["train", "--no-tui", "--epochs", "2", "--name", name];
    dir.command(args.iter().chain(&TINY).chain(further)).output()
}

/// A run that has trained some steps well, and would diverge at the second from now.
fn poisoned(dir: &Dir, name: &str, on_divergence: &str) -> RunDir {
    let policy = format!("train.on_divergence={on_divergence}");
    let trained = train(dir, name, &["--max-steps", "5", "--set", &policy, "--set", "checkpoint.every_steps=0"]);
    assert!(trained.status.success(), "{trained:?}");
    let run = dir.run(name);
    poison(&run);
    run
}

pub fn poison(run: &RunDir) {
    let mut config = Config::load(Some(&run.config()), &[]).expect("the configuration");
    config.optimizer.epsilon = POISON;
    config.train.max_steps = None;
    fs::write(run.config(), config.to_toml()).expect("written");
}

fn bytes(run: &RunDir, checkpoint: &str) -> [Vec<u8>; 2] {
    let file = |name| fs::read(run.checkpoints().join(checkpoint).join(name)).expect("the file");
    [file("model.safetensors"), file("optimizer.safetensors")]
}

fn divergences(state: &RunState) -> Vec<u64> {
    state.alarms.iter().filter(|alarm| alarm.kind == AlarmKind::Divergence).map(|alarm| alarm.step).collect()
}

/// Waits until the run has paused that many times.
pub fn wait_for_pause(run: &RunDir, times: usize) {
    eventually("the pause", || {
        let paused = records(run).iter().filter(|record| matches!(record.event, Event::Paused { .. })).count();
        (paused == times).then_some(())
    });
}

/// `wild.safetensors`: what a short run has learned, with one tensor blown up.
fn wild_weights(dir: &Dir, name: &str, factor: f64) {
    assert!(train(dir, "source", &["--max-steps", "32"]).status.success());
    let mut tensors = deserialize(&bytes(&dir.run("source"), "e0001-s000032")[0], &Device::Cpu).expect("tensors");
    let weight = tensors[name].affine(factor, 0.0).expect("an affine map");
    tensors.insert(name.into(), weight);
    fs::write(dir.path("wild.safetensors"), serialize(tensors).expect("bytes")).expect("written");
}

/// So large that the first loss is no number.
const NO_NUMBER: f64 = 1e38;
/// So large that the squares of about every other gradient are.
const BORDERLINE: f64 = 7e19;

#[test]
fn told_to_stop_the_run_fails_before_the_loss_reaches_the_weights() {
    let dir = Dir::new();
    wild_weights(&dir, "conv1.weight", NO_NUMBER);
    let output = train(&dir, "wild", &["--init", "wild.safetensors", "--set", "train.on_divergence=stop"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("of step 1 is NaN: the step was not taken"), "{stderr}");
    let state = fold(&records(&dir.run("wild")));
    assert_eq!((divergences(&state), state.phase), (vec![0], Phase::Ended(Outcome::Failed)));
    assert!(state.losses.is_empty());
}

#[test]
fn told_to_stop_the_last_checkpoint_stays_as_it_was() {
    let dir = Dir::new();
    let run = poisoned(&dir, "night", "stop");
    let before = bytes(&run, "e0001-s000005");
    let output = dir.command(["resume", "night", "--no-tui"]).output();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let state = fold(&records(&run));
    assert_eq!((divergences(&state), state.losses.len()), (vec![6], 6));
    assert!(state.alarms[0].message.ends_with("the last good checkpoint is e0001-s000005"), "{:?}", state.alarms);
    let names: Vec<_> = fs::read_dir(run.checkpoints()).expect("checkpoints").collect();
    assert!(names.len() == 1 && bytes(&run, "e0001-s000005") == before, "{names:?}");
}

#[test]
fn a_paused_run_keeps_its_weights_and_is_told_how_to_go_on() {
    let dir = Dir::new();
    wild_weights(&dir, "conv1.weight", NO_NUMBER);
    let start = ["train", "--detach", "--name", "wild", "--init", "wild.safetensors"];
    dir.command(start.iter().chain(&TINY)).succeed();
    let run = dir.run("wild");
    wait_for_pause(&run, 1);
    let refused = dir.command(["resume", "wild"]).fail(1);
    assert!(refused.contains("to go on: taper rollback wild, taper skip-batch wild or taper stop wild"), "{refused}");
    // What is saved now is what was there before the step.
    dir.command(["checkpoint", "wild"]).succeed();
    let saved = deserialize(&bytes(&run, "e0000-s000000")[0], &Device::Cpu).expect("tensors");
    let initial = fs::read(dir.path("wild.safetensors")).expect("the weights");
    let initial = deserialize(&initial, &Device::Cpu).expect("tensors");
    assert!(serialize(saved).expect("bytes") == serialize(initial).expect("bytes"));

    assert!(dir.command(["skip-batch", "wild"]).succeed().contains("skipped the batch of step 1"));
    wait_for_pause(&run, 2);
    dir.command(["stop", "wild"]).succeed();
    let state = fold(&records(&run));
    assert_eq!((divergences(&state), state.step, state.phase), (vec![0, 1], 1, Phase::Ended(Outcome::Stopped)));
}

#[test]
fn batches_that_were_skipped_have_no_loss_and_no_part_in_the_mean_of_the_others() {
    let dir = Dir::new();
    wild_weights(&dir, "fc2.weight", BORDERLINE);
    let start = ["train", "--detach", "--name", "wild", "--epochs", "1", "--init", "wild.safetensors"];
    dir.command(start.iter().chain(&TINY)).succeed();
    let run = dir.run("wild");
    let mut skipped = 0;
    let state = loop {
        let state = eventually("a pause or the end", || {
            let log = records(&run);
            let paused = log.iter().filter(|record| matches!(record.event, Event::Paused { .. })).count();
            Some(fold(&log)).filter(|state| paused > skipped || matches!(state.phase, Phase::Ended(_)))
        });
        if state.phase != Phase::Paused {
            break state;
        }
        assert!(state.alarms[skipped].message.starts_with("the gradient norm of step "), "{:?}", state.alarms);
        dir.command(["skip-batch", "wild"]).succeed();
        skipped += 1;
    };
    assert_eq!((state.phase, state.step), (Phase::Ended(Outcome::Completed), 32));
    let losses: Vec<f64> =
        state.losses.values().iter().copied().filter(|loss| loss.is_finite()).map(f64::from).collect();
    assert!((1..32).contains(&skipped) && losses.len() == 32 - skipped, "{skipped} skipped, {} not", losses.len());
    let (mean, told) = (losses.iter().sum::<f64>() / losses.len() as f64, state.epochs[0].train_loss);
    assert!((mean - told).abs() <= 1e-9 * mean, "{mean}, {told}");
}

/// To which each rollback set the learning rate.
pub fn rollback_rates(log: &[Record]) -> Vec<f64> {
    let rates = log.iter().filter_map(|record| match record.event {
        Event::LearningRateChanged { to, reason: LearningRateReason::Rollback, .. } => Some(to),
        _ => None,
    });
    rates.collect()
}

/// Loss and gradient norm of a step, each time that a trainer began with it.
pub fn steps_numbered(log: &[Record], number: u64) -> Vec<(f32, f32)> {
    let steps = log.iter().filter_map(|record| match &record.event {
        Event::StepsDone(steps) if steps.first_step == number => Some((steps.losses[0], steps.gradient_norms[0])),
        _ => None,
    });
    steps.collect()
}

#[test]
fn told_to_roll_back_it_does_three_times_and_then_waits() {
    let dir = Dir::new();
    let run = poisoned(&dir, "night", "rollback");
    let before = bytes(&run, "e0001-s000005");
    dir.command(["resume", "night", "--detach"]).succeed();
    wait_for_pause(&run, 1);
    let log = records(&run);
    assert_eq!(rollback_rates(&log), [0.0005, 0.00025, 0.000125]);
    // The sixth step was taken four times, from the same weights on the same batch.
    let sixth = steps_numbered(&log, 6);
    assert!(sixth.len() == 4 && sixth.iter().all(|step| *step == sixth[0]), "{sixth:?}");
    let state = fold(&log);
    assert_eq!((divergences(&state), state.losses.len()), (vec![6; 4], 6), "each step is there once");
    assert_eq!(state.learning_rate_changes.len(), 3);
    // Saved each time, so that a trainer that is killed now goes on with the rate it had.
    assert!(bytes(&run, "e0001-s000005-4") == before);

    let done = dir.command(["rollback", "night"]).succeed();
    assert!(done.contains("back at step 5, with learning rate 0.0000625"), "{done}");
    let pid = TrainerAddress::read(&run).expect("a live trainer").process.pid;
    wait_for_pause(&run, 2);
    let stopped = dir.command(["stop", "night"]).succeed();
    wait_for_end_of(pid);
    let why = "not saved, because the weights are not finite; the last good one is e0001-s000005-5";
    assert!(stopped.contains("failed at step 6") && stopped.contains(why), "{stopped}");
}

#[test]
fn averaged_weights_are_rolled_back_with_the_others() {
    for (kind, file) in [("ema", "raw.safetensors"), ("lookahead", "slow.safetensors")] {
        let dir = Dir::new();
        let average = [&format!("average.kind={kind}"), "average.every=2", "train.on_divergence=rollback"];
        let average = average.iter().flat_map(|setting| ["--set", *setting]).collect::<Vec<_>>();
        let trained = train(&dir, "night", &[&average[..], &["--max-steps", "5"]].concat());
        assert!(trained.status.success(), "{trained:?}");
        let run = dir.run("night");
        poison(&run);
        dir.command(["resume", "night", "--detach"]).succeed();
        wait_for_pause(&run, 1);
        assert_eq!(steps_numbered(&records(&run), 6).len(), 4);
        let beside = |checkpoint: &str| fs::read(run.checkpoints().join(checkpoint).join(file)).expect(file);
        for checkpoint in ["e0001-s000005-3", "e0001-s000005-4"] {
            // The one that was gone back to first is not kept.
            assert!(bytes(&run, checkpoint) == bytes(&run, "e0001-s000005-4"), "{kind}");
            assert!(beside(checkpoint) == beside("e0001-s000005-4"), "{kind}");
        }
    }
}

#[test]
fn an_evaluation_that_is_not_finite_leaves_no_row_and_nothing_to_skip() {
    let dir = Dir::new();
    // Of 32 steps, the last makes NaN of the weights.
    let trained = train(&dir, "night", &["--max-steps", "31"]);
    assert!(trained.status.success(), "{trained:?}");
    let run = dir.run("night");
    poison(&run);
    dir.command(["resume", "night", "--detach"]).succeed();
    wait_for_pause(&run, 1);
    let skipped = dir.command(["skip-batch", "night"]).fail(1);
    assert!(skipped.contains("the evaluation loss of epoch 1 is NaN: there is no batch to skip"), "{skipped}");
    let state = fold(&records(&run));
    assert_eq!((divergences(&state), state.epochs.len()), (vec![32], 0));
}

#[test]
fn a_run_that_has_not_diverged_goes_nowhere() {
    let dir = Dir::new();
    dir.start("well");
    for command in ["rollback", "skip-batch"] {
        assert!(dir.command([command, "well"]).fail(1).contains("the run has not diverged"), "{command}");
    }
}

#[test]
fn a_key_is_a_remedy_and_who_is_attached_is_called_for_what_is_new() {
    let dir = Dir::new();
    wild_weights(&dir, "conv1.weight", NO_NUMBER);
    let mut terminal = dir.terminal(["train", "--name", "wild", "--init", "wild.safetensors"].iter().chain(&TINY));
    terminal.wait_for("r roll back with half the learning rate · b skip the batch · s stop");
    eventually("the second divergence", || {
        // Once for each: a key that comes before the dashboard has seen the pause is not one of a diverged run.
        terminal.keys("b");
        (divergences(&fold(&records(&dir.run("wild")))).len() > 1).then_some(())
    });
    eventually("a call", || {
        let calls = terminal.calls();
        let told = |call: &String| call.starts_with("taper wild: divergence: the loss of step ");
        (calls.bells > 0 && calls.notifications.iter().any(told)).then_some(())
    });
    terminal.keys("sy");
    terminal.wait_for("■ stopped");
    eventually("the last call", || {
        let last = terminal.calls().notifications.pop()?;
        last.starts_with("taper wild: stopped at step ").then_some(())
    });
    terminal.keys("q");
    assert!(terminal.wait().success());

    let mut later = dir.terminal(["attach", "wild"]);
    later.wait_for("■ stopped");
    later.keys("a");
    later.wait_for("! divergence");
    later.keys("qq");
    assert!(later.wait().success());
    assert_eq!(later.calls(), Calls::default(), "history calls nobody");
}
