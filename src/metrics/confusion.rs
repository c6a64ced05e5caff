//! The confusion matrix: how many images of each class a network takes for each.

use serde::{Deserialize, Serialize};

/// In the log, an array of as many arrays as there are classes, each of as many numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Vec<u64>>", into = "Vec<Vec<u64>>")]
pub struct Confusion {
    /// By true class, and in each row by predicted class.
    rows: Vec<Vec<u64>>,
}

impl From<Confusion> for Vec<Vec<u64>> {
    fn from(confusion: Confusion) -> Self {
        confusion.rows
    }
}

impl TryFrom<Vec<Vec<u64>>> for Confusion {
    type Error = &'static str;

    fn try_from(rows: Vec<Vec<u64>>) -> Result<Self, Self::Error> {
        let is_square = !rows.is_empty() && rows.iter().all(|row| row.len() == rows.len());
        if is_square { Ok(Self { rows }) } else { Err("a confusion matrix has as many rows as columns") }
    }
}

impl Confusion {
    /// Of no image yet.
    pub fn new(classes: usize) -> Self {
        Self { rows: vec![vec![0; classes]; classes] }
    }

    /// How many there are.
    pub fn classes(&self) -> usize {
        self.rows.len()
    }

    /// Counts one image.
    ///
    /// # Panics
    /// A class is not one of those.
    pub fn add(&mut self, true_class: usize, predicted_class: usize) {
        self.rows[true_class][predicted_class] += 1;
    }

    /// Images of a class that were taken for one.
    pub fn count(&self, true_class: usize, predicted_class: usize) -> u64 {
        self.rows[true_class][predicted_class]
    }

    pub fn samples(&self) -> u64 {
        (0..self.classes()).fold(0, |sum, class| sum.saturating_add(self.samples_of(class)))
    }

    /// Images whose class was predicted.
    pub fn correct(&self) -> u64 {
        self.rows.iter().enumerate().fold(0, |sum, (class, row)| sum.saturating_add(row[class]))
    }

    /// Images of a class.
    pub fn samples_of(&self, class: usize) -> u64 {
        self.rows[class].iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Percent of the images of a class; `None` where there are none.
    pub fn accuracy_of(&self, class: usize) -> Option<f64> {
        let samples = self.samples_of(class);
        (samples > 0).then(|| 100.0 * self.rows[class][class] as f64 / samples as f64)
    }

    /// Images that were taken for a class.
    pub fn predicted_as(&self, class: usize) -> u64 {
        self.rows.iter().fold(0, |sum, row| sum.saturating_add(row[class]))
    }

    /// Percent of the images taken for a class that are of it; `None` where there are none.
    pub fn precision_of(&self, class: usize) -> Option<f64> {
        let predicted = self.predicted_as(class);
        (predicted > 0).then(|| 100.0 * self.rows[class][class] as f64 / predicted as f64)
    }

    /// Percent of the images of a class that were taken for it, which is the accuracy within the class; `None` where there
    /// are none.
    pub fn recall_of(&self, class: usize) -> Option<f64> {
        self.accuracy_of(class)
    }

    /// The harmonic mean of precision and recall in percent: 2 TP / (2 TP + FP + FN). `None` for a class that no image is
    /// of or was taken for.
    pub fn f1_of(&self, class: usize) -> Option<f64> {
        let images = self.samples_of(class) as f64 + self.predicted_as(class) as f64;
        (images > 0.0).then(|| 200.0 * self.rows[class][class] as f64 / images)
    }

    /// The unweighted mean over the classes that `score` is known of; `None` where it is known of none.
    pub fn mean_of(&self, score: impl Fn(&Self, usize) -> Option<f64>) -> Option<f64> {
        let known: Vec<f64> = (0..self.classes()).filter_map(|class| score(self, class)).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// What a class is most often taken for beside itself, the first of equals, and how often; `None` if never.
    pub fn most_often_taken_for(&self, class: usize) -> Option<(usize, u64)> {
        let others = self.rows[class].iter().copied().enumerate().filter(|&(other, count)| other != class && count > 0);
        others.reduce(|most, other| if other.1 > most.1 { other } else { most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_true_and_by_predicted_class() {
        let mut confusion = Confusion::new(10);
        for (truth, predicted) in [(3, 3), (3, 5), (3, 7), (3, 5), (3, 3), (3, 3), (0, 0), (9, 1), (9, 2)] {
            confusion.add(truth, predicted);
        }
        assert_eq!((confusion.samples(), confusion.correct()), (9, 4));
        assert_eq!([0, 1, 3, 9].map(|class| confusion.samples_of(class)), [1, 0, 6, 2]);
        assert_eq!([0, 1, 3, 9].map(|class| confusion.accuracy_of(class)), [Some(100.0), None, Some(50.0), Some(0.0)]);
        let taken_for = [0, 1, 3, 9].map(|class| confusion.most_often_taken_for(class));
        assert_eq!(taken_for, [None, None, Some((5, 2)), Some((1, 1))]);
    }

    #[test]
    fn precision_recall_and_f1() {
        // As scikit-learn's classification_report has them.
        let confusion = Confusion::try_from(vec![vec![3, 1, 0], vec![2, 4, 0], vec![0, 0, 0]]).unwrap();
        assert_eq!([0, 1, 2].map(|class| confusion.precision_of(class)), [Some(60.0), Some(80.0), None]);
        assert_eq!(confusion.recall_of(0), Some(75.0));
        assert_eq!([0, 1, 2].map(|class| confusion.predicted_as(class)), [5, 5, 0]);
        let f1 = [0, 1, 2].map(|class| confusion.f1_of(class));
        assert!((f1[0].unwrap() - 200.0 / 3.0).abs() < 1e-9 && (f1[1].unwrap() - 800.0 / 11.0).abs() < 1e-9);
        assert_eq!(f1[2], None);
        assert_eq!(confusion.mean_of(Confusion::precision_of), Some(70.0));
        assert_eq!(Confusion::new(2).mean_of(Confusion::f1_of), None);
    }

    #[test]
    fn sums_stop_at_the_greatest_number() {
        let confusion = Confusion::try_from(vec![vec![u64::MAX; 3]; 3]).unwrap();
        assert_eq!((confusion.samples(), confusion.samples_of(2), confusion.correct()), (u64::MAX, u64::MAX, u64::MAX));
    }

    #[test]
    fn the_log_has_rows_and_other_shapes_are_refused() {
        for classes in [1, 10, 47] {
            let mut confusion = Confusion::new(classes);
            confusion.add(classes - 1, 0);
            let json = serde_json::to_string(&confusion).unwrap();
            assert_eq!(serde_json::from_str::<Confusion>(&json).unwrap(), confusion);
        }
        assert_eq!(serde_json::to_string(&Confusion::new(2)).unwrap(), "[[0,0],[0,0]]");
        for wrong in ["[]", "[[]]", "[[1,2]]", "[[1],[2]]", "null"] {
            assert!(serde_json::from_str::<Confusion>(wrong).is_err(), "{wrong}");
        }
    }
}
