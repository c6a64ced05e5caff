//! What is known of a run: a pure fold of its events. The dashboard, `taper runs` and every export look at this.
//!
//! Only events change it, and nothing here reads a clock: the time is passed in where a duration is shown.

use std::collections::VecDeque;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::describe::{self, Note, NoteKind};
use super::event::{
    AlarmKind, CheckpointSaved, EpochDone, Event, LearningRateReason, Outcome, ProbeSaved, Record, RunStarted,
    StepsDone,
};
use super::log::StepsOutline;
use super::step_clock::{Entry, StepClock};
use super::step_series::StepSeries;
use super::step_time::{Breakdown, RecentSteps};
use super::system_history::SystemHistory;
use super::untold;
use crate::config::TestTimeAugmentation;
use crate::data::Split;

/// Lines of the event list that are kept.
const NOTES: usize = 500;
/// Epochs whose confusion matrix and mistakes are kept: the last ones.
pub const DETAILED_EPOCHS: usize = 200;
/// A live trainer logs something every ten seconds, except while it evaluates.
const LONGEST_SILENCE_MS: u64 = 10 * 60 * 1000;
/// A log that lacks more steps than this in a row is not believed: the hole is closed instead of filled.
const LONGEST_GAP: usize = 1_000_000;

/// What the trainer was doing when it last said something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Before the first step.
    #[default]
    Starting,
    Training,
    Evaluating,
    Paused,
    Ended(Outcome),
}

/// A trainer that is at work writes to its log far more often.
const LONG_SILENCE_SECS: f64 = 15.0;

impl Phase {
    /// Seconds since a trainer in this phase last wrote to its log, where it should have written again. Only meaningful by
    /// the clock of its host.
    pub fn long_silence_secs(self, last_activity_ms: u64, now_ms: u64) -> Option<f64> {
        let silent_secs = now_ms.saturating_sub(last_activity_ms) as f64 / 1e3;
        (self.is_active() && silent_secs >= LONG_SILENCE_SECS).then_some(silent_secs)
    }

    /// The trainer spends time on the run.
    pub fn is_active(self) -> bool {
        matches!(self, Phase::Starting | Phase::Training | Phase::Evaluating)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(match self {
            Phase::Starting => "starting",
            Phase::Training => "training",
            Phase::Evaluating => "evaluating",
            Phase::Paused => "paused",
            Phase::Ended(outcome) => describe::outcome(*outcome),
        })
    }
}

impl Serialize for Phase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Phase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let ends = Outcome::ALL.map(Self::Ended);
        let phases = [Self::Starting, Self::Training, Self::Evaluating, Self::Paused].into_iter().chain(ends);
        let found = phases.into_iter().find(|phase| phase.to_string() == name);
        found.ok_or_else(|| D::Error::custom(format!("no phase is called {name}")))
    }
}

/// The learning rate from step `step + 1` on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearningRateChange {
    pub time_ms: u64,
    pub epoch: u64,
    pub step: u64,
    pub from: f64,
    pub to: f64,
    pub reason: LearningRateReason,
}

/// Another value of a key of the configuration, from step `step + 1` on.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingChange {
    pub step: u64,
    /// `section.key`.
    pub key: String,
    /// As TOML; `None`: it was not set.
    pub from: Option<String>,
    pub to: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub time_ms: u64,
    #[serde(flatten)]
    pub saved: CheckpointSaved,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub time_ms: u64,
    #[serde(flatten)]
    pub saved: ProbeSaved,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub time_ms: u64,
    pub step: u64,
    pub kind: AlarmKind,
    pub message: String,
}

/// The epoch that is being trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenEpoch {
    pub epoch: u64,
    /// Images classified right, of those that this trainer has trained on in the epoch.
    pub correct: u64,
    pub samples: u64,
    pub train_secs: f64,
}

impl OpenEpoch {
    /// Percent.
    pub fn train_accuracy(&self) -> Option<f64> {
        (self.samples > 0).then(|| 100.0 * self.correct as f64 / self.samples as f64)
    }
}

/// Everything known of a run. Series hold only what still counts: after a restart from a checkpoint, what the log says
/// of later steps is gone from them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunState {
    /// The latest start.
    pub started: Option<RunStarted>,
    pub first_started_ms: Option<u64>,
    /// Time of the latest event.
    pub last_activity_ms: u64,
    pub phase: Phase,
    /// Epoch being trained, or the last one that was.
    pub epoch: u64,
    /// Optimizer steps taken.
    pub step: u64,
    #[serde(skip)]
    pub losses: StepSeries,
    /// The Euclidean norm over all parameters, for each step.
    #[serde(skip)]
    pub gradient_norms: StepSeries,
    #[serde(skip)]
    clock: StepClock,
    pub open_epoch: OpenEpoch,
    /// Without confusion matrix and mistakes but for the last [`DETAILED_EPOCHS`].
    pub epochs: Vec<EpochDone>,
    /// The learning rate of the next step; where the schedule moves it each step, that of the last one.
    pub learning_rate: Option<f64>,
    /// The learning rate that the run began with.
    pub first_learning_rate: Option<f64>,
    pub learning_rate_changes: Vec<LearningRateChange>,
    #[serde(skip)]
    learning_rate_moves: bool,
    /// History, like the notes.
    #[serde(skip)]
    pub setting_changes: Vec<SettingChange>,
    pub checkpoints: Vec<Checkpoint>,
    /// In the order of their steps, one for each file.
    pub probes: Vec<Probe>,
    /// Seconds that went into probes, over the whole run: like the time of steps, that of probes which a restart took back
    /// counts too.
    pub probe_secs: f64,
    /// In the order in which they were raised.
    pub alarms: Vec<Alarm>,
    /// Why the run waits to be told how to go on.
    pub divergence: Option<String>,
    /// What happened, oldest first, bounded. History, not a series: a restart adds to it and takes nothing away.
    #[serde(skip)]
    pub notes: VecDeque<Note>,
    /// Notes that were dropped to stay within bounds, or became part of a later one.
    #[serde(skip)]
    pub dropped_notes: usize,
    /// History, like the notes.
    #[serde(skip)]
    pub system: SystemHistory,
    /// The trainer's last words.
    pub end_message: Option<String>,
    #[serde(skip)]
    recent: RecentSteps,
    #[serde(skip)]
    all_steps: Breakdown,
    active_ms: u64,
}

impl RunState {
    /// Folds one event in.
    pub fn apply(&mut self, record: &Record) {
        let now = record.time_ms;
        // The time between two trainers does not count.
        if !matches!(record.event, Event::RunStarted(_)) {
            self.count_time(now);
        }
        self.last_activity_ms = now;
        match &record.event {
            Event::RunStarted(started) => self.start(now, started),
            Event::StepsDone(steps) => self.add_steps(now, steps),
            Event::EvaluationStarted { epoch, step } => {
                self.phase = Phase::Evaluating;
                (self.epoch, self.step) = (*epoch, *step);
            }
            Event::EpochDone(epoch) => self.end_epoch(epoch),
            Event::LearningRateChanged { epoch, step, from, to, reason } => {
                self.learning_rate = Some(*to);
                self.learning_rate_changes.push(LearningRateChange {
                    time_ms: now,
                    epoch: *epoch,
                    step: *step,
                    from: *from,
                    to: *to,
                    reason: *reason,
                });
            }
            Event::Paused { .. } => self.phase = Phase::Paused,
            Event::Resumed { .. } => self.phase = Phase::Training,
            Event::CheckpointSaved(saved) => {
                self.checkpoints.push(Checkpoint { time_ms: now, saved: saved.clone() });
            }
            Event::ProbeSaved(saved) => {
                self.probe_secs += saved.elapsed_secs;
                self.probes.retain(|probe| probe.saved.file != saved.file);
                self.probes.push(Probe { time_ms: now, saved: saved.clone() });
            }
            Event::AlarmRaised { step, kind, message } => {
                self.alarms.push(Alarm { time_ms: now, step: *step, kind: *kind, message: message.clone() });
                if *kind == AlarmKind::Divergence {
                    self.divergence = Some(message.clone());
                }
            }
            Event::RolledBack { to_step, learning_rate, .. } => {
                self.roll_back(*to_step, *learning_rate);
                self.phase = Phase::Training;
            }
            Event::BatchSkipped { epoch, step } => {
                self.phase = Phase::Training;
                self.divergence = None;
                (self.epoch, self.step) = (*epoch, *step);
                fill(&mut self.losses, index(*step));
                fill(&mut self.gradient_norms, index(*step));
            }
            Event::SettingChanged { step, key, from, to } => self.setting_changes.push(SettingChange {
                step: *step,
                key: key.clone(),
                from: from.clone(),
                to: to.clone(),
            }),
            Event::CommandReceived { .. } | Event::DirectoryMoved { .. } => {}
            Event::SystemSampled { sample, .. } => self.system.push(now, self.active_ms as f64 / 1e3, sample),
            Event::RunEnded { step, outcome, message } => {
                self.phase = Phase::Ended(*outcome);
                self.step = *step;
                self.divergence = None;
                self.end_message = Some(message.clone());
            }
        }
        let note = match &record.event {
            Event::CheckpointSaved(saved) if describe::is_scheduled(saved.reason) => {
                Some(self.checkpoint_note(now, saved))
            }
            _ => describe::note(record),
        };
        if let Some(note) = note {
            self.keep(note);
        }
    }

    /// Folds in steps without their losses, times and training accuracy.
    pub fn pass_over(&mut self, steps: &StepsOutline) {
        self.count_time(steps.time_ms);
        self.last_activity_ms = steps.time_ms;
        self.phase = Phase::Training;
        self.epoch = steps.epoch;
        self.step = steps.first_step.saturating_add(steps.count).saturating_sub(1);
        self.forget_steps();
    }

    /// Goes on as if no step so far had been read.
    fn forget_steps(&mut self) {
        for series in [&mut self.losses, &mut self.gradient_norms] {
            series.pass_over(index(self.step));
        }
        self.clock.clear();
        self.recent.pass_over();
    }

    /// Whether [`RunState::summary`] is that of the whole log.
    pub fn is_summary_known(&self) -> bool {
        self.losses.is_smoothed_value_known() && self.recent.is_known()
    }

    /// What an index of the log keeps: without all that an outline lacks, and without notes and details of epochs.
    pub fn into_indexed(mut self) -> Self {
        for epoch in &mut self.epochs {
            (epoch.confusion, epoch.mistakes) = (None, vec![]);
        }
        (self.notes, self.dropped_notes) = (VecDeque::new(), 0);
        self.forget_steps();
        self
    }

    fn count_time(&mut self, now: u64) {
        if self.phase.is_active() && self.started.is_some() {
            // A clock set back does not count, one set forward counts little.
            let silence_ms = now.saturating_sub(self.last_activity_ms).min(LONGEST_SILENCE_MS);
            self.active_ms = self.active_ms.saturating_add(silence_ms);
        }
    }

    fn start(&mut self, now: u64, started: &RunStarted) {
        self.started = Some(started.clone());
        // A trainer that found no checkpoint begins anew: nothing before it holds.
        self.roll_back(started.continued_from.unwrap_or(0), started.learning_rate);
        self.first_started_ms.get_or_insert(now);
        self.phase = Phase::Starting;
        self.end_message = None;
        self.recent = RecentSteps::default();
        self.system.start();
    }

    /// Training goes on at a checkpoint of `step`, or at the beginning, with the learning rate that it had there.
    fn roll_back(&mut self, step: u64, learning_rate: f64) {
        self.rewind(step);
        let steps_per_epoch = self.started.as_ref().map_or(0, |started| started.steps_per_epoch);
        self.epoch = step.div_ceil(steps_per_epoch.max(1));
        // A change at the very step of the checkpoint may have come after it: then it was lost.
        if let Some(last) = self.learning_rate_changes.last()
            && last.step == step
            && last.to != learning_rate
        {
            self.learning_rate_changes.pop();
        }
        self.learning_rate = Some(learning_rate).filter(|rate| !untold::is_nan(rate));
        if step == 0 || self.first_learning_rate.is_none() {
            self.first_learning_rate = self.learning_rate;
        }
        self.divergence = None;
    }

    /// Drops every point of a series that lies after `step`.
    fn rewind(&mut self, step: u64) {
        self.step = step;
        let steps = index(step);
        self.losses.truncate(steps);
        self.gradient_norms.truncate(steps);
        self.clock.truncate(step);
        self.epochs.retain(|epoch| epoch.step <= step);
        self.learning_rate_changes.retain(|change| change.step <= step);
        self.checkpoints.retain(|checkpoint| checkpoint.saved.step <= step);
        self.probes.retain(|probe| probe.saved.step <= step);
        // Why training was rolled back stays known.
        self.alarms.retain(|alarm| alarm.step <= step || alarm.kind == AlarmKind::Divergence);
        self.open_epoch = OpenEpoch::default();
    }

    fn add_steps(&mut self, now: u64, steps: &StepsDone) {
        self.phase = Phase::Training;
        self.epoch = steps.epoch;
        let before = index(steps.first_step.saturating_sub(1));
        for series in [&mut self.losses, &mut self.gradient_norms] {
            series.truncate(before);
            fill(series, before);
        }
        self.clock.truncate(before as u64);
        self.learning_rate = steps.learning_rate.or(self.learning_rate);
        self.learning_rate_moves = steps.learning_rate.is_some();
        for (index, &loss) in steps.losses.iter().enumerate() {
            self.losses.push(loss);
            self.gradient_norms.push(steps.gradient_norms.get(index).copied().unwrap_or(f32::NAN));
        }
        self.step = steps.first_step.saturating_add(steps.losses.len() as u64).saturating_sub(1);
        if self.open_epoch.epoch != steps.epoch {
            self.open_epoch = OpenEpoch { epoch: steps.epoch, ..OpenEpoch::default() };
        }
        self.open_epoch.correct = self.open_epoch.correct.saturating_add(steps.correct);
        self.open_epoch.samples = self.open_epoch.samples.saturating_add(steps.samples);
        self.open_epoch.train_secs += steps.train_secs;
        let breakdown = Breakdown {
            steps: steps.losses.len() as f64,
            samples: steps.samples as f64,
            total_secs: steps.train_secs,
            time: steps.split_us.unwrap_or_default(),
        };
        let elapsed_secs = self.active_ms as f64 / 1e3;
        self.clock.push(Entry::new(self.step, elapsed_secs, now, &breakdown, self.learning_rate));
        self.recent.push(breakdown);
        self.system.add_steps(steps.train_secs, steps.samples);
        if steps.split_us.is_some() {
            self.all_steps += breakdown;
        }
    }

    fn end_epoch(&mut self, epoch: &EpochDone) {
        self.phase = Phase::Training;
        (self.epoch, self.step) = (epoch.epoch, epoch.step);
        // Continued from a checkpoint between its last step and its evaluation, an epoch ends twice.
        self.epochs.retain(|earlier| earlier.epoch < epoch.epoch);
        self.epochs.push(epoch.clone());
        if let Some(started) = &mut self.started
            && started.steps_per_epoch == 0
        {
            // The trainer did not know it, and now the log does.
            started.steps_per_epoch = epoch.step.div_ceil(epoch.epoch.max(1));
            if started.total_steps == 0 {
                started.total_steps = started.steps_per_epoch.saturating_mul(started.epochs);
            }
        }
        if let Some(older) = self.epochs.len().checked_sub(DETAILED_EPOCHS + 1) {
            let older = &mut self.epochs[older];
            (older.confusion, older.mistakes) = (None, vec![]);
        }
    }

    fn keep(&mut self, note: Note) {
        if self.notes.len() == NOTES {
            self.notes.pop_front();
            self.dropped_notes += 1;
        }
        self.notes.push_back(note);
    }

    /// The note of a checkpoint. Of those that are saved by themselves while nothing but routine happens, one is kept: the
    /// last, which counts the others.
    fn checkpoint_note(&mut self, time_ms: u64, saved: &CheckpointSaved) -> Note {
        let before = self.notes.iter().rposition(|note| note.kind != NoteKind::Routine);
        let earlier = before.and_then(|before| match self.notes[before].kind {
            NoteKind::ScheduledCheckpoints(count) => Some((before, count)),
            NoteKind::Routine | NoteKind::Other => None,
        });
        let Some((before, count)) = earlier else { return describe::scheduled_checkpoints(time_ms, saved, 1) };
        self.notes.remove(before);
        self.dropped_notes += 1;
        describe::scheduled_checkpoints(time_ms, saved, count + 1)
    }

    /// The images that the run is judged by.
    pub fn judged_by(&self) -> Split {
        self.started.as_ref().map_or(Split::Test, |started| started.judged_by)
    }

    /// The best epoch, by `train.best`.
    pub fn best(&self) -> Option<&EpochDone> {
        self.epochs.iter().rev().find(|epoch| epoch.best)
    }

    /// The program that trains, where it is another one than taper.
    pub fn other_trainer(&self) -> Option<&str> {
        self.started.as_ref()?.trainer.as_deref()
    }

    /// Steps of the present epoch that are done.
    pub fn steps_in_epoch(&self) -> u64 {
        let steps_per_epoch = self.started.as_ref().map_or(0, |started| started.steps_per_epoch);
        self.step.saturating_sub(self.epoch.saturating_sub(1).saturating_mul(steps_per_epoch))
    }

    /// Whether the schedule moves the learning rate each step.
    pub fn learning_rate_moves(&self) -> bool {
        self.learning_rate_moves
    }

    /// When the steps were taken; of none in an outline.
    pub fn clock(&self) -> &StepClock {
        &self.clock
    }

    /// Mean batch loss of the epoch being trained.
    pub fn open_epoch_loss(&self) -> Option<f64> {
        self.epoch_loss_until(self.step)
    }

    /// Mean loss of the batches of the epoch being trained, up to and including `step`, as far as the log has them.
    pub fn epoch_loss_until(&self, step: u64) -> Option<f64> {
        self.losses.mean(index(self.step - self.steps_in_epoch())..index(step))
    }

    /// Images trained on per second, recently, pauses and evaluation aside.
    pub fn images_per_sec(&self) -> Option<f64> {
        self.recent.sum().examples_per_sec()
    }

    /// Where the time of training goes, recently. `None` where the log does not say.
    pub fn recent_step_time(&self) -> Option<Breakdown> {
        Some(self.recent.sum()).filter(|sum| sum.time.total_secs() > 0.0)
    }

    /// Where the time of training went, over the whole run: like the time itself, that of steps which a restart took
    /// back counts too.
    pub fn step_time(&self) -> Option<Breakdown> {
        Some(self.all_steps).filter(|sum| sum.time.total_secs() > 0.0)
    }

    /// Percent of the time spent on the run, up to its last activity, that went into probes.
    pub fn probe_share(&self) -> Option<f64> {
        let share = 100.0 * self.probe_secs / self.active_secs(self.last_activity_ms);
        (share.is_finite() && share > 0.0).then(|| share.min(100.0))
    }

    /// Time spent on the run, pauses and the time between trainers aside. `now_ms` is the present if the trainer lives,
    /// else the last activity.
    pub fn active_secs(&self, now_ms: u64) -> f64 {
        let since = if self.phase.is_active() && self.started.is_some() {
            now_ms.saturating_sub(self.last_activity_ms)
        } else {
            0
        };
        self.active_ms.saturating_add(since) as f64 / 1e3
    }

    /// Time since the run was first started, up to its end.
    pub fn wall_secs(&self, now_ms: u64) -> f64 {
        let end = if matches!(self.phase, Phase::Ended(_)) { self.last_activity_ms } else { now_ms };
        self.first_started_ms.map_or(0.0, |start| end.saturating_sub(start) as f64 / 1e3)
    }

    /// Time of training and evaluation to come, at the recent speed.
    pub fn remaining_secs(&self) -> Option<f64> {
        let started = self.started.as_ref()?;
        if matches!(self.phase, Phase::Ended(_)) || started.total_steps == 0 {
            return None;
        }
        let steps = started.total_steps.saturating_sub(self.step);
        let evaluation_secs = self.epochs.last().map_or(0.0, |epoch| epoch.evaluation_secs);
        let epochs = steps.div_ceil(started.steps_per_epoch.max(1));
        Some(steps as f64 * self.recent.sum().secs_per_step()? + epochs as f64 * evaluation_secs)
    }

    /// What `taper resume` needs besides the name of a run that has ended, such as ` --epochs N` of one that has done all
    /// its epochs; else nothing.
    pub fn resume_options(&self) -> &'static str {
        let Some(started) = self.started.as_ref().filter(|_| self.phase == Phase::Ended(Outcome::Completed)) else {
            return "";
        };
        if self.step < started.total_steps {
            " --set train.early_stop=0"
        } else if started.total_steps < started.epochs.saturating_mul(started.steps_per_epoch) {
            " --max-steps N"
        } else {
            " --epochs N"
        }
    }

    /// The run in a few figures, for tables and scripts.
    pub fn summary(&self) -> Summary {
        let started = self.started.as_ref();
        Summary {
            phase: self.phase,
            epoch: self.epoch,
            epochs: started.map(|started| started.epochs).filter(|&epochs| epochs > 0),
            step: self.step,
            total_steps: started.map(|started| started.total_steps).filter(|&steps| steps > 0),
            smoothed_loss: self.losses.smoothed(),
            learning_rate: self.learning_rate,
            best_epoch: self.best().map(|best| best.epoch),
            best_test_accuracy: self.best().map(|best| best.test_accuracy).filter(|accuracy| accuracy.is_finite()),
            best_test_time_augmentation: self.best().map(|best| best.test_time_augmentation).unwrap_or_default(),
            images_per_sec: self.images_per_sec(),
            active_secs: self.active_secs(self.last_activity_ms),
            remaining_secs: self.remaining_secs(),
            last_activity_ms: self.last_activity_ms,
        }
    }
}

/// The place behind that step in a series.
fn index(step: u64) -> usize {
    usize::try_from(step).unwrap_or(usize::MAX)
}

/// Lengthens a series to `steps`, unless it lacks too many.
fn fill(series: &mut StepSeries, steps: usize) {
    if steps.saturating_sub(series.len()) <= LONGEST_GAP {
        while series.len() < steps {
            series.push(f32::NAN);
        }
    }
}

/// A run in a few figures. `active_secs` is as of the last activity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub phase: Phase,
    pub epoch: u64,
    pub epochs: Option<u64>,
    pub step: u64,
    pub total_steps: Option<u64>,
    pub smoothed_loss: Option<f64>,
    pub learning_rate: Option<f64>,
    pub best_epoch: Option<u64>,
    pub best_test_accuracy: Option<f64>,
    /// What that was judged with.
    #[serde(default, skip_serializing_if = "TestTimeAugmentation::is_none")]
    pub best_test_time_augmentation: TestTimeAugmentation,
    pub images_per_sec: Option<f64>,
    pub active_secs: f64,
    pub remaining_secs: Option<f64>,
    pub last_activity_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::CheckpointReason;

    /// Ten steps an epoch.
    fn started(continued_from: Option<u64>) -> Event {
        Event::RunStarted(Box::new(RunStarted {
            steps_per_epoch: 10,
            total_steps: 100,
            continued_from,
            ..RunStarted::example()
        }))
    }

    fn steps(first_step: u64, losses: &[f32]) -> Event {
        Event::StepsDone(StepsDone {
            epoch: first_step.div_ceil(10),
            first_step,
            losses: losses.to_vec(),
            gradient_norms: losses.to_vec(),
            samples: losses.len() as u64,
            train_secs: losses.len() as f64,
            ..StepsDone::example()
        })
    }

    fn epoch(epoch: u64) -> Event {
        Event::EpochDone(EpochDone { epoch, step: 10 * epoch, ..EpochDone::example() })
    }

    fn checkpoint(step: u64) -> Event {
        Event::CheckpointSaved(CheckpointSaved {
            epoch: 1,
            step,
            name: format!("s{step}"),
            reason: CheckpointReason::Interval,
            bytes: 1,
            save_secs: 0.1,
        })
    }

    /// A second apart.
    fn fold(events: impl IntoIterator<Item = Event>) -> RunState {
        let mut state = RunState::default();
        for (index, event) in events.into_iter().enumerate() {
            state.apply(&Record { time_ms: 1000 * (index as u64 + 1), event });
        }
        state
    }

    #[test]
    fn steps_lengthen_the_series() {
        let state = fold([started(None), steps(1, &[4.0, 2.0]), steps(3, &[3.0])]);
        assert_eq!((state.phase, state.epoch, state.step), (Phase::Training, 1, 3));
        assert_eq!(state.losses.values(), [4.0, 2.0, 3.0]);
        assert_eq!(state.open_epoch_loss(), Some(3.0));
        assert_eq!(state.epoch_loss_until(1), Some(4.0));
        assert_eq!(state.images_per_sec(), Some(1.0));
    }

    #[test]
    fn a_rate_that_moves_each_step_is_followed() {
        let moving = |first_step, learning_rate| match steps(first_step, &[1.0]) {
            Event::StepsDone(steps) => Event::StepsDone(StepsDone { learning_rate, ..steps }),
            event => event,
        };
        let state = fold([started(None), moving(1, Some(0.25)), moving(2, Some(0.5))]);
        assert_eq!((state.learning_rate, state.learning_rate_changes.len()), (Some(0.5), 0));
        let state = fold([started(None), moving(1, None)]);
        assert_eq!(state.learning_rate, state.first_learning_rate);
    }

    #[test]
    fn steps_that_the_log_lacks_are_gaps() {
        let state = fold([started(None), steps(1, &[4.0]), steps(4, &[2.0])]);
        let is_gap: Vec<bool> = state.losses.values().iter().map(|loss| loss.is_nan()).collect();
        assert_eq!(is_gap, [false, true, true, false]);
        assert_eq!(state.open_epoch_loss(), Some(3.0));
    }

    #[test]
    fn a_restart_drops_what_came_after_its_checkpoint() {
        let before =
            [started(None), steps(1, &[1.0; 10]), epoch(1), checkpoint(10), steps(11, &[1.0; 5]), checkpoint(15)];
        let state = fold(before.clone().into_iter().chain([started(Some(10))]));
        assert_eq!((state.phase, state.epoch, state.step), (Phase::Starting, 1, 10));
        assert_eq!((state.losses.len(), state.epochs.len(), state.checkpoints.len()), (10, 1, 1));
        assert_eq!(state.open_epoch, OpenEpoch::default());
        let anew = fold(before.into_iter().chain([started(None)]));
        assert_eq!((anew.step, anew.losses.len(), anew.epochs.len(), anew.checkpoints.len()), (0, 0, 0, 0));
    }

    #[test]
    fn a_rollback_ends_a_divergence_and_keeps_its_alarm() {
        let alarm = |step, kind| Event::AlarmRaised { step, kind, message: "x".into() };
        let mut events = vec![started(None), steps(1, &[1.0; 5]), checkpoint(5), steps(6, &[1.0; 2])];
        events.extend([alarm(7, AlarmKind::GradientSpike), alarm(8, AlarmKind::Divergence), Event::Paused { step: 7 }]);
        assert_eq!(fold(events.clone()).divergence.as_deref(), Some("x"));
        events.push(Event::RolledBack { from_step: 7, to_step: 5, learning_rate: 0.0005 });
        let state = fold(events);
        assert_eq!((state.phase, state.step, state.learning_rate), (Phase::Training, 5, Some(0.0005)));
        assert_eq!(state.divergence, None);
        assert_eq!(state.alarms.iter().map(|alarm| alarm.kind).collect::<Vec<_>>(), [AlarmKind::Divergence]);
    }

    #[test]
    fn an_epoch_that_ends_twice_counts_once() {
        let state = fold([started(None), steps(1, &[1.0; 10]), epoch(1), started(Some(10)), epoch(1)]);
        assert_eq!(state.epochs.len(), 1);
    }

    #[test]
    fn only_the_last_epochs_keep_their_details() {
        let mistake = crate::run::event::Prediction { index: 0, true_class: 0, predicted_class: 1, confidence: 0.9 };
        let epochs = (1..=DETAILED_EPOCHS as u64 + 2).map(|number| {
            let Event::EpochDone(done) = epoch(number) else { unreachable!() };
            Event::EpochDone(EpochDone { mistakes: vec![mistake.clone()], ..done })
        });
        let state = fold([started(None)].into_iter().chain(epochs));
        let detailed: Vec<bool> = state.epochs.iter().map(|epoch| !epoch.mistakes.is_empty()).collect();
        assert_eq!(detailed[..3], [false, false, true]);
        assert_eq!(detailed.iter().filter(|detailed| **detailed).count(), DETAILED_EPOCHS);
    }

    #[test]
    fn pauses_and_absent_trainers_are_no_active_time() {
        let events = [started(None), steps(1, &[1.0]), Event::Paused { step: 1 }, Event::Resumed { step: 1 }];
        let state = fold(events.clone());
        assert_eq!(state.active_secs(state.last_activity_ms), 2.0);
        assert_eq!(state.active_secs(state.last_activity_ms + 500), 2.5);
        assert_eq!(fold(events.into_iter().chain([started(Some(1))])).active_secs(5000), 2.0);
    }

    #[test]
    fn checkpoints_on_schedule_are_one_note() {
        let texts = |state: &RunState| state.notes.iter().map(|note| note.text.clone()).collect::<Vec<_>>();
        let routine = [checkpoint(1), checkpoint(2), epoch(1), checkpoint(3)];
        let state = fold(routine.clone());
        assert_eq!(state.notes.len(), 2, "{:?}", texts(&state));
        assert!(texts(&state)[1].starts_with("3 checkpoints saved, the last s3, "), "{:?}", texts(&state));
        // What happens between them parts them.
        let state = fold(routine.into_iter().chain([Event::Paused { step: 3 }, checkpoint(4)]));
        assert_eq!((state.notes.len(), state.dropped_notes), (4, 2));
        assert!(texts(&state)[3].starts_with("checkpoint s4 saved, "), "{:?}", texts(&state));
    }

    #[test]
    fn notes_are_bounded() {
        let pauses = (0..NOTES as u64 + 3).map(|step| Event::Paused { step });
        let state = fold(pauses);
        assert_eq!((state.notes.len(), state.dropped_notes), (NOTES, 3));
        assert_eq!(state.notes[0].text, "paused at step 3");
    }
}
