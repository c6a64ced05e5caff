//! The architecture of a network of any kind.

use super::airbench_shape::AirbenchShape;
use super::cnn_shape::CnnShape;
use super::layer::LayerInfo;
use super::shape_error::ShapeError;
use crate::config::{Config, ModelConfig, NetworkKind, Pool};
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

    /// Whether the network can be trained on the images of every epoch.
    ///
    /// # Errors
    /// Some are smaller than the data set's, and it takes none, or none so small.
    pub fn check_progressive(config: &Config, dataset: &DatasetInfo) -> Result<(), ShapeError> {
        let train = &config.train;
        let smallest = dataset.scaled(train.image_scale(1));
        if smallest.size() == dataset.size() {
            return Ok(());
        }
        if config.model.pool == Pool::Flatten {
            return Err(ShapeError::OneSize { epochs: train.progressive_epochs });
        }
        let fits = Self::new(&config.model, &smallest);
        let (scale, width, height) = (train.progressive_scale, smallest.width, smallest.height);
        fits.map(|_| ()).map_err(|fault| ShapeError::TooSmall { scale, width, height, fault: Box::new(fault) })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrainConfig;

    #[test]
    fn a_network_that_takes_no_smaller_images_is_refused_in_a_line() {
        let check = |model: ModelConfig, progressive_epochs, progressive_scale| {
            let train = TrainConfig { progressive_epochs, progressive_scale, ..TrainConfig::default() };
            let config = Config { model, train, ..Config::default() };
            NetworkShape::check_progressive(&config, &DatasetInfo::cifar10()).map_err(|error| error.to_string())
        };
        let average = || ModelConfig { pool: Pool::Average, ..ModelConfig::default() };
        assert_eq!(check(average(), 3, 0.5), Ok(()));
        assert_eq!(check(ModelConfig::airbench(), 3, 0.5), Ok(()));
        assert_eq!(check(ModelConfig::default(), 0, 0.5), Ok(()));
        assert_eq!(
            check(ModelConfig::default(), 3, 0.99).unwrap_err(),
            "train.progressive_epochs = 3: with model.pool = \
            flatten the network has weights for images of one size; take model.pool = average or max"
        );
        assert_eq!(
            check(average(), 1, 0.15).unwrap_err(),
            "train.progressive_scale = 0.15: the first epoch has images of \
            4 x 4 pixels: model.channels = [32, 64, 128]: each block halves the sides of its images, and of 4 x 4 pixels, so \
            at most 2 blocks fit, not 3"
        );
    }
}
