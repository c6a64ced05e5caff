//! What a log must say again where its beginning was lost, so that its readers know the run that it goes on with.

use crate::run::event::{AlarmKind, Event, RunStarted};

pub struct Standing {
    /// As if a trainer went on now.
    started: Box<RunStarted>,
    /// What the trainer does or waits for, beyond taking steps.
    waiting: Vec<Event>,
}

impl Standing {
    pub fn new(started: Box<RunStarted>) -> Self {
        Self { started, waiting: Vec::new() }
    }

    /// Takes notice of an event that is in the log.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::StepsDone(steps) => {
                self.go_on((steps.first_step + steps.losses.len() as u64).saturating_sub(1));
                self.started.learning_rate = steps.learning_rate.unwrap_or(self.started.learning_rate);
            }
            Event::EpochDone(epoch) => self.go_on(epoch.step),
            Event::BatchSkipped { step, .. } | Event::Resumed { step } => self.go_on(*step),
            Event::RolledBack { to_step, learning_rate, .. } => {
                self.go_on(*to_step);
                self.started.learning_rate = *learning_rate;
            }
            Event::LearningRateChanged { to, .. } => self.started.learning_rate = *to,
            Event::AlarmRaised { kind: AlarmKind::Divergence, .. }
            | Event::EvaluationStarted { .. }
            | Event::Paused { .. } => self.waiting.push(event.clone()),
            _ => {}
        }
    }

    fn go_on(&mut self, step: u64) {
        self.started.continued_from = Some(step);
        self.waiting.clear();
    }

    /// The events that say it.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        let started = Event::RunStarted(self.started.clone());
        std::iter::once(started).chain(self.waiting.iter().cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{LearningRateReason, Record, StepsDone};
    use crate::run::state::{Phase, RunState};

    fn fold(events: impl IntoIterator<Item = Event>) -> RunState {
        let mut state = RunState::default();
        events.into_iter().for_each(|event| state.apply(&Record { time_ms: 1, event }));
        state
    }

    #[test]
    fn a_log_that_lost_its_beginning_tells_the_same_run() {
        let started = Box::new(RunStarted { continued_from: None, ..RunStarted::example() });
        let steps =
            Event::StepsDone(StepsDone { losses: vec![1.0; 5], samples: 10, train_secs: 0.1, ..StepsDone::example() });
        let (epoch, step) = (1, 5);
        let change =
            Event::LearningRateChanged { epoch, step, from: 0.001, to: 0.5, reason: LearningRateReason::Command };
        let alarm = Event::AlarmRaised { step, kind: AlarmKind::Divergence, message: "NaN".into() };
        let history = [
            (steps, Phase::Training),
            (change, Phase::Training),
            (Event::EvaluationStarted { epoch, step }, Phase::Evaluating),
            (alarm, Phase::Evaluating),
            (Event::Paused { step }, Phase::Paused),
            (Event::RolledBack { from_step: 5, to_step: 3, learning_rate: 0.25 }, Phase::Training),
        ];
        let mut standing = Standing::new(started.clone());
        let mut all = vec![Event::RunStarted(started)];
        for (event, phase) in history {
            standing.note(&event);
            all.push(event);
            let (whole, told) = (fold(all.clone()), fold(standing.events()));
            assert_eq!((whole.step, whole.learning_rate), (told.step, told.learning_rate));
            assert_eq!(whole.divergence, told.divergence);
            // A trainer that has just started is about to train.
            let told_phase = if told.phase == Phase::Starting { Phase::Training } else { told.phase };
            assert_eq!((whole.phase, told_phase), (phase, phase));
        }
    }
}
