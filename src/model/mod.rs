//! The network, its initial weights, weights on disk, and what it costs.

pub mod attention;
pub mod cnn;
pub mod flops;
mod init;
pub mod weights;

pub use cnn::{ActiveChannels, Cnn, ForwardTrace, Layer, LogitGradients, Mode, UnknownLayer};
