//! Whether a network is as often right as it is confident: the expected calibration error (Naeini et al. 2015; Guo et al. 2017,
//! section 2).

/// Confidences are sorted into so many bins of equal width, as Guo et al. do.
const BINS: usize = 15;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    bins: [Bin; BINS],
}

/// The images with a confidence in (low, high].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bin {
    samples: u64,
    correct: u64,
    confidence_sum: f64,
}

impl Calibration {
    /// Counts an image whose class was predicted with that confidence, from 0 to 1; one that is no number counts nothing.
    pub fn add(&mut self, confidence: f32, is_correct: bool) {
        let confidence = f64::from(confidence);
        if !confidence.is_finite() {
            return;
        }
        let bin = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        let Bin { samples, correct, confidence_sum } = &mut self.bins[bin];
        *samples += 1;
        *correct += u64::from(is_correct);
        *confidence_sum += confidence;
    }

    /// The mean distance, over the images, of a bin's accuracy from its mean confidence, in percent; None without images.
    pub fn expected_error(&self) -> Option<f64> {
        let samples: u64 = self.bins.iter().map(|bin| bin.samples).sum();
        let distance = |bin: &Bin| (bin.correct as f64 - bin.confidence_sum).abs();
        (samples > 0).then(|| 100.0 * self.bins.iter().map(distance).sum::<f64>() / samples as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(images: &[(f32, bool)]) -> Option<f64> {
        let mut calibration = Calibration::default();
        images.iter().for_each(|&(confidence, is_correct)| calibration.add(confidence, is_correct));
        calibration.expected_error()
    }

    #[test]
    fn it_is_nothing_where_confidence_is_right() {
        assert_eq!(error(&[]), None);
        assert_eq!(error(&[(f32::NAN, true)]), None);
        assert_eq!(error(&[(1.0, true), (1.0, true)]), Some(0.0));
        assert_eq!(error(&[(0.75, true), (0.75, true), (0.75, true), (0.75, false)]), Some(0.0));
    }

    #[test]
    fn each_bin_is_judged_by_its_own_mean() {
        // Sure and wrong; and in another bin half as sure as right.
        assert_eq!(error(&[(1.0, false)]), Some(100.0));
        assert_eq!(error(&[(0.5, true), (1.0, false)]), Some(75.0));
        // In one bin they make up for each other, in two they do not.
        let close = |images: &[(f32, bool)], expected: f64| (error(images).unwrap_or(f64::NAN) - expected).abs() < 1e-4;
        assert!(close(&[(0.61, true), (0.65, false)], 13.0));
        assert!(close(&[(0.59, true), (0.65, false)], 53.0));
    }
}
