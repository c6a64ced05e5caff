//! A loss or gradient that is not finite: the card holds the step back, and those that are under way after it.

use std::fs;

use candle_core::Device;
use taper::model::weights::{deserialize, serialize};
use taper::run::event::{AlarmKind, Event, Outcome};
use taper::run::state::{Phase, RunState};

use super::{STEPS_PER_EPOCH, bytes, dir, start, train, with_card};
use crate::binary::{Dir, TestCommand, eventually, records};
use crate::divergence::{poison, rollback_rates, steps_numbered, wait_for_pause};
use crate::exactness::wait_for_death;
use crate::follow::fold;

/// `wild.safetensors`: what a short run has learned, with one tensor blown up.
fn wild_weights(dir: &Dir, name: &str, factor: f64) {
    train(dir, "source", "cpu", &["--max-steps", "10"]).succeed();
    let mut tensors = deserialize(&bytes(&dir.run("source"), "e0001-s000010")[0], &Device::Cpu).expect("tensors");
    let weight = tensors[name].affine(factor, 0.0).expect("an affine map");
    tensors.insert(name.into(), weight);
    fs::write(dir.path("wild.safetensors"), serialize(tensors).expect("bytes")).expect("written");
}

fn divergences(state: &RunState) -> Vec<(u64, String)> {
    let of = state.alarms.iter().filter(|alarm| alarm.kind == AlarmKind::Divergence);
    of.map(|alarm| (alarm.step, alarm.message.clone())).collect()
}

#[test]
fn told_to_stop_the_run_fails_as_on_the_cpu() {
    let dir = dir();
    wild_weights(&dir, "conv1.weight", 1e38);
    let stop = ["--init", "wild.safetensors", "--set", "train.on_divergence=stop", "--set", "checkpoint.every_steps=0"];
    let [card, cpu] = ["cuda", "cpu"].map(|device| {
        let told = train(&dir, device, device, &stop).fail(1);
        let state = fold(&records(&dir.run(device)));
        assert_eq!(state.phase, Phase::Ended(Outcome::Failed));
        assert!(state.losses.is_empty());
        (told, divergences(&state))
    });
    assert!(card.0.contains("of step 1 is ") && card.0.contains(": the step was not taken"), "{card:?}");
    assert_eq!(card, cpu);
}

#[test]
fn told_to_roll_back_it_does_three_times_and_then_waits_as_on_the_cpu() {
    let dir = dir();
    let [card, cpu] = ["cuda", "cpu"].map(|device| {
        let run = dir.run(device);
        let further = ["--max-steps", "5", "--set", "train.on_divergence=rollback"];
        train(&dir, device, device, &further).succeed();
        let before = bytes(&run, "e0001-s000005");
        // The next step makes NaN of the weights, and the loss of the one after it shows that.
        poison(&run);
        with_card(dir.command(["resume", device, "--detach"])).succeed();
        wait_for_pause(&run, 1);
        let log = records(&run);
        assert_eq!(rollback_rates(&log), [0.0005, 0.00025, 0.000125], "{device}");
        let sixth = steps_numbered(&log, 6);
        assert!(sixth.len() == 4 && sixth.iter().all(|step| *step == sixth[0]), "{device}: {sixth:?}");
        assert!(bytes(&run, "e0001-s000005-4") == before, "{device}");
        let state = fold(&log);
        assert_eq!(state.losses.len(), 6, "{device}");
        dir.command(["rollback", device]).succeed();
        wait_for_pause(&run, 2);
        let stopped = dir.command(["stop", device]).succeed();
        wait_for_death(&run);
        assert!(stopped.contains("failed at step 6") && stopped.contains("the weights are not finite"), "{stopped}");
        divergences(&state)
    });
    assert_eq!((card.len(), &card), (4, &cpu));
}

#[test]
fn a_card_without_room_for_two_networks_rolls_back() {
    let dir = dir();
    let memory = |command: TestCommand| command.env("TAPER_TWIN_MEMORY", "3500000");
    let large = ["--set", "train.batch_size=96", "--set", "train.eval_batch_size=8"];
    let further = ["--max-steps", "5", "--set", "train.on_divergence=rollback"];
    memory(train(&dir, "run", "cuda", &[&large[..], &further].concat())).succeed();
    let run = dir.run("run");
    poison(&run);
    memory(with_card(dir.command(["resume", "run", "--detach"]))).succeed();
    wait_for_pause(&run, 1);
    assert_eq!(divergences(&fold(&records(&run))).len(), 4, "three times by itself");
    dir.command(["rollback", "run"]).succeed();
    wait_for_pause(&run, 2);
    dir.command(["stop", "run"]).succeed();
    wait_for_death(&run);
}

/// Goes on without each batch that diverges, up to the end of the first epoch; how many there were.
fn skip_all(dir: &Dir, name: &str) -> usize {
    let run = dir.run(name);
    let mut skipped = 0;
    loop {
        let state = eventually("a pause or the end", || {
            let log = records(&run);
            let paused = log.iter().filter(|record| matches!(record.event, Event::Paused { .. })).count();
            Some(fold(&log)).filter(|state| paused > skipped || matches!(state.phase, Phase::Ended(_)))
        });
        if state.phase != Phase::Paused {
            return skipped;
        }
        dir.command(["skip-batch", name]).succeed();
        skipped += 1;
    }
}

#[test]
fn steps_under_way_after_one_that_diverged_have_no_effect() {
    let dir = dir();
    // So large that the squares of some gradients are no numbers.
    wild_weights(&dir, "fc2.weight", 3.2e19);
    let run = dir.run("wild");
    let last = STEPS_PER_EPOCH.to_string();
    let further = ["--init", "wild.safetensors", "--max-steps", &last];
    start(&dir, "wild", "cuda", &further).succeed();
    wait_for_pause(&run, 1);
    let diverged = divergences(&fold(&records(&run)));
    let saved = dir.command(["checkpoint", "wild"]).succeed();
    let name = saved.trim().rsplit(' ').next().expect("a name").to_owned();
    let saved = bytes(&run, &name);
    // Steps counted by blocks and optimizer are among what was saved.
    let taken = diverged[0].0;
    if taken == 0 {
        let [weights, _] = &saved;
        let wild = fs::read(dir.path("wild.safetensors")).expect("the weights");
        let [weights, wild] = [weights, &wild].map(|bytes| deserialize(bytes, &Device::Cpu).expect("tensors"));
        assert!(serialize(weights).expect("bytes") == serialize(wild).expect("bytes"));
    } else {
        let taken = taken.to_string();
        train(&dir, "until", "cuda", &["--init", "wild.safetensors", "--max-steps", &taken]).succeed();
        assert!(saved == bytes(&dir.run("until"), &name), "{name}");
    }

    let skipped = skip_all(&dir, "wild");
    wait_for_death(&run);
    let state = fold(&records(&run));
    assert_eq!((state.phase, state.step), (Phase::Ended(Outcome::Completed), STEPS_PER_EPOCH));
    let finite = state.losses.values().iter().filter(|loss| loss.is_finite()).count();
    assert!(skipped >= 1 && finite == STEPS_PER_EPOCH as usize - skipped, "{skipped} skipped, {finite} not");
    // What the last checkpoint counts are the steps that moved something.
    let names = fs::read_dir(run.checkpoints()).expect("checkpoints").map(|entry| entry.expect("one").file_name());
    let end = names.map(|name| name.to_string_lossy().into_owned()).max().expect("a checkpoint");
    let weights = deserialize(&bytes(&run, &end)[0], &Device::Cpu).expect("tensors");
    let counted = weights.iter().find(|(name, _)| name.ends_with("num_batches_tracked")).expect("a count").1;
    // Ten batches were of the run that the weights began with.
    assert_eq!(counted.to_scalar::<i64>().expect("a number"), 10 + STEPS_PER_EPOCH as i64 - skipped as i64);
}
