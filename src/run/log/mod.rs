//! The event log, `events.jsonl`: appended to by the one live trainer, followed by any number of readers.
//!
//! A line counts once its newline is there. A torn last line is normal: a reader waits for the rest of it, and the next
//! trainer cuts it off. Readers therefore never keep bytes of an incomplete line, they read them again.

mod end;
mod follower;
mod line;
mod reserve;
mod steps_line;
mod writer;

pub use self::end::{line_end_before, torn_bytes};
pub use self::follower::{FollowError, Follower, Position};
pub use self::line::{Entry, is_whole, with_checksum};
pub use self::reserve::Room;
pub use self::steps_line::StepsOutline;
pub use self::writer::{EventLog, Interference};
pub use super::event::now_ms;
