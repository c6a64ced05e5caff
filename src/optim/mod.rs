//! Optimizers: from gradients to weights, with their state by parameter name.

pub mod adam;

pub use adam::Adam;
