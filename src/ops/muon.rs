//! One step of Muon (Jordan et al. 2024) for the filters of a convolution, in the form that is theirs for CIFAR-10: the
//! momentum, as a matrix of one row an output, is made orthogonal, and the filters are brought to a fixed norm before
//! they move, whose scale batch normalisation takes away anyway.

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::float::with_elements;
use super::global_norm::sum_of_squares;
use super::in_place::{TASK_ELEMENTS, with_elements_mut};
use super::newton_schulz::{orthogonalized, orthogonalized_composed};
use super::pooled_buffer::PooledBuffer;
use crate::simd;

/// The numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct MuonStep {
    pub learning_rate: f64,
    /// The share of the velocity that is left.
    pub momentum: f64,
    pub nesterov: bool,
}

impl MuonStep {
    /// Moves `velocity`, zeros before the first step, towards `gradient`, and `filters` along it. All three are (O, …), f32.
    /// Filters of norm 0 keep it but for the step.
    pub fn apply(self, filters: &Var, gradient: &Tensor, velocity: &Var) -> Result<()> {
        if !filters.device().is_cpu() {
            return self.apply_composed(filters, gradient, velocity);
        }
        let outputs = filters.dim(0)?;
        let columns = filters.elem_count() / outputs.max(1);
        let direction = with_elements(gradient, |gradient: &[f32]| {
            let mut direction = PooledBuffer::stale(gradient.len());
            with_elements_mut(velocity, |velocity| self.lead(gradient, velocity, &mut direction))?;
            orthogonalized(&direction, outputs, columns)
        })?;
        with_elements_mut(filters, |filters| {
            let scale = norm_scale(outputs, sum_of_squares(filters)?.sqrt()) as f32;
            let learning_rate = self.learning_rate as f32;
            let tasks = filters.par_chunks_mut(TASK_ELEMENTS).zip(direction.par_chunks(TASK_ELEMENTS));
            tasks.try_for_each(|(filters, direction)| {
                simd::vectorized(
                    #[inline(always)]
                    || {
                        for (value, direction) in filters.iter_mut().zip(direction) {
                            *value = scale * *value - learning_rate * direction;
                        }
                    },
                )
            })
        })
    }

    /// v = μ v + g; the direction is v, or g + μ v as Nesterov has it.
    fn lead(self, gradient: &[f32], velocity: &mut [f32], direction: &mut [f32]) -> Result<()> {
        let momentum = self.momentum as f32;
        let [of_gradient, of_velocity] = if self.nesterov { [1.0, momentum] } else { [0.0, 1.0] };
        let tasks = velocity.par_chunks_mut(TASK_ELEMENTS).zip(gradient.par_chunks(TASK_ELEMENTS));
        tasks.zip(direction.par_chunks_mut(TASK_ELEMENTS)).try_for_each(|((velocity, gradient), direction)| {
            simd::vectorized(
                #[inline(always)]
                || {
                    for ((velocity, &g), direction) in velocity.iter_mut().zip(gradient).zip(direction) {
                        *velocity = momentum * *velocity + g;
                        *direction = of_gradient * g + of_velocity * *velocity;
                    }
                },
            )
        })
    }

    fn apply_composed(self, filters: &Var, gradient: &Tensor, velocity: &Var) -> Result<()> {
        velocity.set(&((velocity.as_tensor() * self.momentum)? + gradient)?)?;
        let direction = match self.nesterov {
            true => (gradient + (velocity.as_tensor() * self.momentum)?)?,
            false => velocity.as_tensor().clone(),
        };
        let outputs = filters.dim(0)?;
        let direction = orthogonalized_composed(&direction.flatten_from(1)?)?.reshape(filters.shape())?;
        let norm = f64::from(filters.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?);
        let scaled = (filters.as_tensor() * norm_scale(outputs, norm))?;
        filters.set(&(scaled - (direction * self.learning_rate)?)?)
    }
}

/// What brings filters of a norm to that of as many orthogonal filters of norm 1.
fn norm_scale(outputs: usize, norm: f64) -> f64 {
    if norm > 0.0 { (outputs as f64).sqrt() / norm } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::reference::{real, tensor};

    const SHAPES: [[usize; 4]; 3] = [[6, 4, 3, 3], [32, 3, 2, 2], [1, 2, 7, 7]];

    #[test]
    fn equals_the_one_for_other_devices() -> Result<()> {
        for (shape, nesterov) in SHAPES.into_iter().zip([true, false, true]) {
            let len = shape.iter().product();
            let step = MuonStep { learning_rate: 0.1, momentum: 0.6, nesterov };
            let [one, other] = [MuonStep::apply, MuonStep::apply_composed].map(|apply| -> Result<Vec<f32>> {
                let variable = |seed| Var::from_tensor(&tensor(real(seed, len), &shape));
                let (filters, velocity) = (variable(1)?, variable(2)?);
                for seed in 3..6 {
                    apply(step, &filters, &tensor(real(seed, len), &shape), &velocity)?;
                }
                Tensor::cat(&[filters.as_tensor(), velocity.as_tensor()], 0)?.flatten_all()?.to_vec1()
            });
            for (one, other) in one?.into_iter().zip(other?) {
                assert!((one - other).abs() <= 1e-5, "{shape:?}: {one}, composed {other}");
            }
        }
        Ok(())
    }

    #[test]
    fn filters_are_as_long_as_they_are_many_before_they_move() -> Result<()> {
        let filters = Var::from_tensor(&tensor(real(1, 5 * 18), &[5, 2, 3, 3]))?;
        let velocity = Var::from_tensor(&filters.zeros_like()?)?;
        let step = MuonStep { learning_rate: 0.1, momentum: 0.6, nesterov: true };
        step.apply(&filters, &filters.zeros_like()?, &velocity)?;
        let norm = filters.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?;
        assert!((norm - 5f32.sqrt()).abs() < 1e-6, "{norm}");
        filters.set(&filters.zeros_like()?)?;
        step.apply(&filters, &filters.zeros_like()?, &velocity)?;
        assert_eq!(filters.sqr()?.sum_all()?.to_scalar::<f32>()?, 0.0, "zeros are no reason for NaN");
        Ok(())
    }
}
