//! The one integration binary: linking candle is slow. One file a subject.

mod alarms;
mod binary;
mod cli;
mod control;
mod dashboard_pty;
mod data;
mod detach;
mod divergence;
mod explain;
mod follow;
mod inside;
mod pictures;
mod pytorch;
mod screen;
mod training;
