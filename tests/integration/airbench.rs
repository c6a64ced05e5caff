//! Runs of airbench's network.

use std::fs;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use taper::model::weights::{deserialize, serialize};
use taper::run::dir::RunDir;
use taper::run::event::Event;
use taper::run::probe::Probe;
use taper::train::checkpoint;

use crate::binary::{Dir, records};
use crate::exactness::assert_same_end;

const AIRBENCH: [&str; 10] = [
    "--set",
    "model.network=airbench",
    "--set",
    "model.channels=[4,32,32]",
    "--set",
    "data.source=sample",
    "--set",
    "train.batch_size=500",
    "--set",
    "probe.images=[0]",
];

fn train<'a>(name: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--no-tui", "--name", name][..], &AIRBENCH, rest].concat()
}

fn weights(run: &RunDir) -> Result<std::collections::BTreeMap<String, Tensor>> {
    let latest = checkpoint::latest(run)?.context("a checkpoint")?;
    deserialize(&fs::read(run.checkpoints().join(latest.name()).join("model.safetensors"))?, &Device::Cpu)
}

#[test]
fn a_run_goes_on_to_the_byte_on_any_threads_and_is_explained() {
    let dir = Dir::new();
    dir.command(train("whole", &["--max-steps", "6", "--threads", "1"])).succeed();
    dir.command(train("parts", &["--max-steps", "3", "--threads", "2"])).succeed();
    dir.command(["resume", "parts", "--no-tui", "--max-steps", "6"]).succeed();
    assert_same_end(&dir.run("parts"), &dir.run("whole"));

    let run = dir.run("whole");
    let logged = records(&run);
    let started = logged.iter().find_map(|record| match &record.event {
        Event::RunStarted(started) => Some(started),
        _ => None,
    });
    assert_eq!(started.map(|started| started.model.as_str()), Some("airbench 4-32-32"));
    let probe = logged.iter().find_map(|record| match &record.event {
        Event::ProbeSaved(saved) => Some(run.probes().join(&saved.file)),
        _ => None,
    });
    let probe = Probe::from_bytes(&fs::read(probe.expect("a probe")).expect("a probe")).expect("a probe");
    let names: Vec<&str> = probe.images[0].explanation.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!((names.len(), names[0], names[6]), (7, "whiten", "layers.3.conv2"));
    assert!(probe.images[0].explanation.layers.iter().all(|layer| !layer.cams.is_empty()));
    for layer in ["whiten", "layers.2.conv1", "layers.3.conv2"] {
        let out = dir.command(["explain", "whole", "--image", "7", "--layer", layer]).succeed();
        assert!(out.contains(layer), "{out}");
    }
    dir.command(["eval", "whole"]).succeed();
}

#[test]
fn images_that_grow_go_on_to_the_byte() {
    let dir = Dir::new();
    // Four steps an epoch: 16 x 16 pixels, 24 x 24, then 32 x 32.
    let progressive = ["--set", "train.progressive_epochs=2", "--set", "train.progressive_scale=0.5"];
    let train = |name, steps| {
        dir.command(train(name, &[&progressive[..], &["--max-steps", steps]].concat())).succeed();
    };
    train("whole", "12");
    train("parts", "3");
    for steps in ["4", "6", "12"] {
        dir.command(["resume", "parts", "--no-tui", "--max-steps", steps]).succeed();
    }
    assert_same_end(&dir.run("parts"), &dir.run("whole"));
    let notice = records(&dir.run("whole")).into_iter().find_map(|record| match record.event {
        Event::RunStarted(started) => started.notice,
        _ => None,
    });
    let told = "in epochs 1 to 2 training is of smaller images, of 16 x 16 pixels at first (train.progressive_epochs)";
    assert!(notice.as_ref().is_some_and(|notice| notice.contains(told)), "{notice:?}");
    dir.command(["eval", "whole"]).succeed();
}

#[test]
fn the_frozen_kernel_is_that_of_the_initial_weights_where_there_are_some() -> Result<()> {
    let dir = Dir::new();
    dir.command(train("first", &["--max-steps", "1"])).succeed();
    let mut tensors = weights(&dir.run("first"))?;
    let doubled = (&tensors["whiten.weight"] * 2.0)?;
    tensors.insert("whiten.weight".into(), doubled.clone());
    fs::write(dir.path("init.safetensors"), serialize(tensors)?)?;
    dir.command(train("second", &["--max-steps", "1", "--init", "init.safetensors"])).succeed();
    let kept = &weights(&dir.run("second"))?["whiten.weight"];
    assert_eq!(kept.flatten_all()?.to_vec1::<f32>()?, doubled.flatten_all()?.to_vec1::<f32>()?);
    Ok(())
}

#[test]
fn what_a_network_does_not_have_is_a_line_before_training() {
    let dir = Dir::new();
    for (settings, told) in [
        (&["model.network=airbench", "model.dropout=0.1"][..], "model.dropout = 0.1: the network airbench"),
        (&["model.network=airbench", "model.hidden=16"], "model.hidden = 16: the network airbench"),
        (&["model.network=airbench", "model.attention=eca"], "model.attention = eca: the network airbench"),
        (&["model.activation=gelu"], "model.activation = gelu: the network cnn"),
        (&["model.whitening=true"], "model.whitening = true: the network cnn"),
        (&["model.network=resnet"], "model.network = \"resnet\": must be cnn or airbench"),
        (&["model.hidden=0"], "model.hidden = 0: must be a whole number from 1 to 65536"),
        (&["train.progressive_epochs=2"], "train.progressive_epochs = 2: with model.pool = flatten"),
        (
            &["train.progressive_epochs=2", "train.progressive_scale=0.1", "model.pool=max"],
            "train.progressive_scale = 0.1: the first epoch has images of 4 x 4 pixels: model.channels",
        ),
    ] {
        let sets = settings.iter().flat_map(|set| ["--set", set]);
        let error = dir.command(["train", "--no-tui", "--set", "data.source=sample"].into_iter().chain(sets)).fail(2);
        assert!(error.contains(told) && error.trim().lines().count() == 1, "{error}");
    }
}
