//! The control socket, by raw bytes as well as by its client, before a trainer that is played by the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Pid, Signal, kill_process};
use taper::run::control_file::TrainerAddress;
use taper::run::dir::RunDir;
use taper::run::event::{Command, Event};
use taper::run::held_dir::HeldRunDir;
use taper::run::lock::RunLock;
use taper::run::socket::{MAX_CONNECTIONS, MAX_LINE_BYTES, Reply, Request, SendError, bind, send, serve};

use crate::binary::{Dir, TINY, eventually, records, wait_for_end_of, wait_for_steps};
use crate::exactness::trainer_pid;
use crate::soak::{TRAINER_MORE_KB, Usage};

const PAUSE: &[u8] = b"{\"version\":1,\"command\":{\"name\":\"pause\"}}\n";

/// A run that is served, until it is dropped.
struct Served {
    dir: tempfile::TempDir,
    lock: Option<RunLock>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    server: Option<JoinHandle<std::io::Result<()>>>,
}

impl Served {
    /// Every request goes to `trainer`, on a thread of its own.
    fn by(trainer: impl FnMut(Request) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path());
        let lock = RunLock::acquire(&run).unwrap();
        let listener = bind(HeldRunDir::hold(&run).unwrap()).unwrap();
        let (requests, received) = mpsc::channel::<Request>();
        thread::spawn(move || received.into_iter().for_each(trainer));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let server = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, requests, async {
                let _ = stopped.await;
            }))
        });
        Self { dir, lock: Some(lock), stop: Some(stop), server: Some(server) }
    }

    /// Does at once what it is told.
    fn obedient() -> Self {
        Self::by(|request| {
            let message = format!("{:?}", request.command);
            let _ = request.reply.send(Reply::Done { message });
        })
    }

    fn run(&self) -> RunDir {
        RunDir::at(self.dir.path())
    }

    fn connect(&self) -> Client {
        let socket = TrainerAddress::read(&self.run()).unwrap().socket;
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Client { stream: BufReader::new(stream) }
    }

    fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        if let Some(server) = self.server.take() {
            server.join().unwrap().unwrap();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.server.take().map(JoinHandle::join);
    }
}

/// Raw bytes.
struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// The next line as JSON; None when the server has closed.
    fn reply(&mut self) -> Option<serde_json::Value> {
        let mut line = String::new();
        // A connection that is closed on unread bytes is reset.
        let count = self.stream.read_line(&mut line).unwrap_or(0);
        (count > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    fn error(&mut self) -> String {
        let reply = self.reply().expect("a reply");
        assert_eq!(reply["reply"], "error", "{reply}");
        reply["message"].as_str().unwrap().to_owned()
    }

    fn done(&mut self) -> String {
        let reply = self.reply().expect("a reply");
        assert_eq!(reply["reply"], "done", "{reply}");
        reply["message"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_client_is_answered_when_it_is_done() {
    let served = Served::obedient();
    let done = |message: &str| Reply::Done { message: message.into() };
    assert_eq!(send(&served.run(), Command::Pause).unwrap(), done("Pause"));
    let set = Command::SetLearningRate { learning_rate: 5e-4 };
    assert_eq!(send(&served.run(), set).unwrap(), done("SetLearningRate { learning_rate: 0.0005 }"));
}

#[test]
fn raw_lines_are_answered_as_documented_one_by_one() {
    let served = Served::obedient();
    let mut client = served.connect();
    client.write(PAUSE);
    assert_eq!(client.reply().unwrap(), serde_json::json!({"reply": "done", "message": "Pause"}));
    // Two at once, the second in two pieces.
    client.write(&[PAUSE, &PAUSE[..7]].concat());
    assert_eq!(client.done(), "Pause");
    client.write(&PAUSE[7..]);
    assert_eq!(client.done(), "Pause");
}

#[test]
fn garbage_is_told_and_the_connection_goes_on() {
    let served = Served::obedient();
    let mut client = served.connect();
    for garbage in [&b"pause\n"[..], b"\n", b"\xff\x00\xfe\n", b"{}\n", b"[1,2]\n", b"{\"version\":1}\n"] {
        client.write(garbage);
        assert!(client.error().starts_with("not a request: "), "{garbage:?}");
    }
    client.write(b"{\"version\":1,\"command\":{\"name\":\"dance\"}}\n");
    assert!(client.error().contains("dance"));
    client.write(b"{\"version\":7,\"command\":{\"name\":\"pause\"}}\n");
    assert_eq!(client.error(), "the request is of version 7, this trainer speaks 1");
    client.write(b"{\"version\":1,\"command\":{\"name\":\"set_learning_rate\",\"learning_rate\":-1}}\n");
    assert!(client.error().contains("must be a number"));
    client.write(PAUSE);
    assert_eq!(client.done(), "Pause");
}

#[test]
fn half_a_line_and_goodbye() {
    let served = Served::obedient();
    let mut client = served.connect();
    client.write(&PAUSE[..10]);
    client.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.reply(), None);
    assert_eq!(send(&served.run(), Command::Pause).unwrap(), Reply::Done { message: "Pause".into() });
}

#[test]
fn an_overlong_line_ends_its_connection_and_no_other() {
    let served = Served::obedient();
    let mut other = served.connect();
    let mut client = served.connect();
    // The server may close before all of it is written.
    let _ = client.stream.get_mut().write_all(&vec![b'x'; 4 * MAX_LINE_BYTES]);
    assert!(client.error().contains("at most 65536 bytes"));
    assert_eq!(client.reply(), None);
    other.write(PAUSE);
    assert_eq!(other.done(), "Pause");
}

#[test]
fn the_longest_line_is_still_read() {
    let served = Served::obedient();
    let mut client = served.connect();
    let mut line = PAUSE[..PAUSE.len() - 1].to_vec();
    line.resize(MAX_LINE_BYTES - 1, b' ');
    line.push(b'\n');
    client.write(&line);
    assert_eq!(client.done(), "Pause");
}

#[test]
fn an_idle_client_makes_room() {
    let served = Served::obedient();
    let mut idle: Vec<Client> = (0..MAX_CONNECTIONS).map(|_| served.connect()).collect();
    assert_eq!(send(&served.run(), Command::Pause).unwrap(), Reply::Done { message: "Pause".into() });
    for client in &mut idle {
        assert_eq!(client.error(), "no request for 5 s; closing");
        assert_eq!(client.reply(), None);
    }
}

#[test]
fn a_client_beyond_the_limit_waits_for_room() {
    let (asked, has_asked) = mpsc::channel();
    let served = Served::by(move |request| asked.send(request).unwrap());
    let mut clients: Vec<Client> = (0..MAX_CONNECTIONS).map(|_| served.connect()).collect();
    clients.iter_mut().for_each(|client| client.write(PAUSE));
    let received = || has_asked.recv_timeout(Duration::from_secs(30)).unwrap();
    let mut waiting: Vec<Request> = (0..MAX_CONNECTIONS).map(|_| received()).collect();
    let mut one_more = served.connect();
    one_more.write(PAUSE);
    for request in waiting.drain(..) {
        assert!(has_asked.try_recv().is_err(), "nobody else is heard before there is room");
        let _ = request.reply.send(Reply::Done { message: "at last".into() });
        if let Ok(last) = has_asked.recv_timeout(Duration::from_secs(30)) {
            let _ = last.reply.send(Reply::Done { message: "the last".into() });
            break;
        }
    }
    assert_eq!(one_more.done(), "the last");
}

#[test]
fn a_client_that_never_reads_harms_nobody() {
    let served = Served::obedient();
    let mut silent = served.connect();
    silent.stream.get_mut().set_nonblocking(true).unwrap();
    // Until the replies that it does not read are in the way of its requests.
    while silent.stream.get_mut().write(PAUSE).is_ok() {}
    assert_eq!(send(&served.run(), Command::Pause).unwrap(), Reply::Done { message: "Pause".into() });
}

#[test]
fn shutdown_answers_a_command_under_way() {
    let (asked, has_asked) = mpsc::channel();
    let (answer, may_answer) = mpsc::channel::<()>();
    let mut served = Served::by(move |request| {
        asked.send(()).unwrap();
        may_answer.recv().unwrap();
        let _ = request.reply.send(Reply::Done { message: "stopped".into() });
    });
    let (mut waiting, mut idle) = (served.connect(), served.connect());
    waiting.write(b"{\"version\":1,\"command\":{\"name\":\"stop\"}}\n");
    has_asked.recv_timeout(Duration::from_secs(30)).unwrap();
    let _ = served.stop.take().map(|stop| stop.send(()));
    assert_eq!(idle.reply(), None);
    answer.send(()).unwrap();
    assert_eq!(waiting.done(), "stopped");
    served.stop();
}

#[test]
fn a_trainer_that_drops_a_request_leaves_nobody_waiting() {
    let served = Served::by(drop);
    let Reply::Error { message } = send(&served.run(), Command::Checkpoint).unwrap() else { panic!("it was done") };
    assert_eq!(message, "the trainer ended before it carried out the command");
}

#[test]
fn the_end_removes_socket_and_control() {
    let mut served = Served::obedient();
    let socket = TrainerAddress::read(&served.run()).unwrap().socket;
    assert!(socket.exists());
    served.stop();
    assert!(!socket.exists() && !served.run().control().exists());
    assert!(matches!(send(&served.run(), Command::Pause), Err(SendError::NoAnswer { .. })), "starting or ending");
    served.lock = None;
    let error = send(&served.run(), Command::Pause).unwrap_err().to_string();
    assert!(error.contains("has no live trainer; to go on with it: taper resume"), "{error}");
}

#[test]
fn the_socket_of_a_killed_trainer_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::at(dir.path());
    let _lock = RunLock::acquire(&run).unwrap();
    let killed = bind(HeldRunDir::hold(&run).unwrap()).unwrap();
    let socket = TrainerAddress::read(&run).unwrap().socket;
    // Killed: its listener never runs its destructor.
    std::mem::forget(killed);
    assert!(socket.exists());
    let again = bind(HeldRunDir::hold(&run).unwrap()).unwrap();
    assert_eq!(TrainerAddress::read(&run).unwrap().socket, socket);
    drop(again);
}

#[test]
fn a_stale_control_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::at(dir.path());
    let _lock = RunLock::acquire(&run).unwrap();
    let mut address = TrainerAddress::own(dir.path().join("nobody"));
    address.write(&run).unwrap();
    assert!(matches!(send(&run, Command::Pause), Err(SendError::Unreachable { .. })));
    address.process.host = "node7".into();
    address.write(&run).unwrap();
    let error = send(&run, Command::Pause).unwrap_err().to_string();
    assert!(error.contains("on host node7, and can be commanded only from there"), "{error}");
}

#[test]
fn a_server_that_babbles_is_no_trainer() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::at(dir.path());
    let _lock = RunLock::acquire(&run).unwrap();
    let socket = dir.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    TrainerAddress::own(socket).write(&run).unwrap();
    let babbler = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        // Without end; the client need not hear it all.
        let _ = stream.write_all(&vec![b'x'; 2 * MAX_LINE_BYTES]);
    });
    assert!(matches!(send(&run, Command::Pause), Err(SendError::NoAnswer { .. })));
    babbler.join().unwrap();
}

#[test]
fn a_flood_of_lines_blocks_no_other_client() {
    let served = Served::obedient();
    let mut flooding = served.connect();
    flooding.stream.get_mut().set_nonblocking(true).unwrap();
    let flood = PAUSE.repeat(1000);
    while flooding.stream.get_mut().write(&flood).is_ok() {}
    assert_eq!(send(&served.run(), Command::Probe).unwrap(), Reply::Done { message: "Probe".into() });
}

#[test]
fn an_endless_line_is_cut_off() {
    let served = Served::obedient();
    for _ in 0..20 {
        let mut client = served.connect();
        client.stream.get_ref().set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        let block = [b'x'; 1 << 16];
        // A gigabyte, were it taken.
        let taken = (0..1 << 14).take_while(|_| client.stream.get_mut().write_all(&block).is_ok()).count();
        // What the system keeps of a connection is some hundred kilobytes.
        assert!(taken < 32, "{taken} blocks");
    }
    assert_eq!(send(&served.run(), Command::Pause).unwrap(), Reply::Done { message: "Pause".into() });
}

/// A thousand clients, each up to something else. Those that find the socket's queue full leave at once.
fn crowd(socket: &Path) -> Vec<UnixStream> {
    let address = SocketAddrUnix::new(socket).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut clients = Vec::new();
    for number in 0..1000 {
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        if connect(&stream, &address).is_err() {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let mut stream = UnixStream::from(stream);
        match number % 5 {
            0 => {
                let mut bytes = vec![0; 1 << 16];
                random.fill_bytes(&mut bytes);
                let _ = stream.write_all(&bytes);
            }
            1 => drop(stream.write_all(&PAUSE[..10])),
            2 => while stream.write(&[b'x'; 1 << 16]).is_ok() {},
            // Asks, and does not read.
            3 => {
                let many = b"{\"version\":1,\"command\":{\"name\":\"resume\"}}\n".repeat(1000);
                while stream.write(&many).is_ok() {}
            }
            // Says nothing.
            _ => {}
        }
        clients.push(stream);
    }
    clients
}

#[test]
fn a_thousand_bad_clients_stop_nothing() {
    let dir = Dir::new();
    let run = dir.start("far");
    let address = TrainerAddress::read(&run).unwrap();
    let trainer = trainer_pid(&run);
    wait_for_steps(&run, 50);
    let before = Usage::of(trainer);
    let crowd = crowd(&address.socket);
    assert!(crowd.len() > MAX_CONNECTIONS, "{}", crowd.len());
    wait_for_steps(&run, 50);
    assert!(dir.command(["checkpoint", "far"]).succeed().contains("saved checkpoint "));
    wait_for_steps(&run, 50);
    let grown_kb = Usage::of(trainer).resident_kb.saturating_sub(before.resident_kb);
    assert!(grown_kb < (64 << 10) + TRAINER_MORE_KB, "{} MiB", grown_kb >> 10);
    drop(crowd);
    assert!(dir.command(["stop", "far"]).succeed().contains("stopped at step "));
}

#[test]
fn a_stopped_trainer_is_told_and_its_silence_shown() {
    let dir = Dir::new();
    let run = dir.start("frozen");
    wait_for_steps(&run, 3);
    let pid = trainer_pid(&run);
    let mut terminal = dir.terminal(["attach", "frozen"]);
    terminal.wait_for("● training");
    kill_process(pid, Signal::STOP).expect("stopped");
    let told =
        format!("run frozen is stopped, by SIGSTOP or Ctrl-Z; to let it go on: kill -CONT {}", pid.as_raw_nonzero());
    let asked = Instant::now();
    for command in ["pause", "checkpoint", "stop"] {
        let error = dir.command([command, "frozen"]).fail(1);
        assert!(error.contains(&told), "{error}");
    }
    // The client waits two minutes for a trainer that is busy.
    assert!(asked.elapsed() < Duration::from_secs(60), "{:?}", asked.elapsed());
    terminal.wait_for(", silent for ");
    let listed = dir.command(["runs"]).succeed();
    assert!(listed.contains("training, silent for ") || listed.contains("evaluating, silent for "), "{listed}");
    kill_process(pid, Signal::CONT).expect("continued");
    dir.command(["stop", "frozen"]).succeed();
    terminal.wait_for("stopped");
    terminal.keys("q");
    assert!(terminal.wait().success());
}

#[test]
fn a_socket_that_was_tidied_away_is_made_again() {
    let dir = Dir::new();
    let run = dir.start("tidied");
    wait_for_steps(&run, 3);
    let socket = TrainerAddress::read(&run).expect("live").socket;
    std::fs::remove_file(&socket).expect("removed");
    eventually("there is a socket again", || socket.exists().then_some(()));
    dir.command(["stop", "tidied"]).succeed();
}

#[test]
fn a_run_trains_without_its_usual_place_for_a_socket() {
    let Some(dir) = Dir::on_small_disk(64) else { return };
    dir.hide_sockets();
    let start = |name, runs: &str| {
        let args = ["train", "--detach", "--epochs", "100000", "--name", name, "--runs-dir", runs];
        let command = dir.command(args.into_iter().chain(TINY));
        command.env("XDG_RUNTIME_DIR", "relative").env("TMPDIR", "relative").succeed();
    };
    let address = |run: &RunDir| eventually("a live trainer", || TrainerAddress::read(run));

    start("near", "runs");
    let run = dir.run("near");
    let socket = address(&run).socket;
    assert_eq!(socket.parent().and_then(Path::file_name), Some(".socket".as_ref()), "{socket:?}");
    dir.command(["stop", "near"]).succeed();

    // Too far down for a socket's path.
    let deep = format!("runs/{}", "deep/".repeat(20));
    start("far", &deep);
    let run = RunDir::at(dir.path(&deep).join("far"));
    let pid = address(&run).process.pid;
    let error = dir.command(["pause", "far", "--runs-dir", &deep]).fail(1);
    assert!(
        error.contains(&format!("found no place for a control socket; to save and end it: kill -TERM {pid}")),
        "{error}"
    );
    let notice = records(&run).into_iter().find_map(|record| match record.event {
        Event::RunStarted(started) => started.notice,
        _ => None,
    });
    let notice = notice.expect("a notice");
    assert!(notice.contains("/tmp/taper-") && notice.contains("no command reaches this run"), "{notice}");
    kill_process(Pid::from_raw(pid as i32).expect("a process"), Signal::TERM).expect("it is there");
    eventually("it ends", || records(&run).into_iter().find(|record| matches!(record.event, Event::RunEnded { .. })));
    wait_for_end_of(pid);
}
