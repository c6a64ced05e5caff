//! One client of the control socket: lines in, replies out, within limits of length and time.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{MAX_LINE_BYTES, Reply};

/// A client that says nothing for this long gives its place to another.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// A client that does not read its reply within this time loses it.
const WRITE_TIME: Duration = Duration::from_secs(5);

pub(super) struct Connection {
    stream: UnixStream,
    /// What was read and is no whole line yet. It lives here and not in the reading future, so that a future that is
    /// dropped in a `select!` loses nothing.
    buffer: Vec<u8>,
}

impl Connection {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The next line without its newline; None when the client has left, be it in mid-line. May be cancelled.
    pub async fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let limit = self.buffer.len().min(MAX_LINE_BYTES);
            if let Some(end) = self.buffer[..limit].iter().position(|&byte| byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.buffer.len() >= MAX_LINE_BYTES {
                return Err(io::Error::other(format!("a request has at most {MAX_LINE_BYTES} bytes")));
            }
            match timeout(IDLE_TIME, self.stream.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) => return Ok(None),
                Ok(read) => read?,
                Err(_) => return Err(io::Error::other("no request for a minute; closing")),
            };
        }
    }

    pub async fn write(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        timeout(WRITE_TIME, self.stream.write_all(&line)).await?
    }
}
