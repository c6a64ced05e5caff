//! What nobody must miss: notices under the header, and the list of alarms.

use super::message::Message;
use super::screens::Screen;
use super::{App, PauseIntent};
use crate::run::describe::{Note, NoteKind};
use crate::run::event::Severity;
use crate::run::lock::Liveness;
use crate::run::state::{Alarm, Phase};
use crate::tui::keys::{self, Action, Steering};

/// More would leave the smallest screen no room for its charts.
const MOST_NOTICE_LINES: usize = 3;
/// Columns beside a notice.
const NOTICE_MARGIN: usize = 4;

/// A line of the list of alarms.
#[derive(Clone, Debug, PartialEq)]
pub enum AlarmLine<'a> {
    Heading(&'a Alarm),
    Message(String),
}

impl App {
    /// Lines under the header of a screen that is `width` wide.
    pub fn notices(&self, width: u16) -> Vec<Message> {
        let mut notices = Vec::new();
        notices.extend(self.fault.clone().map(Message::alarm));
        if let Some(divergence) = self.run.divergence.as_ref().filter(|_| self.awaits_recovery()) {
            let recoveries = keys::bindings(Screen::Diverged)
                .chain(keys::bindings(Screen::Dashboard).filter(|key| key.action == Action::Open(Screen::ConfirmStop)))
                .map(|binding| format!("{} {}", binding.keys[0], binding.label));
            notices.push(Message::alarm(divergence));
            notices.push(Message::alarm(recoveries.collect::<Vec<_>>().join(" · ")));
        }
        if self.trainer_died() {
            notices.push(Message::alarm(self.gone_message("the trainer is gone")));
        } else if let Some(Liveness::Unknown { why }) = &self.liveness {
            notices.push(Message::info(why));
        } else if let Some(Liveness::Elsewhere { host }) = &self.liveness
            && !matches!(self.run.phase, Phase::Ended(_))
        {
            notices.push(Message::info(format!("the trainer is on {host}: to steer it, attach there")));
        }
        if !self.ui.has_pressed_key && self.run.epochs.is_empty() {
            notices.extend(self.run.started.as_ref().and_then(|started| started.notice.clone()).map(Message::info));
        }
        let width = usize::from(width).saturating_sub(NOTICE_MARGIN);
        let lines = notices.iter().flat_map(|notice| {
            let severity = notice.severity;
            textwrap::wrap(&notice.text, width).into_iter().map(move |text| Message { severity, text: text.into() })
        });
        lines.take(MOST_NOTICE_LINES).collect()
    }

    /// The line of the event list that no log has: the trainer is gone.
    pub fn death_note(&self) -> Option<Note> {
        self.trainer_died().then(|| Note {
            time_ms: self.run.last_activity_ms,
            severity: Severity::Alarm,
            text: self.gone_message("the trainer is gone, and did not say why"),
            kind: NoteKind::Other,
        })
    }

    /// Why no trainer takes a command, if none does.
    pub fn refusal(&self) -> Option<Message> {
        match self.steering() {
            Steering::Running | Steering::Paused => None,
            Steering::Ended => Some(Message::info(self.gone_message("the run has ended"))),
            Steering::TrainerGone => Some(Message::info(self.gone_message("the trainer is gone"))),
            Steering::OtherTrainer => {
                let trainer = self.run.other_trainer().unwrap_or_default();
                Some(Message::info(format!("not offered by this run's trainer, {trainer}")))
            }
        }
    }

    fn gone_message(&self, why: &str) -> String {
        if let Some(trainer) = self.run.other_trainer() {
            return format!("{why}: {trainer} does not run any more, and has not ended the run");
        }
        format!("{why}; to go on: {}", self.resume_command())
    }

    /// What goes on with the run where no trainer does.
    pub fn resume_command(&self) -> String {
        format!("taper resume {}{}", self.name, self.run.resume_options())
    }

    /// Which commands the run takes, with what is pending.
    pub fn steering(&self) -> Steering {
        if self.run.other_trainer().is_some() {
            return Steering::OtherTrainer;
        }
        let is_paused = match self.ui.pending.pause {
            Some(intent) => intent == PauseIntent::Pause,
            None => self.run.phase == Phase::Paused,
        };
        match self.run.phase {
            Phase::Ended(_) => Steering::Ended,
            _ if self.trainer_died() => Steering::TrainerGone,
            _ if is_paused => Steering::Paused,
            _ => Steering::Running,
        }
    }

    /// The alarms, the newest first, in lines of at most `width` columns: a heading for each, and its message.
    pub fn alarm_lines(&self, width: u16) -> Vec<AlarmLine<'_>> {
        let lines = self.run.alarms.iter().rev().flat_map(|alarm| {
            let message = textwrap::wrap(&alarm.message, usize::from(width)).into_iter();
            std::iter::once(AlarmLine::Heading(alarm)).chain(message.map(|line| AlarmLine::Message(line.into())))
        });
        lines.collect()
    }
}
