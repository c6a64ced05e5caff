//! Runs beside each other: how each did, and what differs in their configurations.

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use super::dir::RunDir;
use super::event::EpochDone;
use super::state::{Phase, RunState};
use crate::config::{Config, TestTimeAugmentation, Values, values_of};
use crate::{format, ordinary_file};

/// How a run did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    pub phase: Phase,
    pub epoch: u64,
    pub epochs: Option<u64>,
    pub step: u64,
    /// What it was trained on and judged by; runs in which it differs cannot be compared by their accuracies.
    pub data: String,
    #[serde(flatten)]
    pub accuracies: Accuracies,
    /// In the last epoch.
    pub last_train_loss: Option<f64>,
    /// Time spent on the run, pauses excluded.
    pub active_secs: f64,
    /// Mean over the whole run.
    pub step_millis: Option<f64>,
    /// When it reached the accuracy that was asked for.
    pub reached: Option<Reached>,
}

/// How good a run is at its best, and in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Accuracies {
    /// Percent, in the best epoch by `train.best`.
    #[serde(rename = "best_accuracy")]
    pub best: Option<f64>,
    /// What that was judged with.
    #[serde(rename = "best_test_time_augmentation", skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub best_augmentation: TestTimeAugmentation,
    pub best_epoch: Option<u64>,
    /// Percent, in the last epoch.
    #[serde(rename = "last_accuracy")]
    pub last: Option<f64>,
    /// What that was judged with.
    #[serde(rename = "last_test_time_augmentation", skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub last_augmentation: TestTimeAugmentation,
}

/// The first epoch with an accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reached {
    pub epoch: u64,
    /// What that epoch was judged with.
    #[serde(skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub test_time_augmentation: TestTimeAugmentation,
    /// Training and evaluation of all epochs up to it.
    pub elapsed_secs: f64,
}

impl Score {
    /// As of `now_ms`: the present if its trainer lives, else its last activity. `target`: an accuracy in percent.
    pub fn of(run: &RunState, target: Option<f64>, now_ms: u64) -> Self {
        let last = run.epochs.last();
        Self {
            phase: run.phase,
            epoch: run.epoch,
            epochs: run.started.as_ref().map(|started| started.epochs),
            step: run.step,
            data: data(run),
            accuracies: Accuracies::of(run),
            last_train_loss: last.map(|epoch| epoch.train_loss).filter(|loss| loss.is_finite()),
            active_secs: run.active_secs(now_ms),
            step_millis: run.step_time().and_then(|time| time.secs_per_step()).map(|secs| 1e3 * secs),
            reached: target.and_then(|target| reached(&run.epochs, target)),
        }
    }
}

impl Accuracies {
    pub fn of(run: &RunState) -> Self {
        let accuracy = |epoch: &EpochDone| Some(epoch.test_accuracy).filter(|accuracy| accuracy.is_finite());
        let (best, last) = (run.best(), run.epochs.last());
        Self {
            best: best.and_then(accuracy),
            best_augmentation: best.map(|epoch| epoch.test_time_augmentation).unwrap_or_default(),
            best_epoch: best.map(|epoch| epoch.epoch),
            last: last.and_then(accuracy),
            last_augmentation: last.map(|epoch| epoch.test_time_augmentation).unwrap_or_default(),
        }
    }
}

/// Such as `CIFAR-10 sample, 2,000 + 500 images`; empty before the run has begun, and where its trainer does not tell.
pub fn data(run: &RunState) -> String {
    run.started.as_ref().map_or_else(String::new, |started| {
        let (train, judged) = (format::count(started.train_samples), format::count(started.test_samples));
        let held_out = if started.judged_by.is_test() { "" } else { ", judged by images held out" };
        match (started.data.as_str(), started.train_samples + started.test_samples) {
            (data, 0) => data.to_owned(),
            ("", _) => format!("{train} + {judged} images{held_out}"),
            (data, _) => format!("{data}, {train} + {judged} images{held_out}"),
        }
    })
}

/// The first of the epochs with an accuracy of `target` percent.
pub fn reached(epochs: &[EpochDone], target: f64) -> Option<Reached> {
    /// What accuracies in a log differ by where they are the same.
    const ROUNDING: f64 = 1e-9;
    let index = epochs.iter().position(|epoch| epoch.test_accuracy >= target - ROUNDING)?;
    let elapsed_secs = epochs[..=index].iter().map(|epoch| epoch.elapsed_secs).sum();
    let &EpochDone { epoch, test_time_augmentation, .. } = &epochs[index];
    Some(Reached { epoch, test_time_augmentation, elapsed_secs })
}

/// The highest accuracy, in percent with two decimals, that each of the runs has reached. `None`: not all have one.
pub fn common_accuracy<'a>(runs: impl IntoIterator<Item = &'a RunState>) -> Option<f64> {
    let highest = |run: &RunState| {
        let accuracies = run.epochs.iter().map(|epoch| epoch.test_accuracy);
        accuracies.filter(|accuracy| accuracy.is_finite()).max_by(f64::total_cmp)
    };
    let highest: Option<Vec<f64>> = runs.into_iter().map(highest).collect();
    let lowest = highest?.into_iter().min_by(f64::total_cmp)?;
    // What is a hundredth but for its binary form stays one.
    Some((100.0 * lowest + 1e-6).floor() / 100.0)
}

/// The configuration of a run, key by key. Of a run of another program, whatever its `config.toml` has; it need not have one.
///
/// # Errors
/// It cannot be read, or is none.
pub fn configuration(run: &RunDir, state: &RunState) -> Result<Values> {
    let path = run.config();
    if state.other_trainer().is_none() {
        return Ok(Config::load(Some(&path), &[])?.values());
    }
    match ordinary_file::read_to_string(&path) {
        Ok(text) => values_of(&text).map_err(|reason| anyhow!("{}: {reason}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Values::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// A key that not all configurations have with the same value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub key: String,
    /// In the order of the configurations, as TOML; none where it is not set, or the configuration is not known.
    pub values: Vec<Option<String>>,
}

/// In the order of their keys. Configurations that are not known, or of which a trainer tells nothing, differ in nothing.
pub fn differences(configurations: &[Option<&Values>]) -> Vec<Difference> {
    let known: Vec<&Values> = configurations.iter().copied().flatten().filter(|values| !values.is_empty()).collect();
    let mut keys: Vec<&String> = known.iter().flat_map(|values| values.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter(|key| known.windows(2).any(|pair| pair[0].get(*key) != pair[1].get(*key)))
        .map(|key| Difference {
            key: key.clone(),
            values: configurations.iter().map(|values| values.and_then(|values| values.get(key)).cloned()).collect(),
        })
        .collect()
}

/// What there is to say where runs were not trained on and judged by the same images. `runs`: their names and data.
pub fn data_warning<'a>(runs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut groups: Vec<(&str, Vec<&str>)> = vec![];
    for (name, data) in runs.into_iter().filter(|(_, data)| !data.is_empty()) {
        match groups.iter_mut().find(|(known, _)| *known == data) {
            Some((_, names)) => names.push(name),
            None => groups.push((data, vec![name])),
        }
    }
    let told: Vec<String> = groups.iter().map(|(data, names)| format!("{} ({data})", names.join(", "))).collect();
    (told.len() > 1).then(|| format!("not the same data, so accuracies do not compare: {}", told.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Override;
    use crate::run::event::{Event, Record, RunStarted};

    /// Epochs of ten seconds with these accuracies.
    fn run(accuracies: &[f64]) -> RunState {
        let mut state = RunState::default();
        let started = Event::RunStarted(Box::new(RunStarted::example()));
        state.apply(&Record { time_ms: 0, event: started });
        for (&test_accuracy, epoch) in accuracies.iter().zip(1..) {
            let done = EpochDone {
                epoch,
                step: 32 * epoch,
                test_accuracy,
                best: accuracies[..epoch as usize].iter().all(|earlier| *earlier <= test_accuracy),
                ..EpochDone::example()
            };
            state.apply(&Record { time_ms: 10_000 * epoch, event: Event::EpochDone(done) });
        }
        state
    }

    #[test]
    fn the_default_accuracy_is_the_highest_that_all_reached() {
        let (fast, slow) = (run(&[50.0, 70.0, 84.68]), run(&[30.0, 60.019, 55.0]));
        let target = common_accuracy([&fast, &slow]);
        assert_eq!(target, Some(60.01));
        let score = |run| Score::of(run, target, 30_000);
        assert_eq!(
            score(&fast).reached,
            Some(Reached { epoch: 2, test_time_augmentation: TestTimeAugmentation::None, elapsed_secs: 20.0 })
        );
        assert_eq!(
            score(&slow).reached,
            Some(Reached { epoch: 2, test_time_augmentation: TestTimeAugmentation::None, elapsed_secs: 20.0 })
        );
        assert_eq!((score(&slow).accuracies.best_epoch, score(&slow).accuracies.last), (Some(2), Some(55.0)));
        assert_eq!(common_accuracy([&fast]), Some(84.68));
        assert_eq!(Score::of(&slow, Some(84.68), 0).reached, None);
        assert_eq!(common_accuracy([&fast, &run(&[])]), None);
        assert_eq!(common_accuracy([]), None);
    }

    #[test]
    fn only_keys_that_differ_are_told() {
        let values = |sets: &[&str]| {
            let sets: Vec<Override> = sets.iter().map(|set| Override::parse(set).unwrap()).collect();
            Config::load(None, &sets).unwrap().values()
        };
        let (one, other) = (values(&["run.seed=1"]), values(&["run.seed=1", "train.max_steps=7"]));
        let third = values(&["run.seed=2"]);
        assert_eq!(differences(&[Some(&one), Some(&one)]), []);
        let told = differences(&[Some(&one), None, Some(&other), Some(&third)]);
        let told: Vec<(&str, Vec<Option<&str>>)> =
            told.iter().map(|told| (told.key.as_str(), told.values.iter().map(Option::as_deref).collect())).collect();
        let expected = [
            ("run.seed", vec![Some("1"), None, Some("1"), Some("2")]),
            ("train.max_steps", vec![None, None, Some("7"), None]),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn runs_on_other_data_are_told_apart() {
        assert_eq!(data(&run(&[])), "CIFAR-10 sample, 2,000 + 500 images");
        let warning = data_warning([("a", "sample"), ("b", "all"), ("c", "sample"), ("not begun", "")]);
        let expected = "not the same data, so accuracies do not compare: a, c (sample); b (all)";
        assert_eq!(warning.as_deref(), Some(expected));
        assert_eq!(data_warning([("a", "sample"), ("b", "sample")]), None);
    }
}
