//! `taper eval`: how well a checkpoint does on the images that its run is judged by.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use super::select::{part, run_and_checkpoint};
use super::shell::say;
use crate::cli::EvalArgs;
use crate::config::{Config, TestTimeAugmentation};
use crate::data::{self, Split};
use crate::metrics::Confusion;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::EvaluatedWeights;
use crate::train::checkpoint::Checkpoint;
use crate::train::device::{self, Device, NoCard};
use crate::train::engine::Engine;
use crate::train::evaluate::Evaluation;

#[derive(Debug, Serialize)]
struct Report {
    run: String,
    checkpoint: String,
    step: u64,
    /// Whether these are the averaged ones.
    weights: EvaluatedWeights,
    data: String,
    split: Split,
    #[serde(skip_serializing_if = "TestTimeAugmentation::is_none")]
    test_time_augmentation: TestTimeAugmentation,
    #[serde(rename = "examples")]
    samples: u64,
    loss: f64,
    /// Percent.
    accuracy: f64,
    /// The names of the classes, in the order of rows and columns of `confusion`.
    classes: Vec<String>,
    /// Images by true class, and in each row by predicted class.
    confusion: Confusion,
    /// Where that was not the run's own.
    #[serde(skip)]
    another_device: Option<String>,
}

pub fn eval(runs: &RunsDir, args: &EvalArgs) -> Result<u8> {
    let (run, checkpoint) = run_and_checkpoint(runs, &args.target)?;
    let config = Config::load(Some(&run.config()), &[])?;
    let report = evaluate(&run, &checkpoint, &config, args)?;
    if args.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from).context("stdout")?;
        writeln!(out).context("stdout")?;
    } else {
        let weights = if report.weights.are_raw() { "" } else { ", by its averaged weights" };
        say(format!(
            "{} {}: loss {:.4}, accuracy {:.2} % on {} {} images of {}{weights}{}",
            report.run,
            report.checkpoint,
            report.loss,
            report.accuracy,
            report.samples,
            report.split,
            report.data,
            report.test_time_augmentation.suffix()
        ))?;
        if let Some(device) = &report.another_device {
            say(format!("evaluated on {device}"))?;
        }
        for line in class_lines(&report.confusion, &report.classes) {
            say(line)?;
        }
    }
    Ok(0)
}

fn evaluate(run: &RunDir, checkpoint: &Checkpoint, config: &Config, args: &EvalArgs) -> Result<Report> {
    let &EvalArgs { split, test_time_augmentation, .. } = args;
    let source = data::source::open(&config.data, config.run.seed)?;
    if let Some(origin) = &checkpoint.origin {
        origin.check_images(&source, run)?;
    }
    let (split, images) = part(&source, split)?;
    let (device, evaluation) = device::begin_anywhere(config, |device| {
        let mut engine = Engine::new(config, &source.train.info, device)?;
        checkpoint.load_weights(&mut engine)?;
        Evaluation::of(&engine, images, config.train.eval_batch_size, test_time_augmentation)
    })?;
    let is_without_card = matches!(device, Device::Cpu(NoCard::NotFound(_)));
    Ok(Report {
        run: run.name(),
        checkpoint: checkpoint.name(),
        step: checkpoint.state.step,
        weights: checkpoint.evaluated_weights(),
        data: source.name.clone(),
        split,
        test_time_augmentation,
        samples: evaluation.samples(),
        loss: evaluation.mean_loss(),
        accuracy: evaluation.accuracy(),
        confusion: evaluation.confusion().clone(),
        classes: images.info.classes.clone(),
        another_device: (is_without_card && config.run.device != "auto").then(|| device.describe()),
    })
}

/// A line for each class that there are images of.
fn class_lines(confusion: &Confusion, classes: &[String]) -> Vec<String> {
    let width = classes.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(10);
    let mut lines = vec![];
    for (class, name) in classes.iter().enumerate() {
        let Some(accuracy) = confusion.accuracy_of(class) else { continue };
        let taken_for = confusion
            .most_often_taken_for(class)
            .map_or(String::new(), |(other, count)| format!(", most often taken for {} ({count})", classes[other]));
        lines.push(format!("  {name:<width$} {accuracy:>6.2} % of {}{taken_for}", confusion.samples_of(class)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_class_says_what_it_is_taken_for() {
        let mut confusion = Confusion::new(10);
        for (truth, predicted) in [(3, 3), (3, 5), (3, 5), (9, 9)] {
            confusion.add(truth, predicted);
        }
        assert_eq!(
            class_lines(&confusion, &crate::data::DatasetInfo::cifar10().classes),
            ["  cat         33.33 % of 3, most often taken for dog (2)", "  truck      100.00 % of 1"]
        );
    }
}
