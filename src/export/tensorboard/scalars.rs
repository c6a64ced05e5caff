//! The curves.

use std::io::Write;

use anyhow::Result;

use super::event_writer::{EventWriter, scalar};
use crate::export::RecordedRun;
use crate::run::metric::Metric;
use crate::run::series::Point;
use crate::run::system_sample;

/// Of each curve by step, at most: TensorBoard itself shows a thousand points of it at a time. Of a longer one every so many
/// steps one is written, as it was.
pub const MOST_POINTS: usize = 100_000;

/// Of what is known at each step, or less often. In groups, by the word before the slash.
const BY_STEP: [(Metric, &str); 9] = [
    (Metric::BatchLoss, "batch/loss"),
    (Metric::GradientNorm, "batch/gradient_norm"),
    (Metric::LearningRate, "batch/learning_rate"),
    (Metric::Throughput, "speed/images_per_sec"),
    (Metric::System(system_sample::Metric::Cpu), "system/cpu_percent"),
    (Metric::System(system_sample::Metric::Memory), "system/memory_bytes"),
    (Metric::System(system_sample::Metric::CardUtilisation), "system/gpu_percent"),
    (Metric::System(system_sample::Metric::CardMemory), "system/gpu_memory_bytes"),
    (Metric::System(system_sample::Metric::CardPower), "system/gpu_watts"),
];

pub fn write(run: &RecordedRun, events: &mut EventWriter<impl Write>) -> Result<()> {
    for (metric, tag) in BY_STEP {
        let series = run.state.series(metric);
        let stride = series.len().div_ceil(MOST_POINTS).max(1);
        // The last one is among them: TensorBoard shows it as the present value.
        let skipped = series.len().saturating_sub(1) % stride;
        for Point { step, time_ms, value, .. } in series.points().skip(skipped).step_by(stride) {
            events.summary(time_ms, step, scalar(tag, value).into_iter().collect())?;
        }
    }
    let [train_loss, loss, train_accuracy, accuracy] = epoch_tags(run);
    let by_epoch = [
        (Metric::TrainLoss, train_loss),
        (Metric::TestLoss, loss),
        (Metric::TrainAccuracy, train_accuracy),
        (Metric::TestAccuracy, accuracy),
    ];
    for (metric, tag) in by_epoch {
        for Point { step, time_ms, value, .. } in run.state.series(metric).points() {
            events.summary(time_ms, step, scalar(&tag, value).into_iter().collect())?;
        }
    }
    Ok(())
}

/// Of train loss, test loss, train accuracy and test accuracy; of a run that holds images out, those of validation.
pub fn epoch_tags(run: &RecordedRun) -> [String; 4] {
    let judged_by = run.state.judged_by();
    ["loss/train".to_owned(), format!("loss/{judged_by}"), "accuracy/train".to_owned(), format!("accuracy/{judged_by}")]
}
