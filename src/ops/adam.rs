//! One step of Adam (Kingma and Ba 2015, algorithm 1), or of AdamW, whose weight decay is no part of the gradient (Loshchilov
//! and Hutter 2019, algorithm 2): in place and in one pass, with PyTorch's order of operations.

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::float::with_elements;
use super::in_place::{TASK_ELEMENTS, with_elements_mut};
use crate::simd;

/// The numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Times the learning rate, the share of a parameter that is taken from it; 0 for Adam.
    pub weight_decay: f64,
    /// Counts from 1.
    pub step: u64,
}

impl AdamStep {
    /// Moves the moments towards `gradient` and `parameter` along them. All four have the same shape, f32.
    pub fn apply(self, parameter: &Var, gradient: &Tensor, first_moment: &Var, second_moment: &Var) -> Result<()> {
        if !parameter.device().is_cpu() {
            return self.apply_composed(parameter, gradient, first_moment, second_moment);
        }
        let (step_size, root_correction) = self.corrections();
        let update = Update {
            kept: self.kept() as f32,
            first_weight: (1.0 - self.beta1) as f32,
            second_decay: self.beta2 as f32,
            second_weight: (1.0 - self.beta2) as f32,
            step_size: step_size as f32,
            root_correction: root_correction as f32,
            epsilon: self.epsilon as f32,
        };
        with_elements(gradient, |gradient: &[f32]| {
            with_elements_mut(parameter, |parameter| {
                with_elements_mut(first_moment, |first_moment| {
                    with_elements_mut(second_moment, |second_moment| {
                        update.apply(parameter, gradient, first_moment, second_moment)
                    })
                })
            })
        })
    }

    fn apply_composed(self, parameter: &Var, gradient: &Tensor, first_moment: &Var, second_moment: &Var) -> Result<()> {
        let difference = (gradient - first_moment.as_tensor())?;
        first_moment.set(&(first_moment.as_tensor() + (difference * (1.0 - self.beta1))?)?)?;
        let squares = (gradient.sqr()? * (1.0 - self.beta2))?;
        second_moment.set(&((second_moment.as_tensor() * self.beta2)? + squares)?)?;
        let (step_size, root_correction) = self.corrections();
        let denominator = ((second_moment.sqrt()? / root_correction)? + self.epsilon)?;
        let kept = (parameter.as_tensor() * self.kept())?;
        parameter.set(&(kept - ((first_moment.as_tensor() * step_size)? / denominator)?)?)
    }

    /// The share of a parameter that the decay leaves.
    fn kept(self) -> f64 {
        1.0 - self.learning_rate * self.weight_decay
    }

    /// The step size lr / (1 - β₁ᵗ), and √(1 - β₂ᵗ).
    fn corrections(self) -> (f64, f64) {
        let power = |beta: f64| beta.powf(self.step as f64);
        (self.learning_rate / (1.0 - power(self.beta1)), (1.0 - power(self.beta2)).sqrt())
    }
}

/// m += (g - m) (1 - β₁);  v = β₂ v + (1 - β₂) g²;  θ = kept θ - step_size m / (√v / root_correction + ε)
#[derive(Clone, Copy)]
struct Update {
    kept: f32,
    first_weight: f32,
    second_decay: f32,
    second_weight: f32,
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
}

impl Update {
    fn apply(self, parameter: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) -> Result<()> {
        let moments = first.par_chunks_mut(TASK_ELEMENTS).zip(second.par_chunks_mut(TASK_ELEMENTS));
        let gradients = gradient.par_chunks(TASK_ELEMENTS);
        let tasks = parameter.par_chunks_mut(TASK_ELEMENTS).zip(gradients).zip(moments);
        tasks.try_for_each(|((parameter, gradient), (first, second))| {
            simd::vectorized(
                #[inline(always)]
                || self.apply_to_task(parameter, gradient, first, second),
            )
        })
    }

    #[inline(always)]
    fn apply_to_task(self, parameter: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let len = parameter.len();
        let (gradient, first, second) = (&gradient[..len], &mut first[..len], &mut second[..len]);
        for i in 0..len {
            let g = gradient[i];
            let m = first[i] + (g - first[i]) * self.first_weight;
            let v = second[i] * self.second_decay + g * g * self.second_weight;
            (first[i], second[i]) = (m, v);
            parameter[i] =
                self.kept * parameter[i] - self.step_size * m / (v.sqrt() / self.root_correction + self.epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// ```python
    /// p = torch.nn.Parameter(torch.tensor([1., -2., 3., 0.])); o = torch.optim.Adam([p], lr=0.1)
    /// for t in range(1, 6):
    ///     p.grad = torch.tensor([0.5 * t, -1. / t, 0., 1e-6 * t]); o.step(); print(p.tolist())
    /// ```
    #[test]
    fn equals_pytorch() -> Result<()> {
        let expected = [
            [0.900_000_04, -1.9, 3.0, -0.099_009_89],
            [0.803_481_8, -1.806_782, 3.0, -0.194_921_6],
            [0.707_681_7, -1.719_466_2, 3.0, -0.290_280_4],
            [0.611_640_7, -1.637_342_3, 3.0, -0.385_972_14],
            [0.514_916_96, -1.559_853_9, 3.0, -0.482_405_3],
        ];
        type Apply = fn(AdamStep, &Var, &Tensor, &Var, &Var) -> Result<()>;
        for apply in [AdamStep::apply as Apply, AdamStep::apply_composed] {
            let parameter = Var::new(&[1.0f32, -2.0, 3.0, 0.0], &Device::Cpu)?;
            let (m, v) = (Var::zeros(4, DType::F32, &Device::Cpu)?, Var::zeros(4, DType::F32, &Device::Cpu)?);
            for (step, expected) in (1..).zip(expected) {
                let t = step as f32;
                let gradient = Tensor::new(&[0.5 * t, -1.0 / t, 0.0, 1e-6 * t], &Device::Cpu)?;
                let adam =
                    AdamStep { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, step };
                apply(adam, &parameter, &gradient, &m, &v)?;
                for (ours, theirs) in parameter.to_vec1::<f32>()?.into_iter().zip(expected) {
                    assert!((ours - theirs).abs() < 1e-6, "step {step}: {ours}, PyTorch {theirs}");
                }
            }
        }
        Ok(())
    }
}
