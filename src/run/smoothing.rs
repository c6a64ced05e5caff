//! Smoothing that shows the course of noisy values.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Values at the beginning that are judged by each other, not by those before them.
const WARM_UP: usize = 16;
/// A value further from the average than so many mean deviations counts as that far: of normal noise one in ten thousand.
const FURTHEST: f64 = 5.0;
/// Deviations are taken to be at least this share of the average.
const LEAST_DEVIATION: f64 = 0.05;
/// The past counts until its weight is less than this.
const NEGLIGIBLE: f64 = 1e-5;

/// An exponential moving average, without the pull towards zero that a plain one has at its start: that of TensorBoard, but
/// for single values far out, which move it no further than a moderate one would. So it forgets a spike at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Smoothing {
    /// Of the past, in `[0, 1)`.
    weight: f64,
}

#[derive(Clone, Debug, Error)]
#[error("{0}: the weight of smoothing must be a number from 0 (off) to below 1, such as 0.9")]
pub struct BadWeight(String);

impl Smoothing {
    pub const OFF: Self = Self { weight: 0.0 };

    /// `weight` of the past; at most 0.9999.
    pub const fn new(weight: f64) -> Self {
        Self { weight: weight.clamp(0.0, 0.9999) }
    }

    pub fn weight(self) -> f64 {
        self.weight
    }

    pub fn is_off(self) -> bool {
        self.weight == 0.0
    }

    /// How many values before one still show in its average.
    pub fn memory(self) -> usize {
        if self.is_off() { 0 } else { (NEGLIGIBLE.ln() / self.weight.ln()).ceil() as usize }
    }

    /// The average at each of the values; those that are not finite are passed over, and repeat the one before.
    pub fn smooth(self, values: &[f64]) -> Vec<f64> {
        let mut average = Average::new(self, values.iter().copied());
        values.iter().map(|&value| average.push(value).unwrap_or(f64::NAN)).collect()
    }
}

/// Such as `0.9`, or `off`.
impl fmt::Display for Smoothing {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        if self.is_off() { formatter.pad("off") } else { formatter.pad(&self.weight.to_string()) }
    }
}

impl FromStr for Smoothing {
    type Err = BadWeight;

    fn from_str(text: &str) -> Result<Self, BadWeight> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        match text.parse::<f64>() {
            Ok(weight) if (0.0..1.0).contains(&weight) => Ok(Self::new(weight)),
            _ => Err(BadWeight(text.to_owned())),
        }
    }
}

/// The average so far.
#[derive(Clone, Debug)]
pub struct Average {
    weight: f64,
    sum: f64,
    /// The weights of all values in `sum`.
    total: f64,
    /// Mean distance of values from the average before them.
    deviation: f64,
    warming_up: usize,
    /// What values of the warm-up are limited to.
    low: f64,
    high: f64,
}

impl Average {
    /// `first`: the values that will be pushed first; more than a few are not looked at.
    pub fn new(smoothing: Smoothing, first: impl Iterator<Item = f64>) -> Self {
        let mut first: Vec<f64> = first.filter(|value| value.is_finite()).take(WARM_UP).collect();
        let middle = median(&mut first);
        let mut distances: Vec<f64> = first.iter().map(|value| (value - middle).abs()).collect();
        let deviation = median(&mut distances).max(LEAST_DEVIATION * middle.abs());
        // Twice as far: the values of a beginning differ, and the middle ones say little of the others.
        let furthest = if first.len() < 3 { f64::INFINITY } else { 2.0 * FURTHEST * deviation };
        Self {
            weight: smoothing.weight,
            sum: 0.0,
            total: 0.0,
            deviation,
            warming_up: WARM_UP,
            low: middle - furthest,
            high: middle + furthest,
        }
    }

    /// The average with this value.
    pub fn push(&mut self, value: f64) -> Option<f64> {
        if value.is_finite() {
            let before = if self.total > 0.0 { self.sum / self.total } else { value };
            let value = if self.weight == 0.0 {
                value
            } else if self.warming_up > 0 {
                self.warming_up -= 1;
                value.clamp(self.low, self.high)
            } else {
                let furthest = FURTHEST * self.deviation.max(LEAST_DEVIATION * before.abs());
                let limited = value.clamp(before - furthest, before + furthest);
                self.deviation = self.deviation * self.weight + (limited - before).abs() * (1.0 - self.weight);
                limited
            };
            self.sum = self.sum * self.weight + value * (1.0 - self.weight);
            self.total = self.total * self.weight + (1.0 - self.weight);
        }
        self.value()
    }

    pub fn value(&self) -> Option<f64> {
        (self.total > 0.0).then(|| self.sum / self.total)
    }
}

/// 0 of no values.
fn median(values: &mut [f64]) -> f64 {
    match values.len() {
        0 => 0.0,
        len => *values.select_nth_unstable_by(len / 2, f64::total_cmp).1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Around 2, never the same twice in a row.
    fn noise(index: usize) -> f64 {
        2.0 + 0.1 * (index as f64 * 2.399).sin()
    }

    fn of_tensorboard(weight: f64, values: &[f64]) -> Vec<f64> {
        let (mut last, mut pushed) = (0.0, 0);
        let smooth = values.iter().map(|value| {
            last = last * weight + (1.0 - weight) * value;
            pushed += 1;
            last / (1.0 - weight.powi(pushed))
        });
        smooth.collect()
    }

    #[test]
    fn it_is_the_average_of_tensorboard() {
        let values: Vec<f64> = (0..500).map(|index| noise(index) - index as f64 / 500.0).collect();
        for weight in [0.6, 0.9, 0.98, 0.99] {
            let pairs = Smoothing::new(weight).smooth(&values).into_iter().zip(of_tensorboard(weight, &values));
            pairs.for_each(|(ours, theirs)| assert!((ours - theirs).abs() < 1e-9, "{weight}: {ours} {theirs}"));
        }
        assert_eq!(Smoothing::OFF.smooth(&values), values);
    }

    #[test]
    fn gaps_are_passed_over() {
        let smooth = Smoothing::new(0.5).smooth(&[f64::NAN, 1.0, f64::INFINITY, 4.0]);
        assert!(smooth[0].is_nan());
        assert_eq!(smooth[1..], [1.0, 1.0, 3.0]);
    }

    #[test]
    fn a_spike_is_forgotten_at_once() {
        for at in [3, 40, 400] {
            let mut values: Vec<f64> = (0..600).map(noise).collect();
            values[at..at + 3].fill(3e14);
            let smooth = Smoothing::new(0.98).smooth(&values);
            assert!(smooth[at + 3..].iter().all(|value| (value - 2.0).abs() < 0.5), "{at}: {:?}", &smooth[at..at + 9]);
        }
    }

    #[test]
    fn a_lasting_change_is_followed() {
        let values: Vec<f64> = (0..1000).map(|index| if index < 300 { noise(index) } else { 50.0 }).collect();
        let smooth = Smoothing::new(0.9).smooth(&values);
        assert!((smooth[400] - 50.0).abs() < 1.0, "{}", smooth[400]);
    }

    #[test]
    fn weights_are_read_and_refused() {
        assert_eq!("0.9".parse::<Smoothing>().unwrap().to_string(), "0.9");
        assert_eq!("off".parse::<Smoothing>().unwrap(), Smoothing::OFF);
        for text in ["1", "-0.1", "NaN", "much"] {
            assert!(text.parse::<Smoothing>().unwrap_err().to_string().starts_with(text));
        }
    }
}
