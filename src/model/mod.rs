//! The network, its initial weights, and weights on disk.

pub mod attention;
pub mod cnn;
mod init;
pub mod weights;

pub use cnn::{Cnn, Mode};
