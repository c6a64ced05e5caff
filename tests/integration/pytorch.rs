//! The network, its gradients and Adam against numbers from PyTorch (tests/fixtures/pytorch/make_reference.py).
//! `cargo test pytorch -- --nocapture` shows by how much they differ.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use taper::config::{AttentionKind, Config, DataSource};
use taper::data::DatasetInfo;
use taper::data::{self, Dataset, loader::evaluation_batch};
use taper::model::weights::{deserialize, serialize};
use taper::model::{Mode, Network};
use taper::ops::{cross_entropy, tape};
use taper::optim::Optimizer;

const BATCH: usize = 64;

fn reference(attention: AttentionKind) -> Result<BTreeMap<String, Tensor>> {
    let bytes: &[u8] = match attention {
        AttentionKind::None => include_bytes!("../fixtures/pytorch/reference.safetensors"),
        AttentionKind::Se => include_bytes!("../fixtures/pytorch/reference_se.safetensors"),
        AttentionKind::Eca => include_bytes!("../fixtures/pytorch/reference_eca.safetensors"),
        AttentionKind::Spatial => include_bytes!("../fixtures/pytorch/reference_spatial.safetensors"),
        AttentionKind::Cbam => include_bytes!("../fixtures/pytorch/reference_cbam.safetensors"),
        AttentionKind::NonLocal => include_bytes!("../fixtures/pytorch/reference_non-local.safetensors"),
    };
    deserialize(bytes, &Device::Cpu)
}

pub fn sample() -> Result<data::Source> {
    let mut config = Config::default().data;
    config.source = DataSource::Sample;
    data::source::open(&config, 0)
}

/// `count` numbers in [-1, 1), as `hashed` of the script.
pub fn hashed(count: usize, tensor: usize) -> Vec<f32> {
    (0..count)
        .map(|i| {
            let mut x = (i + tensor * 1_000_003 + 1) as u32;
            x ^= x >> 16;
            x = x.wrapping_mul(0x7FEB_352D);
            x ^= x >> 15;
            x = x.wrapping_mul(0x846C_A68B);
            x ^= x >> 16;
            (f64::from(x) / f64::from(1u32 << 31) - 1.0) as f32
        })
        .collect()
}

/// The study's network with the script's weights.
pub fn network(attention: AttentionKind) -> Result<Network> {
    let mut config = Config::default().model;
    config.attention = attention;
    config.dropout = 0.0;
    let cnn = Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu)?;
    with_scripted_weights(cnn, |name| match name {
        n if n.ends_with("num_batches_tracked") => Scripted::Kept,
        n if n.starts_with("bn") && (n.ends_with(".weight") || n.ends_with(".running_var")) => Scripted::Around(1.0),
        n if n.starts_with("bn") => Scripted::Around(0.0),
        _ => Scripted::ByFanIn,
    })
}

/// What the script does with a tensor.
pub enum Scripted {
    Kept,
    /// Numbers within a quarter of this.
    Around(f32),
    /// Numbers within 1 / √(fan in) of 0.
    ByFanIn,
}

/// The network with the script's weights, which take the way of `--init`.
pub fn with_scripted_weights(network: Network, script: impl Fn(&str) -> Scripted) -> Result<Network> {
    let mut tensors = deserialize(&network.weights().to_safetensors()?, &Device::Cpu)?;
    let fan_in = |name: &str| -> Result<usize> {
        let weight = &tensors[&format!("{}.weight", name.rsplit_once('.').context("a name without a dot")?.0)];
        Ok(weight.elem_count() / weight.dim(0)?)
    };
    let mut scripted = vec![];
    for (number, (name, tensor)) in tensors.iter().enumerate() {
        let (base, spread) = match script(name) {
            Scripted::Kept => continue,
            Scripted::Around(base) => (base, 0.25),
            Scripted::ByFanIn => (0.0, (fan_in(name)? as f64).powf(-0.5) as f32),
        };
        let values: Vec<f32> = hashed(tensor.elem_count(), number).iter().map(|v| base + spread * v).collect();
        scripted.push((name.clone(), Tensor::from_vec(values, tensor.shape(), &Device::Cpu)?));
    }
    tensors.extend(scripted);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("init.safetensors");
    std::fs::write(&file, serialize(tensors)?)?;
    network.weights().load(&file)?;
    Ok(network)
}

/// Images (64, 32, 32, 3), as the network takes them, and labels of batch `number`, in file order.
pub fn batch(dataset: &Dataset, number: usize) -> Result<(Tensor, Tensor)> {
    let batch = evaluation_batch(dataset, number * BATCH..(number + 1) * BATCH)?;
    let x = Tensor::from_vec(batch.images, (BATCH, 32, 32, 3), &Device::Cpu)?;
    Ok((x, Tensor::from_vec(batch.labels, BATCH, &Device::Cpu)?))
}

pub fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(candle_core::DType::F64)?.to_vec1()?)
}

pub fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[test]
fn logits_in_evaluation_mode() -> Result<()> {
    AttentionKind::ALL.iter().copied().try_for_each(check_logits_in_evaluation_mode)
}

fn check_logits_in_evaluation_mode(attention: AttentionKind) -> Result<()> {
    let (x, _) = batch(&sample()?.test, 0)?;
    let ours = values(&network(attention)?.forward(&x, Mode::Evaluate)?)?;
    let theirs = values(&reference(attention)?["logits"])?;
    let greatest = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("{attention:?}: logits differ by {greatest:.1e}");
    assert!(greatest <= 1e-4, "logits differ by {greatest:.1e}");
    Ok(())
}

#[test]
fn first_loss_and_gradients() -> Result<()> {
    AttentionKind::ALL.iter().copied().try_for_each(check_first_loss_and_gradients)
}

fn check_first_loss_and_gradients(attention: AttentionKind) -> Result<()> {
    let reference = reference(attention)?;
    let cnn = network(attention)?;
    let (x, labels) = batch(&sample()?.train, 0)?;
    let (loss, tape) = tape::record(|| cross_entropy(&cnn.forward(&x, Mode::Train { seed: 0, step: 1 })?, &labels))?;
    let expected = values(&reference["first_loss"])?[0];
    let relative = (f64::from(loss.to_scalar::<f32>()?) - expected).abs() / expected;
    println!("{attention:?}: the first loss differs by {relative:.1e}");
    assert!(relative <= 1e-5, "the first loss differs by {relative:.1e}");

    let gradients = tape.backward(&loss)?;
    let mut checked = 0;
    for (name, parameter) in &cnn.weights().parameters {
        let ours = values(gradients.get(parameter).context("no gradient")?)?;
        let theirs = values(&reference[&format!("gradient.{name}")])?;
        let their_norm = values(&reference[&format!("gradient_norm.{name}")])?[0];
        let stride = ours.len().div_ceil(2048);
        let probes = || ours.iter().step_by(stride).zip(&theirs);
        assert_eq!(probes().count(), theirs.len());
        if name.ends_with("bias") && (name.starts_with("conv") || name.contains("phi")) {
            // Batch normalisation subtracts whatever the bias adds, and softmax divides by what it multiplies with: the
            // gradient is 0, and f64 says 1e-17.
            let ours = norm(ours.iter().copied());
            assert!(ours < 1e-6 && their_norm < 1e-12, "{name}: {ours:.1e}, PyTorch {their_norm:.1e}");
            continue;
        }
        let relative = norm(probes().map(|(a, b)| a - b)) / norm(theirs.iter().copied());
        println!("{attention:?}: {name}: gradients differ by {relative:.1e}");
        assert!(relative <= 1e-4, "{name}: gradients differ by {relative:.1e}");
        let relative = (norm(ours.iter().copied()) - their_norm).abs() / their_norm;
        assert!(relative <= 1e-4, "{name}: norms differ by {relative:.1e}");
        checked += 1;
    }
    assert_eq!(
        checked,
        match attention {
            AttentionKind::None => 13,
            AttentionKind::Se => 19,
            AttentionKind::Eca | AttentionKind::Spatial => 16,
            AttentionKind::Cbam => 22,
            AttentionKind::NonLocal => 20,
        }
    );
    Ok(())
}

#[test]
fn losses_of_twenty_adam_steps() -> Result<()> {
    AttentionKind::ALL.iter().copied().try_for_each(check_losses_of_twenty_adam_steps)
}

fn check_losses_of_twenty_adam_steps(attention: AttentionKind) -> Result<()> {
    let expected = values(&reference(attention)?["losses"])?;
    let cnn = network(attention)?;
    let config = Config::default().optimizer;
    let mut adam = Optimizer::new(&config, &cnn.weights().parameters)?;
    let train = sample()?.train;
    for (step, expected) in expected.into_iter().enumerate() {
        let (x, labels) = batch(&train, step)?;
        let mode = Mode::Train { seed: 0, step: step as u64 };
        let (loss, tape) = tape::record(|| cross_entropy(&cnn.forward(&x, mode)?, &labels))?;
        let gradients = tape.backward(&loss)?.in_order_of(&cnn.weights().parameters, |_| false)?;
        adam.step(&gradients, config.learning_rate)?;
        let relative = (f64::from(loss.to_scalar::<f32>()?) - expected).abs() / expected;
        println!("{attention:?}: step {}: the losses differ by {relative:.1e}", step + 1);
        assert!(relative <= 1.5e-2, "step {}: the losses differ by {relative:.1e}", step + 1);
    }
    Ok(())
}
