//! The one integration binary: linking candle is slow. One file a subject.

mod pytorch;
mod follow;
mod screen;
