//! PyTorch's `ReduceLROnPlateau` (mode min, relative threshold, no cooldown): when the loss has not improved for more than
//! `patience` epochs, the learning rate is multiplied by `factor`.

use serde::{Deserialize, Serialize};

use crate::config::ScheduleConfig;

/// PyTorch's `eps`: a smaller change of the learning rate is not made.
const LEAST_CHANGE: f64 = 1e-8;

#[derive(Clone, Debug)]
pub struct Plateau {
    base: f64,
    factor: f64,
    patience: u32,
    threshold: f64,
    min_learning_rate: f64,
}

/// Where a run is on its way down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlateauState {
    /// None before the first epoch.
    best_loss: Option<f64>,
    epochs_without_improvement: u32,
    /// The schedule's own, without the user's factor. Older checkpoints lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
}

impl Plateau {
    /// From `base` down.
    pub fn new(config: &ScheduleConfig, base: f64) -> Self {
        let &ScheduleConfig { factor, patience, threshold, min_learning_rate, .. } = config;
        Self { base, factor, patience, threshold, min_learning_rate }
    }

    pub fn at(&self, state: &PlateauState) -> f64 {
        state.learning_rate.unwrap_or(self.base)
    }

    /// Takes the mean test loss of an epoch.
    pub fn after_epoch(&self, state: &mut PlateauState, test_loss: f64) {
        if state.best_loss.is_none_or(|best| test_loss < best * (1.0 - self.threshold)) {
            state.best_loss = Some(test_loss);
            state.epochs_without_improvement = 0;
        } else {
            state.epochs_without_improvement += 1;
        }
        if state.epochs_without_improvement <= self.patience {
            return;
        }
        state.epochs_without_improvement = 0;
        let present = self.at(state);
        let reduced = (present * self.factor).max(self.min_learning_rate);
        if present - reduced > LEAST_CHANGE {
            state.learning_rate = Some(reduced);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(config: &ScheduleConfig, losses: &[f64]) -> Vec<f64> {
        let (plateau, mut state) = (Plateau::new(config, 1.0), PlateauState::default());
        let rate = |&loss: &f64| {
            plateau.after_epoch(&mut state, loss);
            plateau.at(&state)
        };
        losses.iter().map(rate).collect()
    }

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
        assert_eq!(rates(&ScheduleConfig::default(), &losses), expected);
    }

    #[test]
    fn stops_at_the_least_learning_rate() {
        let config = ScheduleConfig { patience: 0, min_learning_rate: 0.3, ..ScheduleConfig::default() };
        assert_eq!(rates(&config, &[1.0; 4]), [1.0, 0.5, 0.3, 0.3]);
    }
}
