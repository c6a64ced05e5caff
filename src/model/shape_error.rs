//! Why a network cannot be built as it is configured.

/// A network that cannot be built as the configuration and the images are.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ShapeError {
    #[error(
        "model.channels = {channels:?}: each block halves the sides of its images, and of {width} x {height} pixels, so at \
         most {fit} blocks fit, not {}", channels.len()
    )]
    TooManyBlocks { channels: Vec<usize>, width: usize, height: usize, fit: u32 },
    #[error("model.attention = {attention} needs at least {least} channels in {}; model.channels = {channels:?}",
        if *in_each { "each block" } else { "the last block" })]
    TooFewChannels { attention: &'static str, least: usize, in_each: bool, channels: Vec<usize> },
    #[error(
        "model.attention = {attention} attends to at most {most} positions, and its block would have {width} x {height}: \
         with more blocks (model.channels) the last one has fewer"
    )]
    TooManyPositions { attention: &'static str, most: usize, width: usize, height: usize },
    #[error("{key} = {value}: the network {network} (model.network) does not have that; leave it out")]
    NotOfNetwork { key: &'static str, value: String, network: &'static str },
    #[error(
        "train.progressive_epochs = {epochs}: with model.pool = flatten the network has weights for images of one size; take \
         model.pool = average or max"
    )]
    OneSize { epochs: u64 },
    #[error("train.progressive_scale = {scale}: the first epoch has images of {width} x {height} pixels: {fault}")]
    TooSmall { scale: f64, width: usize, height: usize, fault: Box<ShapeError> },
}

/// # Errors
/// A setting asks for what a network does not have.
pub fn check_applies(
    key: &'static str,
    value: impl ToString,
    applies: bool,
    network: &'static str,
) -> Result<(), ShapeError> {
    if applies { Ok(()) } else { Err(ShapeError::NotOfNetwork { key, value: value.to_string(), network }) }
}
