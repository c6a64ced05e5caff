//! A loss or gradient that is not finite, and how often a run goes back because of one.

use std::fmt;

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
            Self::Evaluation { epoch, loss } => write!(formatter, "the evaluation loss of epoch {epoch} is {loss}"),
        }
    }
}

/// How often the run may still roll back by itself.
#[derive(Debug, Default)]
pub struct RollbackBudget {
    /// The step that was gone back to last, and how many times in a row.
    last: Option<(u64, u32)>,
}

impl RollbackBudget {
    /// Counts the attempt to go back to `step`, and says whether it is allowed.
    pub fn allows(&mut self, step: u64) -> bool {
        let times = match self.last {
            Some((same, times)) if same == step => times + 1,
            _ => 1,
        };
        self.last = Some((step, times));
        times <= MOST_ROLLBACKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_rollbacks_to_one_step_are_allowed() {
        let mut budget = RollbackBudget::default();
        let allowed = [0, 0, 0, 0, 10, 10, 10, 10, 10].map(|step| budget.allows(step));
        assert_eq!(allowed, [true, true, true, false, true, true, true, false, false]);
    }

    #[test]
    fn it_says_what_was_not_finite() {
        let batch = |loss, gradient_norm| Diverged::Batch { step: 7, loss, gradient_norm }.to_string();
        assert_eq!(batch(f32::NAN, f32::NAN), "the loss of step 7 is NaN: the step was not taken");
        assert_eq!(batch(2.0, f32::INFINITY), "the gradient norm of step 7 is inf: the step was not taken");
        let evaluation = Diverged::Evaluation { epoch: 3, loss: f64::INFINITY };
        assert_eq!(evaluation.to_string(), "the evaluation loss of epoch 3 is inf");
    }
}
