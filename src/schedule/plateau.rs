//! The learning rate between epochs.

use serde::{Deserialize, Serialize};

use crate::config::{ScheduleConfig, ScheduleKind};

/// PyTorch's `ReduceLROnPlateau` (mode min, relative threshold, no cooldown): when the loss has not improved for more
/// than `patience` epochs, the learning rate is multiplied by `factor`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// None before the first epoch.
    best_loss: Option<f64>,
    epochs_without_improvement: u32,
}

/// PyTorch's `eps`: a smaller change of the learning rate is not made.
const LEAST_CHANGE: f64 = 1e-8;

impl Plateau {
    /// Takes an epoch's loss and says what the learning rate should be from now on.
    pub fn step(&mut self, config: &ScheduleConfig, loss: f64, learning_rate: f64) -> f64 {
        if config.kind == ScheduleKind::Constant {
            return learning_rate;
        }
        if self.best_loss.is_none_or(|best| loss < best * (1.0 - config.threshold)) {
            self.best_loss = Some(loss);
            self.epochs_without_improvement = 0;
        } else {
            self.epochs_without_improvement += 1;
        }
        if self.epochs_without_improvement <= config.patience {
            return learning_rate;
        }
        self.epochs_without_improvement = 0;
        let reduced = (learning_rate * config.factor).max(config.min_learning_rate);
        if learning_rate - reduced > LEAST_CHANGE { reduced } else { learning_rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ```python
    /// s = torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=3)
    /// for loss in losses: s.step(loss); print(o.param_groups[0]["lr"])
    /// ```
    #[test]
    fn equals_pytorch() {
        let losses = [
            1.0, 0.9, 0.9, 0.8999, 0.89995, 0.9, 0.95, 0.8, 0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87, 0.88, 0.7999,
            0.79, 0.79, 0.79, 0.79, 0.79,
        ];
        let expected = [
            1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25,
            0.25, 0.125,
        ];
        let config = ScheduleConfig::default();
        let mut plateau = Plateau::default();
        let mut learning_rate = 1.0;
        for (epoch, (loss, expected)) in losses.into_iter().zip(expected).enumerate() {
            learning_rate = plateau.step(&config, loss, learning_rate);
            assert_eq!(learning_rate, expected, "epoch {}", epoch + 1);
        }
    }

    #[test]
    fn stops_at_the_least_learning_rate() {
        let config = ScheduleConfig { patience: 0, min_learning_rate: 0.3, ..ScheduleConfig::default() };
        let mut plateau = Plateau::default();
        let rates: Vec<f64> = (0..4)
            .scan(1.0, |rate, _| {
                *rate = plateau.step(&config, 1.0, *rate);
                Some(*rate)
            })
            .collect();
        assert_eq!(rates, [1.0, 0.5, 0.3, 0.3]);
    }

    #[test]
    fn a_constant_schedule_changes_nothing() {
        let config = ScheduleConfig { kind: ScheduleKind::Constant, patience: 0, ..ScheduleConfig::default() };
        let mut plateau = Plateau::default();
        assert!((0..5).all(|_| plateau.step(&config, 1.0, 0.1) == 0.1));
    }
}
