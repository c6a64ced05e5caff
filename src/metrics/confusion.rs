//! The confusion matrix: how many images of each class a network takes for each.

use serde::{Deserialize, Serialize};

use crate::data::CLASSES;

const COUNT: usize = CLASSES.len();

/// In the log, an array of ten arrays of ten numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confusion {
    /// By true class, and in each row by predicted class.
    pub rows: Box<[[u64; COUNT]; COUNT]>,
}

impl Confusion {
    /// Counts one image.
    ///
    /// # Panics
    /// A class is not one of the ten.
    pub fn add(&mut self, true_class: usize, predicted_class: usize) {
        self.rows[true_class][predicted_class] += 1;
    }

    pub fn samples(&self) -> u64 {
        (0..COUNT).fold(0, |sum, class| sum.saturating_add(self.examples_of(class)))
    }

    /// Images whose class was predicted.
    pub fn correct(&self) -> u64 {
        self.rows.iter().enumerate().fold(0, |sum, (class, row)| sum.saturating_add(row[class]))
    }

    /// Images of a class.
    pub fn examples_of(&self, class: usize) -> u64 {
        self.rows[class].iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Percent of the images of a class; `None` where there are none.
    pub fn accuracy_of(&self, class: usize) -> Option<f64> {
        let samples = self.examples_of(class);
        (samples > 0).then(|| 100.0 * self.rows[class][class] as f64 / samples as f64)
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
        let mut confusion = Confusion::default();
        for (truth, predicted) in [(3, 3), (3, 5), (3, 7), (3, 5), (3, 3), (3, 3), (0, 0), (9, 1), (9, 2)] {
            confusion.add(truth, predicted);
        }
        assert_eq!((confusion.samples(), confusion.correct()), (9, 4));
        assert_eq!([0, 1, 3, 9].map(|class| confusion.examples_of(class)), [1, 0, 6, 2]);
        assert_eq!([0, 1, 3, 9].map(|class| confusion.accuracy_of(class)), [Some(100.0), None, Some(50.0), Some(0.0)]);
        let taken_for = [0, 1, 3, 9].map(|class| confusion.most_often_taken_for(class));
        assert_eq!(taken_for, [None, None, Some((5, 2)), Some((1, 1))]);
    }

    #[test]
    fn a_matrix_of_another_size_is_refused_and_numbers_without_bound_are_not_summed_beyond_it() {
        let mut confusion = Confusion::default();
        confusion.rows[2] = [u64::MAX; COUNT];
        assert_eq!(
            (confusion.samples(), confusion.examples_of(2), confusion.correct()),
            (u64::MAX, u64::MAX, u64::MAX)
        );
        let json = serde_json::to_string(&confusion).unwrap();
        assert!(json.starts_with("[[0,0,") && serde_json::from_str::<Confusion>(&json).unwrap() == confusion);
        for wrong in ["[]", "[[1,2],[3,4]]", "null"] {
            assert!(serde_json::from_str::<Confusion>(wrong).is_err(), "{wrong}");
        }
    }
}
