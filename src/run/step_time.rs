//! Where the time of training steps goes.

use std::collections::VecDeque;
use std::ops::{AddAssign, Mul, SubAssign};

use serde::{Deserialize, Serialize};

/// Training time over which the recent speed is taken.
const RECENT_SECS: f64 = 15.0;

/// A part of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Waiting for the loader, and taking the batch to the device.
    Data,
    /// The network, and the loss.
    Forward,
    /// The gradients, and waiting for the device until the loss is known.
    Backward,
    /// What the ranks tell each other during both, and waiting for the slowest.
    Exchange,
    Optimizer,
    /// What remains of the step: freeing its memory, and counting the images that were classified right.
    Other,
}

impl Part {
    /// In the order in which a step takes them.
    pub const ALL: [Self; 6] =
        [Self::Data, Self::Forward, Self::Backward, Self::Exchange, Self::Optimizer, Self::Other];

    /// Those of a step that one process takes.
    pub const OF_ONE_PROCESS: [Self; 5] = [Self::Data, Self::Forward, Self::Backward, Self::Optimizer, Self::Other];

    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Exchange => "exchange",
            Self::Optimizer => "optimizer",
            Self::Other => "other",
        }
    }
}

/// Time spent in the measured parts of one step or of several, as the host sees it: a GPU works through a queue, so what
/// it does for one part may be waited for in a later one.
///
/// In the log an array of microseconds: data, forward, backward, optimizer; and of several ranks the exchange. Whole numbers are
/// short, and read several times as fast as fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct StepTime {
    pub data_secs: f64,
    pub forward_secs: f64,
    pub backward_secs: f64,
    pub optimizer_secs: f64,
    /// 0 of one process.
    pub exchange_secs: f64,
}

impl StepTime {
    pub fn total_secs(&self) -> f64 {
        self.data_secs + self.forward_secs + self.backward_secs + self.optimizer_secs + self.exchange_secs
    }
}

/// From microseconds.
impl From<[u64; 4]> for StepTime {
    fn from([data, forward, backward, optimizer]: [u64; 4]) -> Self {
        Self::from([data, forward, backward, optimizer, 0])
    }
}

/// From microseconds.
impl From<[u64; 5]> for StepTime {
    fn from(micros: [u64; 5]) -> Self {
        let [data_secs, forward_secs, backward_secs, optimizer_secs, exchange_secs] =
            micros.map(|micros| micros as f64 / 1e6);
        Self { data_secs, forward_secs, backward_secs, optimizer_secs, exchange_secs }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0} parts of a step's time, expected 4 or 5")]
pub struct WrongParts(usize);

/// From microseconds.
impl TryFrom<Vec<u64>> for StepTime {
    type Error = WrongParts;

    fn try_from(micros: Vec<u64>) -> Result<Self, WrongParts> {
        match micros[..] {
            [data, forward, backward, optimizer] => Ok([data, forward, backward, optimizer].into()),
            [data, forward, backward, optimizer, exchange] => Ok([data, forward, backward, optimizer, exchange].into()),
            _ => Err(WrongParts(micros.len())),
        }
    }
}

/// To microseconds.
impl From<StepTime> for Vec<u64> {
    fn from(time: StepTime) -> Self {
        let StepTime { data_secs, forward_secs, backward_secs, optimizer_secs, exchange_secs } = time;
        let exchange = (exchange_secs > 0.0).then_some(exchange_secs);
        let parts = [data_secs, forward_secs, backward_secs, optimizer_secs].into_iter().chain(exchange);
        parts.map(|secs| (secs * 1e6).round() as u64).collect()
    }
}

impl AddAssign for StepTime {
    fn add_assign(&mut self, other: Self) {
        self.data_secs += other.data_secs;
        self.forward_secs += other.forward_secs;
        self.backward_secs += other.backward_secs;
        self.optimizer_secs += other.optimizer_secs;
        self.exchange_secs += other.exchange_secs;
    }
}

/// So many times as long.
impl Mul<f64> for StepTime {
    type Output = Self;

    fn mul(self, factor: f64) -> Self {
        Self {
            data_secs: self.data_secs * factor,
            forward_secs: self.forward_secs * factor,
            backward_secs: self.backward_secs * factor,
            optimizer_secs: self.optimizer_secs * factor,
            exchange_secs: self.exchange_secs * factor,
        }
    }
}

impl SubAssign for StepTime {
    fn sub_assign(&mut self, other: Self) {
        self.data_secs -= other.data_secs;
        self.forward_secs -= other.forward_secs;
        self.backward_secs -= other.backward_secs;
        self.optimizer_secs -= other.optimizer_secs;
        self.exchange_secs -= other.exchange_secs;
    }
}

/// A number of steps, and what they took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Breakdown {
    pub steps: f64,
    pub samples: f64,
    /// All of the steps' time.
    pub total_secs: f64,
    pub time: StepTime,
}

impl Breakdown {
    pub fn secs(&self, part: Part) -> f64 {
        match part {
            Part::Data => self.time.data_secs,
            Part::Forward => self.time.forward_secs,
            Part::Backward => self.time.backward_secs,
            Part::Exchange => self.time.exchange_secs,
            Part::Optimizer => self.time.optimizer_secs,
            // Rounding may take the parts a little beyond the whole.
            Part::Other => (self.total_secs - self.time.total_secs()).max(0.0),
        }
    }

    /// The parts that it has: those of one process, and the exchange where there was one.
    pub fn parts(&self) -> &'static [Part] {
        if self.time.exchange_secs > 0.0 { &Part::ALL } else { &Part::OF_ONE_PROCESS }
    }

    /// Percent of the steps' time, from 0 to 100 whatever the log says.
    pub fn share(&self, part: Part) -> f64 {
        let share = 100.0 * self.secs(part) / self.total_secs;
        if share.is_finite() { share.clamp(0.0, 100.0) } else { 0.0 }
    }

    pub fn secs_per_step(&self) -> Option<f64> {
        (self.total_secs > 0.0 && self.steps > 0.0).then(|| self.total_secs / self.steps)
    }

    pub fn examples_per_sec(&self) -> Option<f64> {
        (self.total_secs > 0.0).then(|| self.samples / self.total_secs)
    }
}

impl AddAssign for Breakdown {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.samples += other.samples;
        self.total_secs += other.total_secs;
        self.time += other.time;
    }
}

impl SubAssign for Breakdown {
    fn sub_assign(&mut self, other: Self) {
        self.steps -= other.steps;
        self.samples -= other.samples;
        self.total_secs -= other.total_secs;
        self.time -= other.time;
    }
}

/// The steps of the last 15 seconds of training.
#[derive(Clone, Debug, Default)]
pub struct RecentSteps {
    /// One for each line of the log.
    window: VecDeque<Breakdown>,
    sum: Breakdown,
    /// Steps before those in the window were not read.
    lacks_steps: bool,
}

impl RecentSteps {
    pub fn push(&mut self, steps: Breakdown) {
        self.window.push_back(steps);
        self.sum += steps;
        while self.sum.total_secs > RECENT_SECS && self.window.len() > 1 {
            if let Some(oldest) = self.window.pop_front() {
                self.sum -= oldest;
            }
            self.lacks_steps = false;
        }
    }

    /// There were steps whose time is not asked for.
    pub fn pass_over(&mut self) {
        if !self.window.is_empty() {
            *self = Self::default();
        }
        self.lacks_steps = true;
    }

    /// Whether all steps of the last 15 seconds are there.
    pub fn is_known(&self) -> bool {
        !self.lacks_steps
    }

    pub fn sum(&self) -> Breakdown {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_an_array_of_microseconds() {
        let time = StepTime {
            data_secs: 0.000_012_34,
            forward_secs: 0.036_700_2,
            backward_secs: 0.059,
            optimizer_secs: 1.0 / 3.0,
            exchange_secs: 0.0,
        };
        let line = serde_json::to_string(&time).unwrap();
        assert_eq!(line, "[12,36700,59000,333333]");
        let read: StepTime = serde_json::from_str(&line).unwrap();
        assert_eq!(read, StepTime { data_secs: 0.000_012, forward_secs: 0.0367, optimizer_secs: 0.333_333, ..time });
        assert_eq!(serde_json::to_string(&read).unwrap(), line);
        let of_ranks = serde_json::to_string(&StepTime { exchange_secs: 0.002, ..time }).unwrap();
        assert_eq!(of_ranks, "[12,36700,59000,333333,2000]");
        assert_eq!(serde_json::from_str::<StepTime>(&of_ranks).unwrap().exchange_secs, 0.002);
        for wrong in ["[1,2,3]", "[1,2,3,4,5,6]", "[]"] {
            assert!(serde_json::from_str::<StepTime>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_parts_are_all_of_a_step() {
        let time = StepTime::from([500_000, 2_000_000, 5_000_000, 1_500_000]);
        let ten = Breakdown { steps: 10.0, samples: 640.0, total_secs: 10.0, time };
        assert_eq!(Part::OF_ONE_PROCESS.map(|part| ten.share(part)), [5.0, 20.0, 50.0, 15.0, 10.0]);
        assert_eq!(ten.parts(), Part::OF_ONE_PROCESS);
        let of_ranks = StepTime { exchange_secs: 0.5, ..time };
        let of_ranks = Breakdown { time: of_ranks, ..ten };
        assert_eq!(of_ranks.parts(), Part::ALL);
        assert_eq!(Part::ALL.map(|part| of_ranks.share(part)), [5.0, 20.0, 50.0, 5.0, 15.0, 5.0]);
        assert_eq!((ten.secs_per_step(), ten.examples_per_sec()), (Some(1.0), Some(64.0)));
        let rounded = Breakdown { total_secs: 8.999_999, ..ten };
        assert_eq!(rounded.share(Part::Other), 0.0);
    }

    #[test]
    fn a_breakdown_of_nothing_or_of_nonsense_has_shares() {
        assert_eq!(Part::ALL.map(|part| Breakdown::default().share(part)), [0.0; 6]);
        assert_eq!(Breakdown::default().secs_per_step(), None);
        let time = StepTime {
            data_secs: f64::NAN,
            forward_secs: -1.0,
            backward_secs: f64::MAX,
            optimizer_secs: f64::INFINITY,
            exchange_secs: f64::NAN,
        };
        let nonsense = Breakdown { steps: 1.0, samples: 1.0, total_secs: 1.0, time };
        assert!(Part::ALL.iter().all(|&part| (0.0..=100.0).contains(&nonsense.share(part))));
    }
}
