//! Which channels are active, and which are dead.

use candle_core::{Result, Tensor};

use super::layer::LayerInfo;
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

    /// A byte for each channel of `layers`, 1 where it is marked.
    pub fn to_bytes(&self, layers: &[LayerInfo]) -> Vec<u8> {
        match self.layers.is_empty() {
            true => vec![0; layers.iter().map(|layer| layer.channels).sum()],
            false => self.layers.iter().flatten().map(|&mark| mark.into()).collect(),
        }
    }

    /// Marks those of `layers` that are marked in the bytes of another.
    pub fn merge_bytes(&mut self, layers: &[LayerInfo], bytes: &[u8]) {
        let mut rest = bytes;
        for layer in 0..layers.len() {
            let (of_layer, others) = rest.split_at(layers[layer].channels);
            let active: Vec<bool> = of_layer.iter().map(|&mark| mark > 0).collect();
            self.merge(layers, layer, &active);
            rest = others;
        }
    }

    /// Marks those of one of `layers` that are set in `active`, a mark for each of its channels.
    pub fn merge(&mut self, layers: &[LayerInfo], layer: usize, active: &[bool]) {
        self.marks(layers, layer).iter_mut().zip(active).for_each(|(mark, active)| *mark |= active);
    }

    /// Marks those of one of `layers` that are active in `y`, (N, H, W, C).
    pub(super) fn mark(&mut self, layers: &[LayerInfo], layer: usize, y: &Tensor) -> Result<()> {
        ops::mark_active(y, self.marks(layers, layer))
    }

    fn marks(&mut self, layers: &[LayerInfo], layer: usize) -> &mut [bool] {
        if self.layers.is_empty() {
            self.layers = layers.iter().map(|layer| vec![false; layer.channels]).collect();
        }
        &mut self.layers[layer]
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::model::Mode;
    use crate::model::testing::{cnn, images, with_attention};

    #[test]
    fn what_has_been_active_stays_so() {
        let layer = |name: &str, channels| LayerInfo { name: name.to_owned(), channels, height: 2, width: 2 };
        let layers = [layer("conv1", 2), layer("conv2", 3)];
        let mut active = ActiveChannels::default();
        active.merge(&layers, 1, &[false, true, false]);
        active.merge(&layers, 1, &[true, false, false]);
        assert_eq!(active.dead(), [vec![0, 1], vec![2]]);
    }

    #[test]
    fn a_channel_that_normalisation_sinks_is_dead() -> Result<()> {
        for (config, dataset) in with_attention(false) {
            let x = images(1, 3, &dataset);
            let (cnn, last) = (cnn(&config, &dataset, 0), config.channels.len());
            let dead = |active: &ActiveChannels| active.dead()[last - 1].clone();
            let mut active = ActiveChannels::default();
            cnn.evaluate(&x, &mut active)?;
            assert_eq!(active.dead().len(), last);
            let alive: Vec<usize> =
                (0..config.channels[last - 1]).filter(|channel| !dead(&active).contains(channel)).collect();
            let [first, .., other] = alive[..] else { panic!("{config:?}: two channels at least are active") };

            let name = format!("bn{last}.bias");
            let bias = &cnn.weights().parameters.iter().find(|(known, _)| *known == name).expect("there").1;
            let mut sunk = vec![0f32; config.channels[last - 1]];
            (sunk[first], sunk[other]) = (-100.0, -100.0);
            bias.set(&Tensor::new(sunk, &Device::Cpu)?)?;
            let mut active = ActiveChannels::default();
            let logits = cnn.evaluate(&x, &mut active)?;
            let dead = dead(&active);
            assert!(dead.contains(&first) && dead.contains(&other), "{config:?}: {dead:?}");
            assert!(dead.len() < config.channels[last - 1], "{config:?}: {dead:?}");
            assert_eq!(logits.to_vec2::<f32>()?, cnn.forward(&x, Mode::Evaluate)?.to_vec2::<f32>()?);
        }
        Ok(())
    }
}
