//! Tables of configurations and seeds: what is in one, the figures of its runs, and what is published of them. Training itself
//! is the business of ordinary runs.

mod charts;
#[cfg(test)]
mod example;
pub mod page;
pub mod publication;
pub mod results;
pub mod table;
mod thinning;
