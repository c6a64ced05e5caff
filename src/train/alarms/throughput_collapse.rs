//! Training is much slower than it was.

use std::collections::VecDeque;

use super::super::step_result::StepResult;
use super::detector::{Detector, EpochResult, Settings};
use super::hysteresis::{Hysteresis, Level};
use crate::config::TrainConfig;
use crate::run::log::Room;

pub fn detector(settings: &Settings) -> Option<Box<dyn Detector>> {
    let (share, train) = (settings.config.alarms.throughput_collapse, settings.config.train.clone());
    (share > 0.0).then(|| Box::new(ThroughputCollapse::new(share, train)) as _)
}

/// Training time that one speed is taken over: shorter lulls are no collapse.
const WINDOW_SECS: f64 = 30.0;
/// Speeds whose median is the usual one, and the fewest that are.
const MEMORY: usize = 20;
const FEW: usize = 3;

struct ThroughputCollapse {
    share: f64,
    train: TrainConfig,
    samples: u64,
    secs: f64,
    /// Images a second.
    usual: VecDeque<f64>,
    hysteresis: Hysteresis,
}

impl ThroughputCollapse {
    /// Less than this share of the usual speed is alarming.
    fn new(share: f64, train: TrainConfig) -> Self {
        Self { share, train, samples: 0, secs: 0.0, usual: VecDeque::new(), hysteresis: Hysteresis::default() }
    }

    fn observe(&mut self, samples: u64, secs: f64) -> Option<String> {
        self.samples += samples;
        self.secs += secs;
        if self.secs < WINDOW_SECS {
            return None;
        }
        let speed = self.samples as f64 / self.secs;
        (self.samples, self.secs) = (0, 0.0);
        let level = match self.median() {
            Some(usual) if speed < self.share * usual => Level::Alarming,
            Some(usual) if speed < (1.0 + self.share) / 2.0 * usual => Level::Uneasy,
            _ => Level::Calm,
        };
        // A collapse must not become what is usual.
        if level == Level::Calm {
            if self.usual.len() == MEMORY {
                self.usual.pop_front();
            }
            self.usual.push_back(speed);
        }
        let usual = self.median()?;
        self.hysteresis.raises(level).then(|| {
            let percent = 100.0 * speed / usual;
            format!(
                "{speed:.0} images/s, {percent:.0} % of the {usual:.0} that were usual (alarms.throughput_collapse)"
            )
        })
    }

    /// The next one may have larger images, of which fewer a second are usual.
    fn epoch_is_over(&mut self, epoch: u64) {
        if self.train.image_scale(epoch) != self.train.image_scale(epoch + 1) {
            *self = Self::new(self.share, self.train.clone());
        }
    }

    fn median(&self) -> Option<f64> {
        let mut speeds: Vec<f64> = self.usual.iter().copied().collect();
        let middle = speeds.len() / 2;
        (speeds.len() >= FEW).then(|| *speeds.select_nth_unstable_by(middle, f64::total_cmp).1)
    }
}

impl Detector for ThroughputCollapse {
    fn after_step(&mut self, step: &StepResult, _room: Room) -> Option<String> {
        self.observe(step.samples, step.train_secs)
    }

    fn after_epoch(&mut self, epoch: &EpochResult) -> Option<String> {
        self.epoch_is_over(epoch.done.epoch);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two minutes of steps of 64 images, `secs` each.
    fn train(detector: &mut ThroughputCollapse, secs: f64) -> Vec<String> {
        (0..(120.0 / secs) as usize).filter_map(|_| detector.observe(64, secs)).collect()
    }

    #[test]
    fn it_is_told_once_until_training_is_fast_again() {
        let mut detector = ThroughputCollapse::new(0.4, TrainConfig::default());
        assert!(train(&mut detector, 0.02).is_empty());
        let told = train(&mut detector, 0.1);
        assert!(told.len() == 1 && told[0].starts_with("640 images/s, 20 % of the 3200"), "{told:?}");
        assert!(train(&mut detector, 0.1).is_empty());
        assert!(train(&mut detector, 0.02).is_empty());
        assert_eq!(train(&mut detector, 0.1).len(), 1);
    }

    #[test]
    fn epochs_with_larger_images_have_their_own_speed() {
        let progressive = TrainConfig { progressive_epochs: 2, progressive_scale: 0.25, ..TrainConfig::default() };
        let mut detector = ThroughputCollapse::new(0.4, progressive);
        for (epoch, secs) in [(1, 0.01), (2, 0.03), (3, 0.08), (4, 0.08)] {
            assert!(train(&mut detector, secs).is_empty(), "epoch {epoch}");
            detector.epoch_is_over(epoch);
        }
        assert_eq!(train(&mut detector, 0.3).len(), 1);
    }

    #[test]
    fn a_lull_or_a_slow_beginning_is_no_collapse() {
        let mut detector = ThroughputCollapse::new(0.4, TrainConfig::default());
        assert!(train(&mut detector, 0.1).is_empty());
        assert!(train(&mut detector, 0.02).is_empty());
        assert_eq!(detector.observe(64, 5.0), None);
        assert!(train(&mut detector, 0.03).is_empty());
    }
}
