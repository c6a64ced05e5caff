//! Lookahead (Zhang et al. 2019) as airbench94 has it (Jordan 2024, section 3.4), which has the decay of hlb-CIFAR10: the slow
//! weights hold back the more the nearer the run is to its end, which is at the slow ones.

use std::path::Path;

use anyhow::Context;
use candle_core::{Result, Var};

use crate::config::AverageConfig;
use crate::model::weights::{Weights, are_finite, assign, find, serialize};
use crate::ops::look_ahead;

/// What is left of the slow weights after a step at the end of the run.
const DECAY_OF_STEP: f64 = 0.95;

pub struct Lookahead {
    /// Steps between two updates.
    every: u64,
    /// The slow weights by name, running statistics included, as airbench94 has them; in the order of the network.
    slow: Vec<(String, Var)>,
}

impl Lookahead {
    /// Of a run that begins with the weights `fast`.
    pub fn new(config: &AverageConfig, fast: &Weights) -> Result<Self> {
        let copy = |(name, var): (&str, &Var)| Ok((name.to_owned(), Var::from_tensor(&var.copy()?)?));
        let slow = fast.named().filter(|(_, var)| var.dtype().is_float()).map(copy).collect::<Result<_>>()?;
        Ok(Self { every: config.every, slow })
    }

    /// The run begins with the weights `fast`.
    pub fn begin(&mut self, fast: &Weights) -> Result<()> {
        self.pairs(fast).try_for_each(|(slow, fast)| slow.set(fast.as_tensor()))
    }

    /// Each slow tensor, and the fast one of its name.
    fn pairs<'a>(&'a self, fast: &'a Weights) -> impl Iterator<Item = (&'a Var, &'a Var)> {
        self.slow.iter().map(|(_, slow)| slow).zip(fast.vars().filter(|fast| fast.dtype().is_float()))
    }

    /// If the step of that number, from 1, is followed by an update: moves the slow weights towards the fast ones, and the
    /// fast ones to the slow. After the last step the fast ones are the slow.
    pub fn after_step(&mut self, step: u64, total_steps: u64, fast: &Weights) -> Result<()> {
        let decay = if step.is_multiple_of(self.every) {
            let done = (step as f64 / total_steps as f64).min(1.0);
            DECAY_OF_STEP.powf(self.every as f64) * done.powi(3)
        } else if step == total_steps {
            1.0
        } else {
            return Ok(());
        };
        self.pairs(fast).try_for_each(|(slow, fast)| look_ahead(slow, fast, 1.0 - decay))
    }

    /// Whether every slow number is finite.
    pub fn is_finite(&self) -> Result<bool> {
        are_finite(self.slow.iter().map(|(_, slow)| slow))
    }

    /// The slow weights as the bytes of a safetensors file.
    pub fn to_safetensors(&self) -> anyhow::Result<Vec<u8>> {
        serialize(self.slow.iter().map(|(name, slow)| (name.clone(), slow.as_tensor().clone())))
    }

    /// Takes the slow weights from the bytes of `file`, or lists everything that is wrong with them and changes nothing.
    pub fn load(&mut self, bytes: &[u8], file: &Path) -> anyhow::Result<()> {
        let take = || Ok(assign(find(bytes, self.slow.iter().map(|(name, slow)| (name.clone(), slow)))?)?);
        let taken: anyhow::Result<()> = take();
        taken.with_context(|| format!("cannot take the slow weights in {}", file.display()))
    }
}
