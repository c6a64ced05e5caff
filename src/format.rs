//! Numbers as people read them.

use indicatif::HumanCount;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// With a comma every three digits.
pub fn count(value: u64) -> String {
    HumanCount(value).to_string()
}

/// The two largest units: `42s`, `12m 03s`, `3h 12m`, `2d 04h`.
pub fn duration(secs: f64) -> String {
    let secs = secs.max(0.0) as u64;
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m {:02}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h {:02}m", secs / 3600, secs / 60 % 60),
        _ => format!("{}d {:02}h", secs / 86_400, secs / 3600 % 24),
    }
}

/// The time of day at a Unix time in milliseconds: `17:52:03`.
pub fn time_of_day(time_ms: u64, zone: &TimeZone) -> String {
    let time = Timestamp::from_millisecond(time_ms as i64).unwrap_or_default();
    time.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string()
}

/// Seconds with one decimal while they are few.
pub fn secs(secs: f64) -> String {
    if secs < 100.0 { format!("{secs:.1}s") } else { duration(secs) }
}

/// With one decimal while they are few.
pub fn millis(secs: f64) -> String {
    let millis = 1e3 * secs;
    if millis < 100.0 { format!("{millis:.1} ms") } else { format!("{} ms", count(millis.round() as u64)) }
}

/// Three significant digits in at most seven characters, no trailing zeros: `0.001`, `0.00025`, `1.25e-4`.
pub fn learning_rate(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let scientific = format!("{value:.2e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..3).contains(&exponent) {
        let decimals = usize::try_from(2 - exponent).unwrap_or(0);
        let decimal = format!("{value:.decimals$}");
        let decimal = trim_zeros(&decimal);
        if decimal.len() <= 7 {
            return decimal.to_owned();
        }
    }
    format!("{}e{exponent}", trim_zeros(mantissa))
}

fn trim_zeros(decimal: &str) -> &str {
    if decimal.contains('.') { decimal.trim_end_matches('0').trim_end_matches('.') } else { decimal }
}

/// In kB, MB or GB, powers of a thousand.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 39_100, 1_234_567].map(count),
            ["0", "999", "1,000", "39,100", "1,234,567"].map(String::from)
        );
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [(-1.0, "0s"), (59.9, "59s"), (723.0, "12m 03s"), (11_520.0, "3h 12m"), (187_200.0, "2d 04h")];
        for (secs, text) in cases {
            assert_eq!(duration(secs), text);
        }
    }

    #[test]
    fn milliseconds_have_a_decimal_while_they_are_few() {
        let cases = [(0.0, "0.0 ms"), (0.009_64, "9.6 ms"), (0.396_2, "396 ms"), (1.234_5, "1,235 ms")];
        for (secs, text) in cases {
            assert_eq!(millis(secs), text);
        }
    }

    #[test]
    fn learning_rates_are_short() {
        let cases = [
            (0.001, "0.001"),
            (0.0005, "0.0005"),
            (0.000_25, "0.00025"),
            (0.000_125, "1.25e-4"),
            (0.000_062_5, "6.25e-5"),
            (0.000_031_25, "3.13e-5"),
            (1e-5, "1e-5"),
            (0.1, "0.1"),
            (1.0, "1"),
            (20.0, "20"),
            (0.0, "0"),
            (0.001_000_000_000_000_000_2, "0.001"),
        ];
        for (value, text) in cases {
            assert_eq!(learning_rate(value), text);
        }
    }
}
