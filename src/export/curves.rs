//! The charts of one run, or of several over each other.

use super::RecordedRun;
use super::figure::{Band, Chart, Line, Stroke};
use crate::run::metric::Metric;
use crate::run::series::{Smoothing, XAxis};

/// Points of a curve, at most: what a figure has room for.
const COLUMNS: usize = 400;
/// Of what is known at each step.
const SMOOTHING: Smoothing = Smoothing::new(0.98);

/// Of one run the loss of each batch, and behind it what it is smoothed from; of several the smoothed ones.
pub fn batch_loss(runs: &[&RecordedRun]) -> Chart {
    let title = if runs.len() == 1 { "Iteration Loss" } else { "Iteration Loss (Smoothed)" };
    by_step(runs, Metric::BatchLoss, title, "Loss")
}

pub fn gradient_norm(runs: &[&RecordedRun]) -> Chart {
    let title = if runs.len() == 1 { "Gradient Norm" } else { "Gradient Norm (Smoothed)" };
    by_step(runs, Metric::GradientNorm, title, "Norm")
}

fn by_step(runs: &[&RecordedRun], metric: Metric, title: &str, y_label: &str) -> Chart {
    let mut chart = Chart {
        title: title.into(),
        x_label: "Step".into(),
        y_label: y_label.into(),
        whole_x: true,
        ..Chart::default()
    };
    let mut values = vec![];
    for (number, run) in runs.iter().enumerate() {
        let series = run.state.series(metric);
        let Some((first, last)) = series.extent(XAxis::Step) else { continue };
        values.extend(series.points().map(|point| point.value));
        if runs.len() == 1 && series.len() > COLUMNS {
            let buckets = series.envelope(XAxis::Step, first..last, COLUMNS);
            let points = buckets.iter().map(|bucket| (bucket.x, bucket.min, bucket.max)).collect();
            chart.bands.push(Band { label: "each step, least to greatest".into(), colour: 0, points });
        } else if runs.len() == 1 {
            let points = series.points().map(|point| (point.step as f64, point.value)).collect();
            chart.lines.push(Line { label: "each step".into(), stroke: Stroke::Faint, points, colour: 0 });
        }
        let label = if runs.len() == 1 { format!("smoothed, {}", SMOOTHING.weight()) } else { run.name() };
        let points = series.smoothed(XAxis::Step, first..last, COLUMNS, SMOOTHING);
        chart.lines.push(Line { label, colour: number, points, ..Line::default() });
    }
    chart.highest_y = robust_top(values);
    chart
}

/// Above which values are cut off, where the greatest are many times as large as nearly all others.
fn robust_top(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let greatest = *values.last()?;
    let usual = values[(values.len() - 1) * 99 / 100];
    (usual > 0.0 && greatest > 4.0 * usual).then_some(1.25 * usual)
}

pub fn loss(runs: &[&RecordedRun]) -> Chart {
    by_epoch(runs, "Loss", "Loss", (Metric::TrainLoss, Metric::TestLoss))
}

pub fn accuracy(runs: &[&RecordedRun]) -> Chart {
    by_epoch(runs, "Accuracy", "Accuracy (%)", (Metric::TrainAccuracy, Metric::TestAccuracy))
}

fn by_epoch(runs: &[&RecordedRun], title: &str, y_label: &str, (train, test): (Metric, Metric)) -> Chart {
    let mut chart = Chart {
        title: title.into(),
        x_label: "Epoch".into(),
        y_label: y_label.into(),
        whole_x: true,
        ..Chart::default()
    };
    let mut values = vec![];
    for (number, run) in runs.iter().enumerate() {
        let judged_by = run.state.judged_by();
        let (labels, colours) = match runs {
            [_] => (["train".to_owned(), judged_by.to_string()], [0, 1]),
            _ => ([format!("{} train", run.name()), format!("{} {judged_by}", run.name())], [number; 2]),
        };
        let strokes = [Stroke::Dashed, Stroke::Solid];
        for (((metric, label), colour), stroke) in [train, test].into_iter().zip(labels).zip(colours).zip(strokes) {
            let points: Vec<_> = run.state.series(metric).points().map(|point| (point.epoch, point.value)).collect();
            values.extend(points.iter().map(|point| point.1));
            chart.lines.push(Line { label, colour, stroke, points });
        }
    }
    chart.highest_y = robust_top(values);
    chart
}

pub fn learning_rate(runs: &[&RecordedRun]) -> Chart {
    let mut chart = Chart {
        title: "Learning Rate".into(),
        x_label: "Epoch".into(),
        y_label: "Learning Rate".into(),
        ..Chart::default()
    };
    for (number, run) in runs.iter().enumerate() {
        let series = run.state.series(Metric::LearningRate);
        let stride = series.len().div_ceil(COLUMNS).max(1);
        let mut points: Vec<(f64, f64)> =
            series.points().step_by(stride).map(|point| (point.epoch, point.value)).collect();
        // The last one holds up to where the run is.
        let end = run.state.series(Metric::BatchLoss).extent(XAxis::Epoch);
        if let (Some((_, end)), Some(rate)) = (end, run.state.learning_rate) {
            points.push((end, rate));
        }
        let label = if runs.len() == 1 { String::new() } else { run.name() };
        chart.lines.push(Line { label, colour: number, stroke: Stroke::Steps, points });
    }
    chart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_spike_is_cut_off() {
        let tame: Vec<f64> = (0..1000).map(|step| 2.3 - f64::from(step) * 0.002).collect();
        assert_eq!(robust_top(tame.clone()), None);
        let spike = robust_top([tame, vec![1e8, f64::NAN]].concat()).unwrap();
        assert!((2.0..4.0).contains(&spike), "{spike}");
        assert_eq!(robust_top(vec![]), None);
    }
}
