//! The scale at the left: labels lie in the rows in which their values are drawn, at equal distances.

use super::dots::DOTS_DOWN;
use crate::format;

/// Columns of a label.
const LABEL_WIDTH: usize = 6;
/// The dot of a row, from below, that a label stands for: one of the two in its middle.
const LABEL_DOT: f64 = 1.0;
/// A scale that leaves the outliers out must spread the rest by this factor, or it shows all.
const WORTH: f64 = 2.5;
/// Interquartile ranges beyond the quartiles from which a value is an outlier.
const OUTLYING: f64 = 3.0;
/// Heights beyond it, and their reciprocals, are of a broken trainer: they are drawn as if they were this.
const FURTHEST: f64 = 1e290;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScaleKind {
    #[default]
    Linear,
    /// Of the values above zero.
    Logarithmic,
}

impl ScaleKind {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Linear => Self::Logarithmic,
            Self::Logarithmic => Self::Linear,
        }
    }

    /// The height of a value, before it is scaled; NaN where it has none.
    fn height_of(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Logarithmic if value > 0.0 => value.log10(),
            Self::Logarithmic => f64::NAN,
        }
    }

    fn value_of(self, height: f64) -> f64 {
        match self {
            Self::Linear => height,
            // Exact where it is a power of ten.
            Self::Logarithmic if height.fract() == 0.0 => 10f64.powi(height as i32),
            Self::Logarithmic => 10f64.powf(height),
        }
    }
}

/// For so many rows.
#[derive(Clone, Debug)]
pub struct YScale {
    kind: ScaleKind,
    /// The height of the label place of the lowest row.
    low: f64,
    per_row: f64,
    rows: u16,
    /// Heights, from below.
    ticks: Vec<f64>,
    decimals: usize,
}

impl YScale {
    /// Around the finite values of each curve, outliers aside if they would flatten the rest. `None`: there are none.
    pub fn around(curves: impl Iterator<Item = Vec<f64>>, kind: ScaleKind, rows: u16) -> Option<Self> {
        // Each by itself: what is far out for one may be the whole of another.
        let ranges = curves.filter_map(|values| {
            let heights = values.into_iter().map(|value| kind.height_of(value));
            let heights: Vec<f64> = heights.filter(|height| height.is_finite()).collect();
            match kind {
                ScaleKind::Linear => ordinary_range(heights),
                // It has room for outliers.
                ScaleKind::Logarithmic => {
                    Some((heights.iter().copied().reduce(f64::min)?, heights.iter().copied().reduce(f64::max)?))
                }
            }
        });
        let (low, high) = ranges.reduce(|(low, high), other| (low.min(other.0), high.max(other.1)))?;
        Some(Self::of(kind, low, high, rows))
    }

    fn of(kind: ScaleKind, low: f64, high: f64, rows: u16) -> Self {
        let [low, high] = [low, high].map(|height| height.clamp(-FURTHEST, FURTHEST));
        let middle = (low + high) / 2.0;
        let span = high - low;
        // What differs by less is flat.
        let (least, flat) = match kind {
            ScaleKind::Linear if middle.abs() < 1.0 / FURTHEST => (1.0 / FURTHEST, 1.0),
            ScaleKind::Linear => (1e-9 * middle.abs(), 0.5 * middle.abs()),
            ScaleKind::Logarithmic => (1e-6, 0.5),
        };
        let (low, high) = if span > least { (low, high) } else { (middle - flat / 2.0, middle + flat / 2.0) };
        let mut scale = match kind {
            ScaleKind::Logarithmic if high - low < 2.0 => Self::uneven(low, high, rows),
            _ => Self::even(kind, low, high, rows),
        };
        scale.kind = kind;
        scale
    }

    /// With round labels at equal distances: the one that spreads the values the most.
    fn even(kind: ScaleKind, low: f64, high: f64, rows: u16) -> Self {
        let span = high - low;
        let usable = f64::from(rows) - 1.0 / f64::from(DOTS_DOWN);
        let exponent = (span / f64::from(rows.max(1))).log10().floor() as i32;
        let least_gap = if rows >= 4 { 2 } else { 1 };
        let mut best: Option<(f64, u16, f64)> = None;
        let powers =
            (exponent - 1..=exponent + 3).flat_map(|power| [1.0, 2.0, 2.5, 5.0].map(|digit| digit * 10f64.powi(power)));
        for step in powers.filter(|&step| kind == ScaleKind::Linear || (step >= 1.0 && step.fract() == 0.0)) {
            // With no more than four empty rows between two labels.
            for gap in least_gap..=5 {
                let per_row = step / f64::from(gap);
                let bottom = (low / per_row + 1e-9).floor();
                let first = (bottom / f64::from(gap) - 1e-9).ceil() * f64::from(gap) - bottom;
                if rows >= 4 && first + f64::from(gap) > f64::from(rows) - 1.0 + 1e-6 {
                    continue;
                }
                let bottom = bottom * per_row;
                let needed = (high - bottom) / per_row + (LABEL_DOT + 0.5) / f64::from(DOTS_DOWN);
                let is_better = best.is_none_or(|(other, other_gap, _)| {
                    per_row < other * 0.999 || (per_row < other * 1.001 && gap > other_gap && gap <= 3)
                });
                if needed <= usable + 1e-9 && is_better {
                    best = Some((per_row, gap, step));
                }
            }
        }
        let Some((per_row, gap, step)) = best else {
            // In a row or two, around zero.
            let per_row = span / (f64::from(rows) - (LABEL_DOT + 1.0) / f64::from(DOTS_DOWN)).max(0.5);
            return Self { kind, low, per_row, rows, ticks: vec![low], decimals: 0 };
        };
        let bottom = (low / per_row + 1e-9).floor();
        let first = (bottom / f64::from(gap) - 1e-9).ceil();
        let last_row = bottom + f64::from(rows.saturating_sub(1));
        let ticks = (0..rows)
            .map(|number| first + f64::from(number))
            .take_while(|tick| tick * f64::from(gap) <= last_row + 1e-6);
        let ticks = ticks.map(|tick| tick * step).collect();
        let decimals = (0..8).find(|&decimals| is_whole(step * 10f64.powi(decimals))).unwrap_or(8) as usize;
        Self { kind, low: bottom * per_row, per_row, rows, ticks, decimals }
    }

    /// Logarithmic, over less than two decades: labels where their values are.
    fn uneven(low: f64, high: f64, rows: u16) -> Self {
        let room = (f64::from(rows) - (LABEL_DOT + 1.5) / f64::from(DOTS_DOWN)).max(0.5);
        let per_row = (high - low) / room;
        let decades = low.floor() as i32..=high.floor() as i32;
        let ticks_of = |digits: &[f64]| -> Vec<f64> {
            let all =
                decades.clone().flat_map(|decade| digits.iter().map(move |digit| digit.log10() + f64::from(decade)));
            all.filter(|tick| (low - per_row * 0.3..=high + per_row * 0.3).contains(tick)).collect()
        };
        let most = usize::from(rows.div_ceil(2)).max(2);
        // From few labels to many, and where even those are too few, evenly spaced ones.
        let candidates: [&[f64]; 4] =
            [&[1.0], &[1.0, 3.0], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]];
        let fitting =
            candidates.iter().rev().map(|digits| ticks_of(digits)).find(|ticks| (2..=most).contains(&ticks.len()));
        let ticks = fitting.unwrap_or_else(|| {
            let linear = Self::even(ScaleKind::Linear, 10f64.powf(low), 10f64.powf(high), rows);
            linear.ticks.into_iter().filter(|tick| *tick > 0.0).map(f64::log10).collect()
        });
        Self { kind: ScaleKind::Logarithmic, low, per_row, rows, ticks, decimals: 0 }
    }

    /// Where a value lies among the dots of so many rows, from the top; beyond them where the scale does not hold it.
    pub fn dot(&self, value: f64, rows: u16) -> f64 {
        let from_below = (self.kind.height_of(value) - self.low) / self.per_row * f64::from(DOTS_DOWN) + LABEL_DOT;
        f64::from(rows * DOTS_DOWN - 1) - from_below
    }

    /// The row in which its dot is.
    pub fn row(&self, value: f64, rows: u16) -> u16 {
        let last = f64::from(rows * DOTS_DOWN - 1);
        self.dot(value, rows).round().clamp(0.0, last) as u16 / DOTS_DOWN
    }

    pub fn holds(&self, value: f64) -> bool {
        (self.low()..=self.high()).contains(&value)
    }

    /// The least value that is in view.
    pub fn low(&self) -> f64 {
        self.kind.value_of(self.low - self.per_row * (LABEL_DOT + 0.5) / f64::from(DOTS_DOWN))
    }

    /// The greatest.
    pub fn high(&self) -> f64 {
        let dots = f64::from(self.rows * DOTS_DOWN) - LABEL_DOT - 0.5;
        self.kind.value_of(self.low + self.per_row * dots / f64::from(DOTS_DOWN))
    }

    /// (row from the top, label) from below.
    pub fn labels(&self, rows: u16) -> Vec<(u16, String)> {
        let values: Vec<f64> = self.ticks.iter().map(|&height| self.kind.value_of(height)).collect();
        let texts: Vec<String> = match self.kind {
            ScaleKind::Linear => {
                let plain = values.iter().map(|value| format!("{:.*}", self.decimals, value + 0.0));
                let plain: Vec<String> = plain.collect();
                let all_fit = plain.iter().all(|text| text.len() <= LABEL_WIDTH);
                if all_fit {
                    plain
                } else {
                    values.iter().map(|&value| format::compact_round(value, LABEL_WIDTH)).collect()
                }
            }
            ScaleKind::Logarithmic => values.iter().map(|&value| format::compact_round(value, LABEL_WIDTH)).collect(),
        };
        let mut labels: Vec<(u16, String)> = Vec::new();
        for (value, text) in values.into_iter().zip(texts) {
            let row = self.row(value, rows);
            let has_room = labels.last().is_none_or(|(last, _)| row + 1 < *last || (rows < 4 && row < *last));
            if has_room || (self.kind == ScaleKind::Linear && labels.last().is_none_or(|(last, _)| row < *last)) {
                labels.push((row, text));
            }
        }
        labels
    }
}

fn is_whole(value: f64) -> bool {
    (value - value.round()).abs() < 1e-6
}

/// From the least of finite values to the greatest; outliers are left out where they would take most of the room.
pub fn ordinary_range(mut values: Vec<f64>) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    let (least, greatest) = (values[0], values[values.len() - 1]);
    let quantile = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
    let (first, third) = (quantile(0.25), quantile(0.75));
    let reach = OUTLYING * (third - first).max(1e-3 * third.abs());
    // The values at hand, so that the scale ends where something is.
    let low = values.iter().copied().find(|&value| value >= first - reach).unwrap_or(least);
    let high = values.iter().copied().rfind(|&value| value <= third + reach).unwrap_or(greatest);
    if values.len() < 4 || greatest - least <= WORTH * (high - low) {
        return Some((least, greatest));
    }
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(kind: ScaleKind, low: f64, high: f64, rows: u16) -> Vec<String> {
        YScale::of(kind, low, high, rows).labels(rows).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn labels_are_round_and_in_the_rows_of_their_values() {
        for (low, high) in
            [(0.93, 2.31), (20.3, 74.2), (0.001, 0.0011), (-3.0, 5.0), (0.0, 9e8), (1e-9, 3e-9), (-1e14, 3e14)]
        {
            for rows in 1..60 {
                let scale = YScale::of(ScaleKind::Linear, low, high, rows);
                assert!(scale.holds(low) && scale.holds(high), "{low} to {high} in {rows}: {scale:?}");
                let labels = scale.labels(rows);
                assert!(!labels.is_empty() && (rows < 4 || labels.len() >= 2), "{low} to {high} in {rows}: {scale:?}");
                let gaps: Vec<u16> = labels.windows(2).map(|pair| pair[0].0 - pair[1].0).collect();
                assert!(gaps.windows(2).all(|pair| pair[0] == pair[1]), "{low} to {high} in {rows}: {labels:?}");
                for &tick in &scale.ticks {
                    let dot = scale.dot(tick, rows);
                    assert!((dot - dot.round()).abs() < 1e-3 && dot.round() as u16 % 4 == 2, "{tick}: {dot}");
                }
                if rows > 6 {
                    let used = (scale.dot(low, rows) - scale.dot(high, rows)) / f64::from(rows * 4);
                    assert!(used > 0.55, "{low} to {high} in {rows}: {used}");
                }
                assert!(labels.iter().all(|(_, label)| label.len() <= LABEL_WIDTH), "{labels:?}");
            }
        }
        assert_eq!(labels(ScaleKind::Linear, 0.93, 2.31, 5), ["1", "2"]);
    }

    #[test]
    fn decades_are_evenly_spaced_and_less_than_two_have_labels_too() {
        assert_eq!(labels(ScaleKind::Logarithmic, -3.0, 2.0, 13), ["0.001", "0.01", "0.1", "1", "10", "100", "1000"]);
        for rows in 5..40 {
            for (low, high) in [(-0.3, 0.3), (0.1, 0.12), (1.9, 2.2), (-4.0, -2.5)] {
                let labels = labels(ScaleKind::Logarithmic, low, high, rows);
                assert!(labels.len() >= 2, "{low} to {high} in {rows}: {labels:?}");
            }
        }
    }

    #[test]
    fn a_flat_curve_has_room_around_it() {
        for value in [0.0, 0.001, 42.0, -7e12] {
            let scale = YScale::of(ScaleKind::Linear, value, value, 8);
            assert!(scale.holds(value) && scale.labels(8).len() >= 2, "{scale:?}");
        }
    }

    #[test]
    fn one_spike_does_not_flatten_the_rest() {
        let falling = (0..100).map(|step| 2.3 / (1.0 + 0.02 * f64::from(step)));
        assert_eq!(ordinary_range(falling.clone().collect()), Some((2.3 / 2.98, 2.3)));
        assert_eq!(ordinary_range(falling.chain([3.1e14]).collect()), Some((2.3 / 2.98, 2.3)));
        // A beginning that flattens the rest is an outlier, too.
        let long = (0..1000).map(|epoch| if epoch < 5 { 2.0 } else { 0.5 + 0.1 * f64::from(epoch % 7) / 7.0 });
        assert_eq!(ordinary_range(long.collect()).unwrap().1, 0.5 + 0.6 / 7.0);
        assert_eq!(ordinary_range(vec![]), None);
        assert_eq!(ordinary_range(vec![1.0, 100.0]), Some((1.0, 100.0)));
    }
}
