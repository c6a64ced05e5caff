//! The confusion matrix: how many images of each class a network takes for each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// In the log, an array of as many arrays as there are classes, each of as many numbers; of more than [`FEW_CLASSES`] their number,
/// and the cells that are not 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Confusion {
    /// By true and predicted class; those that are not 0.
    cells: BTreeMap<(usize, usize), u64>,
    /// Images of each class.
    samples: Vec<u64>,
    /// Images that were taken for each class.
    predicted: Vec<u64>,
}

/// The matrix of so many is written whole.
const FEW_CLASSES: usize = 50;
/// As many as a label can name.
const MOST_CLASSES: usize = 1 << 16;

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Rows(Vec<Vec<u64>>),
    Cells {
        classes: usize,
        /// True class, predicted class, images.
        cells: Vec<(usize, usize, u64)>,
    },
}

impl From<Confusion> for Written {
    fn from(confusion: Confusion) -> Self {
        let classes = confusion.classes();
        if classes <= FEW_CLASSES {
            let row = |true_class| (0..classes).map(|predicted| confusion.count(true_class, predicted)).collect();
            return Self::Rows((0..classes).map(row).collect());
        }
        let cells = confusion.cells.iter().map(|(&(true_class, predicted), &count)| (true_class, predicted, count));
        Self::Cells { classes, cells: cells.collect() }
    }
}

impl TryFrom<Written> for Confusion {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let (classes, cells) = match written {
            Written::Rows(rows) if rows.is_empty() || rows.iter().any(|row| row.len() != rows.len()) => {
                return Err("a confusion matrix has as many rows as columns");
            }
            Written::Rows(rows) => {
                let of_row = |(true_class, row): (usize, Vec<u64>)| {
                    row.into_iter().enumerate().map(move |(predicted, count)| (true_class, predicted, count))
                };
                (rows.len(), rows.into_iter().enumerate().flat_map(of_row).collect())
            }
            Written::Cells { classes, cells } => (classes, cells),
        };
        if !(1..=MOST_CLASSES).contains(&classes) {
            return Err("a confusion matrix has classes, and not so many");
        }
        let mut confusion = Self::new(classes);
        for (true_class, predicted, count) in cells {
            if true_class >= classes || predicted >= classes {
                return Err("a cell of a confusion matrix lies outside it");
            }
            confusion.add_many(true_class, predicted, count);
        }
        Ok(confusion)
    }
}

impl TryFrom<Vec<Vec<u64>>> for Confusion {
    type Error = &'static str;

    fn try_from(rows: Vec<Vec<u64>>) -> Result<Self, Self::Error> {
        Self::try_from(Written::Rows(rows))
    }
}

impl Confusion {
    /// Of no image yet.
    pub fn new(classes: usize) -> Self {
        Self { cells: BTreeMap::new(), samples: vec![0; classes], predicted: vec![0; classes] }
    }

    /// How many there are.
    pub fn classes(&self) -> usize {
        self.samples.len()
    }

    /// Counts one image.
    ///
    /// # Panics
    /// A class is not one of those.
    pub fn add(&mut self, true_class: usize, predicted_class: usize) {
        self.add_many(true_class, predicted_class, 1);
    }

    fn add_many(&mut self, true_class: usize, predicted_class: usize, count: u64) {
        if count == 0 {
            return;
        }
        let add = |sum: &mut u64| *sum = sum.saturating_add(count);
        add(&mut self.samples[true_class]);
        add(&mut self.predicted[predicted_class]);
        add(self.cells.entry((true_class, predicted_class)).or_default());
    }

    /// Images of a class that were taken for one.
    pub fn count(&self, true_class: usize, predicted_class: usize) -> u64 {
        self.cells.get(&(true_class, predicted_class)).copied().unwrap_or(0)
    }

    pub fn samples(&self) -> u64 {
        self.samples.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Images whose class was predicted.
    pub fn correct(&self) -> u64 {
        (0..self.classes()).fold(0, |sum, class| sum.saturating_add(self.count(class, class)))
    }

    /// Images of a class.
    pub fn samples_of(&self, class: usize) -> u64 {
        self.samples[class]
    }

    /// Percent of the images of a class; `None` where there are none.
    pub fn accuracy_of(&self, class: usize) -> Option<f64> {
        let samples = self.samples_of(class);
        (samples > 0).then(|| 100.0 * self.count(class, class) as f64 / samples as f64)
    }

    /// Images that were taken for a class.
    pub fn predicted_as(&self, class: usize) -> u64 {
        self.predicted[class]
    }

    /// Percent of the images taken for a class that are of it; `None` where there are none.
    pub fn precision_of(&self, class: usize) -> Option<f64> {
        let predicted = self.predicted_as(class);
        (predicted > 0).then(|| 100.0 * self.count(class, class) as f64 / predicted as f64)
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
        (images > 0.0).then(|| 200.0 * self.count(class, class) as f64 / images)
    }

    /// The unweighted mean over the classes that `score` is known of; `None` where it is known of none.
    pub fn mean_of(&self, score: impl Fn(&Self, usize) -> Option<f64>) -> Option<f64> {
        let known: Vec<f64> = (0..self.classes()).filter_map(|class| score(self, class)).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    /// Pairs of classes of which images of the first were taken for the second, the most often first; of equals the earlier.
    pub fn worst_pairs(&self) -> Vec<(usize, usize, u64)> {
        let wrong = self.cells.iter().filter(|((true_class, predicted), _)| true_class != predicted);
        let mut pairs: Vec<(usize, usize, u64)> = wrong.map(|(&(a, b), &count)| (a, b, count)).collect();
        pairs.sort_by_key(|&(.., count)| std::cmp::Reverse(count));
        pairs
    }

    /// What a class is most often taken for beside itself, the first of equals, and how often; `None` if never.
    pub fn most_often_taken_for(&self, class: usize) -> Option<(usize, u64)> {
        let of_class = self.cells.range((class, 0)..=(class, usize::MAX));
        let others = of_class.filter(|((_, other), _)| *other != class).map(|(&(_, other), &count)| (other, count));
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
    fn the_worst_pairs_are_those_that_are_taken_for_each_other_most_often() {
        let mut confusion = Confusion::new(4);
        for (truth, predicted) in [(0, 1), (2, 3), (2, 3), (3, 3), (1, 0)] {
            confusion.add(truth, predicted);
        }
        assert_eq!(confusion.worst_pairs(), [(2, 3, 2), (0, 1, 1), (1, 0, 1)]);
    }

    #[test]
    fn sums_stop_at_the_greatest_number() {
        let confusion = Confusion::try_from(vec![vec![u64::MAX; 3]; 3]).unwrap();
        assert_eq!((confusion.samples(), confusion.samples_of(2), confusion.correct()), (u64::MAX, u64::MAX, u64::MAX));
    }

    #[test]
    fn the_log_has_rows_and_other_shapes_are_refused() {
        for classes in [1, 10, 47, 51, 1000] {
            let mut confusion = Confusion::new(classes);
            confusion.add(classes - 1, 0);
            let json = serde_json::to_string(&confusion).unwrap();
            assert_eq!(serde_json::from_str::<Confusion>(&json).unwrap(), confusion);
        }
        assert_eq!(serde_json::to_string(&Confusion::new(2)).unwrap(), "[[0,0],[0,0]]");
        let mut many = Confusion::new(1000);
        many.add(998, 3);
        many.add(0, 0);
        let json = serde_json::to_string(&many).unwrap();
        assert_eq!(json, r#"{"classes":1000,"cells":[[0,0,1],[998,3,1]]}"#);
        let outside = r#"{"classes":60,"cells":[[60,0,1]]}"#;
        let vast = r#"{"classes":100000000000,"cells":[]}"#;
        for wrong in ["[]", "[[]]", "[[1,2]]", "[[1],[2]]", "null", outside, vast, r#"{"classes":0,"cells":[]}"#] {
            assert!(serde_json::from_str::<Confusion>(wrong).is_err(), "{wrong}");
        }
    }
}
