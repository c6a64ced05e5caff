//! One step of stochastic gradient descent with momentum (Sutskever et al. 2013), in place and in one pass, with PyTorch's
//! order of operations. Nesterov's momentum is in the form of Bengio et al. 2013, section 3.5.

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::float::with_elements;
use super::in_place::{TASK_ELEMENTS, with_elements_mut};
use crate::simd;

/// The numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep {
    pub learning_rate: f64,
    /// The share of the velocity that is left.
    pub momentum: f64,
    pub nesterov: bool,
    /// This times the parameter is a part of its gradient.
    pub weight_decay: f64,
}

impl SgdStep {
    /// Moves `velocity`, zeros before the first step, towards `gradient`, and `parameter` along it. All three have the same
    /// shape, f32.
    pub fn apply(self, parameter: &Var, gradient: &Tensor, velocity: &Var) -> Result<()> {
        if !parameter.device().is_cpu() {
            return self.apply_composed(parameter, gradient, velocity);
        }
        let update = Update {
            weight_decay: self.weight_decay as f32,
            momentum: self.momentum as f32,
            learning_rate: self.learning_rate as f32,
        };
        with_elements(gradient, |gradient: &[f32]| {
            with_elements_mut(parameter, |parameter| {
                with_elements_mut(velocity, |velocity| {
                    let tasks = parameter.par_chunks_mut(TASK_ELEMENTS).zip(gradient.par_chunks(TASK_ELEMENTS));
                    tasks.zip(velocity.par_chunks_mut(TASK_ELEMENTS)).try_for_each(
                        |((parameter, gradient), velocity)| {
                            simd::vectorized(
                                #[inline(always)]
                                || match self.nesterov {
                                    true => update.apply::<true>(parameter, gradient, velocity),
                                    false => update.apply::<false>(parameter, gradient, velocity),
                                },
                            )
                        },
                    )
                })
            })
        })
    }

    fn apply_composed(self, parameter: &Var, gradient: &Tensor, velocity: &Var) -> Result<()> {
        let gradient = (gradient + (parameter.as_tensor() * self.weight_decay)?)?;
        velocity.set(&((velocity.as_tensor() * self.momentum)? + &gradient)?)?;
        let direction = match self.nesterov {
            true => (gradient + (velocity.as_tensor() * self.momentum)?)?,
            false => velocity.as_tensor().clone(),
        };
        parameter.set(&(parameter.as_tensor() - (direction * self.learning_rate)?)?)
    }
}

/// g += decay θ;  v = μ v + g;  θ -= lr v, or lr (g + μ v) as Nesterov has it
#[derive(Clone, Copy)]
struct Update {
    weight_decay: f32,
    momentum: f32,
    learning_rate: f32,
}

impl Update {
    #[inline(always)]
    fn apply<const NESTEROV: bool>(self, parameter: &mut [f32], gradient: &[f32], velocity: &mut [f32]) {
        let len = parameter.len();
        let (gradient, velocity) = (&gradient[..len], &mut velocity[..len]);
        for i in 0..len {
            let g = gradient[i] + self.weight_decay * parameter[i];
            let v = self.momentum * velocity[i] + g;
            velocity[i] = v;
            let direction = if NESTEROV { g + self.momentum * v } else { v };
            parameter[i] -= self.learning_rate * direction;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference::{real, tensor};

    #[test]
    fn equals_the_one_for_other_devices() -> Result<()> {
        for (nesterov, momentum, weight_decay) in [(false, 0.0, 0.0), (false, 0.9, 0.1), (true, 0.6, 0.1)] {
            let step = SgdStep { learning_rate: 0.1, momentum, nesterov, weight_decay };
            let [one, other] = [SgdStep::apply, SgdStep::apply_composed].map(|apply| -> Result<Vec<f32>> {
                let variable = |seed| Var::from_tensor(&tensor(real(seed, 77), &[7, 11]));
                let (parameter, velocity) = (variable(1)?, variable(2)?);
                for seed in 3..6 {
                    apply(step, &parameter, &tensor(real(seed, 77), &[7, 11]), &velocity)?;
                }
                Tensor::cat(&[parameter.as_tensor(), velocity.as_tensor()], 0)?.flatten_all()?.to_vec1()
            });
            for (one, other) in one?.into_iter().zip(other?) {
                assert!((one - other).abs() <= 1e-6 * other.abs().max(1.0), "{step:?}: {one}, composed {other}");
            }
        }
        Ok(())
    }
}
