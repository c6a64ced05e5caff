//! Where an axis has its ticks, and how they are written.

use crate::ticks::{logarithmic_texts, multiples, round_step};

/// From the first to the last value that an axis shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub low: f64,
    pub high: f64,
}

impl Range {
    /// Of the finite ones among these values, `None` where there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        values.into_iter().filter(|value| value.is_finite()).fold(None, |range, value| match range {
            None => Some(Self { low: value, high: value }),
            Some(Self { low, high }) => Some(Self { low: low.min(value), high: high.max(value) }),
        })
    }

    /// With a little room at both ends, but for an end at zero; with some room around a single value.
    #[must_use]
    pub fn with_room(self) -> Self {
        let Self { low, high } = self;
        let room = match high - low {
            0.0 if low == 0.0 => 1.0,
            0.0 => low.abs() / 2.0,
            span => span * 0.05,
        };
        let lowest = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        Self { low: (low - room).max(lowest), high: high + room }
    }

    /// From 0 to 1 within the range.
    pub fn share(self, value: f64) -> f64 {
        if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.5 }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub value: f64,
    pub text: String,
}

/// At multiples of 1, 2 or 5 times a power of ten, at most `count` of them. `whole`: only at whole numbers.
pub fn ticks(range: Range, count: usize, whole: bool) -> Vec<Tick> {
    let Range { low, high } = range;
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return vec![Tick { value: low, text: number(low, 3) }];
    }
    // With a smaller step there are more, wherever they begin.
    let mut step = round_step(span / (count + 1) as f64);
    if whole {
        step = step.max(1.0);
    }
    while multiples(step, low, high).count() > count.max(1) {
        step = round_step(1.01 * step);
    }
    let decimals = usize::try_from(-(step.log10() + 1e-9).floor() as i32).unwrap_or(0);
    multiples(step, low, high).map(|value| Tick { value, text: number(value, decimals) }).collect()
}

/// On a logarithmic scale: `range` is of logarithms to base ten, and so are the places of the ticks; their texts are not.
pub fn logarithmic_ticks(range: Range, count: usize) -> Vec<Tick> {
    logarithmic_texts(range.low, range.high, count).into_iter().map(|(value, text)| Tick { value, text }).collect()
}

/// With so many decimals, where that is not long; else with a power of ten.
fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.len() {
        0..=7 => text,
        _ if value.abs() >= 1e4 && value.abs() < 1e9 && decimals == 0 => thousands(value),
        _ => format!("{value:.3e}").replace("000e", "e").replace("00e", "e").replace("0e", "e").replace(".e", "e"),
    }
}

fn thousands(value: f64) -> String {
    let (scaled, unit) = if value.abs() < 1e6 { (value / 1e3, "k") } else { (value / 1e6, "M") };
    let text = format!("{scaled:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, high: f64, count: usize, whole: bool) -> Vec<String> {
        ticks(Range { low, high }, count, whole).into_iter().map(|tick| tick.text).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(texts(0.0, 2.35, 6, false), ["0.0", "0.5", "1.0", "1.5", "2.0"]);
        assert_eq!(texts(1.0, 3.0, 8, true), ["1", "2", "3"]);
        assert_eq!(texts(1.0, 50.0, 6, true), ["10", "20", "30", "40", "50"]);
        assert_eq!(texts(-1.0, 1.0, 5, false), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(texts(0.0, 0.00105, 6, false), ["0.0000", "0.0002", "0.0004", "0.0006", "0.0008", "0.0010"]);
        assert_eq!(texts(0.0, 1e6, 3, false), ["0", "500000", "1000000"]);
        assert_eq!(texts(3.0, 3.0, 6, false), ["3.000"]);
    }

    #[test]
    fn long_numbers_are_shortened_and_never_cut() {
        assert_eq!(texts(0.0, 4e7, 3, false), ["0", "20M", "40M"]);
        assert_eq!(texts(0.0, 3e14, 4, false), ["0", "1e14", "2e14", "3e14"]);
        assert_eq!(texts(0.0, 2.5e-9, 6, false), ["0e0", "5e-10", "1e-9", "1.5e-9", "2e-9", "2.5e-9"]);
    }

    #[test]
    fn logarithmic_ticks_lie_at_their_logarithms_and_say_what_they_stand_for() {
        let ticks = logarithmic_ticks(Range { low: -5.0, high: 1.0 }, 8);
        let texts: Vec<&str> = ticks.iter().map(|tick| tick.text.as_str()).collect();
        assert_eq!(texts, ["1e-5", "1e-4", "0.001", "0.01", "0.1", "1", "10"]);
        assert!((ticks[1].value + 4.0).abs() < 1e-12, "{}", ticks[1].value);
    }

    #[test]
    fn a_range_has_room_and_does_not_go_below_zero_for_it() {
        assert_eq!(Range::of([2.0, f64::NAN, 0.0]).unwrap().with_room(), Range { low: 0.0, high: 2.1 });
        assert_eq!(Range::of([4.0]).unwrap().with_room(), Range { low: 2.0, high: 6.0 });
        assert_eq!(Range::of([f64::INFINITY]), None);
    }
}
