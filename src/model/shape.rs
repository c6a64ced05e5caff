//! The architecture of a network of any kind.

use super::airbench_shape::AirbenchShape;
use super::cnn_shape::CnnShape;
use super::layer::LayerInfo;
use super::shape_error::ShapeError;
use crate::config::{ModelConfig, NetworkKind};
use crate::data::DatasetInfo;

#[derive(Clone, Debug)]
pub enum NetworkShape {
    Cnn(CnnShape),
    Airbench(AirbenchShape),
}

impl NetworkShape {
    /// # Errors
    /// The network cannot be built so, or not for such images.
    pub fn new(config: &ModelConfig, dataset: &DatasetInfo) -> Result<Self, ShapeError> {
        Ok(match config.network {
            NetworkKind::Cnn => Self::Cnn(CnnShape::new(config, dataset)?),
            NetworkKind::Airbench => Self::Airbench(AirbenchShape::new(config, dataset)?),
        })
    }

    /// The convolutions, in the order of the network.
    pub fn layers(&self) -> &[LayerInfo] {
        match self {
            Self::Cnn(cnn) => cnn.layers(),
            Self::Airbench(airbench) => airbench.layers(),
        }
    }

    /// The number of trained numbers.
    pub fn parameter_count(&self) -> u64 {
        match self {
            Self::Cnn(cnn) => cnn.parameter_count(),
            Self::Airbench(airbench) => airbench.parameter_count(),
        }
    }
}
