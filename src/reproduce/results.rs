//! The figures of a table's runs, each by its log, and those of a row over its seeds.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::{PlannedRun, Table};
use crate::config::{Config, TestTimeAugmentation};
use crate::model::NetworkShape;
use crate::run::comparison::{self, Accuracies, data_warning};
use crate::run::dir::{OpenError, RunDir, RunsDir};
use crate::run::event::{Command, EpochDone, Event, Outcome};
use crate::run::log::FollowError;
use crate::run::replay::replay_each;
use crate::run::state::{Phase, RunState};

/// How a run did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunResult {
    pub run: String,
    pub row: String,
    pub seed: u64,
    pub is_finished: bool,
    /// Epochs trained.
    pub epochs: u64,
    #[serde(flatten)]
    pub accuracies: Accuracies,
    /// In the order of the table's thresholds.
    pub reached: Vec<Option<Reached>>,
    /// Training and evaluation of all epochs: without starts, saving, pauses, and what an interruption took back.
    pub minutes: f64,
    /// The median over the steps that the log has.
    pub step_millis: Option<f64>,
    /// 10^15 operations of its convolutions and matrix products, forward and backward, over the training images of all epochs.
    pub petaflop: Option<f64>,
    pub model: String,
    pub parameters: u64,
    /// What it was trained on and judged by.
    pub data: String,
    pub device: String,
    pub machine: Option<String>,
    /// Of the taper that trained it, the last where there were several.
    pub commit: Option<String>,
    /// What a reader should know, such as that it was interrupted.
    pub remarks: Vec<String>,
    #[serde(skip)]
    pub curve: Vec<Point>,
}

/// An epoch of a run, when it was over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub epoch: u64,
    /// Training and evaluation of all epochs up to it.
    pub minutes: f64,
    /// Percent.
    pub accuracy: f64,
    pub test_time_augmentation: TestTimeAugmentation,
}

/// The first epoch with an accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reached {
    pub epoch: u64,
    /// What that epoch was judged with.
    #[serde(skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub test_time_augmentation: TestTimeAugmentation,
    /// Training and evaluation of all epochs up to it.
    pub minutes: f64,
}

/// A row over its finished runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowResult {
    pub row: String,
    /// What differs from the default configuration, as TOML; none: it is not set.
    pub config: BTreeMap<&'static str, Option<String>>,
    pub planned: usize,
    pub finished: usize,
    pub epochs: Option<u64>,
    pub best_accuracy: Option<Estimate>,
    /// What one of them was judged with.
    #[serde(skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub best_test_time_augmentation: TestTimeAugmentation,
    pub last_accuracy: Option<Estimate>,
    /// What one of them was judged with.
    #[serde(skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub last_test_time_augmentation: TestTimeAugmentation,
    /// The highest in the time that the quickest row takes: see [`equal_minutes`].
    pub equal_time_accuracy: Option<Estimate>,
    /// What one of them was judged with.
    #[serde(skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub equal_time_test_time_augmentation: TestTimeAugmentation,
    /// In the order of the table's thresholds.
    pub reached: Vec<RowReached>,
    pub minutes: Option<Estimate>,
    pub step_millis: Option<Estimate>,
    /// The mean.
    pub petaflop: Option<f64>,
}

/// When the runs of a row reached an accuracy: those that did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RowReached {
    pub runs: usize,
    /// What the epoch of one of them was judged with.
    #[serde(skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub test_time_augmentation: TestTimeAugmentation,
    /// The mean, as of the minutes.
    pub epoch: Option<f64>,
    pub minutes: Option<f64>,
}

/// The mean over some runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub mean: f64,
    /// The standard deviation of the sample (n - 1); of one run there is none.
    pub deviation: Option<f64>,
}

/// A run of the table and its whole log.
pub struct RecordedResult {
    pub result: RunResult,
    pub state: RunState,
}

impl Estimate {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        (!values.is_empty()).then_some(Self { mean, deviation })
    }
}

/// Of those runs of the table that are there and have begun, in its order.
///
/// # Errors
/// A log cannot be read.
pub fn read(table: &Table, runs: &RunsDir) -> Result<Vec<RecordedResult>, FollowError> {
    let mut results = vec![];
    for planned in table.runs() {
        match runs.open(&planned.name) {
            Ok(dir) => results.push(RecordedResult::read(&planned, &dir, &table.thresholds)?),
            Err(OpenError::Unknown { .. }) => {}
            Err(error) => {
                let source = std::io::Error::other(error.to_string());
                return Err(FollowError::Io { path: runs.path().join(&planned.name), source });
            }
        }
    }
    results.retain(|recorded| recorded.state.started.is_some());
    Ok(results)
}

impl RecordedResult {
    /// # Errors
    /// Its log cannot be read.
    pub fn read(planned: &PlannedRun, dir: &RunDir, thresholds: &[f64]) -> Result<Self, FollowError> {
        let mut history = History::default();
        let state = replay_each(dir, |record| history.look(&record.event))?;
        let reached = thresholds.iter().map(|&threshold| {
            let comparison::Reached { epoch, test_time_augmentation, elapsed_secs } =
                comparison::reached(&state.epochs, threshold)?;
            Some(Reached { epoch, test_time_augmentation, minutes: elapsed_secs / 60.0 })
        });
        let reached = reached.collect();
        let curve = curve(&state);
        let started = state.started.as_ref();
        let result = RunResult {
            run: planned.name.clone(),
            row: planned.row.clone(),
            seed: planned.config.run.seed,
            is_finished: state.phase == Phase::Ended(Outcome::Completed),
            epochs: state.epochs.last().map_or(0, |last| last.epoch),
            accuracies: Accuracies::of(&state),
            reached,
            minutes: curve.last().map_or(0.0, |last| last.minutes),
            step_millis: history.median_step_millis(),
            petaflop: started.and_then(|started| {
                let Config { model, train, .. } = &planned.config;
                let flop_of_image = |epoch| {
                    let shape = NetworkShape::new(model, &started.dataset.scaled(train.image_scale(epoch))).ok()?;
                    Some(shape.flops().training as f64)
                };
                let flop = (1..=state.epochs.last()?.epoch).map(flop_of_image).sum::<Option<f64>>()?;
                Some(1e-15 * flop * started.train_samples as f64)
            }),
            model: started.map_or_else(String::new, |started| started.model.clone()),
            parameters: started.map_or(0, |started| started.parameters),
            data: comparison::data(&state),
            device: started.map_or_else(String::new, |started| started.device.clone()),
            machine: started.and_then(|started| started.machine.clone()),
            commit: started.and_then(|started| started.taper.clone()).and_then(|build| build.commit),
            remarks: history.remarks(&state),
            curve,
        };
        Ok(Self { result, state })
    }
}

fn curve(state: &RunState) -> Vec<Point> {
    let mut secs = 0.0;
    let points = state.epochs.iter().map(|done| {
        secs += done.elapsed_secs;
        let &EpochDone { epoch, test_accuracy: accuracy, test_time_augmentation, .. } = done;
        Point { epoch, minutes: secs / 60.0, accuracy, test_time_augmentation }
    });
    points.collect()
}

impl RunResult {
    /// The highest accuracy that it has reached by then.
    pub fn best_within(&self, minutes: f64) -> Option<Point> {
        let points = self.curve.iter().filter(|point| point.minutes <= minutes && point.accuracy.is_finite());
        points.copied().max_by(|a, b| a.accuracy.total_cmp(&b.accuracy))
    }
}

/// What a log tells beside the state that it leads to.
#[derive(Default)]
struct History {
    starts: usize,
    pauses: usize,
    rollbacks: usize,
    rates_set: usize,
    /// Of each line of steps, how many and the milliseconds of one.
    step_millis: Vec<(f64, usize)>,
}

impl History {
    fn look(&mut self, event: &Event) {
        match event {
            Event::RunStarted(_) => self.starts += 1,
            Event::Paused { .. } => self.pauses += 1,
            Event::RolledBack { .. } => self.rollbacks += 1,
            Event::CommandReceived { command: Command::SetLearningRate { .. }, .. } => self.rates_set += 1,
            Event::StepsDone(steps) => {
                let millis = 1e3 * steps.train_secs / steps.losses.len() as f64;
                if millis.is_finite() && millis > 0.0 {
                    self.step_millis.push((millis, steps.losses.len()));
                }
            }
            _ => {}
        }
    }

    fn median_step_millis(&self) -> Option<f64> {
        let mut millis = self.step_millis.clone();
        millis.sort_by(|one, other| one.0.total_cmp(&other.0));
        let steps: usize = millis.iter().map(|(_, steps)| steps).sum();
        let mut before = 0;
        let middle = millis.into_iter().find(|(_, count)| {
            before += count;
            2 * before >= steps
        });
        middle.map(|(millis, _)| millis)
    }

    fn remarks(&self, state: &RunState) -> Vec<String> {
        let times = |count: usize| if count == 1 { "once".to_owned() } else { format!("{count} times") };
        let told = [
            (state.phase != Phase::Ended(Outcome::Completed)).then(|| "not finished".to_owned()),
            state
                .started
                .as_ref()
                .filter(|started| !started.evaluated_weights.are_raw())
                .map(|_| "judged by averaged weights".to_owned()),
            (self.starts > 1).then(|| format!("interrupted {} and resumed", times(self.starts - 1))),
            (self.pauses > 0).then(|| format!("paused {}", times(self.pauses))),
            (self.rollbacks > 0).then(|| format!("diverged, rolled back {}", times(self.rollbacks))),
            (self.rates_set > 0).then(|| format!("learning rate set by hand {}", times(self.rates_set))),
        ];
        told.into_iter().flatten().collect()
    }
}

/// The time in which rows are compared: the minutes of the longest finished run of the row that takes the least on average.
pub fn equal_minutes<'a>(table: &Table, results: impl IntoIterator<Item = &'a RunResult> + Clone) -> Option<f64> {
    let of_rows = table.rows.iter().filter_map(|row| {
        let finished = results.clone().into_iter().filter(|result| result.row == row.name && result.is_finished);
        let minutes: Vec<f64> = finished.map(|run| run.minutes).collect();
        Some((Estimate::of(minutes.iter().copied())?.mean, minutes.into_iter().fold(0.0, f64::max)))
    });
    of_rows.min_by(|(mean, _), (other, _)| mean.total_cmp(other)).map(|(_, longest)| longest)
}

/// Row by row.
pub fn rows<'a>(table: &Table, results: impl IntoIterator<Item = &'a RunResult> + Clone) -> Vec<RowResult> {
    let equal_minutes = equal_minutes(table, results.clone());
    let rows = table.rows.iter().map(|row| {
        let finished: Vec<&RunResult> =
            results.clone().into_iter().filter(|result| result.row == row.name && result.is_finished).collect();
        let over = |value: fn(&RunResult) -> Option<f64>| Estimate::of(finished.iter().filter_map(|run| value(run)));
        let of_runs = |value: fn(&RunResult) -> TestTimeAugmentation| any(finished.iter().map(|run| value(run)));
        let reached = (0..table.thresholds.len()).map(|index| {
            let reached: Vec<Reached> = finished.iter().filter_map(|run| run.reached[index]).collect();
            let mean = |value: fn(&Reached) -> f64| Estimate::of(reached.iter().map(value)).map(|mean| mean.mean);
            RowReached {
                runs: reached.len(),
                test_time_augmentation: any(reached.iter().map(|reached| reached.test_time_augmentation)),
                epoch: mean(|reached| reached.epoch as f64),
                minutes: mean(|reached| reached.minutes),
            }
        });
        let at_equal_time: Vec<Point> = equal_minutes
            .map_or_else(Vec::new, |minutes| finished.iter().filter_map(|run| run.best_within(minutes)).collect());
        let config = row.differences(&Config::default()).into_iter().map(|change| (change.key, change.to)).collect();
        RowResult {
            row: row.name.clone(),
            config,
            planned: row.seeds.len(),
            finished: finished.len(),
            epochs: finished.iter().map(|run| run.epochs).max(),
            best_accuracy: over(|run| run.accuracies.best),
            best_test_time_augmentation: of_runs(|run| run.accuracies.best_augmentation),
            last_accuracy: over(|run| run.accuracies.last),
            last_test_time_augmentation: of_runs(|run| run.accuracies.last_augmentation),
            equal_time_accuracy: Estimate::of(at_equal_time.iter().map(|point| point.accuracy)),
            equal_time_test_time_augmentation: any(at_equal_time.iter().map(|point| point.test_time_augmentation)),
            reached: reached.collect(),
            minutes: over(|run| Some(run.minutes)),
            step_millis: over(|run| run.step_millis),
            petaflop: over(|run| run.petaflop).map(|petaflop| petaflop.mean),
        }
    });
    rows.collect()
}

/// The first of some that is one.
fn any(mut augmentations: impl Iterator<Item = TestTimeAugmentation>) -> TestTimeAugmentation {
    augmentations.find(|augmentation| !augmentation.is_none()).unwrap_or_default()
}

/// What there is to say where the runs were not trained on and judged by the same images.
pub fn data_differs<'a>(results: impl IntoIterator<Item = &'a RunResult>) -> Option<String> {
    data_warning(results.into_iter().map(|result| (result.run.as_str(), result.data.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::example::study;

    #[test]
    fn a_row_is_the_mean_of_its_finished_runs() {
        let (_folder, table, runs) = study();
        let results: Vec<RunResult> = read(&table, &runs).unwrap().into_iter().map(|read| read.result).collect();
        let rows = rows(&table, &results);
        let plain = &rows[0];
        assert_eq!((plain.planned, plain.finished, plain.epochs), (2, 2, Some(3)));
        let best = plain.best_accuracy.unwrap();
        assert!((best.mean - 61.0).abs() < 1e-9 && (best.deviation.unwrap() - 2f64.sqrt()).abs() < 1e-9, "{best:?}");
        assert_eq!(
            plain.reached,
            [RowReached {
                runs: 1,
                test_time_augmentation: TestTimeAugmentation::None,
                epoch: Some(3.0),
                minutes: Some(1.0)
            }]
        );
        assert!((plain.minutes.unwrap().mean - 1.0).abs() < 1e-9);
        assert_eq!(plain.step_millis.unwrap().mean, 10.0);
        let se = &rows[1];
        assert_eq!((se.planned, se.finished, se.best_accuracy, se.reached[0].runs), (1, 0, None, 0));
    }

    #[test]
    fn rows_are_compared_in_the_time_of_the_quickest() {
        let (_folder, table, runs) = study();
        let mut results: Vec<RunResult> = read(&table, &runs).unwrap().into_iter().map(|read| read.result).collect();
        assert_eq!(results[0].curve.len(), 3);
        // Of the other row, at the same accuracies, each epoch takes twice as long.
        let mut slower = RunResult { row: "se".to_owned(), minutes: 2.0 * results[0].minutes, ..results[0].clone() };
        slower.curve.iter_mut().for_each(|point| point.minutes *= 2.0);
        let first = slower.curve[0].accuracy;
        results.push(slower);
        let minutes = equal_minutes(&table, &results).unwrap();
        assert!((minutes - 1.0).abs() < 1e-9, "{minutes}");
        let rows = rows(&table, &results);
        assert_eq!(rows[0].equal_time_accuracy, rows[0].best_accuracy);
        assert_eq!(rows[1].equal_time_accuracy.unwrap().mean, first);
        assert_eq!(results[0].best_within(0.1), None);
    }

    #[test]
    fn a_reader_is_told_what_happened_to_a_run() {
        let (_folder, table, runs) = study();
        let remarks: Vec<Vec<String>> =
            read(&table, &runs).unwrap().into_iter().map(|read| read.result.remarks).collect();
        assert_eq!(remarks, [vec![], vec!["interrupted once and resumed".to_owned()], vec!["not finished".to_owned()]]);
    }

    #[test]
    fn the_median_is_over_steps_and_not_over_lines() {
        let history = History { step_millis: vec![(9.0, 1), (5.0, 10), (7.0, 2)], ..History::default() };
        assert_eq!(history.median_step_millis(), Some(5.0));
        assert_eq!(History::default().median_step_millis(), None);
    }

    #[test]
    fn one_run_has_no_deviation() {
        assert_eq!(Estimate::of([3.0]), Some(Estimate { mean: 3.0, deviation: None }));
        assert_eq!(Estimate::of([f64::NAN]), None);
    }
}
