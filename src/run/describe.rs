//! Events in words: the notes of the dashboard and of plain progress, and the values in them.

use super::event::{
    CheckpointReason, CheckpointSaved, Command, EpochDone, Event, LearningRateReason, Outcome, Record, Severity,
};
use crate::format;

/// Columns of a loss at most.
const LOSS_WIDTH: usize = 8;

/// One event as a line for people, or several.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub time_ms: u64,
    pub severity: Severity,
    pub text: String,
    pub kind: NoteKind,
}

/// What a list of notes can leave out, or put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// Of so many checkpoints that were saved by themselves.
    ScheduledCheckpoints(u64),
    /// An epoch or a probe: what goes on in a run in which nothing happens.
    Routine,
    Other,
}

/// Of `count` checkpoints that were saved by themselves, the last of them `saved`.
pub fn scheduled_checkpoints(time_ms: u64, saved: &CheckpointSaved, count: u64) -> Note {
    let text = match count {
        0 | 1 => checkpoint(saved),
        _ => format!("{count} checkpoints saved, the last {}, {}", saved.name, cost(saved)),
    };
    Note { time_ms, severity: Severity::Info, text, kind: NoteKind::ScheduledCheckpoints(count) }
}

fn checkpoint(saved: &CheckpointSaved) -> String {
    format!("checkpoint {} saved, {}", saved.name, cost(saved))
}

fn cost(saved: &CheckpointSaved) -> String {
    format!("{} in {:.2} s: {}", format::bytes(saved.bytes), saved.save_secs, checkpoint_reason(saved.reason))
}

/// Whether the trainer saves such a checkpoint by itself, again and again.
pub fn is_scheduled(reason: CheckpointReason) -> bool {
    matches!(reason, CheckpointReason::Interval | CheckpointReason::Epoch)
}

/// That of an epoch by the images that it is judged by, and what it was judged with: `94.05 % TTA`.
pub fn accuracy(done: &EpochDone) -> String {
    format!("{} %{}", format::decimal(done.test_accuracy, 2), done.test_time_augmentation.mark())
}

/// `None` for what happens too often, or is shown otherwise.
pub fn note(record: &Record) -> Option<Note> {
    let (severity, text) = match &record.event {
        Event::StepsDone(_) | Event::EvaluationStarted { .. } | Event::SystemSampled { .. } => return None,
        Event::RunStarted(started) => {
            let origin =
                started.continued_from.map_or("started".to_owned(), |step| format!("continued from step {step}"));
            let host = Some(started.host.clone()).filter(|host| !host.is_empty());
            let process = Some(started.pid).filter(|&pid| pid > 0).map(|pid| format!("process {pid}"));
            let place = match (host, process) {
                (Some(host), Some(process)) => Some(format!("{host} ({process})")),
                (host, process) => host.or(process),
            };
            let device = Some(started.device.clone()).filter(|device| !device.is_empty());
            let trainer = started.trainer.as_ref().map_or(String::new(), |trainer| format!(" by {trainer}"));
            let places = [device, place].into_iter().flatten().collect::<Vec<_>>().join(", ");
            let on = if places.is_empty() { "" } else { " on " };
            let notice = started.notice.as_ref().map_or(String::new(), |notice| format!("; {notice}"));
            (Severity::Info, format!("{origin}{trainer}{on}{places}{notice}"))
        }
        Event::EpochDone(epoch) => {
            let (severity, best) =
                if epoch.best { (Severity::Good, ", the best so far") } else { (Severity::Info, "") };
            let &EpochDone { epoch, judged_by, train_loss, test_loss, test_accuracy, test_time_augmentation, .. } =
                epoch;
            let mut told = vec![];
            if test_loss.is_finite() {
                told.push(format!("{judged_by} loss {}", format::loss(test_loss, LOSS_WIDTH)));
            } else if train_loss.is_finite() {
                told.push(format!("training loss {}", format::loss(train_loss, LOSS_WIDTH)));
            }
            if test_accuracy.is_finite() {
                told.push(format!("{judged_by} accuracy {test_accuracy:.2} %"));
            }
            let told = if told.is_empty() { "done".to_owned() } else { told.join(", ") };
            let augmentation = test_time_augmentation.suffix();
            (severity, format!("epoch {epoch}: {told}{augmentation}{best}"))
        }
        Event::LearningRateChanged { step, from, to, reason, .. } => {
            let why = match reason {
                LearningRateReason::Plateau => ": the loss stopped improving",
                LearningRateReason::Command => ": by hand",
                LearningRateReason::Rollback => ": halved, because training diverged",
                LearningRateReason::Configuration => ": the configuration was changed",
                LearningRateReason::Other => "",
            };
            let (from, to) = (format::learning_rate(*from), format::learning_rate(*to));
            (Severity::Info, format!("learning rate {from} → {to} from step {step} on{why}"))
        }
        Event::Paused { step } => (Severity::Info, format!("paused at step {step}")),
        Event::Resumed { step } => (Severity::Info, format!("resumed at step {step}")),
        Event::CheckpointSaved(saved) => (Severity::Info, checkpoint(saved)),
        Event::ProbeSaved(saved) => {
            let right = saved.images.iter().filter(|image| image.predicted_class == image.true_class).count();
            let (step, size, images) = (saved.step, format::bytes(saved.bytes), saved.images.len());
            let secs = saved.elapsed_secs;
            (
                Severity::Info,
                format!("probe at step {step} saved, {size} in {secs:.2} s: {right} of {images} images right"),
            )
        }
        Event::AlarmRaised { step, kind, message } => (kind.severity(), format!("step {step}: {message}")),
        Event::RolledBack { from_step, to_step, .. } => {
            (Severity::Info, format!("rolled back from step {from_step} to step {to_step}"))
        }
        Event::SettingChanged { key, from, to, .. } => {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
            (Severity::Info, format!("{key} changed: {} → {}", value(from), value(to)))
        }
        Event::DirectoryMoved { path, .. } => (Severity::Info, format!("the run's directory is {path} now")),
        Event::BatchSkipped { step, .. } => (Severity::Info, format!("skipped the batch of step {step}")),
        Event::CommandReceived { command, .. } => (Severity::Info, request(*command)),
        Event::RunEnded { step, outcome, message } => {
            (outcome.severity(), format!("{} at step {step}: {message}", self::outcome(*outcome)))
        }
    };
    let kind = match &record.event {
        Event::CheckpointSaved(saved) if is_scheduled(saved.reason) => NoteKind::ScheduledCheckpoints(1),
        Event::EpochDone(_) | Event::ProbeSaved(_) => NoteKind::Routine,
        _ => NoteKind::Other,
    };
    Some(Note { time_ms: record.time_ms, severity, text, kind })
}

fn request(command: Command) -> String {
    let what = match command {
        Command::Pause => "pause",
        Command::Resume => "resume",
        Command::Checkpoint => "save a checkpoint",
        Command::Probe => "save a probe",
        Command::Rollback => "roll back to the last good checkpoint",
        Command::SkipBatch => "skip the batch",
        Command::Stop => "stop",
        Command::SetLearningRate { learning_rate } => {
            return format!("command: learning rate {}", format::learning_rate(learning_rate));
        }
    };
    format!("command: {what}")
}

/// Such as `completed`.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Stopped => "stopped",
        Outcome::Interrupted => "interrupted",
        Outcome::Failed => "failed",
        Outcome::Other => "ended",
    }
}

pub fn checkpoint_reason(reason: CheckpointReason) -> &'static str {
    match reason {
        CheckpointReason::Interval => "on schedule",
        CheckpointReason::Epoch => "end of epoch",
        CheckpointReason::Command => "by command",
        CheckpointReason::Rollback => "rolled back",
        CheckpointReason::End => "end of run",
        CheckpointReason::Other => "other reason",
    }
}

/// In a word or two.
pub fn learning_rate_reason(reason: LearningRateReason) -> &'static str {
    match reason {
        LearningRateReason::Plateau => "plateau",
        LearningRateReason::Command => "by hand",
        LearningRateReason::Rollback => "diverged",
        LearningRateReason::Configuration => "configured",
        LearningRateReason::Other => "other",
    }
}
