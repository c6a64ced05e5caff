//! A part of an image, drawn and stretched to a square: torchvision's `RandomResizedCrop` (Szegedy et al. 2015, section 6).

use rand::Rng;

use crate::random::{Purpose, stream};

/// A rectangle of an image, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rectangle {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

/// Width over height that a part may have, at most, and its inverse at least.
const MOST_RATIO: f64 = 4.0 / 3.0;
/// Draws until one fits into the image.
const ATTEMPTS: usize = 10;

impl Rectangle {
    /// Draws a part of image `index`, of those sides, in an epoch: of at least that share of its area, and about its shape.
    pub fn draw([width, height]: [u32; 2], least_area: f64, seed: u64, epoch: u64, index: u64) -> Self {
        let mut rng = stream(seed, Purpose::RandomResizedCrop, epoch, index);
        let area = f64::from(width) * f64::from(height);
        for _ in 0..ATTEMPTS {
            let target = area * (least_area + (1.0 - least_area) * rng.random::<f64>());
            let ratio = (MOST_RATIO.ln() * (2.0 * rng.random::<f64>() - 1.0)).exp();
            let (w, h) = ((target * ratio).sqrt().round() as u32, (target / ratio).sqrt().round() as u32);
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let top = rng.random_range(0..=height - h);
                let left = rng.random_range(0..=width - w);
                return Self { left, top, width: w, height: h };
            }
        }
        Self::middle([width, height])
    }

    /// The largest part about the middle whose shape is allowed.
    fn middle([width, height]: [u32; 2]) -> Self {
        let longest = |other: u32| ((f64::from(other) * MOST_RATIO).round() as u32).max(1);
        let (w, h) = (width.min(longest(height)), height.min(longest(width)));
        Self { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::testing::property(256))]

        #[test]
        fn it_lies_in_the_image_and_has_its_share(
            width in 1..600u32, height in 1..600u32, least_area in 0.05..=1.0f64, seed: u64, index: u64,
        ) {
            let part = Rectangle::draw([width, height], least_area, seed, 1, index);
            prop_assert!(part.width >= 1 && part.height >= 1);
            prop_assert!(part.left + part.width <= width && part.top + part.height <= height);
            // Its sides are rounded; what fits no shape is the middle.
            let area = f64::from(part.width + 1) * f64::from(part.height + 1);
            prop_assert!(area >= least_area * f64::from(width) * f64::from(height) || part == Rectangle::middle([width, height]));
            prop_assert_eq!(part, Rectangle::draw([width, height], least_area, seed, 1, index));
        }
    }

    #[test]
    fn shares_and_places_are_spread_evenly() {
        let drawn: Vec<Rectangle> = (0..4000).map(|index| Rectangle::draw([500, 400], 0.2, 3, 1, index)).collect();
        let mean = |of: fn(&Rectangle) -> f64| drawn.iter().map(of).sum::<f64>() / drawn.len() as f64;
        let share = mean(|part| f64::from(part.width) * f64::from(part.height) / 200_000.0);
        // Uniform from 0.2 to 1 would be 0.6; large ones of another shape do not fit.
        assert!((0.5..0.6).contains(&share), "{share}");
        assert!((mean(|part| f64::from(part.left) + f64::from(part.width) / 2.0) - 250.0).abs() < 5.0);
        assert!((mean(|part| f64::from(part.top) + f64::from(part.height) / 2.0) - 200.0).abs() < 5.0);
    }

    #[test]
    fn the_middle_is_of_an_allowed_shape() {
        assert_eq!(Rectangle::middle([400, 100]), Rectangle { left: 133, top: 0, width: 133, height: 100 });
        assert_eq!(Rectangle::middle([100, 400]), Rectangle { left: 0, top: 133, width: 100, height: 133 });
        assert_eq!(Rectangle::middle([120, 100]), Rectangle { left: 0, top: 0, width: 120, height: 100 });
    }
}
