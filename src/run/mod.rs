//! A run on disk: its directory, its event log, the fold of that log, and the socket to its trainer.

pub mod control_file;
pub mod describe;
pub mod dir;
pub mod event;
pub mod events_index;
pub mod held_dir;
pub mod learning_rate_undo;
pub mod limits;
pub mod lock;
pub mod log;
pub mod outline;
pub mod probe;
pub mod process;
pub mod replay;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod state;
pub mod step_series;
pub mod step_time;
pub mod system_history;
pub mod system_sample;
