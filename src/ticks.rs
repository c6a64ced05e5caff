//! Where an axis has its ticks: at multiples of a round number, or on a logarithmic scale at round numbers.

use crate::format;

/// 1, 2 or 5 times a power of ten, the least that is not below `least`, which is above zero.
pub fn round_step(least: f64) -> f64 {
    let unit = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|digit| digit * unit)
        .find(|&step| step >= least * 0.999)
        .unwrap_or(10.0 * unit)
}

/// From `low` to `high`, both included.
pub fn multiples(step: f64, low: f64, high: f64) -> impl Iterator<Item = f64> {
    /// Of a step: an end is a multiple of it, however it was rounded.
    const ROUNDING: f64 = 1e-9;
    let (first, last) = ((low / step - ROUNDING).ceil() as i64, (high / step + ROUNDING).floor() as i64);
    (first..=last).map(move |multiple| multiple as f64 * step)
}

/// Round numbers from `low`, which is above zero, to `high`, both included, on a logarithmic scale: so many at most, of two or more.
fn logarithmic(low: f64, high: f64, most: usize) -> Vec<f64> {
    const ROUNDING: f64 = 1e-9;
    const DIGITS: [&[f64]; 4] = [&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
    let (first, last) = (low.log10().floor() as i32, high.log10().floor() as i32);
    let within = |value: &f64| (low * (1.0 - ROUNDING)..=high * (1.0 + ROUNDING)).contains(value);
    let at = |digits: &[f64], every: usize| -> Vec<f64> {
        let decades = (first..=last).filter(|decade| decade.rem_euclid(every as i32) == 0);
        // Divided, so that it is the number that people mean, to the last bit.
        let value = |digit: f64, decade: i32| {
            if decade < 0 { digit / 10f64.powi(-decade) } else { digit * 10f64.powi(decade) }
        };
        decades.flat_map(|decade| digits.iter().map(move |&digit| value(digit, decade))).filter(within).collect()
    };
    let few_of_each = DIGITS.iter().map(|digits| at(digits, 1));
    let few_decades = (2..).take(600).map(|every| at(&[1.0], every));
    let fitting = few_of_each.chain(few_decades).find(|ticks| ticks.len() <= most.max(2)).unwrap_or_default();
    if fitting.len() >= 2 || high <= low || high > 10.0 * low {
        return fitting;
    }
    // Within a decade they might as well be even.
    multiples(round_step((high - low) / (most.max(2) - 1) as f64), low, high).collect()
}

/// (place, text) of a logarithmic scale: `low` and `high` are logarithms to base ten, and so are the places. Values of which a text
/// has too little room to tell one from the next have one tick.
pub fn logarithmic_texts(low: f64, high: f64, most: usize) -> Vec<(f64, String)> {
    let values = logarithmic(10f64.powf(low), 10f64.powf(high), most);
    let mut texts: Vec<_> = values.into_iter().map(|value| (value.log10(), format::compact_round(value, 7))).collect();
    texts.dedup_by(|(_, next), (_, text)| next == text);
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        let cases = [(0.03, 0.05), (0.1, 0.1), (0.7, 1.0), (1.0, 1.0), (3.0, 5.0), (20.0, 20.0), (51.0, 100.0)];
        for (least, step) in cases {
            assert!((round_step(least) / step - 1.0).abs() < 1e-12, "{least}: {}", round_step(least));
        }
    }

    #[test]
    fn both_ends_are_among_the_multiples() {
        assert_eq!(multiples(0.5, -1.0, 1.0).collect::<Vec<_>>(), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(multiples(0.1, 0.1, 0.3).count(), 3);
        assert_eq!(multiples(2.0, 0.5, 1.5).count(), 0);
    }

    #[test]
    fn no_two_ticks_of_a_logarithmic_scale_have_one_text() {
        let texts = |low: f64, high: f64| -> Vec<String> {
            logarithmic_texts(low.log10(), high.log10(), 6).into_iter().map(|(_, text)| text).collect()
        };
        assert_eq!(texts(0.011, 0.019), ["0.012", "0.014", "0.016", "0.018"]);
        assert_eq!(texts(1.000_01e-5, 1.000_05e-5), ["1e-5"]);
        assert_eq!(logarithmic_texts(-2.0, 0.0, 4), [(-2.0, "0.01".into()), (-1.0, "0.1".into()), (0.0, "1".into())]);
    }

    #[test]
    fn logarithmic_ticks_are_as_many_as_there_is_room_for() {
        assert_eq!(logarithmic(1e-6, 1.0, 8), [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0]);
        assert_eq!(logarithmic(1e-6, 1.0, 4), [1e-6, 1e-4, 0.01, 1.0]);
        assert_eq!(logarithmic(1e-3, 0.5, 9), [1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]);
        assert_eq!(logarithmic(1e-3, 0.5, 6), [1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3]);
        let within_a_digit: Vec<String> =
            logarithmic(0.011, 0.019, 5).iter().map(|tick| format!("{tick:.4}")).collect();
        assert_eq!(within_a_digit, ["0.0120", "0.0140", "0.0160", "0.0180"]);
        for (low, high) in [(1e-12, 10.0), (2e-5, 3e-5), (1e-300, 1e300), (1.0, 1.0)] {
            for most in 2..20 {
                let ticks = logarithmic(low, high, most);
                assert!(ticks.len() <= most && ticks.is_sorted(), "{low} to {high}, {most}: {ticks:?}");
            }
        }
    }
}
