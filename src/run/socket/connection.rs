//! One client of the control socket: lines in, replies out, within limits of length and time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::pace::Pace;
use super::{MAX_LINE_BYTES, Reply};

/// A client that says nothing for this long gives its place to another.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// A client that does not read its reply within this time loses it.
const WRITE_TIME: Duration = Duration::from_secs(5);

/// At least as many are asked for at once.
const READ_BYTES: usize = 4096;

pub(super) struct Connection {
    stream: UnixStream,
    /// What was read and is no whole line yet. It lives here and not in the reading future, so that a future that is
    /// dropped in a `select!` loses nothing.
    buffer: Vec<u8>,
    /// Of the lines of all clients.
    pace: Arc<Pace>,
    is_new: bool,
}

impl Connection {
    pub fn new(stream: UnixStream, pace: Arc<Pace>) -> Self {
        Self { stream, buffer: Vec::new(), pace, is_new: true }
    }

    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// The next line without its newline; None when the client has left, be it in mid-line. May be cancelled.
    pub async fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        // A newcomer has had its turn.
        if !std::mem::take(&mut self.is_new) {
            self.pace.turn().await;
        }
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.buffer.len() >= MAX_LINE_BYTES {
                return Err(io::Error::other(format!("a request has at most {MAX_LINE_BYTES} bytes")));
            }
            self.buffer.reserve(READ_BYTES);
            match timeout(IDLE_TIME, self.stream.read_buf(&mut self.buffer)).await {
                Ok(Ok(0)) => return Ok(None),
                Ok(read) => read?,
                Err(_) => return Err(io::Error::other("no request for a minute; closing")),
            };
            // Byte by byte, a line would cost as much as thousands.
            if self.line_end().is_none() {
                self.pace.turn().await;
            }
        }
    }

    fn line_end(&self) -> Option<usize> {
        let limit = self.buffer.len().min(MAX_LINE_BYTES);
        self.buffer[..limit].iter().position(|&byte| byte == b'\n')
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.line_end()?;
        let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    pub async fn write(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        timeout(WRITE_TIME, self.stream.write_all(&line)).await?
    }
}
