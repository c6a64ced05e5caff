//! Training on an NVIDIA card with kernels of our own: nothing but the driver's library is needed, which is opened at run
//! time.
//!
//! [`card`] finds a card, [`context`] takes it into use. `kernels/*.cuh` are the kernels; what ships is `kernels.ptx`, made
//! of them. [`network`] queues them in their order on buffers that are made once, and [`step`] makes one graph of a step.
//! Feature maps are channels-last, (N, H, W, C), as on the CPU; [`arena`] has weights in the kernels' order.
//!
//! The order of every sum is fixed, and does not depend on the card, so a run repeats to the bit.

pub mod arena;
pub mod batches;
#[cfg(test)]
pub mod built;
pub mod card;
mod check_training;
pub mod context;
mod error;
pub mod feed;
mod graph;
mod kernel;
mod launch;
mod memory;
pub mod network;
mod record;
pub mod selftest;
mod shape;
#[cfg(test)]
pub mod stand_in;
mod state;
pub mod step;
pub mod traffic;
mod version;

pub use card::Card;
pub use check_training::check_training;
pub use context::Context;
pub use error::CudaError;
pub use graph::Graph;
pub use kernel::Kernel;
pub use memory::Buffer;
pub use network::check_network;
pub use version::{BF16_CAPABILITY, Capability, Version};
