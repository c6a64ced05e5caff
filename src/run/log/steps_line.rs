//! Reads lines of steps, of which a log is nearly all, as [`super::line::to_bytes`] writes them: several times as fast as
//! JSON in general. Whatever looks otherwise is left to serde.

use std::str::FromStr;

use super::super::event::{Event, Record, StepsDone};
use super::super::step_time::StepTime;

/// What is read of steps where their losses are not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepsOutline {
    pub time_ms: u64,
    pub epoch: u64,
    pub first_step: u64,
    pub count: u64,
}

/// `content`: a line whose checksum is right, up to its checksum.
pub(super) fn parse(content: &[u8]) -> Option<Record> {
    let mut cursor = Cursor(content);
    let Beginning { time_ms, epoch, first_step } = cursor.beginning()?;
    let losses = cursor.array(Cursor::number)?;
    let gradient_norms = if cursor.skip(b",\"gradient_norms\":[") { cursor.array(Cursor::number)? } else { Vec::new() };
    let correct = cursor.after(b",\"correct\":")?.integer()?;
    let samples = cursor.after(b",\"examples\":")?.integer()?;
    let train_secs = cursor.after(b",\"train_secs\":")?.number()?;
    let split_us = match cursor.skip(b",\"split_us\":[") {
        true => Some(StepTime::try_from(cursor.array(Cursor::integer)?).ok()?),
        false => None,
    };
    let learning_rate = if cursor.skip(b",\"learning_rate\":") { Some(cursor.number()?) } else { None };
    let steps =
        StepsDone { epoch, first_step, losses, gradient_norms, correct, samples, train_secs, split_us, learning_rate };
    cursor.0.is_empty().then_some(Record { time_ms, event: Event::StepsDone(steps) })
}

/// As [`parse`].
pub(super) fn outline(content: &[u8]) -> Option<StepsOutline> {
    let mut cursor = Cursor(content);
    let Beginning { time_ms, epoch, first_step } = cursor.beginning()?;
    let end = memchr::memchr(b']', cursor.0)?;
    let commas = memchr::memchr_iter(b',', &cursor.0[..end]).count();
    let count = if end == 0 { 0 } else { commas as u64 + 1 };
    Some(StepsOutline { time_ms, epoch, first_step, count })
}

/// What comes before the losses.
struct Beginning {
    time_ms: u64,
    epoch: u64,
    first_step: u64,
}

/// What is left of a line.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn beginning(&mut self) -> Option<Beginning> {
        let time_ms = self.after(b"{\"time_ms\":")?.integer()?;
        let epoch = self.after(b",\"event\":\"steps_done\",\"epoch\":")?.integer()?;
        let first_step = self.after(b",\"first_step\":")?.integer()?;
        self.after(b",\"losses\":[")?;
        Some(Beginning { time_ms, epoch, first_step })
    }

    /// Goes past `text` if it is next.
    fn skip(&mut self, text: &[u8]) -> bool {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn after(&mut self, text: &[u8]) -> Option<&mut Self> {
        self.skip(text).then_some(self)
    }

    fn integer(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        let fold = |value: u64, &digit: &u8| value.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
        if digits == 0 { None } else { number.iter().try_fold(0, fold) }
    }

    fn number<T: FromStr>(&mut self) -> Option<T> {
        let belongs = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let (number, rest) = self.0.split_at(self.0.iter().take_while(belongs).count());
        self.0 = rest;
        str::from_utf8(number).ok()?.parse().ok()
    }

    /// The rest of an array, behind its bracket.
    fn array<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        // Most lines hold the steps of 100 ms on a CPU.
        let mut items = Vec::with_capacity(8);
        if self.skip(b"]") {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            match self.0 {
                [b',', rest @ ..] => self.0 = rest,
                [b']', rest @ ..] => {
                    self.0 = rest;
                    return Some(items);
                }
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::property;

    fn content(record: &Record) -> Vec<u8> {
        let mut json = serde_json::to_vec(record).unwrap();
        assert_eq!(json.pop(), Some(b'}'));
        json
    }

    fn finite_f32() -> impl Strategy<Value = f32> {
        any::<u32>().prop_map(f32::from_bits).prop_filter("JSON has finite numbers alone", |value| value.is_finite())
    }

    fn finite_f64() -> impl Strategy<Value = f64> {
        any::<u64>().prop_map(f64::from_bits).prop_filter("JSON has finite numbers alone", |value| value.is_finite())
    }

    fn any_steps() -> impl Strategy<Value = Record> {
        let losses = prop::collection::vec(finite_f32(), 0..12);
        let norms = prop::collection::vec(finite_f32(), 0..12);
        let whole = any::<[u64; 5]>();
        let split = prop::option::of(prop::array::uniform4(0..10_000_000_000_u64));
        (whole, losses, norms, finite_f64(), split, prop::option::of(finite_f64())).prop_map(
            |([time_ms, epoch, first_step, correct, samples], losses, gradient_norms, train_secs, split, rate)| {
                let split_us = split.map(StepTime::from);
                let steps = StepsDone {
                    epoch,
                    first_step,
                    losses,
                    gradient_norms,
                    correct,
                    samples,
                    train_secs,
                    split_us,
                    learning_rate: rate,
                };
                Record { time_ms, event: Event::StepsDone(steps) }
            },
        )
    }

    proptest! {
        #![proptest_config(property(500))]

        #[test]
        fn reads_what_serde_reads(record in any_steps()) {
            let content = content(&record);
            prop_assert_eq!(parse(&content), Some(serde_json::from_slice(&[&content[..], b"}"].concat()).unwrap()));
            prop_assert_eq!(parse(&content), Some(record.clone()));
            let Event::StepsDone(StepsDone { epoch, first_step, losses, .. }) = record.event else { unreachable!() };
            let outlined = StepsOutline { time_ms: record.time_ms, epoch, first_step, count: losses.len() as u64 };
            prop_assert_eq!(outline(&content), Some(outlined));
        }
    }

    #[test]
    fn whatever_looks_otherwise_is_left_to_serde() {
        let line = "{\"time_ms\":5,\"event\":\"steps_done\",\"epoch\":1,\"first_step\":1,\"losses\":[1.5,2],\
                    \"correct\":1,\"examples\":64,\"train_secs\":0.1";
        assert!(parse(line.as_bytes()).is_some());
        let further = format!("{line},\"further\":1");
        assert_eq!(parse(further.as_bytes()), None);
        for (from, to) in [
            ("[1.5,2]", "[1.5,null]"),
            ("[1.5,2]", "[1.5,2,]"),
            ("[1.5,2]", "[1.5 ,2]"),
            ("\"time_ms\":5", "\"time_ms\":-5"),
            ("\"time_ms\":5", "\"time_ms\":99999999999999999999"),
            ("steps_done", "paused"),
            ("\"correct\":1,", ""),
        ] {
            assert_eq!(parse(line.replace(from, to).as_bytes()), None, "{to}");
        }
        for end in 0..line.len() - "0.1".len() {
            assert!(parse(&line.as_bytes()[..end]).is_none(), "{}", &line[..end]);
        }
    }
}
