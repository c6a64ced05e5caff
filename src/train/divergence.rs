//! What is done when a loss or gradient is not finite: the step was not taken, and training does not go on by itself.

use std::fmt;

use anyhow::{Result, bail};

use super::commands::Control;
use super::raise;
use super::recorder::Recorder;
use super::session::Session;
use crate::config::OnDivergence;
use crate::run::event::{AlarmKind, Event, Outcome};

/// Times that `train.on_divergence = "rollback"` goes back to the same checkpoint before it pauses.
const MOST_ROLLBACKS: u32 = 3;

/// What was not finite.
#[derive(Clone, Copy, Debug)]
pub enum Diverged {
    Batch { step: u64, loss: f32, gradient_norm: f32 },
    Evaluation { epoch: u64, loss: f64 },
}

impl fmt::Display for Diverged {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::Batch { step, loss, .. } if !loss.is_finite() => {
                write!(formatter, "the loss of step {step} is {loss}: the step was not taken")
            }
            Self::Batch { step, gradient_norm, .. } => {
                write!(formatter, "the gradient norm of step {step} is {gradient_norm}: the step was not taken")
            }
            Self::Evaluation { epoch, loss } => write!(formatter, "the test loss of epoch {epoch} is {loss}"),
        }
    }
}

/// What was done about it.
pub enum Recovery {
    /// The session is at an earlier step.
    RolledBack,
    /// The session is past the batch.
    Skipped,
    End(Outcome),
}

/// Rolls back by itself where it is told to, but not for ever.
#[derive(Debug, Default)]
pub struct Divergences {
    /// The step that was gone back to last, and how many times in a row.
    rollbacks: Option<(u64, u32)>,
}

impl Divergences {
    /// Raises the alarm, and does what `train.on_divergence` says; paused, what is commanded.
    ///
    /// # Errors
    /// The run is to end, or there is no way back.
    pub fn recovery(
        &mut self,
        diverged: Diverged,
        session: &mut Session,
        control: &mut Control,
        recorder: &mut Recorder,
    ) -> Result<Recovery> {
        let (checkpoint, to_step) = match session.last_good() {
            Some((name, step)) => (format!("the last good checkpoint is {name}"), step),
            None => ("there is no checkpoint before it".to_owned(), 0),
        };
        let message = format!("{diverged}; {checkpoint}");
        raise(session.state.step, AlarmKind::Divergence, message.clone(), recorder)?;
        match session.config.train.on_divergence {
            OnDivergence::Stop => bail!(message),
            OnDivergence::Rollback if self.may_go_back_to(to_step) => {
                session.roll_back(recorder)?;
                return Ok(Recovery::RolledBack);
            }
            OnDivergence::Rollback | OnDivergence::Pause => {}
        }
        recorder.record(Event::Paused { step: session.state.step })?;
        control.wait_for_recovery(diverged, session, recorder)
    }

    /// Counts.
    fn may_go_back_to(&mut self, step: u64) -> bool {
        let times = match self.rollbacks {
            Some((same, times)) if same == step => times + 1,
            _ => 1,
        };
        self.rollbacks = Some((step, times));
        times <= MOST_ROLLBACKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_back_to_one_checkpoint_three_times_and_to_a_later_one_again() {
        let mut divergences = Divergences::default();
        let went_back = [0, 0, 0, 0, 10, 10, 10, 10, 10].map(|step| divergences.may_go_back_to(step));
        assert_eq!(went_back, [true, true, true, false, true, true, true, false, false]);
    }

    #[test]
    fn it_says_what_was_not_finite() {
        let batch = |loss, gradient_norm| Diverged::Batch { step: 7, loss, gradient_norm }.to_string();
        assert_eq!(batch(f32::NAN, f32::NAN), "the loss of step 7 is NaN: the step was not taken");
        assert_eq!(batch(2.0, f32::INFINITY), "the gradient norm of step 7 is inf: the step was not taken");
        let evaluation = Diverged::Evaluation { epoch: 3, loss: f64::INFINITY };
        assert_eq!(evaluation.to_string(), "the test loss of epoch 3 is inf");
    }
}
