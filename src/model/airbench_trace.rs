//! airbench's network in evaluation mode, open at its convolutions.

use candle_core::{Result, Tensor};

use super::airbench::Airbench;
use super::trace::{ForwardTrace, LayerTrace};
use crate::config::Precision;
use crate::ops::{AfterConvolution, conv_pool};

impl Airbench {
    pub(super) fn trace(&self, x: &Tensor) -> Result<ForwardTrace> {
        let mut layers = vec![];
        let mut features = x.clone();
        for layer in 0..self.shape().layers().len() {
            let convolved = match layer {
                0 => self.convolve_first(&features)?,
                layer => conv_pool(&features, &self.kernel(layer), AfterConvolution::Nothing, Precision::F32)?,
            };
            let convolved = convolved.detach();
            features = self.finish(layer, &convolved)?.detach();
            layers.push(LayerTrace::without_attention(convolved));
        }
        let hidden = self.vectors(&features)?.detach();
        let logits = self.logits(&hidden)?.detach();
        Ok(ForwardTrace { layers, features, hidden, logits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{airbench, airbenches, images};
    use crate::model::{LayerInfo, Mode};

    #[test]
    fn the_open_network_is_the_fused_one() -> Result<()> {
        for (config, dataset) in airbenches() {
            let (network, x) = (airbench(&config, &dataset, 3), images(1, 4, &dataset));
            network.forward(&x, Mode::Train { seed: 0, step: 1 })?;
            let trace = network.trace(&x)?;
            let difference = (trace.logits - network.forward(&x, Mode::Evaluate)?)?.abs()?.max_all()?;
            assert!(difference.to_scalar::<f32>()? < 1e-4, "{config:?}: {difference}");
            for (layer, info) in network.shape().layers().iter().enumerate() {
                let &LayerInfo { height, width, channels, .. } = info;
                assert_eq!(trace.layers[layer].convolved.dims(), [4, height, width, channels], "{}", info.name);
            }
        }
        Ok(())
    }
}
