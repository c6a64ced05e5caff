//! airbench's network, its gradients, its running statistics and its whitening kernel against numbers from PyTorch
//! (tests/fixtures/pytorch/make_airbench.py). `cargo test pytorch_airbench -- --nocapture` shows by how much they differ.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use taper::config::ModelConfig;
use taper::data::DatasetInfo;
use taper::model::weights::deserialize;
use taper::model::{Mode, Network};
use taper::ops::{cross_entropy, tape};

use crate::pytorch::{Scripted, batch, norm, sample, values, with_scripted_weights};

fn reference() -> Result<BTreeMap<String, Tensor>> {
    deserialize(include_bytes!("../fixtures/pytorch/airbench.safetensors"), &Device::Cpu)
}

fn fresh() -> Result<Network> {
    let config = ModelConfig { channels: vec![8, 32, 32], ..ModelConfig::airbench() };
    Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu)
}

/// With the script's weights.
fn network() -> Result<Network> {
    with_scripted_weights(fresh()?, |name| match name {
        n if n.ends_with("num_batches_tracked") || (n.contains(".norm") && n.ends_with("weight")) => Scripted::Kept,
        n if n.contains(".norm") => Scripted::Around(if n.ends_with("running_var") { 1.0 } else { 0.0 }),
        _ => Scripted::ByFanIn,
    })
}

/// The difference of the numbers, relative to theirs, in the norm.
fn difference(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    norm(ours.iter().zip(theirs).map(|(a, b)| a - b)) / norm(theirs.iter().copied())
}

#[test]
fn logits_in_evaluation_mode() -> Result<()> {
    let (x, _) = batch(&sample()?.test, 0)?;
    let (network, theirs) = (network()?, values(&reference()?["logits"])?);
    let [fused, open] = [network.forward(&x, Mode::Evaluate)?, network.trace(&x)?.logits];
    for logits in [fused, open] {
        let difference = difference(&values(&logits)?, &theirs);
        println!("logits differ by {difference:.1e}");
        assert!(difference <= 1e-5, "logits differ by {difference:.1e}");
    }
    Ok(())
}

#[test]
fn loss_gradients_and_running_statistics_of_a_batch() -> Result<()> {
    let (network, reference) = (network()?, reference()?);
    let (x, labels) = batch(&sample()?.train, 0)?;
    let (loss, tape) =
        tape::record(|| cross_entropy(&network.forward(&x, Mode::Train { seed: 0, step: 1 })?, &labels))?;
    let of_loss = difference(&values(&loss)?, &values(&reference["loss"])?);
    assert!(of_loss <= 1e-6, "the loss differs by {of_loss:.1e}");

    let gradients = tape.backward(&loss)?;
    let weights = network.weights();
    for (name, parameter) in &weights.parameters {
        let ours = values(gradients.get(parameter).context("no gradient")?)?;
        let probes: Vec<f64> = ours.iter().step_by(ours.len().div_ceil(2048)).copied().collect();
        let of_gradient = difference(&probes, &values(&reference[&format!("gradient.{name}")])?);
        println!("{name}: gradients differ by {of_gradient:.1e}");
        assert!(of_gradient <= 1e-4, "{name}: gradients differ by {of_gradient:.1e}");
        let their_norm = values(&reference[&format!("gradient_norm.{name}")])?[0];
        assert!((norm(ours) - their_norm).abs() <= 1e-4 * their_norm, "{name}");
    }
    let told = reference.keys().filter(|name| name.starts_with("gradient.")).count();
    assert_eq!(weights.parameters.len(), told, "PyTorch trains what we train");
    for (name, buffer) in weights.buffers.iter().filter(|(name, _)| name.contains("running")) {
        let of_buffer = difference(&values(buffer)?, &values(&reference[&format!("after.{name}")])?);
        assert!(of_buffer <= 1e-5, "{name}: running statistics differ by {of_buffer:.1e}");
    }
    Ok(())
}

#[test]
fn the_whitening_kernel_but_for_signs() -> Result<()> {
    let network = fresh()?;
    network.prepare(&sample()?.train)?;
    let kernel = &network.weights().buffers.iter().find(|(name, _)| name == "whiten.weight").context("a kernel")?.1;
    let (ours, theirs) = (values(kernel)?, values(&reference()?["whitening"])?);
    for (ours, theirs) in ours.chunks_exact(12).zip(theirs.chunks_exact(12)) {
        let sign = ours.iter().zip(theirs).map(|(a, b)| a * b).sum::<f64>().signum();
        let signed: Vec<f64> = ours.iter().map(|number| sign * number).collect();
        let of_filter = difference(&signed, theirs);
        println!("a filter differs by {of_filter:.1e}");
        assert!(of_filter <= 1e-4, "a filter differs by {of_filter:.1e}");
    }
    Ok(())
}
