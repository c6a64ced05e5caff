//! The charts of one run, or of several over each other.

use super::RecordedRun;
use super::figure::{Band, Chart, Interpolation, Line, Stroke};
use crate::run::metric::Metric;
use crate::run::series::{Smoothing, XAxis};
use crate::run::state::RunState;

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
            chart.lines.push(Line { label: "each step".into(), stroke: Stroke::Faint, points, ..Line::default() });
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
            chart.lines.push(Line { label, colour, stroke, points, ..Line::default() });
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
        let points = rate_points(&run.state, COLUMNS);
        let label = if runs.len() == 1 { String::new() } else { run.name() };
        chart.lines.push(Line { label, colour: number, interpolation: Interpolation::Hold, points, ..Line::default() });
    }
    chart
}

/// The learning rate over epochs, up to where the run is. One that moves has about `most` of its steps; of any other each
/// change is where it was made, however few steps the log has.
pub fn rate_points(run: &RunState, most: usize) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = match run.first_learning_rate {
        Some(first) if !run.learning_rate_moves() => {
            let changes = run.learning_rate_changes.iter().map(|change| (run.in_epochs(change.step), change.to));
            [(0.0, first)].into_iter().chain(changes).collect()
        }
        _ => {
            let series = run.series(Metric::LearningRate);
            let stride = series.len().div_ceil(most).max(1);
            series.points().step_by(stride).map(|point| (point.epoch, point.value)).collect()
        }
    };
    // The last one holds up to where the run is.
    let end = run.series(Metric::BatchLoss).extent(XAxis::Epoch);
    if let (Some((_, end)), Some(rate)) = (end, run.learning_rate) {
        points.push((end, rate));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{Event, LearningRateReason, Record, RunStarted, StepsDone};

    #[test]
    fn only_a_spike_is_cut_off() {
        let tame: Vec<f64> = (0..1000).map(|step| 2.3 - f64::from(step) * 0.002).collect();
        assert_eq!(robust_top(tame.clone()), None);
        let spike = robust_top([tame, vec![1e8, f64::NAN]].concat()).unwrap();
        assert!((2.0..4.0).contains(&spike), "{spike}");
        assert_eq!(robust_top(vec![]), None);
    }

    #[test]
    fn a_change_of_the_rate_is_where_it_was_made_in_a_log_of_few_steps() {
        let started = RunStarted { steps_per_epoch: 10, learning_rate: 0.4, ..RunStarted::example() };
        let steps =
            |first_step| Event::StepsDone(StepsDone { epoch: first_step / 10 + 1, first_step, ..StepsDone::example() });
        let change =
            Event::LearningRateChanged { epoch: 2, step: 20, from: 0.4, to: 0.2, reason: LearningRateReason::Plateau };
        let mut state = RunState::default();
        for (number, event) in
            [Event::RunStarted(Box::new(started)), steps(1), change, steps(25)].into_iter().enumerate()
        {
            state.apply(&Record { time_ms: number as u64, event });
        }
        assert_eq!(rate_points(&state, COLUMNS), [(0.0, 0.4), (2.0, 0.2), (2.5, 0.2)]);
    }
}
