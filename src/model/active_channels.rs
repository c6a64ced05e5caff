//! Which channels are active, and which are dead.

use candle_core::{Result, Tensor};

use super::LayerInfo;
use crate::ops;

/// Of each layer, the channels whose ReLU was above zero somewhere. They are marked in the output of the block's operation,
/// behind its pool or channel attention: a maximum or a product with a positive factor is zero where they all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActiveChannels {
    /// Empty before the first image.
    layers: Vec<Vec<bool>>,
}

impl ActiveChannels {
    /// The channels of each layer, from 0, that were never active.
    pub fn dead(&self) -> Vec<Vec<usize>> {
        let dead = |active: &Vec<bool>| (0..active.len()).filter(|&channel| !active[channel]).collect();
        self.layers.iter().map(dead).collect()
    }

    /// Marks those of one of `layers` that are active in `y`, (N, H, W, C).
    pub(super) fn mark(&mut self, layers: &[LayerInfo], layer: usize, y: &Tensor) -> Result<()> {
        if self.layers.is_empty() {
            self.layers = layers.iter().map(|layer| vec![false; layer.channels]).collect();
        }
        ops::mark_active(y, &mut self.layers[layer])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::config::{AttentionKind, ModelConfig};
    use crate::ops::gradient_check::normal;

    #[test]
    fn a_channel_that_normalisation_sinks_is_dead_and_the_logits_are_the_networks() -> Result<()> {
        let x = normal(1, &[5, 32, 32, 3]).to_dtype(candle_core::DType::F32)?;
        for attention in AttentionKind::ALL {
            let config = ModelConfig { channels: vec![16, 18, 20], hidden: 8, attention, ..ModelConfig::default() };
            let cnn = Cnn::new(&config, 0, &Device::Cpu)?;
            let mut active = ActiveChannels::default();
            cnn.evaluate(&x, &mut active)?;
            let [first, second, third] = &active.dead()[..] else { panic!("three blocks") };
            assert!(first.is_empty() && !second.contains(&3) && !second.contains(&17), "{attention:?}: {second:?}");
            assert!(third.len() < 20, "{attention:?}: all are dead");

            let bias = cnn.weights().parameters.iter().find(|(name, _)| name == "bn2.bias").expect("there").1.clone();
            let mut sunk = vec![0f32; 18];
            (sunk[3], sunk[17]) = (-100.0, -100.0);
            bias.set(&Tensor::new(sunk, &Device::Cpu)?)?;
            let mut active = ActiveChannels::default();
            let logits = cnn.evaluate(&x, &mut active)?;
            let dead = &active.dead()[1];
            assert!(dead.contains(&3) && dead.contains(&17) && dead.len() < 18, "{attention:?}: {dead:?}");
            assert_eq!(logits.to_vec2::<f32>()?, cnn.forward(&x, Mode::Evaluate)?.to_vec2::<f32>()?);
        }
        Ok(())
    }
}
