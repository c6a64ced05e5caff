//! What the dashboard itself has to say.

use crate::run::event::Severity;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub severity: Severity,
    pub text: String,
}

impl Message {
    pub fn info(text: impl Into<String>) -> Self {
        Self { severity: Severity::Info, text: text.into() }
    }

    pub fn alarm(text: impl Into<String>) -> Self {
        Self { severity: Severity::Alarm, text: text.into() }
    }
}
