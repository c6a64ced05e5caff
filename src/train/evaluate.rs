//! How well a network does on images it has not seen.

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::to_tensors;
use crate::data::Dataset;
use crate::data::loader::evaluation_batch;
use crate::metrics::Confusion;
use crate::metrics::{confidences, predicted};
use crate::model::{ActiveChannels, Network};
use crate::ops;
use crate::run::event::Prediction;
use crate::run::probe::MISTAKES;

/// What the images evaluated so far say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    loss_sum: f64,
    confusion: Confusion,
    mistakes: Vec<Prediction>,
    active: ActiveChannels,
}

impl Evaluation {
    /// Evaluates a range of images; returns their logits (N, 10).
    pub fn add_batch(
        &mut self,
        cnn: &Network,
        dataset: &Dataset,
        range: Range<usize>,
        device: &Device,
    ) -> Result<Vec<Vec<f32>>> {
        let first = range.start;
        let batch = evaluation_batch(dataset, range);
        let (x, labels) = to_tensors(&batch, device)?;
        let (logits, mean_loss) = device.with_context(|| {
            // Detached, so that no graph outlives the batch.
            let logits = cnn.evaluate(&x, &mut self.active)?.detach();
            let mean_loss = ops::cross_entropy(&logits, &labels)?.to_scalar::<f32>()?;
            candle_core::Result::Ok((logits, mean_loss))
        })?;
        self.loss_sum += f64::from(mean_loss) * batch.labels.len() as f64;
        let logits = logits.to_vec2::<f32>()?;
        self.judge(first, &logits, &batch.labels);
        Ok(logits)
    }

    /// Images from number `first` on, by their logits.
    fn judge(&mut self, first: usize, logits: &[Vec<f32>], labels: &[u32]) {
        for (index, (logits, &label)) in (first..).zip(logits.iter().zip(labels)) {
            let (true_class, predicted_class) = (label as usize, predicted(logits));
            self.confusion.add(true_class, predicted_class);
            if predicted_class == true_class {
                continue;
            }
            let confidence = confidences(logits)[predicted_class];
            // Of a network that has come apart.
            if confidence.is_finite() {
                let (true_class, predicted_class) = (true_class as u64, predicted_class as u64);
                self.mistakes.push(Prediction { index: index as u64, true_class, predicted_class, confidence });
            }
        }
        self.mistakes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.index.cmp(&b.index)));
        self.mistakes.truncate(MISTAKES);
    }

    /// Mean cross-entropy over the images.
    pub fn mean_loss(&self) -> f64 {
        self.loss_sum / self.samples() as f64
    }

    /// Percent.
    pub fn accuracy(&self) -> f64 {
        100.0 * self.confusion.correct() as f64 / self.samples() as f64
    }

    /// The channels of each block, from 0, that did not fire for any of the images.
    pub fn dead_channels(&self) -> Vec<Vec<usize>> {
        self.active.dead()
    }

    pub fn samples(&self) -> u64 {
        self.confusion.samples()
    }

    pub fn confusion(&self) -> &Confusion {
        &self.confusion
    }

    /// The most confident wrong images, at most [`MISTAKES`]: the most confident first, of equals the earlier.
    pub fn mistakes(&self) -> &[Prediction] {
        &self.mistakes
    }
}

/// Images whose greatest logit, the first of equals, is the one of their label.
pub fn correct(logits: &Tensor, labels: &[u32]) -> candle_core::Result<u64> {
    Ok(count_correct(&logits.to_vec2()?, labels))
}

fn count_correct(logits: &[Vec<f32>], labels: &[u32]) -> u64 {
    logits.iter().zip(labels).filter(|(logits, label)| predicted(logits) == **label as usize).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_logits_is_the_prediction() {
        let logits = [vec![0.0, 2.0, 2.0], vec![1.0, 1.0, 0.0], vec![-1.0, -2.0, -0.5]];
        assert_eq!(count_correct(&logits, &[1, 0, 2]), 3);
        assert_eq!(count_correct(&logits, &[2, 1, 0]), 0);
    }

    /// Class 2 with that logit, the others 0.
    fn logits(two: f32) -> Vec<f32> {
        let mut logits = vec![0.0; 10];
        logits[2] = two;
        logits
    }

    #[test]
    fn the_most_confident_mistakes_are_kept_of_equals_the_earlier() {
        let images: Vec<(Vec<f32>, u32)> =
            (0..40).map(|n| (logits((n % 8) as f32), if n == 7 { 2 } else { 4 })).collect();
        let (logits, labels): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let judged = |batch_size: usize| {
            let mut evaluation = Evaluation::default();
            for (number, (logits, labels)) in logits.chunks(batch_size).zip(labels.chunks(batch_size)).enumerate() {
                evaluation.judge(number * batch_size, logits, labels);
            }
            evaluation
        };
        let evaluation = judged(40);
        let indices: Vec<u64> = evaluation.mistakes().iter().map(|mistake| mistake.index).collect();
        assert_eq!(indices, [15, 23, 31, 39, 6, 14, 22, 30, 38, 5, 13, 21], "image 7 is right");
        let first = &evaluation.mistakes()[0];
        assert_eq!((first.true_class, first.predicted_class), (4, 2));
        assert!((first.confidence - 7f32.exp() / (7f32.exp() + 9.0)).abs() < 1e-6);
        assert_eq!((evaluation.confusion().rows[4][2], evaluation.confusion().rows[4][0]), (34, 5));
        assert_eq!((evaluation.samples(), evaluation.confusion().correct(), evaluation.accuracy()), (40, 1, 2.5));
        assert!(judged(7) == evaluation && judged(1) == evaluation);
    }

    #[test]
    fn a_confidence_that_is_no_number_is_no_mistake_to_show() {
        let mut evaluation = Evaluation::default();
        evaluation.judge(0, &[vec![f32::NAN; 10], logits(f32::INFINITY)], &[3, 3]);
        assert_eq!((evaluation.samples(), evaluation.mistakes()), (2, &[][..]));
    }
}
