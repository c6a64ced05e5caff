//! No improvement for long, or none to be had by a lower learning rate: for information.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::detector::{Detector, EpochResult, Settings};
use super::hysteresis::{Hysteresis, Level};
use crate::config::ScheduleKind;

pub fn detector(settings: &Settings) -> Option<Box<dyn Detector>> {
    let (epochs, schedule) = (settings.config.alarms.plateau_epochs, &settings.config.schedule);
    let has_floor = schedule.kind == ScheduleKind::Plateau && schedule.min_learning_rate > 0.0;
    let floor = has_floor.then_some(schedule.min_learning_rate);
    (epochs > 0).then(|| Box::new(Plateau::new(epochs, schedule.threshold, floor)) as _)
}

struct Plateau {
    /// This many without improvement are worth a word.
    epochs: u32,
    /// Relative, as in the schedule.
    threshold: f64,
    /// The learning rate below which the schedule does not go, if it has one.
    floor: Option<f64>,
    counters: Counters,
}

#[derive(Default, Serialize, Deserialize)]
struct Counters {
    /// Test loss; None before the first epoch.
    best: Option<f64>,
    epochs_since: u32,
    hysteresis: Hysteresis,
}

impl Plateau {
    fn new(epochs: u32, threshold: f64, floor: Option<f64>) -> Self {
        Self { epochs, threshold, floor, counters: Counters::default() }
    }

    fn observe(&mut self, test_loss: f64, next_learning_rate: f64) -> Option<String> {
        let counters = &mut self.counters;
        let best = match counters.best {
            Some(best) if test_loss >= best * (1.0 - self.threshold) => {
                counters.epochs_since += 1;
                best
            }
            _ => {
                (counters.best, counters.epochs_since) = (Some(test_loss), 0);
                test_loss
            }
        };
        let at_floor = self.floor.is_some_and(|floor| next_learning_rate <= floor);
        let level = match counters.epochs_since {
            _ if at_floor => Level::Alarming,
            0 => Level::Calm,
            since if since >= self.epochs => Level::Alarming,
            _ => Level::Uneasy,
        };
        counters.hysteresis.raises(level).then(|| {
            if at_floor {
                "the learning rate is at schedule.min_learning_rate: it will not be reduced any more".to_owned()
            } else {
                let epochs = counters.epochs_since;
                format!("the loss has not improved on {best:.4} for {epochs} epochs (alarms.plateau_epochs)")
            }
        })
    }
}

impl Detector for Plateau {
    fn after_epoch(&mut self, epoch: &EpochResult) -> Option<String> {
        self.observe(epoch.done.test_loss, epoch.next_learning_rate)
    }

    fn counters(&self) -> Option<Value> {
        serde_json::to_value(&self.counters).ok()
    }

    fn restore(&mut self, counters: &Value) -> serde_json::Result<()> {
        self.counters = Counters::deserialize(counters)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_until_the_loss_improves() {
        let mut detector = Plateau::new(2, 1e-4, None);
        let losses = [1.0, 0.9, 0.95, 0.91, 0.92, 0.8, 0.8, 0.79999, 0.85];
        let told = losses.map(|loss| detector.observe(loss, 0.1));
        let epochs: Vec<usize> = told.iter().enumerate().filter(|(_, told)| told.is_some()).map(|(i, _)| i).collect();
        assert_eq!(epochs, [3, 7]);
        assert!(told[3].as_ref().is_some_and(|told| told.contains("on 0.9000 for 2 epochs")), "{told:?}");
    }

    #[test]
    fn the_floor_of_the_schedule_is_told_when_it_is_reached() {
        let mut detector = Plateau::new(10, 1e-4, Some(0.01));
        assert_eq!((detector.observe(1.0, 0.1), detector.observe(0.9, 0.02)), (None, None));
        assert!(detector.observe(0.8, 0.01).is_some_and(|told| told.contains("min_learning_rate")));
        assert_eq!(detector.observe(0.7, 0.01), None);
    }
}
