//! `taper eval`: how well a checkpoint does on the images that its run is judged by.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;

use super::select::{part, run_and_checkpoint};
use super::shell::say;
use crate::cli::EvalArgs;
use crate::config::{Config, TestTimeAugmentation};
use crate::data::{self, Split};
use crate::format;
use crate::metrics::Confusion;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::EvaluatedWeights;
use crate::text;
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
    /// Percent, as all that follows.
    accuracy: f64,
    /// Where there are more than [`FEW_CLASSES`].
    #[serde(skip_serializing_if = "Option::is_none")]
    top5_accuracy: Option<f64>,
    /// The unweighted mean over the classes.
    macro_f1: Option<f64>,
    /// See [`crate::metrics::Calibration`].
    expected_calibration_error: Option<f64>,
    /// In the order of `classes`.
    by_class: Vec<ClassScores>,
    /// The names of the classes, in the order of rows and columns of `confusion`.
    classes: Vec<String>,
    /// Images by true class, and in each row by predicted class.
    confusion: Confusion,
    /// Where that was not the run's own.
    #[serde(skip)]
    another_device: Option<String>,
}

/// With no more, the five most likely say little.
const FEW_CLASSES: usize = 10;
/// Of no more, every one has a line.
const LISTED_CLASSES: usize = 50;
/// Of more, so many have one, and so many pairs are named.
const WORST: usize = 20;
const WORST_PAIRS: usize = 10;

/// Of one class, in percent; None where it has no images, or none was taken for it.
#[derive(Debug, Serialize)]
struct ClassScores {
    class: String,
    images: u64,
    precision: Option<f64>,
    recall: Option<f64>,
    f1: Option<f64>,
}

pub fn eval(runs: &RunsDir, args: &EvalArgs) -> Result<u8> {
    let (run, checkpoint) = run_and_checkpoint(runs, &args.target)?;
    let config = Config::load(Some(&run.config()), &[])?;
    let report = evaluate(&run, &checkpoint, &config, args)?;
    if args.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from).context("stdout")?;
        writeln!(out).context("stdout")?;
    } else if args.csv {
        write_csv(&mut io::stdout().lock(), &report.by_class).context("stdout")?;
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
        say(scores_line(&report))?;
        for line in class_lines(&report) {
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
        top5_accuracy: (images.info.classes.len() > FEW_CLASSES).then(|| evaluation.top_accuracy()),
        macro_f1: evaluation.confusion().mean_of(Confusion::f1_of),
        expected_calibration_error: evaluation.calibration().expected_error(),
        by_class: class_scores(evaluation.confusion(), &images.info.classes),
        confusion: evaluation.confusion().clone(),
        classes: images.info.classes.clone(),
        another_device: (is_without_card && config.run.device != "auto").then(|| device.describe()),
    })
}

fn class_scores(confusion: &Confusion, classes: &[String]) -> Vec<ClassScores> {
    let scores = |(number, class): (usize, &String)| ClassScores {
        class: class.clone(),
        images: confusion.samples_of(number),
        precision: confusion.precision_of(number),
        recall: confusion.recall_of(number),
        f1: confusion.f1_of(number),
    };
    classes.iter().enumerate().map(scores).collect()
}

fn write_csv(out: &mut impl Write, by_class: &[ClassScores]) -> io::Result<()> {
    let mut rows = csv::Writer::from_writer(out);
    for scores in by_class {
        rows.serialize(scores)?;
    }
    rows.flush()
}

/// What there is to say of all classes together, beside the accuracy.
fn scores_line(report: &Report) -> String {
    let percent = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {value:.2} %"));
    let scores = [
        percent("top 5", report.top5_accuracy),
        percent("macro F1", report.macro_f1),
        percent("expected calibration error", report.expected_calibration_error),
    ];
    format!("  {}", scores.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// A table of the classes that there are images of; of many those that do worst, and what is confused most.
fn class_lines(Report { confusion, classes, by_class, .. }: &Report) -> Vec<String> {
    let mut known: Vec<usize> = (0..by_class.len()).filter(|&class| by_class[class].images > 0).collect();
    let is_cut = known.len() > LISTED_CLASSES;
    if is_cut {
        let f1 = |class: &usize| by_class[*class].f1.unwrap_or(0.0);
        known.sort_by(|a, b| f1(a).total_cmp(&f1(b)));
        known.truncate(WORST);
    }
    let width = text::widest(known.iter().map(|&class| &classes[class])).max(10);
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
    let mut lines =
        vec![format!("  {:<width$} {:>9} {:>7} {:>7} {:>8}", "class", "precision", "recall", "F1", "images")];
    for class in known {
        let scores = &by_class[class];
        let taken_for = confusion
            .most_often_taken_for(class)
            .map_or(String::new(), |(other, count)| format!("  most often taken for {} ({count})", classes[other]));
        lines.push(format!(
            "  {} {:>9} {:>7} {:>7} {:>8}{taken_for}",
            text::padded(&scores.class, width),
            number(scores.precision),
            number(scores.recall),
            number(scores.f1),
            format::count(scores.images)
        ));
    }
    if is_cut {
        lines.push(format!("  the {WORST} of the least F1 of {} classes; all: --csv", classes.len()));
        let pairs = confusion.worst_pairs();
        let pair = |&(truth, predicted, count): &(usize, usize, u64)| {
            format!("{} for {} ({})", classes[truth], classes[predicted], format::count(count))
        };
        let worst: Vec<String> = pairs.iter().take(WORST_PAIRS).map(pair).collect();
        if !worst.is_empty() {
            lines.push(format!("  most often taken for another: {}", worst.join(", ")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(confusion: Confusion) -> Report {
        let classes = crate::data::DatasetInfo::cifar10().classes;
        Report {
            run: "run".into(),
            checkpoint: "e0001-s000002".into(),
            step: 2,
            weights: EvaluatedWeights::Raw,
            data: "CIFAR-10".into(),
            split: Split::Test,
            test_time_augmentation: TestTimeAugmentation::None,
            samples: confusion.samples(),
            loss: 1.0,
            accuracy: 50.0,
            top5_accuracy: None,
            macro_f1: confusion.mean_of(Confusion::f1_of),
            expected_calibration_error: Some(3.125),
            by_class: class_scores(&confusion, &classes[..confusion.classes().min(10)]),
            classes,
            confusion,
            another_device: None,
        }
    }

    fn of(images: &[(usize, usize)]) -> Report {
        let mut confusion = Confusion::new(10);
        images.iter().for_each(|&(truth, predicted)| confusion.add(truth, predicted));
        report(confusion)
    }

    #[test]
    fn a_line_for_each_class_says_what_it_is_taken_for() {
        let report = of(&[(3, 3), (3, 5), (3, 5), (9, 9)]);
        assert_eq!(
            class_lines(&report),
            [
                "  class      precision  recall      F1   images",
                "  cat           100.00   33.33   50.00        3  most often taken for dog (2)",
                "  truck         100.00  100.00  100.00        1",
            ]
        );
        assert_eq!(scores_line(&report), "  macro F1 50.00 %, expected calibration error 3.12 %");
    }

    #[test]
    fn of_many_classes_the_worst_are_told() {
        let mut confusion = Confusion::new(1000);
        for class in 0..1000 {
            (0..3).for_each(|_| confusion.add(class, class));
        }
        (0..4).for_each(|_| confusion.add(700, 20));
        confusion.add(3, 4);
        let classes: Vec<String> = (0..1000).map(|class| format!("c{class}")).collect();
        let report = Report { by_class: class_scores(&confusion, &classes), classes, ..report(confusion) };
        let lines = class_lines(&report);
        assert_eq!(lines.len(), 1 + WORST + 2);
        // Half of what is taken for the one is, and half of the other is seen as it is: their F1 is equal.
        assert!(lines[1].starts_with("  c20 "), "{}", lines[1]);
        assert!(lines[2].starts_with("  c700 ") && lines[2].ends_with("most often taken for c20 (4)"), "{}", lines[2]);
        assert_eq!(lines[1 + WORST], "  the 20 of the least F1 of 1000 classes; all: --csv");
        assert_eq!(lines[2 + WORST], "  most often taken for another: c700 for c20 (4), c3 for c4 (1)");
    }

    #[test]
    fn csv_has_every_class() {
        let mut out = vec![];
        write_csv(&mut out, &of(&[(0, 0), (0, 9)]).by_class).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..3],
            ["class,images,precision,recall,f1", "airplane,2,100.0,50.0,66.66666666666667", "automobile,0,,,"]
        );
        assert_eq!(lines.len(), 11);
    }
}
