//! The processes that train one network together, as MPI's ranks: each computes its share of every batch, and what is taken
//! over the whole batch is the same, to the bit, as one process makes it.

pub mod communicator;
pub mod halves;
pub mod launch;
#[cfg(feature = "mpi")]
pub mod mpi;
mod place;
#[cfg(test)]
pub mod threads;

pub use communicator::{Communicator, LostRank, Transport};
pub use place::Place;
