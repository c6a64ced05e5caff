//! Muon (Jordan et al. 2024, `github.com/KellerJordan/Muon`), in the form of their record for CIFAR-10 (airbench94_muon): the
//! filters of the blocks' convolutions go by their orthogonalised momentum, at a fixed norm; everything else goes by SGD, at
//! a learning rate that keeps its proportion to that of the filters. Theirs orthogonalises in bf16, this in f32.

use candle_core::{Result, Tensor, Var};

use super::sgd::{Moving, SgdRule};
use crate::config::OptimizerConfig;
use crate::model::attention;
use crate::ops::MuonStep;

pub struct Muon {
    momentum: f64,
    nesterov: bool,
    sgd: SgdRule,
    /// Of the other parameters, over that of the filters.
    sgd_rate_factor: f64,
    parameters: Vec<(Group, Moving)>,
}

#[derive(Clone, Copy)]
enum Group {
    Filters,
    Others,
}

impl Group {
    /// Filters are those that BatchNorm follows: it takes away their scale, which may thus be fixed. It does not follow the
    /// convolutions of attention modules.
    fn of(name: &str, value: &Var) -> Self {
        if value.rank() == 4 && !attention::has_parameter(name) { Self::Filters } else { Self::Others }
    }
}

impl Muon {
    pub fn new(config: &OptimizerConfig, parameters: &[(String, Var)]) -> Result<Self> {
        let parameters = parameters.iter().map(|named| Ok((Group::of(&named.0, &named.1), Moving::new(named)?)));
        Ok(Self {
            momentum: config.momentum,
            nesterov: config.nesterov,
            sgd: SgdRule::new(config, config.sgd_momentum),
            sgd_rate_factor: config.sgd_learning_rate / config.learning_rate,
            parameters: parameters.collect::<Result<_>>()?,
        })
    }

    /// Moves every parameter by its gradient; `learning_rate` is that of the filters.
    pub fn step(&mut self, gradients: &[Option<Tensor>], learning_rate: f64) -> Result<()> {
        let &mut Self { momentum, nesterov, sgd, sgd_rate_factor, .. } = self;
        let of_filters = MuonStep { learning_rate, momentum, nesterov };
        for ((group, parameter), gradient) in self.parameters.iter().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            match group {
                Group::Filters => of_filters.apply(&parameter.value, gradient, &parameter.velocity)?,
                Group::Others => sgd.step(parameter, gradient, learning_rate * sgd_rate_factor)?,
            }
        }
        Ok(())
    }

    /// `momentum_buffer.NAME` of each parameter, in PyTorch's terms.
    pub fn state(&self) -> Vec<(String, Var)> {
        self.parameters.iter().map(|(_, parameter)| parameter.state()).collect()
    }
}
