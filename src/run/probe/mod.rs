//! A probe: what the network made of a few images at one step, as `probes/e0012-s009384.safetensors`; [`format`] has its
//! tensors.

mod contents;
mod format;
mod quantise;

pub use contents::{ACTIVE, MAPS, MISTAKES, OTHER_MISTAKES, OTHER_MISTAKES_BYTES, OtherMistake, Probe, ProbedImage};
pub use format::ProbeError;
