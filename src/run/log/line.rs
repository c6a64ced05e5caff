//! A line of the event log: a record as JSON whose last field is the checksum of the bytes before it.

use serde::Serialize;
use serde_json::Value;
use strum::VariantNames;

use super::super::event::{Command, Event, FORMAT_VERSION, FORMAT_WITH_CHECKSUMS, Record};
use super::steps_line::{self, StepsOutline};

const CHECKSUM_FIELD: &[u8] = b",\"crc32\":";
const NO_CHECKSUM: &str = "it lacks the checksum that the lines of this log have";

/// With its newline.
pub fn to_bytes(record: &Record) -> serde_json::Result<Vec<u8>> {
    with_checksum(record)
}

/// An object as a line of JSON with its checksum.
pub fn with_checksum(object: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(object)?;
    line.pop();
    let checksum = crc32fast::hash(&line);
    line.extend_from_slice(CHECKSUM_FIELD);
    line.extend_from_slice(checksum.to_string().as_bytes());
    line.extend_from_slice(b"}\n");
    Ok(line)
}

/// Whether a line has a checksum, and it is right.
pub fn is_whole(line: &[u8]) -> bool {
    split_checksum(line).is_some_and(|(content, checksum)| crc32fast::hash(content) == checksum)
}

/// Why a line gives no record.
pub enum Fault {
    /// Of a format that is not known here.
    Version(u64),
    Malformed(String),
}

/// Reads the lines of a log in their order.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineReader {
    /// From the first line on that has a checksum, every line must have one. An older log has none, until a trainer of
    /// this version goes on with its run.
    checksums: bool,
}

impl LineReader {
    /// Behind a line with a checksum.
    pub fn behind_checksum() -> Self {
        Self { checksums: true }
    }

    pub fn expects_checksums(&self) -> bool {
        self.checksums
    }

    /// `None`: an event of a kind that is not known here.
    pub fn parse(&mut self, line: &[u8]) -> Result<Option<Record>, Fault> {
        match split_checksum(line) {
            Some((content, checksum)) if crc32fast::hash(content) == checksum => {
                self.checksums = true;
                if let Some(steps) = steps_line::parse(content) {
                    return Ok(Some(steps));
                }
            }
            Some(_) => {
                return Err(Fault::Malformed("its checksum does not match: the line was changed".to_owned()));
            }
            None if self.checksums => return Err(Fault::Malformed(NO_CHECKSUM.to_owned())),
            None => {}
        }
        match serde_json::from_slice::<Record>(line) {
            Ok(Record { event: Event::RunStarted(started), .. }) if !is_known(started.version.into()) => {
                Err(Fault::Version(started.version.into()))
            }
            Ok(Record { event: Event::RunStarted(started), .. })
                if started.version >= FORMAT_WITH_CHECKSUMS && !self.checksums =>
            {
                self.checksums = true;
                Err(Fault::Malformed(NO_CHECKSUM.to_owned()))
            }
            Ok(record) => Ok(Some(record)),
            Err(error) => explain(line, error),
        }
    }

    /// As [`LineReader::parse`], without the losses of steps where the line has a checksum.
    pub fn outline(&mut self, line: &[u8]) -> Result<Option<Entry>, Fault> {
        if let Some((content, checksum)) = split_checksum(line)
            && let Some(steps) = steps_line::outline(content)
            && crc32fast::hash(content) == checksum
        {
            self.checksums = true;
            return Ok(Some(Entry::Steps(steps)));
        }
        let record = self.parse(line)?;
        Ok(Some(record.map_or(Entry::Unknown, |record| Entry::Record(Box::new(record)))))
    }
}

/// What an outline has of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Record(Box<Record>),
    Steps(StepsOutline),
    /// An event of a kind that is not known here.
    Unknown,
}

/// The bytes that the checksum of a line is of, and the checksum.
fn split_checksum(line: &[u8]) -> Option<(&[u8], u32)> {
    let fields = line.strip_suffix(b"}\n")?;
    let digits = fields.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (rest, digits) = fields.split_at(fields.len() - digits);
    let content = rest.strip_suffix(CHECKSUM_FIELD)?;
    Some((content, str::from_utf8(digits).ok()?.parse().ok()?))
}

fn is_known(version: u64) -> bool {
    (1..=u64::from(FORMAT_VERSION)).contains(&version)
}

/// Tells an event or command of a later version, which is left out, from a damaged line. A known event with a value of a
/// later version, such as another outcome, parses and does not come here.
fn explain(line: &[u8], error: serde_json::Error) -> Result<Option<Record>, Fault> {
    let malformed = |reason: String| Err(Fault::Malformed(reason));
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return malformed(error.to_string());
    };
    let Some(kind) = value.get("event").and_then(Value::as_str) else {
        return malformed("it has no `event`".to_owned());
    };
    // Another format may have other fields, so its first line need not parse to be recognised.
    if let (Event::RUN_STARTED, Some(found)) = (kind, value.get("version").and_then(Value::as_u64))
        && !is_known(found)
    {
        return Err(Fault::Version(found));
    }
    let command = value.pointer("/command/name").and_then(Value::as_str);
    let is_later = !Event::VARIANTS.contains(&kind)
        || kind == Event::COMMAND_RECEIVED && command.is_some_and(|name| !Command::VARIANTS.contains(&name));
    if is_later { Ok(None) } else { malformed(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::Outcome;

    fn paused(step: u64) -> Record {
        Record { time_ms: 5, event: Event::Paused { step } }
    }

    fn reason(outcome: Result<Option<Record>, Fault>) -> String {
        match outcome {
            Err(Fault::Malformed(reason)) => reason,
            Err(Fault::Version(version)) => panic!("version {version}"),
            Ok(record) => panic!("{record:?}"),
        }
    }

    #[test]
    fn a_line_ends_in_its_checksum() {
        let line = to_bytes(&paused(7)).unwrap();
        // By Python: zlib.crc32(b'{"time_ms":5,"event":"paused","step":7')
        let expected = "{\"time_ms\":5,\"event\":\"paused\",\"step\":7,\"crc32\":1198100521}\n";
        assert_eq!(String::from_utf8(line.clone()).unwrap(), expected);
        assert!(matches!(LineReader::default().parse(&line), Ok(Some(record)) if record == paused(7)));
    }

    #[test]
    fn every_change_is_noticed_where_checksums_are_expected() {
        let whole = to_bytes(&paused(7)).unwrap();
        let mut reader = LineReader::default();
        assert!(reader.parse(&whole).is_ok());
        for at in 0..whole.len() {
            let mut missing = whole.clone();
            missing.remove(at);
            reason(reader.parse(&missing));
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                reason(reader.parse(&changed));
            }
        }
    }

    #[test]
    fn checksums_are_required_from_the_first_on() {
        let plain = [&serde_json::to_vec(&paused(1)).unwrap()[..], b"\n"].concat();
        let mut reader = LineReader::default();
        assert!(matches!(reader.parse(&plain), Ok(Some(_))));
        assert!(matches!(reader.parse(&to_bytes(&paused(2)).unwrap()), Ok(Some(_))));
        assert_eq!(reason(reader.parse(&plain)), NO_CHECKSUM);
    }

    #[test]
    fn a_start_that_promises_checksums_must_have_one() {
        let start = include_str!("../../../tests/fixtures/logs/checksums.jsonl").lines().next().unwrap();
        let (content, _) = start.rsplit_once(",\"crc32\"").unwrap();
        let mut reader = LineReader::default();
        assert_eq!(reason(reader.parse(format!("{content}}}\n").as_bytes())), NO_CHECKSUM);
        assert_eq!(reason(reader.parse(b"{\"time_ms\":1,\"event\":\"paused\",\"step\":1}\n")), NO_CHECKSUM);
    }

    #[test]
    fn a_later_outcome_is_an_end() {
        let line =
            b"{\"time_ms\":1,\"event\":\"run_ended\",\"step\":7,\"outcome\":\"migrated\",\"message\":\"moved\"}\n";
        let Ok(Some(record)) = LineReader::default().parse(line) else { panic!("it is read") };
        assert_eq!(record.event, Event::RunEnded { step: 7, outcome: Outcome::Other, message: "moved".into() });
    }

    #[test]
    fn later_events_and_commands_are_left_out() {
        for event in
            ["\"gallery_saved\",\"step\":4", "\"command_received\",\"step\":4,\"command\":{\"name\":\"dance\"}"]
        {
            let line = format!("{{\"time_ms\":1,\"event\":{event}}}\n");
            assert!(matches!(LineReader::default().parse(line.as_bytes()), Ok(None)), "{line}");
        }
    }

    #[test]
    fn a_known_event_with_a_fault_is_damaged() {
        let known = [
            "\"paused\"",
            "\"paused\",\"step\":\"unknown variant\"",
            "\"run_ended\",\"step\":1,\"outcome\":7,\"message\":\"\"",
            "\"command_received\",\"step\":4,\"command\":{}",
        ];
        for event in known {
            reason(LineReader::default().parse(format!("{{\"time_ms\":1,\"event\":{event}}}\n").as_bytes()));
        }
    }
}
