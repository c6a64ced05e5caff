//! One number for each position of a layer or of an image.

/// Rows of numbers, one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    pub width: usize,
    /// `width` for each row.
    pub values: Vec<f32>,
}

impl Map {
    pub fn new(width: usize, values: Vec<f32>) -> Self {
        debug_assert!(width > 0 && !values.is_empty() && values.len().is_multiple_of(width));
        Self { width, values }
    }

    pub fn height(&self) -> usize {
        self.values.len() / self.width
    }

    pub fn mean(&self) -> f32 {
        self.values.iter().sum::<f32>() / self.values.len() as f32
    }

    /// The least and the greatest value.
    pub fn range(&self) -> (f32, f32) {
        self.values
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
    }

    /// Min-max normalised to [0, 1]; zeros where all values are equal.
    #[must_use]
    pub fn normalised(&self) -> Self {
        let (low, high) = self.range();
        let scale = if high > low { 1.0 / (high - low) } else { 0.0 };
        self.mapped(|value| ((value - low) * scale).clamp(0.0, 1.0))
    }

    #[must_use]
    pub fn mapped(&self, f: impl Fn(f32) -> f32) -> Self {
        Self { width: self.width, values: self.values.iter().map(|&value| f(value)).collect() }
    }

    /// Bilinear, with pixel centres at one half and the border continued: OpenCV's `INTER_LINEAR`.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        let (columns, rows) = (positions(self.width, width), positions(self.height(), height));
        let mut values = Vec::with_capacity(width * height);
        for row in &rows {
            for column in &columns {
                let at = |y: usize, x: usize| self.values[y * self.width + x];
                let along = |y: usize| at(y, column.low) + column.share * (at(y, column.high) - at(y, column.low));
                values.push(along(row.low) + row.share * (along(row.high) - along(row.low)));
            }
        }
        Self { width, values }
    }
}

/// Between which two of the old positions a new one lies, and how far it is from the lower.
struct Neighbours {
    low: usize,
    high: usize,
    share: f32,
}

fn positions(old: usize, new: usize) -> Vec<Neighbours> {
    let last = old - 1;
    (0..new)
        .map(|position| {
            let centre = ((position as f64 + 0.5) * old as f64 / new as f64 - 0.5).clamp(0.0, last as f64);
            let low = centre.floor() as usize;
            Neighbours { low, high: (low + 1).min(last), share: (centre - low as f64) as f32 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_becomes_0_and_the_greatest_1() {
        assert_eq!(Map::new(2, vec![-2.0, 0.0, 1.0, 2.0]).normalised().values, [0.0, 0.5, 0.75, 1.0]);
        assert_eq!(Map::new(2, vec![3.0, 3.0]).normalised().values, [0.0, 0.0]);
    }

    #[test]
    fn resizing_keeps_the_corners_and_goes_straight_between() {
        let map = Map::new(2, vec![0.0, 4.0, 8.0, 12.0]);
        assert_eq!(map.resized(2, 2), map);
        let wide = map.resized(4, 2);
        assert_eq!(wide.values, [0.0, 1.0, 3.0, 4.0, 8.0, 9.0, 11.0, 12.0]);
        assert_eq!((map.resized(3, 5).width, map.resized(3, 5).height()), (3, 5));
        assert_eq!(Map::new(1, vec![7.0]).resized(3, 2).values, [7.0; 6]);
    }
}
