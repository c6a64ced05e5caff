//! Adam (Kingma and Ba 2015, algorithm 1), as PyTorch's `torch.optim.Adam`.

use candle_core::{Device, Result, Tensor, Var};

use crate::config::OptimizerConfig;
use crate::ops::AdamStep;

/// Tensors of the state for each parameter, of its shape: two moments.
pub const STATE_TENSORS: u64 = 2;

pub struct Adam {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    parameters: Vec<Parameter>,
    /// Steps taken: an i64 on the CPU.
    steps: Var,
}

struct Parameter {
    name: String,
    value: Var,
    first_moment: Var,
    second_moment: Var,
}

impl Adam {
    pub fn new(config: &OptimizerConfig, parameters: &[(String, Var)]) -> Result<Self> {
        let with_moments = |(name, value): &(String, Var)| {
            let zeros = || Var::from_tensor(&value.zeros_like()?);
            let (first_moment, second_moment) = (zeros()?, zeros()?);
            Ok(Parameter { name: name.clone(), value: value.clone(), first_moment, second_moment })
        };
        Ok(Self {
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
            parameters: parameters.iter().map(with_moments).collect::<Result<_>>()?,
            steps: Var::new(0i64, &Device::Cpu)?,
        })
    }

    /// Moves every parameter by its gradient.
    pub fn step(&mut self, gradients: &[Option<Tensor>], learning_rate: f64) -> Result<()> {
        self.step_with_decay(gradients, learning_rate, 0.0)
    }

    /// As [`Adam::step`], and `weight_decay` times the learning rate is taken from every parameter before.
    pub fn step_with_decay(
        &mut self,
        gradients: &[Option<Tensor>],
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<()> {
        let steps = self.steps.to_scalar::<i64>()? + 1;
        self.steps.set(&Tensor::new(steps, &Device::Cpu)?)?;
        let &mut Self { beta1, beta2, epsilon, .. } = self;
        let step = AdamStep { learning_rate, beta1, beta2, epsilon, weight_decay, step: steps as u64 };
        for (parameter, gradient) in self.parameters.iter().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            step.apply(&parameter.value, gradient, &parameter.first_moment, &parameter.second_moment)?;
        }
        Ok(())
    }

    /// `step`, and `exp_avg.NAME` and `exp_avg_sq.NAME` of each parameter, in PyTorch's terms.
    pub fn state(&self) -> Vec<(String, Var)> {
        let moments = self.parameters.iter().flat_map(|parameter| {
            [
                (format!("exp_avg.{}", parameter.name), parameter.first_moment.clone()),
                (format!("exp_avg_sq.{}", parameter.name), parameter.second_moment.clone()),
            ]
        });
        std::iter::once(("step".to_owned(), self.steps.clone())).chain(moments).collect()
    }
}
