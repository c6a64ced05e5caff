//! The one integration binary: linking candle is slow. One file a subject.

mod data;
mod pytorch;
mod follow;
mod pytorch;
mod screen;
mod training;
