//! How the last feature map becomes a vector.

use candle_core::{Result, Tensor};

use crate::config::Pool;
use crate::ops;

/// `features` (N, H, W, C) to (N, numbers).
pub(super) fn pooled(pool: Pool, features: &Tensor) -> Result<Tensor> {
    match pool {
        Pool::Flatten => ops::flatten_planes(features),
        Pool::Average => ops::global_average(features),
        Pool::Max => ops::global_max(features),
    }
}

/// The gradient of `features` (N, H, W, C) from that of the vectors (N, numbers).
pub(super) fn pooled_gradient(pool: Pool, features: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let (_, height, width, _) = features.dims4()?;
    match pool {
        Pool::Flatten => ops::unflatten_planes(gradient, height, width),
        Pool::Average => ops::global_average_gradient(gradient, height, width),
        Pool::Max => ops::global_max_gradient(features, gradient),
    }
}
