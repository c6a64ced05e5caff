//! Where training is, apart from weights and the optimizer's state.

use serde::{Deserialize, Serialize};

use super::alarms::Counters;
use super::step_result::StepResult;
use crate::config::{BestBy, TestTimeAugmentation};
use crate::schedule::{Schedule, ScheduleState};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// The epoch being trained, from 1.
    pub epoch: u64,
    /// Batches of it that are done. All of them: its evaluation is next.
    pub batches_done: u64,
    /// Optimizer steps taken since the beginning of the run.
    pub step: u64,
    /// The learning rate of the next step: the schedule's, times the user's factor.
    pub learning_rate: f64,
    #[serde(flatten)]
    pub schedule: ScheduleState,
    pub epoch_so_far: EpochSoFar,
    pub best: Option<Best>,
    /// The best epoch so far, where that is a later one than `best`, because its checkpoint could not be saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved_best: Option<EpochScore>,
    /// The counters of the alarms that count epochs. Older checkpoints lack them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarms: Option<Counters>,
}

/// Sums over the batches of the epoch that are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochSoFar {
    pub loss_sum: f64,
    pub correct: u64,
    #[serde(rename = "examples")]
    pub samples: u64,
    pub train_secs: f64,
    /// Batches that were passed over.
    #[serde(default)]
    pub skipped: u64,
}

impl EpochSoFar {
    pub fn add(&mut self, step: &StepResult) {
        self.loss_sum += f64::from(step.loss);
        self.correct += step.correct;
        self.samples += step.samples;
        self.train_secs += step.train_secs;
    }

    /// Over the batches that were not skipped, of `batches`.
    pub fn mean_loss(&self, batches: u64) -> f64 {
        self.loss_sum / (batches - self.skipped) as f64
    }

    /// Percent.
    pub fn accuracy(&self) -> f64 {
        100.0 * self.correct as f64 / self.samples as f64
    }
}

/// How good an epoch was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochScore {
    pub epoch: u64,
    /// Percent.
    pub test_accuracy: f64,
    #[serde(default, skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub test_time_augmentation: TestTimeAugmentation,
    /// None in older checkpoints.
    pub test_loss: Option<f64>,
}

/// The best epoch so far, by `train.best`, among those whose checkpoint was saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub epoch: u64,
    /// Percent.
    pub test_accuracy: f64,
    #[serde(default, skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub test_time_augmentation: TestTimeAugmentation,
    /// Older checkpoints lack it.
    #[serde(default)]
    pub test_loss: Option<f64>,
    pub checkpoint: String,
}

impl TrainState {
    /// The beginning of a run.
    pub fn new(schedule: &Schedule) -> Self {
        let state = schedule.start();
        Self {
            epoch: 1,
            batches_done: 0,
            step: 0,
            learning_rate: schedule.learning_rate(1, &state),
            schedule: state,
            epoch_so_far: EpochSoFar::default(),
            best: None,
            unsaved_best: None,
            alarms: None,
        }
    }

    /// The state of a checkpoint, to go on from with this schedule. `base_change`: the configured learning rate that it was
    /// saved with, and that of now, where they differ.
    pub fn resumed(mut self, schedule: &Schedule, base_change: Option<(f64, f64)>) -> Self {
        match base_change {
            Some((from, to)) => schedule.resume_with_base(&mut self.schedule, self.learning_rate, from, to),
            None => schedule.resume(self.step + 1, &mut self.schedule, self.learning_rate),
        }
        self.update_learning_rate(schedule);
        self
    }

    /// To be called when the step or the schedule's state has changed.
    pub fn update_learning_rate(&mut self, schedule: &Schedule) {
        self.learning_rate = schedule.learning_rate(self.step + 1, &self.schedule);
    }

    /// The first step after the present one that something else than a step follows: a checkpoint every `every_steps` (0:
    /// none), the evaluation of an epoch of `steps_per_epoch`, or the end of the run after `total_steps`.
    pub fn next_stop(&self, steps_per_epoch: u64, total_steps: u64, every_steps: u64) -> u64 {
        let end_of_epoch = self.step + steps_per_epoch.saturating_sub(self.batches_done);
        let checkpoint = (self.step + 1).checked_next_multiple_of(every_steps).unwrap_or(u64::MAX);
        end_of_epoch.min(total_steps).min(checkpoint)
    }

    /// Whether an epoch with this test accuracy and loss is better than all before it.
    pub fn is_best(&self, by: BestBy, test_accuracy: f64, test_loss: f64) -> bool {
        self.best_score().is_none_or(|best| match by {
            BestBy::Accuracy => test_accuracy > best.test_accuracy,
            BestBy::Loss => best.test_loss.is_none_or(|best| test_loss < best),
        })
    }

    /// Of the best epoch so far, whether its checkpoint could be saved or not.
    pub fn best_score(&self) -> Option<EpochScore> {
        let saved = self.best.as_ref().map(|best| {
            let &Best { epoch, test_accuracy, test_time_augmentation, test_loss, .. } = best;
            EpochScore { epoch, test_accuracy, test_time_augmentation, test_loss }
        });
        self.unsaved_best.or(saved)
    }

    /// Epochs since the best one.
    pub fn epochs_since_best(&self) -> u64 {
        self.best_score().map_or(0, |best| self.epoch.saturating_sub(1).saturating_sub(best.epoch))
    }

    /// The epoch that was trained last, if only in part; 0 before the first.
    pub fn trained_epoch(&self) -> u64 {
        if self.batches_done == 0 { self.epoch.saturating_sub(1) } else { self.epoch }
    }

    /// Such as `e0012-s009384`: the epoch that was trained last, and the step.
    pub fn checkpoint_name(&self) -> String {
        format!("e{:04}-s{:06}", self.trained_epoch(), self.step)
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;
    use crate::config::{ScheduleConfig, ScheduleKind};

    fn start() -> TrainState {
        TrainState::new(&Schedule::new(&ScheduleConfig::default(), 1e-3, 100))
    }

    #[test]
    fn steps_follow_each_other_as_far_as_nothing_else_is_due() {
        let stop = |step, batches_done, total_steps, every_steps| {
            TrainState { step, batches_done, ..start() }.next_stop(10, total_steps, every_steps)
        };
        assert_eq!([0, 1, 9].map(|step| stop(step, step, 100, 0)), [10; 3], "the end of the epoch");
        assert_eq!(stop(13, 4, 100, 0), 19, "a step is not a batch of its epoch");
        assert_eq!([0, 3, 4, 7, 8, 9].map(|step| stop(step, step, 100, 4)), [4, 4, 8, 8, 10, 10], "checkpoints");
        assert_eq!([12, 17].map(|step| stop(step, step - 10, 18, 5)), [15, 18], "the end of the run");
        assert_eq!(stop(10, 10, 100, 0), 10, "all are done");
        assert_eq!(stop(1, 1, 100, u64::MAX), 10);
    }

    #[test]
    fn a_rate_that_is_asked_for_ahead_is_the_one_that_comes() {
        for &kind in ScheduleKind::VARIANTS {
            let config = ScheduleConfig { kind, warmup_steps: 5, ..ScheduleConfig::default() };
            let schedule = Schedule::new(&config, 1e-3, 40);
            let mut state = TrainState::new(&schedule);
            schedule.set_learning_rate(1, &mut state.schedule, 0.1 + 0.2);
            state.update_learning_rate(&schedule);
            let ahead: Vec<f64> = (1..=40).map(|step| schedule.learning_rate(step, &state.schedule)).collect();
            for rate in ahead {
                assert_eq!(rate, state.learning_rate, "{kind:?}, step {}", state.step + 1);
                state.step += 1;
                state.update_learning_rate(&schedule);
            }
        }
    }

    #[test]
    fn the_best_epoch_is_that_of_accuracy_or_of_loss() {
        let test_time_augmentation = TestTimeAugmentation::None;
        let best = |test_loss| Best {
            epoch: 2,
            test_accuracy: 50.0,
            test_time_augmentation,
            test_loss,
            checkpoint: "x".into(),
        };
        let state = TrainState { epoch: 6, best: Some(best(Some(1.0))), ..start() };
        assert_eq!(state.epochs_since_best(), 3);
        assert!(state.is_best(BestBy::Accuracy, 50.5, 1.5) && !state.is_best(BestBy::Loss, 50.5, 1.5));
        assert!(state.is_best(BestBy::Loss, 49.0, 0.9) && !state.is_best(BestBy::Accuracy, 49.0, 0.9));
        assert!(!state.is_best(BestBy::Accuracy, 50.0, 1.0) && !state.is_best(BestBy::Loss, 50.0, 1.0));
        let unsaved = EpochScore { epoch: 4, test_accuracy: 51.0, test_time_augmentation, test_loss: Some(0.8) };
        let state = TrainState { unsaved_best: Some(unsaved), ..state };
        assert_eq!(state.epochs_since_best(), 1);
        assert!(!state.is_best(BestBy::Accuracy, 50.5, 1.5) && !state.is_best(BestBy::Loss, 50.5, 0.9));
        let older = TrainState { best: Some(best(None)), ..start() };
        assert!(older.is_best(BestBy::Loss, 1.0, 9.0));
        assert!(start().is_best(BestBy::Accuracy, 0.0, 9.0) && start().epochs_since_best() == 0);
    }

    #[test]
    fn an_older_state_is_written_again_as_it_was() {
        let older = "{\"epoch\":2,\"batches_done\":3,\"step\":35,\"learning_rate\":0.30000000000000004,\
             \"plateau\":{\"best_loss\":1.5,\"epochs_without_improvement\":1},\"epoch_so_far\":{\"loss_sum\":7.5,\
             \"correct\":20,\"examples\":192,\"train_secs\":0.5,\"skipped\":0},\"best\":null}";
        let state: TrainState = serde_json::from_str(older).expect("a state");
        assert_eq!(serde_json::to_string(&state).expect("JSON"), older, "its checksum is over these bytes");
        let schedule = Schedule::new(&ScheduleConfig::default(), 1e-3, 100);
        assert_eq!(state.resumed(&schedule, None).learning_rate, 0.1 + 0.2);
    }
}
