//! The control socket: a trainer is told what to do in JSON lines, and answers each when it is done.
//!
//! ```text
//! → {"version":1,"command":{"name":"pause"}}
//! ← {"reply":"done","message":"paused after step 120"}
//! ```

mod client;
mod folder;
mod protocol;
mod server;

pub use client::{SendError, send};
pub use protocol::{MAX_LINE_BYTES, PROTOCOL_VERSION, Reply, parse};
pub use server::{ControlListener, MAX_CONNECTIONS, Request, bind, serve};
