//! The one integration binary: linking candle is slow. One file a subject.

mod data;
mod binary;
mod cli;
mod control;
mod dashboard_pty;
mod detach;
mod pytorch;
mod follow;
mod pytorch;
mod screen;
mod training;
