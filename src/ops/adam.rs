//! One step of Adam (Kingma and Ba 2015, algorithm 1), in place, with PyTorch's order of operations.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

/// Elements handled by one task.
const TASK_ELEMENTS: usize = 1 << 15;

/// The numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    /// Counts from 1.
    pub step: u64,
}

impl AdamStep {
    /// Moves the moments towards `gradient` and `parameter` along them. All four have the same shape, f32.
    pub fn apply(self, parameter: &Var, gradient: &Tensor, first_moment: &Var, second_moment: &Var) -> Result<()> {
        if !parameter.device().is_cpu() {
            return self.apply_composed(parameter, gradient, first_moment, second_moment);
        }
        let gradient = gradient.contiguous()?;
        first_moment.inplace_op2(&gradient, &FirstMoment { weight: (1.0 - self.beta1) as f32 })?;
        let second = SecondMoment { decay: self.beta2 as f32, weight: (1.0 - self.beta2) as f32 };
        second_moment.inplace_op2(&gradient, &second)?;
        let (step_size, root_correction) = self.corrections();
        let descent = Descent {
            step_size: step_size as f32,
            root_correction: root_correction as f32,
            epsilon: self.epsilon as f32,
        };
        parameter.inplace_op3(first_moment, second_moment, &descent)
    }

    fn apply_composed(self, parameter: &Var, gradient: &Tensor, first_moment: &Var, second_moment: &Var) -> Result<()> {
        let difference = (gradient - first_moment.as_tensor())?;
        first_moment.set(&(first_moment.as_tensor() + (difference * (1.0 - self.beta1))?)?)?;
        let squares = (gradient.sqr()? * (1.0 - self.beta2))?;
        second_moment.set(&((second_moment.as_tensor() * self.beta2)? + squares)?)?;
        let (step_size, root_correction) = self.corrections();
        let denominator = ((second_moment.sqrt()? / root_correction)? + self.epsilon)?;
        parameter.set(&(parameter.as_tensor() - ((first_moment.as_tensor() * step_size)? / denominator)?)?)
    }

    /// The step size lr / (1 - β₁ᵗ), and √(1 - β₂ᵗ).
    fn corrections(self) -> (f64, f64) {
        let power = |beta: f64| beta.powf(self.step as f64);
        (self.learning_rate / (1.0 - power(self.beta1)), (1.0 - power(self.beta2)).sqrt())
    }
}

/// m += (g - m) (1 - β₁)
struct FirstMoment {
    weight: f32,
}

/// v = β₂ v + (1 - β₂) g²
struct SecondMoment {
    decay: f32,
    weight: f32,
}

/// θ -= step_size m / (√v / root_correction + ε)
struct Descent {
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
}

impl InplaceOp2 for FirstMoment {
    fn name(&self) -> &'static str {
        "adam_first_moment"
    }

    fn cpu_fwd(&self, m: &mut CpuStorage, m_layout: &Layout, g: &CpuStorage, g_layout: &Layout) -> Result<()> {
        update(elements_mut(m, m_layout)?, elements(g, g_layout)?, |m, g| *m += (g - *m) * self.weight);
        Ok(())
    }
}

impl InplaceOp2 for SecondMoment {
    fn name(&self) -> &'static str {
        "adam_second_moment"
    }

    fn cpu_fwd(&self, v: &mut CpuStorage, v_layout: &Layout, g: &CpuStorage, g_layout: &Layout) -> Result<()> {
        update(elements_mut(v, v_layout)?, elements(g, g_layout)?, |v, g| *v = *v * self.decay + g * g * self.weight);
        Ok(())
    }
}

impl InplaceOp3 for Descent {
    fn name(&self) -> &'static str {
        "adam_descent"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        m: &CpuStorage,
        m_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<()> {
        let parameter = elements_mut(parameter, parameter_layout)?;
        let (m, v) = (elements(m, m_layout)?, elements(v, v_layout)?);
        let moments = m.par_chunks(TASK_ELEMENTS).zip(v.par_chunks(TASK_ELEMENTS));
        parameter.par_chunks_mut(TASK_ELEMENTS).zip(moments).for_each(|(parameter, (m, v))| {
            for (parameter, (&m, &v)) in parameter.iter_mut().zip(m.iter().zip(v)) {
                *parameter -= self.step_size * m / (v.sqrt() / self.root_correction + self.epsilon);
            }
        });
        Ok(())
    }
}

fn update(values: &mut [f32], gradient: &[f32], f: impl Fn(&mut f32, f32) + Sync) {
    values.par_chunks_mut(TASK_ELEMENTS).zip(gradient.par_chunks(TASK_ELEMENTS)).for_each(|(values, gradient)| {
        values.iter_mut().zip(gradient).for_each(|(value, &g)| f(value, g));
    });
}

fn elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    super::real::elements(storage, layout)
}

fn elements_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let dtype = storage.dtype();
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("Adam takes contiguous f32 tensors, not {dtype:?} {:?}", layout.shape()),
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
                let adam = AdamStep { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step };
                apply(adam, &parameter, &gradient, &m, &v)?;
                for (ours, theirs) in parameter.to_vec1::<f32>()?.into_iter().zip(expected) {
                    assert!((ours - theirs).abs() < 1e-6, "step {step}: {ours}, PyTorch {theirs}");
                }
            }
        }
        Ok(())
    }
}
