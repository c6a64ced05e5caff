//! The learning rate that a range test suggests: where the smoothed loss falls most steeply, as in fastai and PyTorch
//! Lightning; and beside it fastai's other one, a tenth of the rate at which it is least.

use super::curve::{Curve, Point};

/// Steps that a suggestion is made of, at least.
const LEAST_STEPS: usize = 20;
/// That part of the steps is left out at the beginning, where the average is of few losses; and so many at the end, as in
/// fastai.
const SKIPPED_SHARE: usize = 10;
const SKIPPED_END: usize = 5;
/// A slope is that of a line through this part of the steps on either side, for a curve of single steps is steepest wherever
/// its noise has it.
const SLOPE_SHARE: usize = 20;
/// Standard deviations of the smoothed loss that are no coincidence, from the beginning to the least of many.
const SIGNIFICANT: f64 = 4.0;

/// What the sums of an average may be off, as a share.
const ROUNDING: f64 = 1e-9;

/// What a test says of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finding {
    Suggested(Suggestion),
    /// The loss never falls by more than its noise; whether it rises by more.
    NoDescent {
        rises: bool,
    },
    /// Too few steps were taken.
    TooFewSteps,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suggestion {
    /// Where the smoothed loss falls most in a decade.
    pub steepest: Point,
    /// Where it is least.
    pub minimum: Point,
    /// Whether it rises again by more than its noise.
    pub rises: bool,
    /// Whether it falls most steeply as soon as it is looked at.
    pub falls_from_the_start: bool,
}

impl Suggestion {
    /// To two digits: it is known no better.
    pub fn learning_rate(&self) -> f64 {
        to_two_digits(self.steepest.learning_rate)
    }

    /// Likewise.
    pub fn tenth_of_minimum(&self) -> f64 {
        to_two_digits(self.minimum.learning_rate / 10.0)
    }
}

impl Finding {
    pub fn of(curve: &Curve) -> Self {
        let points = curve.points();
        if points.len() < LEAST_STEPS {
            return Self::TooFewSteps;
        }
        let skipped = points.len() / SKIPPED_SHARE;
        let judged = &points[skipped..points.len() - SKIPPED_END];
        let losses = || judged.iter().map(|point| point.smoothed_loss);
        let least = index_of_least(losses());
        let (first, minimum) = (judged[0], judged[least]);
        let noise = noise(&points[..=skipped + least], curve.weight(), skipped + 1);
        let significant = (SIGNIFICANT * noise).max(ROUNDING * first.smoothed_loss);
        // With the end that is else left out: that is where it rises.
        let last = points[points.len() - 1].smoothed_loss;
        if first.smoothed_loss - minimum.smoothed_loss <= significant {
            return Self::NoDescent { rises: last - first.smoothed_loss > significant };
        }
        let beside = (points.len() / SLOPE_SHARE).max(1);
        let around = |place: usize| &judged[place.saturating_sub(beside)..(place + beside + 1).min(judged.len())];
        let steepest = index_of_least((0..=least).map(|place| slope(around(place))));
        Self::Suggested(Suggestion {
            steepest: judged[steepest],
            minimum,
            rises: last - minimum.smoothed_loss > significant,
            falls_from_the_start: steepest < beside,
        })
    }

    pub fn suggestion(&self) -> Option<Suggestion> {
        match self {
            Self::Suggested(suggestion) => Some(*suggestion),
            Self::NoDescent { .. } | Self::TooFewSteps => None,
        }
    }
}

/// The first one; 0 of none.
fn index_of_least(values: impl Iterator<Item = f64>) -> usize {
    values.enumerate().min_by(|one, other| one.1.total_cmp(&other.1)).map_or(0, |(index, _)| index)
}

/// The standard deviation of the smoothed loss when it is of so many losses, by how far losses lie from it.
fn noise(points: &[Point], weight: f64, averaged: usize) -> f64 {
    let squares: f64 = points.iter().map(|point| (point.loss - point.smoothed_loss).powi(2)).sum();
    let of_losses = (squares / points.len().max(1) as f64).sqrt();
    // That of an exponential moving average of independent values, over theirs.
    let forgotten = weight.powf(averaged as f64);
    of_losses * ((1.0 - weight) / (1.0 + weight) * (1.0 + forgotten) / (1.0 - forgotten)).sqrt()
}

/// Of the line of least squares: smoothed loss by decade.
fn slope(points: &[Point]) -> f64 {
    let count = points.len() as f64;
    let x = |point: &Point| point.learning_rate.log10();
    let mean_x = points.iter().map(x).sum::<f64>() / count;
    let mean_y = points.iter().map(|point| point.smoothed_loss).sum::<f64>() / count;
    let (mut products, mut squares) = (0.0, 0.0);
    for point in points {
        let from_mean = x(point) - mean_x;
        products += from_mean * (point.smoothed_loss - mean_y);
        squares += from_mean * from_mean;
    }
    products / squares
}

fn to_two_digits(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().expect("a number was written")
}

#[cfg(test)]
mod tests {
    use super::super::rates::Rates;
    use super::*;

    /// A test of 200 steps from 1e-6 to 1, with the loss that each rate has, and noise of that standard deviation.
    fn measured(noise: f64, loss: impl Fn(f64) -> f64) -> Curve {
        let rates = Rates::new(Some(1e-6), Some(1.0), (0.0, 0.0), 200).unwrap();
        let mut curve = Curve::of(200);
        for step in 1..=200 {
            // Uniform numbers by the golden ratio, of zero mean and standard deviation 1.
            let uniform = ((step * step) as f64 * 0.618_033_988_75).fract();
            let deviation = (uniform - 0.5) * 12f64.sqrt();
            curve.push(rates.at(step), loss(rates.at(step)) + noise * deviation);
            if curve.has_diverged() {
                break;
            }
        }
        curve
    }

    /// From 2.3 to 1.3, most steeply at 1e-3; beyond 0.1 it explodes.
    fn usual(rate: f64) -> f64 {
        let fall = 1.0 / (1.0 + (-3.0 * (rate.log10() + 3.0)).exp());
        2.3 - fall + (rate / 0.1).powi(3)
    }

    #[test]
    fn the_steepest_descent_is_suggested_and_its_noise_is_not() {
        for noise in [0.0, 0.05, 0.1] {
            let Finding::Suggested(suggestion) = Finding::of(&measured(noise, usual)) else {
                panic!("{noise}: no suggestion")
            };
            // Where the loss itself does; the average lags behind by a part of its memory, which is one and a half decades.
            let rate = suggestion.learning_rate();
            assert!((1e-3..1e-2).contains(&rate), "{noise}: {rate}");
            let minimum = suggestion.minimum.learning_rate;
            assert!((0.02..0.3).contains(&minimum), "{noise}: {minimum}");
            assert!(suggestion.rises && !suggestion.falls_from_the_start, "{noise}: {suggestion:?}");
        }
    }

    #[test]
    fn without_a_descent_there_is_no_suggestion() {
        let flat = measured(0.1, |_| 2.3);
        assert_eq!(Finding::of(&flat), Finding::NoDescent { rises: false });
        let rising = measured(0.1, |rate| 2.3 + 3.0 * rate.powf(0.25));
        assert_eq!(Finding::of(&rising), Finding::NoDescent { rises: true });
        let exact = measured(0.0, |_| 2.3);
        assert_eq!(Finding::of(&exact), Finding::NoDescent { rises: false });
    }

    #[test]
    fn a_loss_that_has_not_risen_again_is_told() {
        let falling = measured(0.05, |rate| usual(rate.min(0.01)));
        let suggestion = Finding::of(&falling).suggestion().expect("it falls");
        assert!(!suggestion.rises, "{suggestion:?}");
        let early = measured(0.02, |rate| 2.3 - 0.3 * (rate / 1e-6).log10());
        let suggestion = Finding::of(&early).suggestion().expect("it falls");
        assert!(!suggestion.rises, "{suggestion:?}");
    }

    #[test]
    fn a_loss_that_falls_from_the_start_is_told() {
        let falling = measured(0.0, |rate| usual(rate * 1e3));
        let suggestion = Finding::of(&falling).suggestion().expect("it falls");
        assert!(suggestion.falls_from_the_start && suggestion.rises, "{suggestion:?}");
    }

    #[test]
    fn a_few_steps_suggest_nothing() {
        let mut curve = Curve::of(200);
        assert_eq!(Finding::of(&curve), Finding::TooFewSteps);
        for step in 1..20 {
            curve.push(1e-3 * f64::from(step), 2.0 / f64::from(step));
            assert_eq!(Finding::of(&curve), Finding::TooFewSteps);
        }
    }

    #[test]
    fn rates_are_told_by_two_digits() {
        assert_eq!([1.234e-3, 9.96e-5, 0.5].map(to_two_digits), [1.2e-3, 1e-4, 0.5]);
    }
}
