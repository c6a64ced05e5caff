//! A log that is small enough for a repository, and shows the same run: every epoch, event and end, but of steps and samples
//! only some. What is left of them is as it was.

use crate::run::event::{Event, Record, StepsDone};

/// Bytes that lines of steps may take, about: with epochs, samples and all else, 50 epochs fit in 150 kB.
const STEP_BYTES: usize = 60_000;
/// Steps of a line: of more, as a GPU takes in a tenth of a second, the last are kept.
const STEPS_OF_A_LINE: usize = 16;
/// Samples of the machine.
const SAMPLES: usize = 48;
/// Epochs with a confusion matrix: evenly chosen, the best and the last among them.
const CONFUSIONS: usize = 50;
/// The fold of a log does not count a silence longer than ten minutes.
const LONGEST_GAP_MS: u64 = 5 * 60 * 1000;

/// The records of a log that are published of it, in their order.
pub fn thin(records: &[Record]) -> Vec<Record> {
    let is_steps = |record: &Record| matches!(record.event, Event::StepsDone(_));
    let step_bytes: usize = records.iter().filter(|record| is_steps(record)).map(bytes_of).sum();
    let steps_stride = step_bytes.div_ceil(STEP_BYTES).max(1);
    let samples = records.iter().filter(|record| matches!(record.event, Event::SystemSampled { .. })).count();
    let samples_stride = samples.div_ceil(SAMPLES).max(1);
    let epochs = EpochDetails::of(records);

    let (mut lines, mut sampled, mut kept) = (0, 0, Vec::<Record>::new());
    let mut follows_start = false;
    for (index, record) in records.iter().enumerate() {
        let since_kept = kept.last().map_or(0, |last| record.time_ms.saturating_sub(last.time_ms));
        let event = match &record.event {
            Event::StepsDone(steps) => {
                let is_chosen = lines % steps_stride == 0
                    || follows_start
                    || since_kept > LONGEST_GAP_MS
                    || ends_a_stretch(&records[index + 1..]);
                lines += 1;
                follows_start = false;
                is_chosen.then(|| Event::StepsDone(last_of(steps)))
            }
            Event::SystemSampled { .. } => {
                sampled += 1;
                ((sampled - 1) % samples_stride == 0).then(|| record.event.clone())
            }
            Event::CheckpointSaved(_) | Event::ProbeSaved(_) | Event::DirectoryMoved { .. } => None,
            Event::EpochDone(done) => {
                let mut done = done.clone();
                if !epochs.with_mistakes.contains(&done.epoch) {
                    done.mistakes.clear();
                }
                if !epochs.with_confusion.contains(&done.epoch) {
                    done.confusion = None;
                }
                Some(Event::EpochDone(done))
            }
            Event::RunStarted(_) => {
                follows_start = true;
                Some(record.event.clone())
            }
            event => Some(event.clone()),
        };
        kept.extend(event.map(|event| Record { time_ms: record.time_ms, event }));
    }
    kept
}

/// Whether the steps before these records are the last before something other than steps and samples: when they were done is
/// when that began.
fn ends_a_stretch(after: &[Record]) -> bool {
    let next = after.iter().find(|record| {
        !matches!(
            record.event,
            Event::SystemSampled { .. }
                | Event::CheckpointSaved(_)
                | Event::ProbeSaved(_)
                | Event::DirectoryMoved { .. }
        )
    });
    next.is_none_or(|next| !matches!(next.event, Event::StepsDone(_)))
}

/// Which epochs keep what takes room.
struct EpochDetails {
    with_confusion: Vec<u64>,
    with_mistakes: Vec<u64>,
}

impl EpochDetails {
    fn of(records: &[Record]) -> Self {
        let epochs = records.iter().filter_map(|record| match &record.event {
            Event::EpochDone(done) => Some((done.epoch, done.best)),
            _ => None,
        });
        let epochs: Vec<(u64, bool)> = epochs.collect();
        let best = epochs.iter().rev().find(|(_, best)| *best).map(|(epoch, _)| *epoch);
        let last = epochs.last().map(|(epoch, _)| *epoch);
        let with_mistakes: Vec<u64> = best.into_iter().chain(last).collect();
        let stride = epochs.len().div_ceil(CONFUSIONS).max(1);
        let even = epochs.iter().map(|(epoch, _)| *epoch).step_by(stride);
        Self { with_confusion: even.chain(with_mistakes.clone()).collect(), with_mistakes }
    }
}

/// Its last steps, with their share of what is told of all.
fn last_of(steps: &StepsDone) -> StepsDone {
    let all = steps.losses.len();
    let Some(left_out) = all.checked_sub(STEPS_OF_A_LINE).filter(|&left_out| left_out > 0) else {
        return steps.clone();
    };
    let share = STEPS_OF_A_LINE as f64 / all as f64;
    let of_count = |count: u64| (count as f64 * share).round() as u64;
    StepsDone {
        epoch: steps.epoch,
        first_step: steps.first_step + left_out as u64,
        losses: steps.losses[left_out..].to_vec(),
        gradient_norms: steps.gradient_norms.get(left_out..).unwrap_or_default().to_vec(),
        correct: of_count(steps.correct),
        samples: of_count(steps.samples),
        train_secs: steps.train_secs * share,
        split_us: steps.split_us.map(|split| split * share),
        learning_rate: steps.learning_rate,
    }
}

/// About how many bytes its line will take.
fn bytes_of(record: &Record) -> usize {
    /// Names of fields, times and the checksum.
    const FIXED: usize = 200;
    const NUMBER: usize = 10;
    match &record.event {
        Event::StepsDone(steps) => FIXED + 2 * NUMBER * steps.losses.len().min(STEPS_OF_A_LINE),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::example;
    use crate::run::state::RunState;

    fn fold(records: &[Record]) -> RunState {
        let mut state = RunState::default();
        records.iter().for_each(|record| state.apply(record));
        state
    }

    #[test]
    fn the_run_is_the_same_but_for_what_was_left_out() {
        let records = example::records(0, 80.0, 50, true);
        let thinned = thin(&records);
        let (whole, less) = (fold(&records), fold(&thinned));
        assert_eq!((less.phase, less.step, less.epoch), (whole.phase, whole.step, whole.epoch));
        assert_eq!(less.active_secs(less.last_activity_ms), whole.active_secs(whole.last_activity_ms));
        assert_eq!(less.epochs.len(), 50);
        for (less, whole) in less.epochs.iter().zip(&whole.epochs) {
            assert_eq!(less.confusion, whole.confusion);
            let mut whole = whole.clone();
            whole.mistakes.clone_from(&less.mistakes);
            assert_eq!(*less, whole);
        }
        assert_eq!(less.best(), whole.best());
        // When an epoch was done is known exactly.
        for epoch in &whole.epochs {
            assert_eq!(less.clock().at(epoch.step), whole.clock().at(epoch.step), "epoch {}", epoch.epoch);
        }
        let secs = |state: &RunState| state.step_time().and_then(|time| time.secs_per_step()).unwrap();
        assert!((secs(&less) - secs(&whole)).abs() < 1e-9);
        let values = less.losses.values().iter().zip(whole.losses.values());
        assert!(values.clone().all(|(less, whole)| less.is_nan() || less == whole));
        let kept = values.filter(|(less, _)| !less.is_nan()).count();
        assert!((800..2500).contains(&kept), "{kept} of {}", whole.losses.len());
        assert!(less.checkpoints.is_empty() && less.probes.is_empty());
    }

    #[test]
    fn fifty_epochs_of_cifar_are_small() {
        // As many lines as the full data set gives on two cores: 782 steps of an epoch in 260 of them.
        let mut records = vec![];
        for record in example::records(0, 80.0, 50, true) {
            let copies = if matches!(record.event, Event::StepsDone(_)) { 10 } else { 1 };
            records.extend(std::iter::repeat_n(record, copies));
        }
        let bytes: usize = thin(&records).iter().map(|record| serde_json::to_vec(record).unwrap().len() + 20).sum();
        assert!(bytes < 150_000, "{bytes}");
    }

    #[test]
    fn thinning_twice_is_thinning_once() {
        let once = thin(&example::records(0, 80.0, 3, true));
        assert_eq!(thin(&once), once);
    }

    #[test]
    fn a_long_line_keeps_its_last_steps_and_their_share() {
        let mut records = example::records(0, 80.0, 1, true);
        let Event::StepsDone(steps) = &mut records[1].event else { panic!("steps") };
        (steps.losses, steps.gradient_norms) = ((0..64).map(|loss| loss as f32).collect(), vec![]);
        (steps.samples, steps.train_secs) = (64 * 64, 0.64);
        let Event::StepsDone(steps) = &thin(&records)[1].event else { panic!("steps") };
        assert_eq!((steps.first_step, steps.losses.len(), steps.losses[0]), (49, 16, 48.0));
        assert_eq!((steps.samples, steps.train_secs, steps.gradient_norms.len()), (16 * 64, 0.16, 0));
    }
}
