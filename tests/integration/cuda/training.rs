//! A run on the card is that of the CPU, and one with itself however it is interrupted.

use rustix::process::Signal;
use serde_json::Value;
use taper::run::event::{Event, LearningRateReason};
use taper::run::lock::{Liveness, liveness};
use taper::run::state::RunState;
use taper::train::checkpoint;

use super::{
    OF_LOSSES, all_succeed, assert_close, assert_close_losses, bytes, devices, dir, losses, report, resume, start,
    train, with_card, without_card,
};
use crate::binary::{Dir, records, steps, wait_for_steps};
use crate::exactness::{assert_same_end, kill, wait_for_death};
use crate::follow::fold;

#[test]
fn a_run_is_that_of_the_cpu_and_repeats_to_the_byte() {
    let dir = dir();
    let further = ["--max-steps", "30", "--set", "probe.every=1"];
    all_succeed([("one", "cuda"), ("two", "cuda:0"), ("cpu", "cpu")].map(|(name, on)| train(&dir, name, on, &further)));
    let [one, two, cpu] = ["one", "two", "cpu"].map(|name| dir.run(name));
    assert!(devices(&one)[0].starts_with("cuda:0 ("), "{:?}", devices(&one));
    assert_same_end(&one, &two);
    assert_close_losses(&losses(&one), &losses(&cpu));

    let [one, cpu]: [RunState; 2] = [one, cpu].map(|run| fold(&records(&run)));
    assert_eq!((one.epochs.len(), one.probes.len()), (2, 2));
    for (card, cpu) in one.epochs.iter().zip(&cpu.epochs) {
        assert_close("evaluation", card.test_loss, cpu.test_loss, OF_LOSSES);
        assert_close("epoch", card.train_loss, cpu.train_loss, OF_LOSSES);
    }
    for (card, cpu) in one.probes.iter().zip(&cpu.probes) {
        for (card, cpu) in card.saved.images.iter().zip(&cpu.saved.images) {
            assert_eq!((card.index, card.predicted_class), (cpu.index, cpu.predicted_class));
            assert_close("confidence", card.confidence.into(), cpu.confidence.into(), 10.0 * OF_LOSSES);
        }
    }
}

#[test]
fn stopped_and_resumed_it_ends_in_the_bytes_of_one_that_was_not() {
    let dir = dir();
    let run = dir.run("parts");
    start(&dir, "parts", "cuda", &[]).env("TAPER_TWIN_REPORT", dir.path("first")).succeed();
    wait_for_steps(&run, 14);
    dir.command(["stop", "parts"]).succeed();
    wait_for_death(&run);
    let stopped = steps(&run);
    assert_eq!(report(&dir, "first")["graph_launches"], stopped, "no step was taken that does not count");
    // Within an epoch, and over the end of one.
    resume(&dir, "parts", stopped + 1, &[]).succeed();
    let last = stopped + 14;
    let further = ["--epochs", "100000", "--max-steps", &last.to_string()];
    all_succeed([resume(&dir, "parts", last, &[]), train(&dir, "whole", "cuda", &further)]);
    assert_same_end(&run, &dir.run("whole"));
}

fn evaluated(output: &str) -> Value {
    serde_json::from_str(output).expect("JSON")
}

#[test]
fn a_run_moves_to_the_card_and_back() {
    let dir = dir();
    let run = dir.run("moves");
    train(&dir, "moves", "cpu", &["--max-steps", "8"]).succeed();
    resume(&dir, "moves", 20, &["--set", "run.device=cuda"]).succeed();
    // What a card has trained is evaluated and explained anywhere.
    let eval = || dir.command(["eval", "moves", "--json"]);
    let [card, cpu] = [with_card(eval()), without_card(&dir, eval())].map(|eval| evaluated(&eval.succeed()));
    let loss = |report: &Value| report["loss"].as_f64().expect("a number");
    assert_close("evaluation", loss(&card), loss(&cpu), OF_LOSSES);
    assert_eq!(card["confusion"], cpu["confusion"]);
    let told = without_card(&dir, dir.command(["eval", "moves"])).succeed();
    assert!(told.contains("evaluated on cpu (") && told.contains("there is no NVIDIA driver"), "{told}");
    assert!(!with_card(dir.command(["eval", "moves"])).succeed().contains("evaluated on"));
    let explain = || dir.command(["explain", "moves", "--image", "1", "--view", "gradcam"]);
    assert_eq!(with_card(explain()).succeed(), without_card(&dir, explain()).succeed());

    let refused = without_card(&dir, dir.command(["resume", "moves", "--no-tui", "--max-steps", "30"])).fail(1);
    assert!(refused.contains("device cuda:0: there is no NVIDIA driver"), "{refused}");
    resume(&dir, "moves", 30, &["--set", "run.device=cpu"]).succeed();
    train(&dir, "whole", "cpu", &["--max-steps", "30"]).succeed();
    let devices: Vec<String> = devices(&run).iter().map(|device| device[..4].to_owned()).collect();
    assert_eq!(devices, ["cpu ", "cuda", "cpu "]);
    assert_close_losses(&losses(&run), &losses(&dir.run("whole")));
}

#[test]
fn checkpoints_within_an_epoch_are_of_their_step_though_steps_run_ahead() {
    let dir = dir();
    let often = ["--max-steps", "11", "--set", "checkpoint.every_steps=4", "--set", "checkpoint.keep_last=9"];
    let until = |last| ["--max-steps", last, "--set", "checkpoint.every_steps=0"];
    let runs = [("often", &often[..]), ("4", &until("4")), ("8", &until("8"))];
    all_succeed(runs.map(|(name, further)| train(&dir, name, "cuda", further)));
    for (name, checkpoint) in [("4", "e0001-s000004"), ("8", "e0001-s000008")] {
        assert!(bytes(&dir.run("often"), checkpoint) == bytes(&dir.run(name), checkpoint), "{checkpoint}");
    }
}

/// A rate of 0.005 from step `changed` + 1 on, up to `last`.
fn with_changed_rate(dir: &Dir, name: &str, device: &str, changed: u64, last: u64) {
    train(dir, name, device, &["--max-steps", &changed.to_string(), "--set", "schedule.kind=constant"]).succeed();
    let rate = ["--epochs", "100000", "--set", "optimizer.learning_rate=0.005"];
    resume(dir, name, last, &rate).succeed();
}

#[test]
fn rate_and_pause_take_effect_between_two_steps_while_others_are_under_way() {
    let dir = dir();
    let run = dir.run("run");
    // So slow that it is commanded in the middle of an epoch.
    let slow = start(&dir, "run", "cuda", &["--set", "schedule.kind=constant"]).env("TAPER_TWIN_DELAY", "10000");
    slow.env("TAPER_TWIN_REPORT", dir.path("counted")).succeed();
    wait_for_steps(&run, 2);
    dir.command(["set-lr", "run", "0.005"]).succeed();
    wait_for_steps(&run, 2);
    let paused = dir.command(["pause", "run"]).succeed();
    let last = steps(&run);
    assert!(paused.contains(&format!("paused at step {last}")), "{paused}");
    let saved = dir.command(["checkpoint", "run"]).succeed();
    dir.command(["stop", "run"]).succeed();
    wait_for_death(&run);
    assert_eq!(report(&dir, "counted")["graph_launches"], last);
    let changed = records(&run).into_iter().find_map(|record| match record.event {
        Event::LearningRateChanged { step, reason: LearningRateReason::Command, .. } => Some(step),
        _ => None,
    });
    let changed = changed.expect("a change");
    assert!(changed < last, "{changed}, {last}");

    for device in ["cuda", "cpu"] {
        with_changed_rate(&dir, device, device, changed, last);
    }
    let name = checkpoint::latest(&run).expect("readable").expect("one").name();
    assert!(saved.contains(&name), "{saved}");
    let again = dir.run("cuda");
    assert!(bytes(&run, &name) == bytes(&again, &name));
    assert_eq!(losses(&run), losses(&again));
    assert_close_losses(&losses(&run), &losses(&dir.run("cpu")));
}

#[test]
fn a_trainer_that_is_killed_leaves_what_another_goes_on_from() {
    let dir = dir();
    let run = dir.run("run");
    start(&dir, "run", "cuda", &["--set", "checkpoint.every_steps=5"]).succeed();
    wait_for_steps(&run, 7);
    kill(&run, Signal::KILL);
    assert_eq!(liveness(&run), Liveness::Dead);
    let (latest, passed_over) = checkpoint::latest_whole(&run).expect("readable");
    let saved = latest.expect("a checkpoint").state.step;
    assert!(passed_over.is_empty() && saved >= 5, "{passed_over:?}");
    let last = saved + 9;
    let further = ["--epochs", "100000", "--max-steps", &last.to_string(), "--set", "checkpoint.every_steps=5"];
    all_succeed([resume(&dir, "run", last, &[]), train(&dir, "whole", "cuda", &further)]);
    assert_same_end(&run, &dir.run("whole"));
}
