//! A run in the list.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::run::dir::RunDir;
use crate::run::listing::{Figures, Listed, standing};
use crate::run::state::Phase;

#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub listed: Listed,
    pub log: LogRead,
}

/// What is known of a run's log.
#[derive(Clone, Debug, PartialEq)]
pub enum LogRead {
    /// It has not been read yet.
    Pending,
    Read(Box<Figures>),
    /// Why it cannot be read.
    Failed(String),
}

impl Row {
    pub fn run(&self) -> &RunDir {
        &self.listed.run
    }

    pub fn figures(&self) -> Option<&Figures> {
        match &self.log {
            LogRead::Read(figures) => Some(figures),
            LogRead::Pending | LogRead::Failed(_) => None,
        }
    }

    pub fn standing(&self, now_ms: u64) -> String {
        match &self.log {
            LogRead::Pending => "…".to_owned(),
            LogRead::Failed(_) => "cannot be read".to_owned(),
            LogRead::Read(figures) => standing(&self.listed.liveness, &figures.summary, now_ms),
        }
    }

    /// The trainer ended without an end in the log.
    pub fn is_dead(&self) -> bool {
        let summary = self.figures().map(|figures| &figures.summary);
        !self.listed.is_live()
            && summary.is_some_and(|summary| !matches!(summary.phase, Phase::Ended(_)) && summary.total_steps.is_some())
    }

    /// Seconds since something last happened in the run.
    pub fn age_secs(&self, now_ms: u64) -> f64 {
        let since_ms = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let last = self.figures().map(|figures| figures.summary.last_activity_ms).filter(|&time_ms| time_ms > 0);
        now_ms.saturating_sub(last.unwrap_or_else(|| since_ms(self.listed.since))) as f64 / 1e3
    }

    pub fn best(&self) -> Option<f64> {
        self.figures()?.summary.best_test_accuracy
    }

    /// What follows the best accuracy.
    pub fn best_mark(&self) -> &'static str {
        self.figures().map_or("", |figures| figures.summary.best_test_time_augmentation.mark())
    }

    /// Whether it is what somebody who types these words looks for.
    pub fn matches(&self, words: &[String], now_ms: u64) -> bool {
        if words.is_empty() {
            return true;
        }
        let mut text = format!("{}\n{}", self.run().name(), self.standing(now_ms));
        if let Some(figures) = self.figures() {
            for part in [&figures.model, &figures.device, &figures.data] {
                text.push('\n');
                text.push_str(part);
            }
        }
        if self.listed.is_live() {
            text.push_str("\nlive");
        }
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word.as_str()))
    }
}
