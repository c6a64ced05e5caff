//! AdamW: Adam with weight decay that is no part of the gradient (Loshchilov and Hutter 2019, algorithm 2), as PyTorch's
//! `torch.optim.AdamW`. All parameters decay, biases too.

use candle_core::{Result, Tensor, Var};

use super::adam::Adam;
use crate::config::OptimizerConfig;

pub struct AdamW {
    adam: Adam,
    weight_decay: f64,
}

impl AdamW {
    pub fn new(config: &OptimizerConfig, parameters: &[(String, Var)]) -> Result<Self> {
        Ok(Self { adam: Adam::new(config, parameters)?, weight_decay: config.weight_decay })
    }

    /// Moves every parameter by its gradient.
    pub fn step(&mut self, gradients: &[Option<Tensor>], learning_rate: f64) -> Result<()> {
        self.adam.step_with_decay(gradients, learning_rate, self.weight_decay)
    }

    /// As that of [`Adam::state`].
    pub fn state(&self) -> Vec<(String, Var)> {
        self.adam.state()
    }
}
