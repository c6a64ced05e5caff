//! The test loss rises while the train loss falls.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::detector::{Detector, EpochResult, Settings};
use super::hysteresis::{Hysteresis, Level};

pub fn detector(settings: &Settings) -> Option<Box<dyn Detector>> {
    let epochs = settings.config.alarms.overfitting_epochs;
    (epochs > 0).then(|| Box::new(Overfitting::new(epochs)) as _)
}

struct Overfitting {
    /// This many in a row are alarming.
    epochs: u32,
    counters: Counters,
}

#[derive(Default, Serialize, Deserialize)]
struct Counters {
    /// Train and test loss.
    last: Option<(f64, f64)>,
    /// Epochs in a row in which the one fell and the other rose, and the test loss before them.
    streak: u32,
    test_loss_before: f64,
    hysteresis: Hysteresis,
}

impl Overfitting {
    fn new(epochs: u32) -> Self {
        Self { epochs, counters: Counters::default() }
    }

    fn observe(&mut self, train_loss: f64, test_loss: f64) -> Option<String> {
        let counters = &mut self.counters;
        let (last_train, last_test) = counters.last.replace((train_loss, test_loss))?;
        if train_loss < last_train && test_loss > last_test {
            if counters.streak == 0 {
                counters.test_loss_before = last_test;
            }
            counters.streak += 1;
        } else {
            counters.streak = 0;
        }
        let level = match counters.streak {
            0 => Level::Calm,
            streak if streak >= self.epochs => Level::Alarming,
            _ => Level::Uneasy,
        };
        counters.hysteresis.raises(level).then(|| {
            format!(
                "the test loss rose for {} epochs, from {:.4} to {test_loss:.4}, while the train loss fell \
                 (alarms.overfitting_epochs)",
                counters.streak, counters.test_loss_before
            )
        })
    }
}

impl Detector for Overfitting {
    fn after_epoch(&mut self, epoch: &EpochResult) -> Option<String> {
        self.observe(epoch.done.train_loss, epoch.done.test_loss)
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

    fn alarms(losses: &[(f64, f64)]) -> Vec<usize> {
        let mut detector = Overfitting::new(2);
        let alarming = losses.iter().enumerate().filter(|(_, (train, test))| detector.observe(*train, *test).is_some());
        alarming.map(|(epoch, _)| epoch).collect()
    }

    #[test]
    fn it_is_told_once_for_each_time_that_it_begins() {
        let losses = [
            (2.0, 2.0),
            (1.8, 1.9),
            (1.6, 2.0),
            (1.4, 2.1),
            (1.2, 2.2),
            (1.1, 2.1),
            (1.0, 2.2),
            (0.9, 2.3),
            (0.8, 2.4),
        ];
        assert_eq!(alarms(&losses), [3, 7]);
    }

    #[test]
    fn both_rising_or_both_falling_is_something_else() {
        assert_eq!(alarms(&[(1.0, 1.0), (1.1, 1.1), (1.2, 1.2), (1.3, 1.3)]), Vec::<usize>::new());
        assert_eq!(alarms(&[(1.0, 1.0), (0.9, 0.9), (0.8, 0.8), (0.7, 0.7)]), Vec::<usize>::new());
        assert_eq!(alarms(&[(1.0, 1.0), (0.9, 1.1), (0.95, 1.2), (0.8, 1.3)]), Vec::<usize>::new());
    }

    #[test]
    fn it_says_from_where_to_where() {
        let mut detector = Overfitting::new(2);
        let told = [(2.0, 1.0), (1.9, 1.25), (1.8, 1.5)].map(|(train, test)| detector.observe(train, test));
        assert!(told[2].as_ref().expect("an alarm").contains("for 2 epochs, from 1.0000 to 1.5000"), "{told:?}");
    }
}
