//! How well a network does on images it has not seen.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;

use super::engine::Engine;
use crate::config::TestTimeAugmentation;
use crate::data::Dataset;
use crate::metrics::{Calibration, Confusion, confidences, is_among_top, predicted};
use crate::model::ActiveChannels;
use crate::run::event::Prediction;
use crate::run::probe::MISTAKES;

/// Classes that [`Evaluation::top_accuracy`] takes for right.
pub const TOP: usize = 5;

/// The evaluation of a dataset, batch by batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    batch_size: usize,
    augmentation: TestTimeAugmentation,
    loss_sum: f64,
    secs: f64,
    confusion: Confusion,
    calibration: Calibration,
    /// Images whose class was among the [`TOP`] most likely.
    among_top: u64,
    mistakes: Vec<Prediction>,
    /// By true and predicted class, the most confident first, at most [`MISTAKES`] of each.
    mistakes_by_cell: BTreeMap<(u64, u64), Vec<Prediction>>,
    active: ActiveChannels,
}

impl Evaluation {
    /// Of no image yet.
    pub fn new(classes: usize, batch_size: usize, augmentation: TestTimeAugmentation) -> Self {
        Self {
            batch_size,
            augmentation,
            loss_sum: 0.0,
            secs: 0.0,
            confusion: Confusion::new(classes),
            calibration: Calibration::default(),
            among_top: 0,
            mistakes: vec![],
            mistakes_by_cell: BTreeMap::new(),
            active: ActiveChannels::default(),
        }
    }

    /// Evaluates all of the dataset.
    pub fn of(
        engine: &Engine,
        dataset: &Dataset,
        batch_size: usize,
        augmentation: TestTimeAugmentation,
    ) -> Result<Self> {
        let mut evaluation = Self::new(dataset.info.classes.len(), batch_size, augmentation);
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
        let images = first..dataset.len().min(first + self.batch_size);
        let evaluated = engine.evaluate_images(dataset, images.clone(), self.augmentation, &mut self.active)?;
        self.loss_sum += f64::from(evaluated.mean_loss) * images.len() as f64;
        self.judge(first, &evaluated.logits, &dataset.labels[images]);
        self.secs += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// Images from number `first` on, by their logits.
    fn judge(&mut self, first: usize, logits: &[Vec<f32>], labels: &[u16]) {
        for (index, (logits, &label)) in (first..).zip(logits.iter().zip(labels)) {
            let (true_class, predicted_class) = (usize::from(label), predicted(logits));
            self.confusion.add(true_class, predicted_class);
            self.among_top += u64::from(is_among_top(logits, true_class, TOP));
            let confidence = confidences(logits)[predicted_class];
            self.calibration.add(confidence, predicted_class == true_class);
            if predicted_class == true_class {
                continue;
            }
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

    pub fn augmentation(&self) -> TestTimeAugmentation {
        self.augmentation
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

    /// Percent of the images whose class is among the [`TOP`] most likely.
    pub fn top_accuracy(&self) -> f64 {
        100.0 * self.among_top as f64 / self.samples() as f64
    }

    pub fn calibration(&self) -> &Calibration {
        &self.calibration
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
    use crate::config::{Config, ModelConfig};
    use crate::data::loader::evaluation_batch;
    use crate::data::source::sample;
    use crate::data::test_time::views;
    use crate::train::device as train_device;

    /// Class 2 with that logit, the others 0.
    fn logits(two: f32) -> Vec<f32> {
        let mut logits = vec![0.0; 10];
        logits[2] = two;
        logits
    }

    #[test]
    fn the_most_confident_mistakes_are_kept() {
        let images: Vec<(Vec<f32>, u16)> =
            (0..40).map(|n| (logits((n % 8) as f32), if n == 7 { 2 } else { 4 })).collect();
        let (logits, labels): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let judged = |batch_size: usize| {
            let mut evaluation = Evaluation::new(10, 7, TestTimeAugmentation::None);
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
        let mut evaluation = Evaluation::new(10, 40, TestTimeAugmentation::None);
        // Fourteen of class 4 and three of class 5, all taken for class 2; the twelve surest are of class 4.
        let images: Vec<(Vec<f32>, u16)> =
            (0..14).map(|n| (logits(20.0 - n as f32), 4)).chain((0..3).map(|n| (logits(1.0 + n as f32), 5))).collect();
        let (logits, labels): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        evaluation.judge(0, &logits, &labels);
        let others: Vec<(u64, u64)> =
            evaluation.other_mistakes().iter().map(|other| (other.index, other.true_class)).collect();
        assert_eq!(others, [(16, 5), (15, 5), (14, 5)]);
    }

    #[test]
    fn views_are_judged_by_the_mean_of_their_logits() -> Result<()> {
        let config = Config {
            model: ModelConfig { channels: vec![4, 6, 8], hidden: 16, ..ModelConfig::default() },
            ..Config::default()
        };
        let test = sample::read()?.1.select(&[3, 70, 220, 499]);
        let engine = Engine::new(&config, &test.info, &train_device::Device::CPU)?;
        let batch = evaluation_batch(&test, 0..4)?;
        let mut active = ActiveChannels::default();
        let plain = engine.evaluate(&batch, &mut active)?;
        let flipped =
            engine.evaluate(&views(TestTimeAugmentation::Flip)[1].of(&batch), &mut ActiveChannels::default())?;
        let mut of_views = ActiveChannels::default();
        let mean = engine.evaluate_images(&test, 0..4, TestTimeAugmentation::Flip, &mut of_views)?;
        for ((plain, flipped), mean) in plain.logits.iter().zip(&flipped.logits).zip(&mean.logits) {
            for ((plain, flipped), mean) in plain.iter().zip(flipped).zip(mean) {
                assert_eq!(*mean, 0.5 * plain + 0.5 * flipped);
            }
        }
        assert_ne!(plain.logits, flipped.logits);
        assert_eq!(of_views.dead(), active.dead());
        let of_label = |image: usize| f64::from(confidences(&mean.logits[image])[batch.labels[image] as usize]);
        let expected = -(0..4).map(|image| of_label(image).ln()).sum::<f64>() / 4.0;
        assert!((f64::from(mean.mean_loss) - expected).abs() < 1e-6 * expected);
        let evaluated = |augmentation| Evaluation::of(&engine, &test, 3, augmentation);
        let with_flips = evaluated(TestTimeAugmentation::Flip)?;
        assert!((with_flips.mean_loss() - expected).abs() < 1e-6 * expected);
        assert_eq!(with_flips.augmentation(), TestTimeAugmentation::Flip);
        assert!(evaluated(TestTimeAugmentation::FlipAndShift)?.mean_loss().is_finite());
        Ok(())
    }

    #[test]
    fn a_confidence_of_nan_is_no_mistake() {
        let mut evaluation = Evaluation::new(10, 7, TestTimeAugmentation::None);
        evaluation.judge(0, &[vec![f32::NAN; 10], logits(f32::INFINITY)], &[3, 3]);
        assert_eq!((evaluation.samples(), evaluation.mistakes()), (2, &[][..]));
    }
}
