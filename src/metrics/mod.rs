//! What a network's logits say, and how often they are right.

mod calibration;
pub mod confusion;

pub use calibration::Calibration;
pub use confusion::Confusion;

/// Softmax of the logits: the confidence in each class.
pub fn confidences(logits: &[f32]) -> Vec<f32> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - greatest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The class of the greatest logit, the first of equals.
pub fn predicted(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, class| if logits[class] > logits[best] { class } else { best })
}

/// Whether a class is among the `most` of the greatest logits, of equals the first.
pub fn is_among_top(logits: &[f32], class: usize, most: usize) -> bool {
    let is_before =
        |&(other, logit): &(usize, &f32)| *logit > logits[class] || (*logit == logits[class] && other < class);
    logits.iter().enumerate().filter(is_before).count() < most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidences_are_a_distribution_however_great_the_logits() {
        for logits in [[1.0, 2.0, 3.0], [1e4, 0.0, -1e4], [0.0; 3]] {
            let confidences = confidences(&logits);
            assert!((confidences.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{confidences:?}");
        }
        assert!((confidences(&[0.0, 3f32.ln()])[1] - 0.75).abs() < 1e-6);
    }

    #[test]
    fn a_class_is_among_the_top_by_its_rank() {
        let logits = [3.0, 1.0, 3.0, 2.0];
        let ranks = [1, 4, 2, 3];
        for (class, rank) in ranks.into_iter().enumerate() {
            for most in 1..=4 {
                assert_eq!(is_among_top(&logits, class, most), rank <= most, "{class} of {most}");
            }
        }
    }

    #[test]
    fn the_first_of_equal_logits_is_predicted() {
        assert_eq!(predicted(&[0.0, 2.0, 2.0]), 1);
    }
}
