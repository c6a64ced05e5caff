//! Events in words: the notes of the dashboard and of plain progress, and the values in them.

use serde::Serialize;

use super::event::{CheckpointReason, Command, EpochDone, Event, LearningRateReason, Outcome, Record, Severity};
use crate::format;

/// One event as a line for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    pub time_ms: u64,
    pub severity: Severity,
    pub text: String,
}

/// `None` for what happens too often, or is shown otherwise.
pub fn note(record: &Record) -> Option<Note> {
    let (severity, text) = match &record.event {
        Event::StepsDone(_) | Event::EvaluationStarted { .. } | Event::SystemSampled { .. } => return None,
        Event::RunStarted(started) => {
            let origin =
                started.continued_from.map_or("started".to_owned(), |step| format!("continued from step {step}"));
            let notice = started.notice.as_ref().map_or(String::new(), |notice| format!("; {notice}"));
            (
                Severity::Info,
                format!("{origin} on {}, {} (process {}){notice}", started.device, started.host, started.pid),
            )
        }
        Event::EpochDone(epoch) => {
            let (severity, best) =
                if epoch.best { (Severity::Good, ", the best so far") } else { (Severity::Info, "") };
            let &EpochDone { epoch, judged_by, test_loss: loss, test_accuracy: accuracy, .. } = epoch;
            (severity, format!("epoch {epoch}: {judged_by} loss {loss:.4}, {judged_by} accuracy {accuracy:.2} %{best}"))
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
        Event::CheckpointSaved(saved) => {
            let (size, why) = (format::bytes(saved.bytes), checkpoint_reason(saved.reason));
            (Severity::Info, format!("checkpoint {} saved, {size} in {:.2} s: {why}", saved.name, saved.save_secs))
        }
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
    Some(Note { time_ms: record.time_ms, severity, text })
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
