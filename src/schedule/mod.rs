//! The learning rate of each step: the schedule's at that step, times the user's factor.
//!
//! A new schedule is a file beside these, a variant here, and a word in the configuration.

mod constant;
mod cosine;
mod linear;
mod one_cycle;
mod plateau;
mod triangular;
mod user_factor;
mod warm_up;

use serde::{Deserialize, Serialize};

use self::constant::Constant;
use self::cosine::Cosine;
use self::linear::Linear;
use self::one_cycle::OneCycle;
use self::plateau::{Plateau, PlateauState};
use self::triangular::Triangular;
pub use self::user_factor::UserFactor;
use crate::config::{ScheduleConfig, ScheduleKind};

#[derive(Clone, Debug)]
pub enum Schedule {
    Constant(Constant),
    Plateau(Plateau),
    Cosine(Cosine),
    Linear(Linear),
    Triangular(Triangular),
    OneCycle(OneCycle),
}

/// What a run's learning rate depends on besides the step; saved with each checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScheduleState {
    plateau: PlateauState,
    #[serde(rename = "learning_rate_factor", default, skip_serializing_if = "UserFactor::is_one")]
    factor: UserFactor,
}

impl Schedule {
    /// `base`: the configured learning rate. `total_steps`: of the run.
    pub fn new(config: &ScheduleConfig, base: f64, total_steps: u64) -> Self {
        match config.kind {
            ScheduleKind::Constant => Self::Constant(Constant::new(base)),
            ScheduleKind::Plateau => Self::Plateau(Plateau::new(config, base)),
            ScheduleKind::Cosine => Self::Cosine(Cosine::new(config, base, total_steps)),
            ScheduleKind::Linear => Self::Linear(Linear::new(config, base, total_steps)),
            ScheduleKind::Triangular => Self::Triangular(Triangular::new(config, base, total_steps)),
            ScheduleKind::OneCycle => Self::OneCycle(OneCycle::new(config, base, total_steps)),
        }
    }

    /// The schedule's own rate at `step`, from 1; above zero.
    pub fn at(&self, step: u64, state: &ScheduleState) -> f64 {
        match self {
            Self::Constant(constant) => constant.at(),
            Self::Plateau(plateau) => plateau.at(&state.plateau),
            Self::Cosine(cosine) => cosine.at(step),
            Self::Linear(linear) => linear.at(step),
            Self::Triangular(triangular) => triangular.at(step),
            Self::OneCycle(one_cycle) => one_cycle.at(step),
        }
    }

    /// Whether the rate moves from step to step, not only between epochs.
    pub fn moves_each_step(&self) -> bool {
        match self {
            Self::Constant(_) | Self::Plateau(_) => false,
            Self::Cosine(_) | Self::Linear(_) | Self::Triangular(_) | Self::OneCycle(_) => true,
        }
    }

    /// Takes the mean test loss of an epoch.
    pub fn after_epoch(&self, state: &mut ScheduleState, test_loss: f64) {
        if let Self::Plateau(plateau) = self {
            plateau.after_epoch(&mut state.plateau, test_loss);
        }
    }

    /// The rate that `step` is taken with.
    pub fn learning_rate(&self, step: u64, state: &ScheduleState) -> f64 {
        state.factor.of(self.at(step, state))
    }

    /// Sets the user's factor so that `step` is taken with exactly `wanted`, which is above 0.
    pub fn set_learning_rate(&self, step: u64, state: &mut ScheduleState, wanted: f64) {
        state.factor = UserFactor::reaching(wanted, self.at(step, state));
    }

    /// The state that a run begins with.
    pub fn start(&self) -> ScheduleState {
        let mut state = ScheduleState::default();
        if let Self::Plateau(plateau) = self {
            state.plateau.learning_rate = Some(plateau.at(&state.plateau));
        }
        state
    }

    /// Goes on from a checkpoint that was saved with the rate `from` configured, where `to` is now: what the schedule has
    /// made of it changes in proportion.
    pub fn resume_with_base(&self, state: &mut ScheduleState, learning_rate: f64, from: f64, to: f64) {
        let scheduled = state.plateau.learning_rate.unwrap_or(learning_rate);
        state.plateau.learning_rate = Some(if scheduled == from { to } else { scheduled * (to / from) });
    }

    /// Goes on from a checkpoint that was saved with this rate of the next `step`. Unless the schedule moves it anyway, it
    /// stays as it was, though an older checkpoint has no factor, or the configuration has another base now.
    pub fn resume(&self, step: u64, state: &mut ScheduleState, learning_rate: f64) {
        if self.moves_each_step() {
            return;
        }
        state.plateau.learning_rate.get_or_insert(learning_rate);
        if self.learning_rate(step, state) != learning_rate {
            self.set_learning_rate(step, state, learning_rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    fn schedule(kind: ScheduleKind) -> Schedule {
        Schedule::new(&ScheduleConfig { kind, patience: 0, ..ScheduleConfig::default() }, 1e-3, 100)
    }

    const KINDS: &[ScheduleKind] = ScheduleKind::VARIANTS;

    #[test]
    fn a_rate_that_is_set_is_met_to_the_bit_and_the_schedule_goes_on_from_there() {
        for &kind in KINDS {
            let schedule = schedule(kind);
            for wanted in (1..500).map(|n| 0.7 / f64::from(n)) {
                let mut state = schedule.start();
                schedule.set_learning_rate(42, &mut state, wanted);
                assert_eq!(schedule.learning_rate(42, &state), wanted, "{kind:?}");
                let ratio = schedule.at(60, &state) / schedule.at(42, &state);
                let later = schedule.learning_rate(60, &state);
                assert!((later - wanted * ratio).abs() <= 1e-15 * wanted, "{kind:?}: {later}");
            }
        }
    }

    #[test]
    fn the_plateau_reduces_what_the_user_set() {
        let schedule = schedule(ScheduleKind::Plateau);
        let mut state = schedule.start();
        schedule.set_learning_rate(1, &mut state, 0.3);
        let rates = [2.0, 1.0, 1.0, 1.0].map(|loss| {
            schedule.after_epoch(&mut state, loss);
            schedule.learning_rate(1, &state)
        });
        assert_eq!(rates, [0.3, 0.3, 0.15, 0.075]);
    }

    #[test]
    fn an_older_checkpoint_goes_on_with_its_rate() {
        let saved: ScheduleState =
            serde_json::from_str(r#"{"plateau":{"best_loss":1.5,"epochs_without_improvement":0}}"#).expect("a state");
        let rate = 0.1 + 0.2;
        for kind in [ScheduleKind::Constant, ScheduleKind::Plateau] {
            let (schedule, mut state) = (schedule(kind), saved.clone());
            schedule.resume(7, &mut state, rate);
            assert_eq!(schedule.learning_rate(7, &state), rate, "{kind:?}");
            schedule.after_epoch(&mut state, 1.5);
            let expected = if kind == ScheduleKind::Plateau { rate * 0.5 } else { rate };
            assert_eq!(schedule.learning_rate(8, &state), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_state_is_read_back_to_the_bit() {
        for &kind in KINDS {
            let schedule = schedule(kind);
            let mut state = schedule.start();
            schedule.set_learning_rate(9, &mut state, 0.1 + 0.2);
            let mut again = serde_json::from_str(&serde_json::to_string(&state).expect("JSON")).expect("a state");
            schedule.resume(9, &mut again, schedule.learning_rate(9, &state));
            if kind != ScheduleKind::Constant {
                assert_eq!(again, state);
            }
            assert_eq!(schedule.learning_rate(9, &again), 0.1 + 0.2);
        }
    }
}
