//! A curve in one line of text.

use crate::run::listing::means;

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Of the values, what is above goes to the top: one spike must not flatten the rest.
const QUANTILE: f64 = 0.95;

/// The values, in at most `width` characters, from their lowest to their highest.
pub fn sparkline(values: &[f64], width: usize) -> String {
    let values = means(values, width);
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high)) = (sorted.first(), sorted.get((sorted.len() as f64 * QUANTILE) as usize)) else {
        return String::new();
    };
    let level = |value: f64| {
        let share = (value - low) / (high - low);
        // A flat curve has no share.
        let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 };
        LEVELS[(share * (LEVELS.len() - 1) as f64).round() as usize]
    };
    values.into_iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_falls_and_a_spike_does_not_flatten_it() {
        assert_eq!(sparkline(&[8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0], 8), "█▇▆▅▄▃▂▁");
        let mut spiked: Vec<f64> = (0..40).map(|index| 40.0 - f64::from(index)).collect();
        spiked[20] = 1e9;
        assert!(sparkline(&spiked, 40).starts_with("███▇") && sparkline(&spiked, 40).ends_with("▂▁▁▁"));
        assert_eq!([&[][..], &[2.0], &[2.0, 2.0]].map(|values| sparkline(values, 5)), ["", "▅", "▅▅"]);
        assert_eq!(sparkline(&[f64::NAN, 1.0, f64::INFINITY, 2.0], 4), "▁█");
    }
}
