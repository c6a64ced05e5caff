//! How well a network does on images it has not seen.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;

use super::engine::Engine;
use crate::data::Dataset;
use crate::data::loader::evaluation_batch;
use crate::metrics::{Confusion, confidences, predicted};
use crate::model::ActiveChannels;
use crate::run::event::Prediction;
use crate::run::probe::MISTAKES;

/// The evaluation of a dataset, batch by batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    batch_size: usize,
    loss_sum: f64,
    secs: f64,
    confusion: Confusion,
    mistakes: Vec<Prediction>,
    /// By true and predicted class, the most confident first, at most [`MISTAKES`] of each.
    mistakes_by_cell: BTreeMap<(u64, u64), Vec<Prediction>>,
    active: ActiveChannels,
}

impl Evaluation {
    /// Of no image yet.
    pub fn new(classes: usize, batch_size: usize) -> Self {
        Self {
            batch_size,
            loss_sum: 0.0,
            secs: 0.0,
            confusion: Confusion::new(classes),
            mistakes: vec![],
            mistakes_by_cell: BTreeMap::new(),
            active: ActiveChannels::default(),
        }
    }

    /// Evaluates all of the dataset.
    pub fn of(engine: &Engine, dataset: &Dataset, batch_size: usize) -> Result<Self> {
        let mut evaluation = Self::new(dataset.info.classes.len(), batch_size);
        while !evaluation.is_complete(dataset) {
            evaluation.add_next_batch(engine, dataset)?;
        }
        Ok(evaluation)
    }

    pub fn is_complete(&self, dataset: &Dataset) -> bool {
        self.samples() >= dataset.len() as u64
    }

    /// Evaluates the next images of the dataset, a batch of them if as many are left.
    pub fn add_next_batch(&mut self, engine: &Engine, dataset: &Dataset) -> Result<()> {
        let started = Instant::now();
        let first = self.samples() as usize;
        let batch = evaluation_batch(dataset, first..dataset.len().min(first + self.batch_size));
        let evaluated = engine.evaluate(&batch, &mut self.active)?;
        self.loss_sum += f64::from(evaluated.mean_loss) * batch.labels.len() as f64;
        self.judge(first, &evaluated.logits, &batch.labels);
        self.secs += started.elapsed().as_secs_f64();
        Ok(())
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
            // That of a network whose weights are not finite is no number.
            if confidence.is_finite() {
                let (true_class, predicted_class) = (true_class as u64, predicted_class as u64);
                let mistake = Prediction { index: index as u64, true_class, predicted_class, confidence };
                self.mistakes.push(mistake.clone());
                self.mistakes_by_cell.entry((true_class, predicted_class)).or_default().push(mistake);
            }
        }
        for mistakes in std::iter::once(&mut self.mistakes).chain(self.mistakes_by_cell.values_mut()) {
            mistakes.sort_by(most_confident_first);
            mistakes.truncate(MISTAKES);
        }
    }

    /// Time that it took.
    pub fn secs(&self) -> f64 {
        self.secs
    }

    /// Mean cross-entropy over the images.
    pub fn mean_loss(&self) -> f64 {
        self.loss_sum / self.samples() as f64
    }

    /// Percent.
    pub fn accuracy(&self) -> f64 {
        100.0 * self.confusion.correct() as f64 / self.samples() as f64
    }

    /// The channels of each block, from 0, that were active for none of the images.
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

    /// Wrong images that are not among [`Evaluation::mistakes`]: the most confident of each cell of the confusion matrix,
    /// then the second of each, and so on.
    pub fn other_mistakes(&self) -> Vec<Prediction> {
        let ranked = self.mistakes_by_cell.values().flat_map(|mistakes| mistakes.iter().enumerate());
        let mut others: Vec<(usize, &Prediction)> =
            ranked.filter(|(_, mistake)| !self.mistakes.contains(mistake)).collect();
        others.sort_by(|(rank, a), (other_rank, b)| rank.cmp(other_rank).then(most_confident_first(a, b)));
        others.into_iter().map(|(_, mistake)| mistake.clone()).collect()
    }
}

/// Of equals the earlier.
fn most_confident_first(a: &Prediction, b: &Prediction) -> Ordering {
    b.confidence.total_cmp(&a.confidence).then(a.index.cmp(&b.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class 2 with that logit, the others 0.
    fn logits(two: f32) -> Vec<f32> {
        let mut logits = vec![0.0; 10];
        logits[2] = two;
        logits
    }

    #[test]
    fn the_most_confident_mistakes_are_kept() {
        let images: Vec<(Vec<f32>, u32)> =
            (0..40).map(|n| (logits((n % 8) as f32), if n == 7 { 2 } else { 4 })).collect();
        let (logits, labels): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let judged = |batch_size: usize| {
            let mut evaluation = Evaluation::new(10, 7);
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
        assert_eq!((evaluation.confusion().count(4, 2), evaluation.confusion().count(4, 0)), (34, 5));
        assert_eq!((evaluation.samples(), evaluation.confusion().correct(), evaluation.accuracy()), (40, 1, 2.5));
        assert!(judged(7) == evaluation && judged(1) == evaluation);
    }

    #[test]
    fn of_each_cell_the_most_confident_others_come_first() {
        let mut evaluation = Evaluation::new(10, 40);
        // Fourteen of class 4 and three of class 5, all taken for class 2; the twelve surest are of class 4.
        let images: Vec<(Vec<f32>, u32)> =
            (0..14).map(|n| (logits(20.0 - n as f32), 4)).chain((0..3).map(|n| (logits(1.0 + n as f32), 5))).collect();
        let (logits, labels): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        evaluation.judge(0, &logits, &labels);
        let others: Vec<(u64, u64)> =
            evaluation.other_mistakes().iter().map(|other| (other.index, other.true_class)).collect();
        assert_eq!(others, [(16, 5), (15, 5), (14, 5)]);
    }

    #[test]
    fn a_confidence_of_nan_is_no_mistake() {
        let mut evaluation = Evaluation::new(10, 7);
        evaluation.judge(0, &[vec![f32::NAN; 10], logits(f32::INFINITY)], &[3, 3]);
        assert_eq!((evaluation.samples(), evaluation.mistakes()), (2, &[][..]));
    }
}
