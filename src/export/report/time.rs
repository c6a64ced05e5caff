//! Times as the report tells them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// To the second.
pub fn time(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// Unix, in milliseconds.
pub fn time_of_ms(time_ms: u64, zone: &TimeZone) -> String {
    let timestamp = i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(|| "unknown".to_owned(), |timestamp| time(timestamp, zone))
}
