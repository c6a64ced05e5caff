//! taper: a terminal dashboard trainer.
//!
//! The trainer is always a process of its own, without a terminal. The dashboard is always a separate process that
//! attaches to a run, so a dropped connection is the ordinary case.
//!
//! ```text
//! keys ──► Action ──► Command ──────(control socket, JSON lines)──────► trainer thread
//!                                                                         │ step loop, synchronous
//! view ◄── App { RunState, ui } ◄── RunState::apply ◄── follow ◄── events.jsonl ◄── Event
//! ```
//!
//! * The run directory is the truth: the dashboard follows `events.jsonl` from its first byte, live or finished.
//! * [`run::state::RunState::apply`] is a pure fold; only events change a `RunState`.
//! * Intent and fact differ: a key sets "pausing", only the event sets "paused".
//! * [`train`] and [`explain`] know no terminal; [`tui`] knows no candle.

pub mod allocator;
pub mod average;
pub mod cache_folder;
pub mod checksum;
pub mod cli;
pub mod commands;
pub mod config;
pub mod cuda;
pub mod data;
pub mod durable;
pub mod explain;
pub mod export;
pub mod format;
pub mod held_folder;
pub mod metrics;
pub mod model;
pub mod ops;
pub mod optim;
pub mod ordinary_file;
pub mod random;
pub mod ranks;
pub mod render;
pub mod reproduce;
pub mod run;
pub mod schedule;
pub mod simd;
pub mod suggest;
pub mod system;
pub mod terminal_image;
pub mod terminal_kind;
#[cfg(test)]
mod testing;
pub mod text;
pub mod ticks;
pub mod train;
pub mod tui;
pub mod version;
