//! Numbers as people read them.

use indicatif::HumanCount;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// With a comma every three digits.
pub fn count(value: u64) -> String {
    HumanCount(value).to_string()
}

/// With so many decimals; a dash for a number that is not known.
pub fn decimal(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "–".to_owned() }
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

/// Seconds with one decimal while they are few; a dash if they are not known.
pub fn secs(secs: f64) -> String {
    if secs.is_nan() {
        return "–".to_owned();
    }
    if secs < 100.0 { format!("{secs:.1}s") } else { duration(secs) }
}

/// With one decimal while they are few.
pub fn millis(secs: f64) -> String {
    let millis = 1e3 * secs;
    if millis < 100.0 { format!("{millis:.1} ms") } else { format!("{} ms", count(millis.round() as u64)) }
}

/// Three significant digits in at most seven characters, no trailing zeros: `0.001`, `0.00025`, `1.25e-4`. A dash if it is not
/// known.
pub fn learning_rate(value: f64) -> String {
    if value.is_nan() {
        return "–".to_owned();
    }
    if value == 0.0 || value.is_infinite() {
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

/// A loss with four decimals, or where that takes more than `width` columns what fits.
pub fn loss(value: f64, width: usize) -> String {
    let usual = decimal(value, 4);
    if usual.chars().count() <= width { usual } else { compact(value, width) }
}

/// The most digits that `width` columns hold: `0.8421`, `1250`, `99.1M`, `3.1e14`. Six columns hold every `f32`, seven every
/// `f64`; in fewer, what fits in no way is written as short as it can be.
pub fn compact(value: f64, width: usize) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "–".to_owned()
        } else if value > 0.0 {
            "∞".to_owned()
        } else {
            "-∞".to_owned()
        };
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let fits = |text: &String| text.len() <= width;
    // Large numbers keep all their digits or get a unit; small ones keep two digits that tell or get an exponent.
    let magnitude = value.abs();
    let plain = |most: usize| (0..=most).rev().map(|decimals| format!("{value:.decimals$}")).find(fits);
    let text = match magnitude {
        1e-3..1e3 => plain(4).filter(|text| magnitude >= 1.0 || shows(text, magnitude)),
        1e3..1e15 => plain(0).or_else(|| in_thousands(value, width)),
        _ => None,
    };
    text.or_else(|| (0..=2).rev().map(|decimals| format!("{value:.decimals$e}")).find(fits))
        .unwrap_or_else(|| format!("{value:.0e}"))
}

/// The same without zeros at the end of a fraction: `25`, `310T`, `1e-5`.
pub fn compact_round(value: f64, width: usize) -> String {
    let text = compact(value, width);
    let end = text.find(|char: char| char.is_ascii_alphabetic()).unwrap_or(text.len());
    format!("{}{}", trim_zeros(&text[..end]), &text[end..])
}

/// Whether the text is within a twentieth of it.
fn shows(text: &str, magnitude: f64) -> bool {
    text.parse().is_ok_and(|shown: f64| (shown.abs() - magnitude).abs() <= 0.05 * magnitude)
}

fn in_thousands(value: f64, width: usize) -> Option<String> {
    let units = [(1e3, 'k'), (1e6, 'M'), (1e9, 'G'), (1e12, 'T')];
    let own = units.iter().rposition(|unit| value.abs() >= unit.0).unwrap_or(0);
    // Where it has no room with its own unit, a larger one may do: 0.8M.
    let written = units[own..].iter().take(2).flat_map(|&(unit, letter)| {
        (0..=3).rev().map(move |decimals| (format!("{:.decimals$}", value / unit), unit, letter))
    });
    let shows = |digits: &str, unit: f64| shows(digits, value.abs() / unit);
    let mut fitting = written.filter(|(digits, unit, _)| digits.len() < width && shows(digits, *unit));
    fitting.next().map(|(digits, _, letter)| format!("{digits}{letter}"))
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

    #[test]
    fn numbers_get_the_form_that_fits() {
        let cases = [
            (0.0, 6, "0"),
            (0.842_13, 6, "0.8421"),
            (12.345, 6, "12.345"),
            (74.2, 5, "74.20"),
            (999.96, 5, "1000"),
            (123_456.0, 6, "123456"),
            (123_456.0, 5, "123k"),
            (893_690_754.348_2, 9, "893690754"),
            (893_690_754.348_2, 8, "893.691M"),
            (893_690_754.348_2, 5, "894M"),
            (893_690_754.348_2, 7, "893.69M"),
            (800_000.0, 4, "800k"),
            (5_999_999.0, 6, "6.000M"),
            (3.1e14, 6, "310.0T"),
            (3.14e17, 6, "3.1e17"),
            (-3.14e17, 6, "-3e17"),
            (0.000_012_3, 6, "1.2e-5"),
            (0.001_234, 6, "0.0012"),
            (f64::NAN, 6, "–"),
        ];
        for (value, width, text) in cases {
            assert_eq!(compact(value, width), text);
        }
        assert_eq!(
            [25.0, 3.1e14, 1e-5, 0.0, 0.25].map(|value| compact_round(value, 6)),
            ["25", "310T", "1e-5", "0", "0.25"]
        );
        for exponent in -300..300 {
            for mantissa in [1.0, 3.456_789, 9.999_999, -1.0, -9.999_999] {
                let value = mantissa * 10f64.powi(exponent);
                for width in 7..12 {
                    let text = compact(value, width);
                    assert!(text.len() <= width, "{value} in {width}: {text}");
                }
            }
        }
    }
}
