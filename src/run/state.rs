//! What is known of a run: a pure fold of its events. The dashboard, `taper runs` and every export look at this.
//!
//! Nothing but an event changes it, and nothing here reads a clock: whoever shows a duration passes the time in.

use std::collections::VecDeque;
use std::fmt;

use serde::{Serialize, Serializer};

use super::event::{
    AlarmKind, CheckpointReason, CheckpointSaved, Command, EpochDone, Event, LearningRateReason, Outcome, ProbeSaved,
    Record, RunStarted, StepsDone,
};
use super::step_series::StepSeries;
use super::step_time::Breakdown;
use crate::format;

/// Lines of the event list that are kept.
const NOTES: usize = 500;
/// Training time over which the speed is taken, and where it goes.
const RECENT_SECS: f64 = 15.0;
/// Epochs whose confusion matrix and mistakes are kept: the last ones.
pub const DETAILED_EPOCHS: usize = 200;
/// A live trainer has something to say every ten seconds, but while it evaluates.
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

impl Phase {
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
            Phase::Ended(Outcome::Completed) => "completed",
            Phase::Ended(Outcome::Stopped) => "stopped",
            Phase::Ended(Outcome::Interrupted) => "interrupted",
            Phase::Ended(Outcome::Failed) => "failed",
        })
    }
}

impl Serialize for Phase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The learning rate from step `step + 1` on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LearningRateChange {
    pub time_ms: u64,
    pub epoch: u64,
    pub step: u64,
    pub from: f64,
    pub to: f64,
    pub reason: LearningRateReason,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checkpoint {
    pub time_ms: u64,
    #[serde(flatten)]
    pub saved: CheckpointSaved,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    pub time_ms: u64,
    #[serde(flatten)]
    pub saved: ProbeSaved,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alarm {
    pub time_ms: u64,
    pub step: u64,
    pub kind: AlarmKind,
    pub message: String,
}

/// How much a note wants to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    /// Something went better than ever before, or ended well.
    Good,
    Alarm,
}

impl AlarmKind {
    pub fn severity(self) -> Severity {
        if self == Self::Plateau { Severity::Info } else { Severity::Alarm }
    }
}

/// One event as a line for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    pub time_ms: u64,
    pub severity: Severity,
    pub text: String,
}

/// The epoch that is being trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OpenEpoch {
    pub epoch: u64,
    /// Images classified right, of those since the trainer took up this epoch.
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

/// What the last [`RECENT_SECS`] of training went into.
#[derive(Clone, Debug, Default)]
struct RecentSteps {
    /// Of each line of the log.
    window: VecDeque<Breakdown>,
    sum: Breakdown,
}

impl RecentSteps {
    fn push(&mut self, steps: Breakdown) {
        self.window.push_back(steps);
        self.sum += steps;
        while self.sum.total_secs > RECENT_SECS && self.window.len() > 1 {
            if let Some(oldest) = self.window.pop_front() {
                self.sum -= oldest;
            }
        }
    }
}

/// Everything known of a run. Series hold only what still counts: after a restart from a checkpoint, what the log says
/// of later steps is gone from them.
#[derive(Clone, Debug, Default)]
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
    pub losses: StepSeries,
    /// Over all parameters.
    pub gradient_norms: StepSeries,
    pub open_epoch: OpenEpoch,
    /// Without confusion matrix and mistakes but for the last [`DETAILED_EPOCHS`].
    pub epochs: Vec<EpochDone>,
    /// Of the next step; where the schedule moves it each step, of the last one.
    pub learning_rate: Option<f64>,
    /// That the run began with.
    pub first_learning_rate: Option<f64>,
    pub learning_rate_changes: Vec<LearningRateChange>,
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
    pub notes: VecDeque<Note>,
    /// Notes that were dropped to stay within bounds.
    pub dropped_notes: usize,
    pub resident_bytes: Option<u64>,
    /// The trainer's last words.
    pub end_message: Option<String>,
    recent: RecentSteps,
    all_steps: Breakdown,
    active_ms: u64,
}

impl RunState {
    /// Folds one event in.
    pub fn apply(&mut self, record: &Record) {
        let now = record.time_ms;
        // Between two trainers nobody spends time; a clock that was set back adds none either, and one set forward little.
        if self.phase.is_active() && !matches!(record.event, Event::RunStarted(_)) && self.started.is_some() {
            let silence_ms = now.saturating_sub(self.last_activity_ms).min(LONGEST_SILENCE_MS);
            self.active_ms = self.active_ms.saturating_add(silence_ms);
        }
        self.last_activity_ms = now;
        match &record.event {
            Event::RunStarted(started) => self.start(now, started),
            Event::StepsDone(steps) => self.take_steps(steps),
            Event::EvaluationStarted { epoch, step } => {
                self.phase = Phase::Evaluating;
                (self.epoch, self.step) = (*epoch, *step);
            }
            Event::EpochDone(epoch) => self.end_epoch(now, epoch),
            Event::LearningRateChanged { epoch, step, from, to, reason } => {
                self.learning_rate = Some(*to);
                let change = LearningRateChange {
                    time_ms: now,
                    epoch: *epoch,
                    step: *step,
                    from: *from,
                    to: *to,
                    reason: *reason,
                };
                self.learning_rate_changes.push(change);
                let why = match reason {
                    LearningRateReason::Plateau => "the test loss stopped improving",
                    LearningRateReason::Command => "by hand",
                    LearningRateReason::Rollback => "halved, because training diverged",
                };
                self.note(
                    now,
                    Severity::Info,
                    format!(
                        "learning rate {} → {} from step {step} on: {why}",
                        format::learning_rate(*from),
                        format::learning_rate(*to)
                    ),
                );
            }
            Event::Paused { step } => {
                self.phase = Phase::Paused;
                self.note(now, Severity::Info, format!("paused at step {step}"));
            }
            Event::Resumed { step } => {
                self.phase = Phase::Training;
                self.note(now, Severity::Info, format!("resumed at step {step}"));
            }
            Event::CheckpointSaved(saved) => {
                let why = match saved.reason {
                    CheckpointReason::Interval => "on schedule",
                    CheckpointReason::Epoch => "end of epoch",
                    CheckpointReason::Command => "asked for",
                    CheckpointReason::Rollback => "gone back",
                    CheckpointReason::End => "end of run",
                };
                let text = format!(
                    "checkpoint {} saved, {} in {:.2} s: {why}",
                    saved.name,
                    format::bytes(saved.bytes),
                    saved.save_secs
                );
                self.checkpoints.push(Checkpoint { time_ms: now, saved: saved.clone() });
                self.note(now, Severity::Info, text);
            }
            Event::ProbeSaved(saved) => self.take_probe(now, saved),
            Event::AlarmRaised { step, kind, message } => {
                self.alarms.push(Alarm { time_ms: now, step: *step, kind: *kind, message: message.clone() });
                if *kind == AlarmKind::Divergence {
                    self.divergence = Some(message.clone());
                }
                self.note(now, kind.severity(), format!("step {step}: {message}"));
            }
            Event::RolledBack { from_step, to_step, learning_rate } => {
                self.go_back(*to_step, *learning_rate);
                self.phase = Phase::Training;
                self.note(now, Severity::Info, format!("went back from step {from_step} to step {to_step}"));
            }
            Event::BatchSkipped { epoch, step } => {
                self.phase = Phase::Training;
                self.divergence = None;
                (self.epoch, self.step) = (*epoch, *step);
                fill(&mut self.losses, usize::try_from(*step).unwrap_or(usize::MAX));
                fill(&mut self.gradient_norms, usize::try_from(*step).unwrap_or(usize::MAX));
                self.note(now, Severity::Info, format!("skipped the batch of step {step}"));
            }
            Event::CommandReceived { command, .. } => {
                let text = match command {
                    Command::Pause => "asked to pause".to_owned(),
                    Command::Resume => "asked to resume".to_owned(),
                    Command::Checkpoint => "asked for a checkpoint".to_owned(),
                    Command::Probe => "asked for a probe".to_owned(),
                    Command::Rollback => "asked to go back to the last good checkpoint".to_owned(),
                    Command::SkipBatch => "asked to skip the batch".to_owned(),
                    Command::Stop => "asked to stop".to_owned(),
                    Command::SetLearningRate { learning_rate } => {
                        format!("asked for learning rate {}", format::learning_rate(*learning_rate))
                    }
                };
                self.note(now, Severity::Info, text);
            }
            Event::SystemSampled { resident_bytes, .. } => self.resident_bytes = Some(*resident_bytes),
            Event::RunEnded { step, outcome, message } => {
                self.phase = Phase::Ended(*outcome);
                self.step = *step;
                self.divergence = None;
                self.end_message = Some(message.clone());
                let severity = match outcome {
                    Outcome::Completed | Outcome::Stopped => Severity::Good,
                    Outcome::Interrupted | Outcome::Failed => Severity::Alarm,
                };
                self.note(now, severity, format!("{} at step {step}: {message}", self.phase));
            }
        }
    }

    fn start(&mut self, now: u64, started: &RunStarted) {
        // A trainer that found no checkpoint begins anew: nothing before it holds.
        let kept = started.continued_from.unwrap_or(0);
        let RunStarted { device, host, pid, .. } = started;
        let text = match started.continued_from {
            Some(step) => format!("continued from step {step} on {device}, {host} (process {pid})"),
            None => format!("started on {device}, {host} (process {pid})"),
        };
        self.started = Some(started.clone());
        self.go_back(kept, started.learning_rate);
        self.first_started_ms.get_or_insert(now);
        self.phase = Phase::Starting;
        self.end_message = None;
        self.recent = RecentSteps::default();
        self.note(now, Severity::Info, text);
    }

    /// Training goes on at a checkpoint of `step`, or at the beginning, with the learning rate that it had there.
    fn go_back(&mut self, step: u64, learning_rate: f64) {
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
        self.learning_rate = Some(learning_rate);
        if step == 0 || self.first_learning_rate.is_none() {
            self.first_learning_rate = Some(learning_rate);
        }
        self.divergence = None;
    }

    /// Drops every point of a series that lies after `step`.
    fn rewind(&mut self, step: u64) {
        self.step = step;
        let steps = usize::try_from(step).unwrap_or(usize::MAX);
        self.losses.truncate(steps);
        self.gradient_norms.truncate(steps);
        self.epochs.retain(|epoch| epoch.step <= step);
        self.learning_rate_changes.retain(|change| change.step <= step);
        self.checkpoints.retain(|checkpoint| checkpoint.saved.step <= step);
        self.probes.retain(|probe| probe.saved.step <= step);
        // Why training went back stays known.
        self.alarms.retain(|alarm| alarm.step <= step || alarm.kind == AlarmKind::Divergence);
        self.open_epoch = OpenEpoch::default();
    }

    fn take_steps(&mut self, steps: &StepsDone) {
        self.phase = Phase::Training;
        self.epoch = steps.epoch;
        let before = usize::try_from(steps.first_step.saturating_sub(1)).unwrap_or(usize::MAX);
        for series in [&mut self.losses, &mut self.gradient_norms] {
            series.truncate(before);
            fill(series, before);
        }
        self.learning_rate = steps.learning_rate.or(self.learning_rate);
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
        self.recent.push(breakdown);
        if steps.split_us.is_some() {
            self.all_steps += breakdown;
        }
    }

    fn take_probe(&mut self, now: u64, saved: &ProbeSaved) {
        let right = saved.images.iter().filter(|image| image.predicted_class == image.true_class).count();
        let text = format!(
            "probe at step {} saved, {} in {:.2} s: {right} of {} images right",
            saved.step,
            format::bytes(saved.bytes),
            saved.elapsed_secs,
            saved.images.len()
        );
        self.probe_secs += saved.elapsed_secs;
        self.probes.retain(|probe| probe.saved.file != saved.file);
        self.probes.push(Probe { time_ms: now, saved: saved.clone() });
        self.note(now, Severity::Info, text);
    }

    fn end_epoch(&mut self, now: u64, epoch: &EpochDone) {
        self.phase = Phase::Training;
        (self.epoch, self.step) = (epoch.epoch, epoch.step);
        // Continued from a checkpoint between its last step and its evaluation, an epoch ends twice.
        self.epochs.retain(|earlier| earlier.epoch < epoch.epoch);
        self.epochs.push(epoch.clone());
        if let Some(older) = self.epochs.len().checked_sub(DETAILED_EPOCHS + 1) {
            let older = &mut self.epochs[older];
            (older.confusion, older.mistakes) = (None, vec![]);
        }
        let (severity, best) = if epoch.best { (Severity::Good, ", the best so far") } else { (Severity::Info, "") };
        let text = format!(
            "epoch {}: test loss {:.4}, test accuracy {:.2} %{best}",
            epoch.epoch, epoch.test_loss, epoch.test_accuracy
        );
        self.note(now, severity, text);
    }

    fn note(&mut self, time_ms: u64, severity: Severity, text: String) {
        if self.notes.len() == NOTES {
            self.notes.pop_front();
            self.dropped_notes += 1;
        }
        self.notes.push_back(Note { time_ms, severity, text });
    }

    /// The best epoch, by `train.best`.
    pub fn best(&self) -> Option<&EpochDone> {
        self.epochs.iter().rev().find(|epoch| epoch.best)
    }

    /// Steps of the present epoch that are done.
    pub fn steps_in_epoch(&self) -> u64 {
        let steps_per_epoch = self.started.as_ref().map_or(0, |started| started.steps_per_epoch);
        self.step.saturating_sub(self.epoch.saturating_sub(1).saturating_mul(steps_per_epoch))
    }

    /// Mean batch loss of the epoch being trained.
    pub fn open_epoch_loss(&self) -> Option<f64> {
        let steps = usize::try_from(self.steps_in_epoch()).ok()?;
        let losses = self.losses.values();
        let losses = losses[losses.len().saturating_sub(steps)..].iter().copied().filter(|loss| loss.is_finite());
        let (sum, count) = losses.fold((0.0, 0u64), |(sum, count), loss| (sum + f64::from(loss), count + 1));
        (count > 0).then(|| sum / count as f64)
    }

    /// Images trained on per second, recently, pauses and evaluation aside.
    pub fn images_per_sec(&self) -> Option<f64> {
        self.recent.sum.examples_per_sec()
    }

    /// Where the time of training goes, recently. `None` where the log does not say.
    pub fn recent_step_time(&self) -> Option<Breakdown> {
        Some(self.recent.sum).filter(|sum| sum.time.total_secs() > 0.0)
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
        if matches!(self.phase, Phase::Ended(_)) {
            return None;
        }
        let steps = started.total_steps.saturating_sub(self.step);
        let evaluation_secs = self.epochs.last().map_or(0.0, |epoch| epoch.evaluation_secs);
        let epochs = steps.div_ceil(started.steps_per_epoch.max(1));
        Some(steps as f64 * self.recent.sum.secs_per_step()? + epochs as f64 * evaluation_secs)
    }

    /// The run in a few figures, for tables and scripts.
    pub fn summary(&self) -> Summary {
        let started = self.started.as_ref();
        Summary {
            phase: self.phase,
            epoch: self.epoch,
            epochs: started.map(|started| started.epochs),
            step: self.step,
            total_steps: started.map(|started| started.total_steps),
            smoothed_loss: self.losses.smoothed(),
            learning_rate: self.learning_rate,
            best_epoch: self.best().map(|best| best.epoch),
            best_test_accuracy: self.best().map(|best| best.test_accuracy),
            images_per_sec: self.images_per_sec(),
            active_secs: self.active_secs(self.last_activity_ms),
            remaining_secs: self.remaining_secs(),
            last_activity_ms: self.last_activity_ms,
        }
    }
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    pub images_per_sec: Option<f64>,
    pub active_secs: f64,
    pub remaining_secs: Option<f64>,
    pub last_activity_ms: u64,
}
