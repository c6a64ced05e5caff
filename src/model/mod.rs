//! The network: its architecture, its initial weights, weights on disk, and what it costs.

mod active_channels;
mod airbench;
mod airbench_shape;
mod airbench_trace;
pub mod attention;
mod block;
mod cnn;
mod cnn_shape;
mod flops;
mod init;
pub mod initial_weights;
pub mod input;
mod layer;
mod logit_gradients;
mod pool;
mod pytorch;
mod running_statistics;
mod shape;
mod shape_error;
#[cfg(test)]
mod testing;
mod trace;
pub mod weights;
mod whitening;

use candle_core::{Device, Result, Tensor};

pub use active_channels::ActiveChannels;
pub use airbench::Airbench;
pub use block::BlockShape;
pub use cnn::{Cnn, Mode};
pub use cnn_shape::{CnnShape, HeadShape};
pub use flops::Flops;
pub use layer::{LayerInfo, UnknownLayer};
use logit_gradients::Differentiated;
pub use logit_gradients::LogitGradients;
pub use shape::NetworkShape;
pub use shape_error::ShapeError;
pub use trace::ForwardTrace;

use crate::config::{ModelConfig, Precision};
use crate::data::{Dataset, DatasetInfo};
use weights::Weights;

/// A classifier of images.
pub enum Network {
    Cnn(Cnn),
    Airbench(Airbench),
}

impl Network {
    /// The configured network for the images and classes of a data set, with PyTorch's default initialisation, drawn from
    /// `seed`.
    ///
    /// # Errors
    /// A [`ShapeError`], or there is no memory on the device.
    pub fn new(config: &ModelConfig, dataset: &DatasetInfo, seed: u64, device: &Device) -> anyhow::Result<Self> {
        Ok(match NetworkShape::new(config, dataset)? {
            NetworkShape::Cnn(shape) => Self::Cnn(Cnn::new(shape, config, seed, device)?),
            NetworkShape::Airbench(shape) => Self::Airbench(Airbench::new(shape, config, seed, device)?),
        })
    }

    /// How the convolutions and the hidden layer multiply that [`Network::forward`] and [`Network::evaluate`] compute; f32 until
    /// it is set. What explains is in f32.
    pub fn set_precision(&mut self, precision: Precision) {
        match self {
            Self::Cnn(cnn) => cnn.set_precision(precision),
            Self::Airbench(airbench) => airbench.set_precision(precision),
        }
    }

    pub fn shape(&self) -> NetworkShape {
        match self {
            Self::Cnn(cnn) => NetworkShape::Cnn(cnn.shape().clone()),
            Self::Airbench(airbench) => NetworkShape::Airbench(airbench.shape().clone()),
        }
    }

    /// Gives what is made of the training images, and frozen, its values: weights that are loaded replace them.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn prepare(&self, data: &Dataset) -> Result<()> {
        match self {
            Self::Cnn(_) => Ok(()),
            Self::Airbench(airbench) => airbench.prepare(data),
        }
    }

    /// Whether the bias behind a whitening kernel is frozen from now on; other networks have none.
    pub fn freeze_whitening_bias(&mut self, is_frozen: bool) {
        match self {
            Self::Cnn(_) => {}
            Self::Airbench(airbench) => airbench.freeze_first_bias(is_frozen),
        }
    }

    /// Whether the parameter of that name is frozen.
    pub fn is_frozen(&self, parameter: &str) -> bool {
        match self {
            Self::Cnn(_) => false,
            Self::Airbench(airbench) => airbench.is_frozen(parameter),
        }
    }

    pub fn weights(&self) -> &Weights {
        match self {
            Self::Cnn(cnn) => cnn.weights(),
            Self::Airbench(airbench) => airbench.weights(),
        }
    }

    /// In a few words, such as `cnn 32-64-128` or `cnn-se 32-64-128`.
    pub fn summary(&self) -> String {
        match self {
            Self::Cnn(cnn) => cnn.summary(),
            Self::Airbench(airbench) => airbench.summary(),
        }
    }

    pub fn layers(&self) -> &[LayerInfo] {
        match self {
            Self::Cnn(cnn) => cnn.shape().layers(),
            Self::Airbench(airbench) => airbench.shape().layers(),
        }
    }

    /// The index of the layer of that name.
    ///
    /// # Errors
    /// There is none; the error lists those that there are.
    pub fn layer(&self, name: &str) -> std::result::Result<usize, UnknownLayer> {
        layer::position(self.layers(), name)
    }

    /// Normalised images (N, H, W, C) to logits (N, classes).
    ///
    /// # Errors
    /// Those of the operations, as of all that follow.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        match self {
            Self::Cnn(cnn) => cnn.forward(x, mode),
            Self::Airbench(airbench) => airbench.forward(x, mode),
        }
    }

    /// The same logits as [`Network::forward`] in evaluation mode; marks the channels that are active.
    pub fn evaluate(&self, x: &Tensor, active: &mut ActiveChannels) -> Result<Tensor> {
        match self {
            Self::Cnn(cnn) => cnn.evaluate(x, active),
            Self::Airbench(airbench) => airbench.evaluate(x, active),
        }
    }

    /// Normalised images (N, H, W, C) in evaluation mode, with what each layer makes of them. The logits are those of
    /// [`Network::forward`], but for rounding.
    pub fn trace(&self, x: &Tensor) -> Result<ForwardTrace> {
        match self {
            Self::Cnn(cnn) => cnn.trace(x),
            Self::Airbench(airbench) => airbench.trace(x),
        }
    }

    /// The gradients of logits by the output of the last layer: for each row an image of `trace`, and the class whose logit
    /// is differentiated.
    ///
    /// # Errors
    /// There is no such image or class.
    pub fn logit_gradients<'a>(
        &'a self,
        trace: &'a ForwardTrace,
        rows: &[(usize, usize)],
    ) -> Result<LogitGradients<'a>> {
        let network = match self {
            Self::Cnn(cnn) => Differentiated::Cnn(cnn),
            Self::Airbench(airbench) => Differentiated::Airbench(airbench),
        };
        LogitGradients::new(network, trace, rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_the_name_of_the_state_dict() {
        let network = testing::tiny(0);
        assert_eq!(network.layer("conv2").expect("a layer"), 1);
        for wrong in ["conv4", "Conv1", "", "fc1"] {
            let error = network.layer(wrong).expect_err("no layer").to_string();
            assert_eq!(error, format!("there is no layer {wrong:?}; this network has conv1, conv2, conv3"));
        }
    }

    #[test]
    fn a_network_that_cannot_be_is_refused_in_words() {
        let config = ModelConfig { channels: vec![4; 6], ..ModelConfig::default() };
        let error = Network::new(&config, &DatasetInfo::cifar10(), 0, &Device::Cpu).err().expect("six blocks");
        assert!(error.to_string().starts_with("model.channels = [4, 4, 4, 4, 4, 4]"), "{error}");
    }
}
