//! Where an axis has its ticks: at multiples of a round number.

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
}
