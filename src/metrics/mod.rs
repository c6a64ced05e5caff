//! What a network's logits say, and how often they are right.

pub mod confusion;

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
    fn the_first_of_equal_logits_is_predicted() {
        assert_eq!(predicted(&[0.0, 2.0, 2.0]), 1);
    }
}
