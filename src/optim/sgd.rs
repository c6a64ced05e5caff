//! Stochastic gradient descent with momentum (Sutskever et al. 2013), as PyTorch's `torch.optim.SGD` without dampening; with
//! a learning rate of its own for biases and BatchNorm's parameters, it is that with two groups of parameters.

use candle_core::{Result, Tensor, Var};

use crate::config::OptimizerConfig;
use crate::ops::SgdStep;

/// Tensors of the state for each parameter, of its shape: the velocity.
pub const STATE_TENSORS: u64 = 1;

pub struct Sgd {
    rule: SgdRule,
    parameters: Vec<Moving>,
}

/// A parameter that has a velocity.
pub struct Moving {
    name: String,
    pub value: Var,
    pub velocity: Var,
}

/// How parameters move by their gradients, each by itself.
#[derive(Clone, Copy)]
pub struct SgdRule {
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    bias_rate_factor: f64,
}

impl Moving {
    /// At rest.
    pub fn new((name, value): &(String, Var)) -> Result<Self> {
        Ok(Self { name: name.clone(), value: value.clone(), velocity: Var::from_tensor(&value.zeros_like()?)? })
    }

    /// Its velocity by name, in PyTorch's terms.
    pub fn state(&self) -> (String, Var) {
        (format!("momentum_buffer.{}", self.name), self.velocity.clone())
    }
}

impl SgdRule {
    pub fn new(config: &OptimizerConfig, momentum: f64) -> Self {
        let &OptimizerConfig { nesterov, weight_decay, bias_rate_factor, .. } = config;
        Self { momentum, nesterov, weight_decay, bias_rate_factor }
    }

    pub fn step(self, parameter: &Moving, gradient: &Tensor, learning_rate: f64) -> Result<()> {
        let Self { momentum, nesterov, weight_decay, bias_rate_factor } = self;
        // Biases, and what BatchNorm has: a number an output.
        let factor = if parameter.value.rank() == 1 { bias_rate_factor } else { 1.0 };
        let step = SgdStep {
            learning_rate: learning_rate * factor,
            momentum,
            nesterov,
            // The learning rate times the decay is what a parameter loses in a step.
            weight_decay: weight_decay / factor,
        };
        step.apply(&parameter.value, gradient, &parameter.velocity)
    }
}

impl Sgd {
    pub fn new(config: &OptimizerConfig, parameters: &[(String, Var)]) -> Result<Self> {
        let parameters = parameters.iter().map(Moving::new).collect::<Result<_>>()?;
        Ok(Self { rule: SgdRule::new(config, config.momentum), parameters })
    }

    /// Moves every parameter by its gradient.
    pub fn step(&mut self, gradients: &[Option<Tensor>], learning_rate: f64) -> Result<()> {
        for (parameter, gradient) in self.parameters.iter().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            self.rule.step(parameter, gradient, learning_rate)?;
        }
        Ok(())
    }

    /// `momentum_buffer.NAME` of each parameter, in PyTorch's terms.
    pub fn state(&self) -> Vec<(String, Var)> {
        self.parameters.iter().map(Moving::state).collect()
    }
}
