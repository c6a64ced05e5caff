//! What training consists of beside the network, against numbers from PyTorch (tests/fixtures/pytorch/make_training.py).

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use candle_core::{Device, Tensor, Var};
use taper::average::{Ema, Lookahead};
use taper::config::{Anneal, AverageConfig, OptimizerConfig, OptimizerKind, ScheduleConfig, ScheduleKind};
use taper::model::weights::{Weights, deserialize};
use taper::ops::{CrossEntropyLoss, tape};
use taper::optim::Optimizer;
use taper::schedule::Schedule;

use crate::pytorch::{hashed, values};

fn reference() -> Result<BTreeMap<String, Tensor>> {
    deserialize(include_bytes!("../fixtures/pytorch/training.safetensors"), &Device::Cpu)
}

/// As `number` of the script.
fn number(shape: &[usize], tensor: usize) -> Result<Tensor> {
    Ok(Tensor::from_vec(hashed(shape.iter().product(), tensor), shape, &Device::Cpu)?)
}

const SHAPES: [(&str, &[usize]); 6] = [
    ("conv1.weight", &[40, 3, 3, 3]),
    ("conv1.bias", &[40]),
    ("conv2.weight", &[6, 40, 3, 3]),
    ("bn2.weight", &[6]),
    ("sa2.conv.weight", &[1, 2, 7, 7]),
    ("fc1.weight", &[7, 11]),
];

#[test]
fn optimizers_go_where_those_of_pytorch_go() -> Result<()> {
    let config = |kind, learning_rate| OptimizerConfig { kind, learning_rate, ..OptimizerConfig::default() };
    let adam = OptimizerConfig { beta1: 0.8, beta2: 0.95, epsilon: 1e-6, ..config(OptimizerKind::Adam, 0.01) };
    let sgd = OptimizerConfig { momentum: 0.0, nesterov: false, ..config(OptimizerKind::Sgd, 0.1) };
    let momentum = OptimizerConfig { momentum: 0.9, weight_decay: 0.05, ..sgd.clone() };
    let muon = OptimizerConfig {
        momentum: 0.6,
        sgd_learning_rate: 0.67,
        sgd_momentum: 0.85,
        weight_decay: 0.006,
        bias_rate_factor: 0.08,
        ..config(OptimizerKind::Muon, 0.24)
    };
    // Some roundings of f32, of the greatest weight: eight steps of a few operations each. Muon's iteration makes up to 41
    // times as much of a rounding.
    for (name, config, tolerance) in [
        ("adam", adam.clone(), 2e-6),
        ("adamw", OptimizerConfig { kind: OptimizerKind::AdamW, weight_decay: 0.3, ..adam }, 2e-6),
        ("sgd", sgd, 1e-6),
        ("momentum", momentum.clone(), 1e-6),
        ("nesterov", OptimizerConfig { nesterov: true, bias_rate_factor: 64.0, ..momentum }, 1e-6),
        ("muon", muon, 2e-5),
    ] {
        let mut parameters = vec![];
        for (tensor, (name, shape)) in SHAPES.into_iter().enumerate() {
            parameters.push((name.to_owned(), Var::from_tensor(&number(shape, tensor)?)?));
        }
        let mut optimizer = Optimizer::new(&config, &parameters)?;
        for step in 1..=8 {
            let gradient =
                |(tensor, (_, shape)): (usize, (&str, &[usize]))| number(shape, 100 * step + tensor).map(Some);
            let gradients: Vec<Option<Tensor>> = SHAPES.into_iter().enumerate().map(gradient).collect::<Result<_>>()?;
            optimizer.step(&gradients, config.learning_rate / step as f64)?;
        }
        for (parameter, var) in &parameters {
            let expected = values(&reference()?[&format!("{name}.{parameter}")])?;
            let greatest = expected.iter().fold(0.0, |greatest: f64, value| greatest.max(value.abs()));
            let apart =
                values(var)?.iter().zip(&expected).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f64::max);
            println!("{name}: {parameter}: weights differ by {:.1e}", apart / greatest);
            assert!(apart <= tolerance * greatest, "{name}: {parameter}: weights differ by {:.1e}", apart / greatest);
        }
    }
    Ok(())
}

#[test]
fn losses_and_their_gradients_are_those_of_pytorch() -> Result<()> {
    let logits = Var::from_tensor(&(number(&[12, 10], 7)? * 4.0)?)?;
    let labels = Tensor::from_iter((0..12u32).map(|image| image % 10), &Device::Cpu)?;
    let weights: Arc<[f64]> = (0..10).map(|class| f64::from(1 + class % 4) / 4.0).collect();
    for (name, class_weights) in [("smoothing", None), ("weighted", Some(weights))] {
        for smoothing in [0.0, 0.1, 0.2] {
            let expected = |what: &str| values(&reference()?[&format!("{name}.{smoothing:.1}.{what}")]);
            let loss = CrossEntropyLoss { smoothing, class_weights: class_weights.clone() };
            let (loss, tape) = tape::record(|| loss.of(&logits, &labels))?;
            // Roundings of one f32.
            let (loss_value, expected_loss) = (f64::from(loss.to_scalar::<f32>()?), expected("loss")?[0]);
            assert!((loss_value - expected_loss).abs() <= 1e-7 * expected_loss, "{name} {smoothing}");
            let gradient = tape.backward(&loss)?.get(&logits).expect("a gradient").clone();
            for (ours, theirs) in values(&gradient)?.into_iter().zip(expected("gradient")?) {
                assert!((ours - theirs).abs() <= 2e-8, "{name} {smoothing}: {ours}, not {theirs}");
            }
        }
    }
    Ok(())
}

#[test]
fn schedules_have_the_rates_of_pytorch() -> Result<()> {
    let config = |kind| ScheduleConfig { kind, min_learning_rate: 0.0, ..ScheduleConfig::default() };
    let one_cycle = || config(ScheduleKind::OneCycle);
    let linear = ScheduleConfig { min_learning_rate: 0.05, ..config(ScheduleKind::Linear) };
    let line = ScheduleConfig {
        peak_fraction: 0.23,
        anneal: Anneal::Linear,
        div_factor: 5.0,
        final_div_factor: 100.0,
        ..one_cycle()
    };
    let triangular = ScheduleConfig {
        peak_fraction: 0.23,
        div_factor: 5.0,
        min_learning_rate: 0.035,
        ..config(ScheduleKind::Triangular)
    };
    for (name, config) in [
        ("one_cycle", one_cycle()),
        ("one_cycle_linear", line),
        ("one_cycle_of_seven", ScheduleConfig { peak_fraction: 0.5, ..one_cycle() }),
        ("one_cycle_without_a_rise", ScheduleConfig { peak_fraction: 0.0, ..one_cycle() }),
        ("one_cycle_without_a_fall", ScheduleConfig { peak_fraction: 1.0, ..one_cycle() }),
        ("linear", linear.clone()),
        ("linear_with_warm_up", ScheduleConfig { warmup_steps: 5, ..linear }),
        ("triangular", triangular),
    ] {
        let expected = values(&reference()?[&format!("schedule.{name}")])?;
        let schedule = Schedule::new(&config, 0.5, expected.len() as u64);
        let state = schedule.start();
        assert!(schedule.moves_each_step());
        for (step, expected) in (1..).zip(expected) {
            let rate = schedule.at(step, &state);
            // PyTorch adds up those of lines step by step.
            assert!((rate - expected).abs() <= 1e-14, "{name}, step {step}: {rate}, PyTorch {expected}");
        }
    }
    Ok(())
}

/// A batch normalisation of 50 channels, as far as `write_average` and `write_lookahead` of the script move it; the others
/// stay as they are.
fn normalisation() -> Result<Weights> {
    let var = |value: f32| Var::from_tensor(&Tensor::full(value, 50, &Device::Cpu)?);
    Ok(Weights {
        parameters: vec![("weight".into(), var(1.0)?)],
        buffers: vec![
            ("running_mean".into(), var(0.0)?),
            ("num_batches_tracked".into(), Var::from_tensor(&Tensor::new(0i64, &Device::Cpu)?)?),
        ],
    })
}

fn assert_average(name: &str, ours: &Tensor, tolerance: f64) -> Result<()> {
    let expected = values(&reference()?[name])?;
    let apart = values(ours)?.iter().zip(&expected).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f64::max);
    println!("{name}: differs by {apart:.1e}");
    assert!(apart <= tolerance, "{name}: differs by {apart:.1e}");
    Ok(())
}

#[test]
fn the_moving_average_is_that_of_pytorch() -> Result<()> {
    let (raw, average) = (normalisation()?, normalisation()?);
    let mut ema = Ema::new(&AverageConfig { decay: 0.9, every: 1, ..AverageConfig::default() });
    for step in 1..=100 {
        raw.parameters[0].1.set(&number(&[50], step)?)?;
        raw.buffers[0].1.set(&number(&[50], 1000 + step)?)?;
        ema.after_step(step as u64, &raw, &average)?;
        if [1, 3, 100].contains(&step) {
            // Numbers between -1 and 1.
            assert_average(&format!("average.{step}.weight"), &average.parameters[0].1, 3e-7)?;
            assert_average(&format!("average.{step}.running_mean"), &average.buffers[0].1, 3e-7)?;
        }
    }
    Ok(())
}

#[test]
fn lookahead_is_that_of_airbench94() -> Result<()> {
    let fast = normalisation()?;
    let mut lookahead = Lookahead::new(&AverageConfig { every: 5, ..AverageConfig::default() }, &fast)?;
    for step in 1..=23 {
        for (var, tensor) in [(&fast.parameters[0].1, step), (&fast.buffers[0].1, 1000 + step)] {
            var.set(&(var.as_tensor() + number(&[50], tensor)?)?)?;
        }
        lookahead.after_step(step as u64, 23, &fast)?;
        if [5, 19, 20, 23].contains(&step) {
            // Sums of up to 23 numbers between -1 and 1.
            assert_average(&format!("lookahead.{step}.weight"), &fast.parameters[0].1, 2e-6)?;
            assert_average(&format!("lookahead.{step}.running_mean"), &fast.buffers[0].1, 2e-6)?;
            let slow = deserialize(&lookahead.to_safetensors()?, &Device::Cpu)?;
            assert_average(&format!("lookahead.{step}.slow_weight"), &slow["weight"], 2e-6)?;
        }
    }
    Ok(())
}
