//! The lines of the control socket.

use serde::{Deserialize, Serialize};

use super::super::event::Command;
use crate::config::check_learning_rate;

/// In every request.
pub const PROTOCOL_VERSION: u32 = 1;
/// The longest request, with its newline.
pub const MAX_LINE_BYTES: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
pub(super) struct Line<C> {
    pub version: u32,
    pub command: C,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// What was done, for people.
    Done {
        message: String,
    },
    Error {
        message: String,
    },
}

impl Reply {
    pub(super) fn error(message: impl Into<String>) -> Self {
        Self::Error { message: message.into() }
    }
}

/// The command in a line that a client sent; else what to answer.
pub fn parse(line: &[u8]) -> Result<Command, String> {
    const EXAMPLE: &str = r#"{"version":1,"command":{"name":"pause"}}"#;
    // The version first: a later one may word its commands otherwise.
    let line: Line<serde_json::Value> = serde_json::from_slice(line)
        .and_then(|object| Line::deserialize(serde_json::Value::Object(object)))
        .map_err(|error| format!("not a request: {error}; such as {EXAMPLE}"))?;
    if line.version != PROTOCOL_VERSION {
        return Err(format!("the request is of version {}, this trainer speaks {PROTOCOL_VERSION}", line.version));
    }
    let command = serde_json::from_value(line.command).map_err(|error| format!("not a command: {error}"))?;
    if let Command::SetLearningRate { learning_rate } = command {
        check_learning_rate(learning_rate)?;
    }
    Ok(command)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn commands_are_read_as_documented() {
        let command = |text: &str| parse(text.as_bytes());
        assert_eq!(command(r#"{"version":1,"command":{"name":"pause"}}"#), Ok(Command::Pause));
        assert_eq!(
            command(r#"{"version":1,"command":{"name":"set_learning_rate","learning_rate":0.0005}}"#),
            Ok(Command::SetLearningRate { learning_rate: 0.0005 })
        );
    }

    #[test]
    fn a_bad_line_is_told_why() {
        let complaint = |text: &[u8]| parse(text).unwrap_err();
        assert!(complaint(b"pause").starts_with("not a request: "));
        assert!(complaint(b"\xff\xfe").starts_with("not a request: "));
        assert!(complaint(br#"{"version":2,"command":{"new":1}}"#).contains("version 2, this trainer speaks 1"));
        assert!(complaint(br#"{"version":1,"command":{"name":"dance"}}"#).starts_with("not a command: "));
        for rate in ["0", "-1", "11", "1e300"] {
            let line = format!(r#"{{"version":1,"command":{{"name":"set_learning_rate","learning_rate":{rate}}}}}"#);
            assert!(complaint(line.as_bytes()).contains("must be a number from 1e-12 to 10"), "{rate}");
        }
    }
}
