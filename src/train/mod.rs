//! Training.
pub mod device;
pub mod optimizer;
pub mod schedule;
