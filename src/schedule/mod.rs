//! Schedules of the learning rate.

pub mod plateau;

pub use plateau::Plateau;
