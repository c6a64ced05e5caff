//! An alarm is raised once, and again only after its cause has cleared.

use serde::{Deserialize, Serialize};

/// What a detector sees now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Alarming,
    /// No longer alarming, and not calm enough to be alarmed again.
    Uneasy,
    Calm,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hysteresis {
    #[default]
    Down,
    Up,
}

impl Hysteresis {
    /// Whether the alarm is to be raised now.
    pub fn raises(&mut self, level: Level) -> bool {
        let before = *self;
        *self = match level {
            Level::Alarming => Self::Up,
            Level::Uneasy => before,
            Level::Calm => Self::Down,
        };
        (before, level) == (Self::Down, Level::Alarming)
    }
}

#[cfg(test)]
mod tests {
    use super::Level::*;
    use super::*;

    #[test]
    fn it_raises_once_until_it_was_calm() {
        let mut hysteresis = Hysteresis::default();
        let levels = [Calm, Alarming, Alarming, Uneasy, Alarming, Calm, Uneasy, Alarming];
        assert_eq!(
            levels.map(|level| hysteresis.raises(level)),
            [false, true, false, false, false, false, false, true]
        );
    }
}
