//! Attention to channels, to positions, and of positions to each other, each with the pool that follows it.

pub mod channel;
pub mod non_local;
pub mod spatial;
pub mod squeeze_excite;
