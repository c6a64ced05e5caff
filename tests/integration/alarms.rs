//! The real binary raises alarms, and trains on.

use std::fs;

use candle_core::{Device, Tensor};
use taper::model::weights::{deserialize, serialize};
use taper::run::dir::RunDir;
use taper::run::event::{AlarmKind, Event, Record};

use crate::binary::{Dir, TINY, records};

/// Trains, and gives what was raised.
fn alarms(dir: &Dir, name: &str, further: &[&str]) -> Vec<(AlarmKind, u64, String)> {
    let args = ["train", "--no-tui", "--name", name];
    dir.command(args.iter().chain(&TINY).chain(further)).succeed();
    raised(&dir.run(name))
}

fn raised(run: &RunDir) -> Vec<(AlarmKind, u64, String)> {
    let alarm = |event| match event {
        Event::AlarmRaised { kind, step, message } => Some((kind, step, message)),
        _ => None,
    };
    records(run).into_iter().filter_map(|record| alarm(record.event)).collect()
}

#[test]
fn a_full_disk_is_foretold_once() {
    let dir = Dir::new();
    let full =
        ["--epochs", "2", "--set", "alarms.disk_free_bytes=9000000000000000000", "--set", "alarms.dead_channels=0"];
    let alarms = alarms(&dir, "full", &full);
    let disk: Vec<_> = alarms.iter().filter(|(kind, ..)| *kind == AlarmKind::DiskNearlyFull).collect();
    assert!(disk.len() == 1 && disk[0].1 == 1, "{alarms:?}");
    assert!(disk[0].2.contains("are free where the run lies"), "{alarms:?}");
}

#[test]
fn epochs_are_counted_across_trainers() {
    let dir = Dir::new();
    // Nothing but half the loss is better.
    let rare = ["--set", "alarms.plateau_epochs=3", "--set", "schedule.threshold=0.5"];
    let plateaus = |alarms: Vec<(AlarmKind, u64, String)>| -> Vec<(u64, String)> {
        let of_kind = alarms.into_iter().filter(|(kind, ..)| *kind == AlarmKind::Plateau);
        of_kind.map(|(_, step, message)| (step, message)).collect()
    };
    let uninterrupted = plateaus(alarms(&dir, "whole", &[&["--epochs", "5"][..], &rare].concat()));
    assert!(
        matches!(uninterrupted.as_slice(), [(128, message)] if message.contains("for 3 epochs")),
        "{uninterrupted:?}"
    );
    alarms(&dir, "parts", &[&["--epochs", "2"][..], &rare].concat());
    for epochs in ["3", "4", "5"] {
        dir.command(["resume", "parts", "--no-tui", "--epochs", epochs]).succeed();
    }
    assert_eq!(plateaus(raised(&dir.run("parts"))), uninterrupted);
}

#[test]
fn channels_that_never_fire_are_named_and_zero_switches_the_alarm_off() {
    let dir = Dir::new();
    alarms(&dir, "source", &["--max-steps", "1"]);
    let weights = dir.run("source").checkpoints().join("e0001-s000001/model.safetensors");
    let mut tensors = deserialize(&fs::read(weights).expect("weights"), &Device::Cpu).expect("tensors");
    let sunk = Tensor::new(&[1f32, -100.0, 1.0, -100.0], &Device::Cpu).expect("a tensor");
    tensors.insert("bn2.bias".into(), sunk);
    fs::write(dir.path("sunk.safetensors"), serialize(tensors).expect("bytes")).expect("written");

    let sunk = ["--epochs", "2", "--init", "sunk.safetensors", "--set", "alarms.dead_channels=2"];
    let found = alarms(&dir, "sunk", &sunk);
    let dead: Vec<_> = found.iter().filter(|(kind, ..)| *kind == AlarmKind::DeadChannels).collect();
    assert!(dead.len() == 1 && dead[0].1 == 32 && dead[0].2.contains("block 2, channels 1, 3"), "{found:?}");
    let off = alarms(&dir, "off", &[&sunk[..4], &["--set", "alarms.dead_channels=0"]].concat());
    assert!(off.iter().all(|(kind, ..)| *kind != AlarmKind::DeadChannels), "{off:?}");
}

#[test]
fn a_command_is_told_of_alarms_and_of_the_end_and_its_failure_is_no_matter() {
    let dir = Dir::new();
    let full = ["--max-steps", "3", "--set", "alarms.disk_free_bytes=9000000000000000000"];
    let told = r#"notify.command="tee -a $TAPER_RUN_DIR/told > /dev/null; exit 7""#;
    let raised = alarms(&dir, "far", &[&full[..], &["--set", told]].concat());
    let run = dir.run("far");
    let told = fs::read_to_string(run.path().join("told")).expect("it was told");
    let told: Vec<Record> = told.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let logged = records(&run);
    let expected: Vec<&Record> = logged
        .iter()
        .filter(|record| matches!(record.event, Event::AlarmRaised { .. } | Event::RunEnded { .. }))
        .collect();
    assert!(raised.len() == 1 && expected.len() == 2, "{raised:?}");
    assert!(told.iter().eq(expected), "{told:?}");
    let log = fs::read_to_string(run.trainer_log()).expect("the trainer's log");
    assert!(log.contains("notify.command") && log.contains("exit status: 7"), "{log}");
}
