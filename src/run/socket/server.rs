//! The trainer's end of the control socket. A broken client costs its own connection, never the training.
//!
//! The socket lies in a folder that only the user can open, so the limits below are against mistakes: a number of
//! connections, and a time for each request and reply. Further clients wait until there is room.

use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::control_file::TrainerAddress;
use super::super::dir::RunDir;
use super::super::event::Command;
use super::super::held_dir::HeldRunDir;
use super::folder::socket_paths;
use super::protocol::{MAX_LINE_BYTES, Reply, parse};

/// Clients that are served at once.
pub const MAX_CONNECTIONS: usize = 64;
/// Clients that wait in the system's queue; the next one's `connect` blocks.
const QUEUE: i32 = 64;
/// In which a client sends a whole request, from the connection or the last reply on.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// In which a client reads a reply.
const REPLY_TIME: Duration = Duration::from_secs(5);
/// In which requests under way are answered at the end.
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// Between two looks whether the socket is still there.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// A command on its way to the trainer, which answers when it is carried out.
#[derive(Debug)]
pub struct Request {
    pub command: Command,
    pub reply: oneshot::Sender<Reply>,
}

/// Listens for commands. Dropping it removes its socket and the `control` file.
#[derive(Debug)]
pub struct ControlListener {
    listener: StdUnixListener,
    socket: PathBuf,
    dir: HeldRunDir,
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // What cannot be removed does no harm: clients find nobody there.
        let _ = self.dir.follow();
        let _ = std::fs::remove_file(self.dir.control());
        let _ = std::fs::remove_file(&self.socket);
        let folder = self.socket.parent().filter(|folder| folder.starts_with(self.dir.path()));
        let _ = folder.map(std::fs::remove_dir);
    }
}

impl ControlListener {
    /// Listens anew where the socket is gone, as where somebody tidied `/tmp`; whether it was.
    fn restore(&mut self) -> Result<bool> {
        self.dir.follow()?;
        if self.socket.symlink_metadata().is_ok() {
            return Ok(false);
        }
        (self.listener, self.socket) = listen(&self.dir)?;
        self.tell()?;
        Ok(true)
    }

    fn tell(&self) -> Result<()> {
        let control = || self.dir.control().display().to_string();
        TrainerAddress::own(self.socket.clone()).write(&self.dir).with_context(control)
    }
}

/// Listens for the commands of a run. The caller holds the run's lock, so a socket that is there is a dead trainer's.
///
/// # Errors
/// There is no place for a socket: each is told. The `control` file then names this process without one.
pub fn bind(dir: HeldRunDir) -> Result<ControlListener> {
    match listen(&dir) {
        Ok((listener, socket)) => {
            let bound = ControlListener { listener, socket, dir };
            bound.tell()?;
            Ok(bound)
        }
        Err(error) => {
            TrainerAddress::own(PathBuf::new()).write(&dir).with_context(|| dir.control().display().to_string())?;
            Err(error)
        }
    }
}

/// At the first path where there can be a socket.
fn listen(dir: &RunDir) -> Result<(StdUnixListener, PathBuf)> {
    let mut reasons = Vec::new();
    for path in socket_paths(dir) {
        match path.and_then(|socket| Ok((listen_at(&socket)?, socket))) {
            Ok(listening) => return Ok(listening),
            Err(reason) => reasons.push(format!("{reason:#}")),
        }
    }
    bail!("there is no place for a control socket: {}", reasons.join("; "))
}

fn listen_at(socket: &Path) -> Result<StdUnixListener> {
    let name = || socket.display().to_string();
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(name),
        _ => {}
    }
    let listener = StdUnixListener::bind(socket).with_context(name)?;
    rustix::net::listen(&listener, QUEUE).with_context(name)?;
    listener.set_nonblocking(true).with_context(name)?;
    Ok(listener)
}

/// Takes requests and passes them on until `shutdown`; then lets the requests under way be answered, for a moment.
///
/// Must run in a tokio runtime.
pub async fn serve(
    mut listener: ControlListener,
    requests: mpsc::Sender<Request>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut accepting = UnixListener::from_std(listener.listener.try_clone()?)?;
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();

    tokio::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            _ = look.tick() => {
                match listener.restore() {
                    Ok(false) => {}
                    Ok(true) => {
                        accepting = UnixListener::from_std(listener.listener.try_clone()?)?;
                        tracing::warn!("the control socket was gone; the new one is {}", listener.socket.display());
                    }
                    Err(error) => tracing::warn!("the control socket is gone: {error:#}"),
                }
                continue;
            }
            accepted = accepting.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => stream,
                // Such as too many open files: it passes, and must not turn into a busy loop.
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        connections.spawn(handle(stream, requests.clone(), closed.clone()));
    }

    // Idle clients are let go, and those that wait for an answer get it.
    drop(accepting);
    drop(requests);
    let _ = closing.send(true);
    let _ = timeout(SHUTDOWN_TIME, async { while connections.join_next().await.is_some() {} }).await;
    drop(listener);
    Ok(())
}

/// Answers the lines of one client until it leaves, misbehaves or is told to go.
async fn handle(stream: UnixStream, requests: mpsc::Sender<Request>, mut closed: watch::Receiver<bool>) {
    let mut stream = BufReader::new(stream);
    if let Err(reason) = admit(stream.get_ref()) {
        tracing::warn!("control socket: {reason}");
        let _ = write(&mut stream, &Reply::error(reason)).await;
        return;
    }
    loop {
        let line = tokio::select! {
            line = read_line(&mut stream) => line,
            _ = closed.wait_for(|closed| *closed) => return,
        };
        let reply = match line {
            Ok(None) => return,
            Ok(Some(line)) => match parse(&line) {
                Ok(command) => carry_out(command, &requests).await,
                Err(message) => Reply::error(message),
            },
            Err(error) => {
                let _ = write(&mut stream, &Reply::error(error.to_string())).await;
                return;
            }
        };
        if write(&mut stream, &reply).await.is_err() {
            return;
        }
    }
}

/// The next line without its newline; `None` when the client has left, even in mid-line.
async fn read_line(stream: &mut BufReader<UnixStream>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut limited = stream.take(MAX_LINE_BYTES as u64);
    match timeout(REQUEST_TIME, limited.read_until(b'\n', &mut line)).await {
        Ok(read) => read?,
        Err(_) => return Err(io::Error::other(format!("no request for {} s; closing", REQUEST_TIME.as_secs()))),
    };
    if line.last() == Some(&b'\n') {
        line.pop();
        Ok(Some(line))
    } else if line.len() == MAX_LINE_BYTES {
        Err(io::Error::other(format!("a request has at most {MAX_LINE_BYTES} bytes")))
    } else {
        Ok(None)
    }
}

async fn write(stream: &mut BufReader<UnixStream>, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    timeout(REPLY_TIME, stream.write_all(&line)).await?
}

async fn carry_out(command: Command, requests: &mpsc::Sender<Request>) -> Reply {
    let (reply, answer) = oneshot::channel();
    if requests.send(Request { command, reply }).is_err() {
        return Reply::error("the trainer is ending");
    }
    answer.await.unwrap_or_else(|_| Reply::error("the trainer ended before it carried out the command"))
}

/// Only the user that the trainer runs as may steer it. The directory keeps others out already.
fn admit(stream: &UnixStream) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| format!("who connects cannot be told: {error}"))?;
    admit_user(peer.uid(), geteuid().as_raw())
}

fn admit_user(peer: u32, own: u32) -> Result<(), String> {
    if peer == own { Ok(()) } else { Err(format!("user {peer} may not steer a run of user {own}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_user_is_turned_away() {
        admit_user(1000, 1000).unwrap();
        assert_eq!(admit_user(1001, 1000).unwrap_err(), "user 1001 may not steer a run of user 1000");
        assert!(admit_user(0, 1000).is_err());
    }
}
