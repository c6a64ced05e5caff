//! The control socket: a trainer is told what to do in JSON lines, and answers each when it is done.
//!
//! ```text
//! → {"version":1,"command":{"name":"pause"}}
//! ← {"reply":"done","message":"paused after step 120"}
//! ```
//!
//! The socket lies in a private directory of the user's, as tmux has it: paths of sockets are limited to about 100
//! bytes, many shared file systems cannot hold one, and `$XDG_RUNTIME_DIR` vanishes at logout, exactly when it is
//! needed. A broken client costs its own connection, never the training.

mod client;
mod connection;
mod pace;

use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

pub use client::{SendError, send};
use connection::Connection;
use pace::{Pace, Slumber};

use super::control::Control;
use super::dir::RunDir;
use super::event::Command;
use crate::config::check_learning_rate;

/// In every request.
pub const PROTOCOL_VERSION: u32 = 1;
/// The longest request, with its newline.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// As many clients are served at once. For one more, the first to come of those that wait for no answer leaves; where all
/// of them wait, it waits too.
pub const MAX_CONNECTIONS: usize = 16;
/// As many wait in the system's queue to be attended to, each for a turn of those before it; further ones are connected
/// when there is room in it.
const QUEUE: i32 = 64;

/// A command on its way to the trainer, which answers when it is carried out.
#[derive(Debug)]
pub struct Request {
    pub command: Command,
    pub reply: oneshot::Sender<Reply>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// What was done, for people.
    Done {
        message: String,
    },
    Error {
        message: String,
    },
}

impl Reply {
    fn error(message: impl Into<String>) -> Self {
        Self::Error { message: message.into() }
    }
}

/// Listens for commands; dropped, it takes its socket and the `control` file with it.
#[derive(Debug)]
pub struct ControlListener {
    listener: StdUnixListener,
    socket: PathBuf,
    control: PathBuf,
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        // Gone already, or of no further harm: clients find nobody there.
        let _ = std::fs::remove_file(&self.control);
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Listens for the commands of a run. To be called by the holder of the run's lock, which alone may remove the socket
/// that a dead trainer left.
pub fn bind(dir: &RunDir) -> Result<ControlListener> {
    let private = private_directory(&socket_directory())?;
    let socket = private.join(socket_name(dir)?);
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("control socket {}", socket.display()));
        }
        _ => {}
    }
    let listener = StdUnixListener::bind(&socket).with_context(|| format!("control socket {}", socket.display()))?;
    rustix::net::listen(&listener, QUEUE).context("control socket")?;
    listener.set_nonblocking(true).context("control socket")?;
    let bound = ControlListener { listener, socket: socket.clone(), control: dir.control() };
    Control::own(socket).write(dir).with_context(|| dir.control().display().to_string())?;
    Ok(bound)
}

/// The runtime for [`serve`], on the thread that calls it, which no client can wake without end.
pub fn runtime() -> io::Result<Runtime> {
    let slumber = Slumber::new();
    Builder::new_current_thread().enable_all().on_thread_unpark(move || slumber.sleep_on()).build()
}

/// Takes requests and passes them on until `shutdown`; then lets the requests under way be answered, for a moment.
///
/// Clients are attended to at a pace. Newcomers have one of their own, and each brings its first line: those who hold a
/// connection and send without end do not hold up a single command.
///
/// Must run in a tokio runtime, such as [`runtime`].
pub async fn serve(
    listener: ControlListener,
    requests: mpsc::Sender<Request>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    const ANSWER_TIME: Duration = Duration::from_secs(2);
    let accepting = UnixListener::from_std(listener.listener.try_clone()?)?;
    let mut places = Places::default();
    let (newcomers, lines) = (Pace::new(), Arc::new(Pace::new()));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();

    tokio::pin!(shutdown);
    loop {
        // Whoever comes now waits in the system's queue until somebody has their answer.
        let is_full = places.are_all_waiting();
        let stream = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepting.accept(), if !is_full => match accepted {
                Ok((stream, _)) => stream,
                // Such as too many open files: it passes, and must not turn into a busy loop.
                Err(error) => {
                    tracing::warn!("control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
            () = places.answered.notified() => continue,
        };
        tokio::select! {
            () = &mut shutdown => break,
            () = newcomers.turn() => {}
        }
        let waits = Waits { waits: Arc::default(), answered: places.answered.clone() };
        let connection = Connection::new(stream, lines.clone());
        let task = connections.spawn(handle(connection, requests.clone(), closed.clone(), waits.clone()));
        places.take(Place { task, waits });
    }

    // Nobody new; whoever is idle goes; whoever waits for an answer gets it.
    drop(accepting);
    drop(requests);
    let _ = closing.send(true);
    let _ = tokio::time::timeout(ANSWER_TIME, async { while connections.join_next().await.is_some() {} }).await;
    drop(listener);
    Ok(())
}

/// The clients that are served, in the order in which they came.
#[derive(Default)]
struct Places {
    taken: VecDeque<Place>,
    /// Told when somebody who waited has the answer.
    answered: Arc<Notify>,
}

struct Place {
    task: AbortHandle,
    waits: Waits,
}

/// Whether a client waits for the trainer's answer.
#[derive(Clone)]
struct Waits {
    waits: Arc<AtomicBool>,
    answered: Arc<Notify>,
}

impl Waits {
    fn begin(&self) {
        self.waits.store(true, Ordering::Relaxed);
    }

    fn end(&self) {
        self.waits.store(false, Ordering::Relaxed);
        self.answered.notify_one();
    }
}

impl Place {
    fn is_waiting(&self) -> bool {
        !self.task.is_finished() && self.waits.waits.load(Ordering::Relaxed)
    }
}

impl Places {
    fn are_all_waiting(&self) -> bool {
        self.taken.len() >= MAX_CONNECTIONS && self.taken.iter().all(Place::is_waiting)
    }

    /// If need be, the client that came first leaves, of those that wait for no answer: who only holds a place, or does
    /// not read, cannot keep others from being heard.
    fn take(&mut self, place: Place) {
        self.taken.retain(|place| !place.task.is_finished());
        if self.taken.len() >= MAX_CONNECTIONS
            && let Some(index) = self.taken.iter().position(|place| !place.is_waiting())
            && let Some(leaves) = self.taken.remove(index)
        {
            leaves.task.abort();
        }
        self.taken.push_back(place);
    }
}

/// Answers the lines of one client until it leaves, misbehaves or is told to go.
async fn handle(
    mut connection: Connection,
    requests: mpsc::Sender<Request>,
    mut closed: watch::Receiver<bool>,
    waits: Waits,
) {
    if let Err(reason) = admit(connection.stream()) {
        tracing::warn!("control socket: {reason}");
        let _ = connection.write(&Reply::error(reason)).await;
        return;
    }
    loop {
        let line = tokio::select! {
            line = connection.read_line() => line,
            _ = closed.wait_for(|closed| *closed) => return,
        };
        let reply = match line {
            Ok(None) => return,
            Ok(Some(line)) => match parse(&line) {
                Ok(command) => {
                    waits.begin();
                    let reply = carry_out(command, &requests).await;
                    waits.end();
                    reply
                }
                Err(message) => Reply::error(message),
            },
            Err(error) => {
                let _ = connection.write(&Reply::error(error.to_string())).await;
                return;
            }
        };
        if connection.write(&reply).await.is_err() {
            return;
        }
    }
}

async fn carry_out(command: Command, requests: &mpsc::Sender<Request>) -> Reply {
    let (reply, answer) = oneshot::channel();
    if requests.send(Request { command, reply }).is_err() {
        return Reply::error("the trainer is ending");
    }
    answer.await.unwrap_or_else(|_| Reply::error("the trainer ended before it carried out the command"))
}

#[derive(Serialize, Deserialize)]
struct Line<C> {
    version: u32,
    command: C,
}

/// The command in a line that a client sent; else what to answer.
pub fn parse(line: &[u8]) -> Result<Command, String> {
    const EXAMPLE: &str = r#"{"version":1,"command":{"name":"pause"}}"#;
    // The version first: a later one may word its commands otherwise.
    let line: Line<serde_json::Value> = serde_json::from_slice(line)
        .and_then(|object| Line::deserialize(serde_json::Value::Object(object)))
        .map_err(|error| format!("not a request: {error}; such as {EXAMPLE}"))?;
    if line.version != PROTOCOL_VERSION {
        return Err(format!("the request is of version {}, this trainer speaks {PROTOCOL_VERSION}", line.version));
    }
    let command = serde_json::from_value(line.command).map_err(|error| format!("not a command: {error}"))?;
    if let Command::SetLearningRate { learning_rate } = command {
        check_learning_rate(learning_rate)?;
    }
    Ok(command)
}

/// Only the user that the trainer runs as may steer it. The directory keeps others out already.
fn admit(stream: &UnixStream) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| format!("who connects cannot be told: {error}"))?;
    admit_user(peer.uid(), geteuid().as_raw())
}

fn admit_user(peer: u32, own: u32) -> Result<(), String> {
    if peer == own { Ok(()) } else { Err(format!("user {peer} may not steer a run of user {own}")) }
}

fn socket_directory() -> PathBuf {
    PathBuf::from(format!("/tmp/taper-{}", geteuid().as_raw()))
}

/// Makes the directory if need be, and sees to it that it is ours alone: whoever owns it could put a socket of theirs
/// in the place of ours.
fn private_directory(path: &Path) -> Result<PathBuf> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("control socket directory {}", path.display()));
        }
        _ => {}
    }
    let found = std::fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    let path_shown = path.display();
    if !found.is_dir() {
        bail!("{path_shown} is not a directory, and control sockets must lie in one of our own; remove it");
    }
    if found.uid() != geteuid().as_raw() {
        bail!(
            "{path_shown} belongs to user {}, and control sockets must lie in one of our own; remove it",
            found.uid()
        );
    }
    if found.mode() & 0o077 != 0 {
        bail!("{path_shown} is open to others; to close it: chmod 700 {path_shown}");
    }
    Ok(path.to_owned())
}

/// Short, and another for each run directory: of its path, and of its inode so that containers that share `/tmp` do
/// not take each other's.
fn socket_name(dir: &RunDir) -> Result<String> {
    let path = dir.path().canonicalize().with_context(|| dir.path().display().to_string())?;
    let inode = std::fs::metadata(&path).with_context(|| path.display().to_string())?.ino();
    let digest = Sha256::new().chain_update(path.as_os_str().as_bytes()).chain_update(inode.to_le_bytes()).finalize();
    Ok(digest[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_read_as_documented() {
        let command = |text: &str| parse(text.as_bytes());
        assert_eq!(command(r#"{"version":1,"command":{"name":"pause"}}"#), Ok(Command::Pause));
        assert_eq!(
            command(r#"{"version":1,"command":{"name":"set_learning_rate","learning_rate":0.0005}}"#),
            Ok(Command::SetLearningRate { learning_rate: 0.0005 })
        );
    }

    #[test]
    fn what_is_not_a_command_is_told_why() {
        let complaint = |text: &[u8]| parse(text).unwrap_err();
        assert!(complaint(b"pause").starts_with("not a request: "));
        assert!(complaint(b"\xff\xfe").starts_with("not a request: "));
        assert!(complaint(br#"{"version":2,"command":{"new":1}}"#).contains("version 2, this trainer speaks 1"));
        assert!(complaint(br#"{"version":1,"command":{"name":"dance"}}"#).starts_with("not a command: "));
        for rate in ["0", "-1", "11", "1e300"] {
            let line = format!(r#"{{"version":1,"command":{{"name":"set_learning_rate","learning_rate":{rate}}}}}"#);
            assert!(complaint(line.as_bytes()).contains("must be a number from 1e-12 to 10"), "{rate}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn no_bytes_panic_and_only_a_command_is_one(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0usize..100, byte: u8
        ) {
            prop_assert!(parse(&bytes).is_err());
            let mut request = br#"{"version":1,"command":{"name":"set_learning_rate","learning_rate":0.0005}}"#.to_vec();
            let at = at % request.len();
            request[at] ^= byte;
            if let Ok(command) = parse(&request) {
                let Command::SetLearningRate { learning_rate } = command else { panic!("{command:?}") };
                prop_assert!(check_learning_rate(learning_rate).is_ok());
            }
        }
    }

    #[test]
    fn the_directory_must_be_ours_alone() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("taper");
        assert_eq!(private_directory(&path).unwrap(), path);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        private_directory(&path).unwrap();

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private_directory(&path).unwrap_err().to_string().contains("chmod 700"));

        let link = base.path().join("link");
        std::os::unix::fs::symlink(base.path(), &link).unwrap();
        assert!(private_directory(&link).unwrap_err().to_string().contains("is not a directory"));
        let file = base.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(private_directory(&file).unwrap_err().to_string().contains("is not a directory"));
    }

    #[test]
    fn a_foreign_user_is_turned_away() {
        admit_user(1000, 1000).unwrap();
        assert_eq!(admit_user(1001, 1000).unwrap_err(), "user 1001 may not steer a run of user 1000");
        assert!(admit_user(0, 1000).is_err());
    }

    #[test]
    fn sockets_of_two_runs_differ_and_a_path_is_far_below_the_limit() {
        let base = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| {
            let path = base.path().join(name);
            std::fs::create_dir(&path).unwrap();
            socket_name(&RunDir::at(path)).unwrap()
        });
        assert_ne!(one, two);
        assert!(socket_directory().join(one).as_os_str().len() < 60);
    }
}
