//! A few numbers by which the distance of two outputs can be told without storing them.

/// Sums of an output's numbers with random signs: the mean square of the difference of two such sums is the square of the
/// distance of the outputs (Johnson and Lindenstrauss 1984; Achlioptas 2003).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sketch {
    /// Euclidean.
    pub norm: f64,
    pub sums: [f64; SUMS],
}

pub const SUMS: usize = 4;

impl Sketch {
    pub fn of(values: &[f64]) -> Self {
        let mut sums = [0.0; SUMS];
        for (index, value) in values.iter().enumerate() {
            let bits = mixed(index as u64);
            for (number, sum) in sums.iter_mut().enumerate() {
                *sum += if bits >> number & 1 == 0 { *value } else { -value };
            }
        }
        Self { norm: values.iter().map(|value| value * value).sum::<f64>().sqrt(), sums }
    }

    /// Estimated, as a share of this one's norm; NaN where there was a NaN.
    pub fn distance(&self, other: &Self) -> f64 {
        let pairs = self.sums.iter().zip(&other.sums);
        let square = pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / SUMS as f64;
        // Numbers that are all 0 have no share.
        if square == 0.0 { 0.0 } else { square.sqrt() / self.norm.max(f64::MIN_POSITIVE) }
    }
}

/// The last step of SplitMix64 (Steele et al. 2014).
fn mixed(index: u64) -> u64 {
    let mut bits = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_about_that_of_the_numbers() {
        let values: Vec<f64> = (0..1000).map(|index| f64::from(index % 17) - 8.0).collect();
        let sketch = Sketch::of(&values);
        assert_eq!(sketch.distance(&sketch), 0.0);
        let moved = |by: f64| values.iter().map(|value| value * (1.0 + by)).collect::<Vec<f64>>();
        for by in [1e-6, 1e-3, 0.1] {
            let distance = sketch.distance(&Sketch::of(&moved(by)));
            assert!((by / 4.0..by * 4.0).contains(&distance), "{by}: {distance}");
        }
        let one = |index: usize| {
            let mut values = values.clone();
            values[index] += 5.0;
            sketch.distance(&Sketch::of(&values)) * sketch.norm
        };
        assert!(
            (0..1000).all(|index| (one(index) - 5.0).abs() < 1e-9),
            "one number that is off is seen wherever it is"
        );
    }
}
