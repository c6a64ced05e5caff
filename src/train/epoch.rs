//! The end of an epoch: its result is recorded and judged, and training saved.

use super::alarms::EpochResult;
use super::evaluate::Evaluation;
use super::state::{Best, EpochScore, TrainState};
use super::trainer::Trainer;
use crate::run::event::{AlarmKind, CheckpointReason, EpochDone, Event};

impl Trainer {
    /// Records the epoch, shows it to schedule and alarms, and saves a checkpoint and, where one is due, a probe.
    pub fn finish_epoch(&mut self, evaluation: &Evaluation) {
        let &TrainState { epoch, step, epoch_so_far, .. } = &self.state;
        let (test_accuracy, test_loss) = (evaluation.accuracy(), evaluation.mean_loss());
        let test_time_augmentation = evaluation.augmentation();
        let is_best = self.state.is_best(self.config.train.best, test_accuracy, test_loss);
        let done = EpochDone {
            epoch,
            step,
            train_loss: epoch_so_far.mean_loss(self.steps_per_epoch()),
            train_accuracy: epoch_so_far.accuracy(),
            judged_by: self.judged_by,
            test_loss,
            test_accuracy,
            test_time_augmentation,
            learning_rate: self.schedule.learning_rate(step, &self.state.schedule),
            elapsed_secs: epoch_so_far.train_secs + evaluation.secs(),
            evaluation_secs: evaluation.secs(),
            best: is_best,
            confusion: Some(evaluation.confusion().clone()),
            mistakes: evaluation.mistakes().to_vec(),
        };
        self.recorder.record(Event::EpochDone(done.clone()));
        self.step_schedule(test_loss);
        let raised = self.alarms.after_epoch(&EpochResult {
            done: &done,
            dead_channels: &evaluation.dead_channels(),
            next_learning_rate: self.schedule.at(step + 1, &self.state.schedule),
        });
        self.raise_alarms(raised);

        self.state.epoch += 1;
        self.state.batches_done = 0;
        self.state.epoch_so_far = Default::default();
        self.state.alarms = Some(self.alarms.counters());
        let name = self.free_checkpoint_name();
        let mut state = self.state.clone();
        if is_best {
            let test_loss = Some(test_loss);
            // Only a checkpoint that is there can be gone back to, but the next epochs are compared with the best one.
            self.state.unsaved_best = Some(EpochScore { epoch, test_accuracy, test_time_augmentation, test_loss });
            state.unsaved_best = None;
            state.best =
                Some(Best { epoch, test_accuracy, test_time_augmentation, test_loss, checkpoint: name.clone() });
        }
        let saved = self.save_checkpoint_as(&name, state, CheckpointReason::Epoch);
        self.alarm_unless_saved(AlarmKind::Checkpoint, saved);

        let every = self.config.probe.every;
        if every > 0 && epoch.is_multiple_of(every) {
            // What the network sees is no reason to stop its training.
            let saved = self.save_probe(evaluation.mistakes(), &evaluation.other_mistakes());
            self.alarm_unless_saved(AlarmKind::Probe, saved);
        }
    }
}
