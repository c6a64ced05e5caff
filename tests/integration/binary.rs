//! The real binary, as a shell and as a terminal run it: a temporary [`Dir`] of runs, a [`TestCommand`], a [`Terminal`].

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};
use taper::run::control_file::TrainerAddress;
use taper::run::dir::{RunDir, RunsDir};
use taper::run::event::{Event, Record};
use taper::run::log::{FollowError, Follower};

use crate::mount::Mount;

/// Far more than anything here takes, on a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A network so small that a step takes a millisecond, on the bundled sample.
pub const TINY: [&str; 8] = [
    "--set",
    "model.channels=[4,4,4]",
    "--set",
    "model.hidden=8",
    "--set",
    "data.source=sample",
    "--set",
    "run.threads=1",
];

/// Waits until there is a value, or fails the test.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A working directory with `runs/` in it. Dropped, it ends every trainer that is left.
pub struct Dir {
    /// A disk of its own.
    mount: Option<Mount>,
    dir: tempfile::TempDir,
}

impl Dir {
    pub fn new() -> Self {
        Self { mount: None, dir: tempfile::tempdir().unwrap() }
    }

    /// On a disk of that size; None where no test can have one.
    pub fn on_small_disk(mebibytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        Some(Self { mount: Some(Mount::at(dir.path(), mebibytes)?), dir })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        match &self.mount {
            Some(mount) => mount.seen().join(name),
            None => self.dir.path().join(name),
        }
    }

    /// Nobody on the small disk can make a socket where they usually are.
    pub fn hide_sockets(&self) {
        self.mount.as_ref().expect("a disk of its own").hide_sockets().expect("mounted");
    }

    /// Its small disk takes nothing more, from when nobody writes to it.
    pub fn make_read_only(&self) {
        let mount = self.mount.as_ref().expect("a disk of its own");
        eventually("nobody writes", || mount.make_read_only().ok());
    }

    /// `taper` with these arguments, as whoever is on the disk executes it.
    fn argv(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Vec<OsString> {
        let taper = OsStr::new(env!("CARGO_BIN_EXE_taper"));
        match &self.mount {
            Some(mount) => mount.enter(taper, args),
            None => std::iter::once(taper.to_owned()).chain(args.into_iter().map(|arg| arg.as_ref().into())).collect(),
        }
    }

    pub fn runs(&self) -> RunsDir {
        RunsDir::at(self.path("runs"))
    }

    pub fn run(&self, name: &str) -> RunDir {
        RunDir::at(self.runs().path().join(name))
    }

    /// `taper` with these arguments, in this directory.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> TestCommand {
        let argv = self.argv(args);
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).current_dir(self.dir.path()).stdin(Stdio::null());
        for name in ["TAPER_RUNS_DIR", "TAPER_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        TestCommand { command }
    }

    /// `taper` with these arguments, as another user.
    pub fn command_of(&self, user: &User, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> TestCommand {
        let mut command = Command::new(&user.taper);
        if let Some(id) = user.id {
            command.uid(id).gid(id);
        }
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        for name in ["TAPER_RUNS_DIR", "TAPER_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        TestCommand { command }
    }

    /// Any program.
    pub fn program(&self, argv: &[String]) -> TestCommand {
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]).current_dir(self.dir.path()).stdin(Stdio::null());
        for name in ["TAPER_RUNS_DIR", "TAPER_LOG", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        TestCommand { command }
    }

    /// `taper` with these arguments, for [`Dir::bash`].
    pub fn shell_words(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
        let quoted = self.argv(args).into_iter().map(|word| format!("'{}'", word.to_string_lossy()));
        quoted.collect::<Vec<_>>().join(" ")
    }

    /// A line of bash, in this directory.
    pub fn bash(&self, line: &str) -> TestCommand {
        let mut command = Command::new("bash");
        command.arg("-c").arg(line).current_dir(self.dir.path()).stdin(Stdio::null());
        TestCommand { command }
    }

    /// Starts a tiny run, detached, that goes on for as long as a test may take.
    pub fn start(&self, name: &str) -> RunDir {
        self.command(["train", "--detach", "--epochs", "100000", "--name", name].into_iter().chain(TINY)).succeed();
        self.run(name)
    }

    /// `taper` in a terminal of 120 x 40 that answers nothing.
    pub fn terminal(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Terminal {
        self.terminal_of(Kind::Mute, args)
    }

    /// `taper` in such a terminal of 120 x 40, with characters of 8 x 16 pixels.
    pub fn terminal_of(&self, kind: Kind, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Terminal {
        let argv = self.argv(args);
        let mut command = CommandBuilder::new(&argv[0]);
        command.args(&argv[1..]);
        self.in_terminal(kind, command)
    }

    /// What the `tmux` of [`Kind::TmuxInKitty`] answers from now on, whatever it is asked.
    pub fn tmux_answers(&self, answer: &str) {
        let (program, answers) = (self.path("bin/tmux"), self.path("bin/answer"));
        fs::create_dir_all(self.path("bin")).unwrap();
        // All of it at once.
        fs::write(self.path("bin/next"), answer).unwrap();
        fs::rename(self.path("bin/next"), &answers).unwrap();
        fs::write(&program, format!("#!/bin/sh\nexec cat '{}'\n", answers.display())).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    }

    /// Any program, likewise.
    pub fn in_terminal(&self, kind: Kind, mut command: CommandBuilder) -> Terminal {
        let size = PtySize { rows: 40, cols: 120, pixel_width: 120 * 8, pixel_height: 40 * 16 };
        let pty = native_pty_system().openpty(size).unwrap();
        command.cwd(self.dir.path());
        command.env("TERM", "xterm-256color");
        command.env("LC_ALL", "C.UTF-8");
        for name in ["TAPER_RUNS_DIR", "TAPER_LOG", "TAPER_IMAGES", "TAPER_THEME", "RUST_BACKTRACE"] {
            command.env_remove(name);
        }
        for name in [
            "TMUX",
            "TMUX_PANE",
            "STY",
            "NO_COLOR",
            "COLORTERM",
            "TERM_PROGRAM",
            "LC_TERMINAL",
            "KONSOLE_VERSION",
            "COLORFGBG",
        ] {
            command.env_remove(name);
        }
        match kind {
            Kind::Iterm2 => command.env("TERM_PROGRAM", "iTerm.app"),
            Kind::TrueColour | Kind::Light => command.env("COLORTERM", "truecolor"),
            Kind::Latin1 => command.env("LC_ALL", "C"),
            Kind::TmuxInKitty => {
                command.env("TERM", "tmux-256color");
                command.env("TMUX", "/tmp/tmux-0/default,1,0");
                command.env("TMUX_PANE", "%0");
                let path = std::env::var_os("PATH").unwrap_or_default();
                let programs = std::env::split_paths(&path);
                command.env("PATH", std::env::join_paths([self.path("bin")].into_iter().chain(programs)).unwrap());
            }
            Kind::Mute | Kind::Plain | Kind::Kitty | Kind::Sixel => {}
        }
        let child = pty.slave.spawn_command(command).unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
        let screen =
            Arc::new(Mutex::new(vt100::Parser::new_with_callbacks(size.rows, size.cols, 500, Calls::default())));
        let keys = Arc::new(Mutex::new(pty.master.take_writer().unwrap()));
        let received = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(AtomicBool::new(true));
        let (drawn, answers, kept, still_open) =
            (screen.clone(), Arc::downgrade(&keys), received.clone(), open.clone());
        let unread = Arc::new(AtomicBool::new(false));
        let held_up = unread.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            let mut answered = 0;
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                while held_up.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(5));
                }
                drawn.lock().unwrap().process(&bytes[..count]);
                let mut kept = kept.lock().unwrap();
                kept.extend_from_slice(&bytes[..count]);
                answered += kind.answer(&kept[answered..], &mut |answer| {
                    if let Some(keys) = answers.upgrade() {
                        let _ = keys.lock().unwrap().write_all(answer);
                    }
                });
                if !still_open.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Terminal { child, screen, received, open, unread, side: Some((pty.master, keys)) }
    }
}

/// Somebody for whom permissions and limits count, as they do not for root.
pub struct User {
    /// None: whoever runs the tests.
    id: Option<u32>,
    /// A `taper` that may be executed.
    taper: PathBuf,
}

impl User {
    /// To whom the directory belongs from now on. Nobody else is the same user, so that limits count for one test alone.
    pub fn without_privileges(dir: &Dir) -> Self {
        static USERS: AtomicU32 = AtomicU32::new(0);
        let number = 16 * std::process::id() + USERS.fetch_add(1, Ordering::SeqCst);
        let id = 20_000 + number % 40_000;
        let taper = PathBuf::from(env!("CARGO_BIN_EXE_taper"));
        if !rustix::process::geteuid().is_root() {
            return Self { id: None, taper };
        }
        let folder = dir.dir.path();
        fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("opened");
        let mut user = Self { id: Some(id), taper };
        user.owns(folder);
        // The build may lie where nobody else may look.
        if !dir.command_of(&user, ["--version"]).command.output().is_ok_and(|output| output.status.success()) {
            let copy = folder.join("taper");
            fs::copy(&user.taper, &copy).expect("copied");
            fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("opened");
            user.taper = copy;
        }
        user
    }

    /// Makes a file or folder the user's own.
    pub fn owns(&self, path: &Path) {
        if let Some(id) = self.id {
            chown(path, Some(id), Some(id)).expect("given");
        }
    }

    /// `taper` with these arguments as this user, in a terminal or under a limit that bash sets, such as `ulimit -n 8`.
    pub fn limited(&self, limit: &str, args: &[&str]) -> Vec<String> {
        let id = self.id.map(|id| id.to_string());
        let user = id.iter().flat_map(|id| ["setpriv", "--reuid", id, "--regid", id, "--clear-groups"]);
        let line = format!("{limit}; exec \"$@\"");
        let bash = ["bash", "-c", &line, "bash"].map(str::to_owned);
        let taper = self.taper.display().to_string();
        user.map(str::to_owned).chain(bash).chain([taper]).chain(args.iter().map(|&arg| arg.to_owned())).collect()
    }
}

/// How a terminal answers questions about images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not at all.
    Mute,
    /// That it is a terminal, no more.
    Plain,
    /// The same; of its colours its environment tells.
    TrueColour,
    /// The same, on a white background.
    Light,
    /// It takes every byte for a character.
    Latin1,
    Kitty,
    /// As one with sixel; of its own images its environment tells.
    Iterm2,
    Sixel,
    /// A pane of a tmux that passes on to kitty what is meant for it; `tmux` has to be given its answers.
    TmuxInKitty,
}

impl Kind {
    /// Answers the questions in what was `received`; returns up to where there are no more of them.
    fn answer(self, received: &[u8], answer: &mut dyn FnMut(&[u8])) -> usize {
        const GRAPHICS: &[u8] = b"\x1b_Gi=";
        const ATTRIBUTES: &[u8] = b"\x1b[c";
        const VERSION: &[u8] = b"\x1b[>q";
        const PASSTHROUGH: &[u8] = b"\x1bPtmux;";
        const BACKGROUND: &[u8] = b"\x1b]11;?\x1b\\";
        const CURSOR: &[u8] = b"\x1b[6n";
        let mut done = 0;
        while let Some(start) = received[done..].iter().position(|&byte| byte == 0x1b) {
            let question = &received[done + start..];
            if self == Kind::TmuxInKitty
                && let Some(body) = question.strip_prefix(PASSTHROUGH)
            {
                let Some((inner, length)) = passed_through(body) else { return done + start };
                Kind::Kitty.answer(&inner, answer);
                done += start + PASSTHROUGH.len() + length;
            } else if question.starts_with(VERSION) {
                if self == Kind::Kitty {
                    answer(b"\x1bP>|kitty(0.41.1)\x1b\\");
                }
                done += start + VERSION.len();
            } else if let Some(body) = question.strip_prefix(GRAPHICS) {
                let Some(end) = body.windows(2).position(|end| end == b"\x1b\\") else { return done + start };
                let number: Vec<u8> = body.iter().copied().take_while(u8::is_ascii_digit).collect();
                if self == Kind::Kitty {
                    answer(&[b"\x1b_Gi=".as_slice(), &number, b";OK\x1b\\"].concat());
                }
                done += start + GRAPHICS.len() + end + 2;
            } else if question.starts_with(ATTRIBUTES) {
                match self {
                    Kind::Mute => {}
                    Kind::Plain | Kind::TrueColour | Kind::Light | Kind::Latin1 | Kind::Kitty => answer(b"\x1b[?62;c"),
                    Kind::TmuxInKitty => answer(b"\x1b[?1;2c"),
                    Kind::Iterm2 | Kind::Sixel => answer(b"\x1b[?63;1;2;4;22c"),
                }
                done += start + ATTRIBUTES.len();
            } else if question.starts_with(BACKGROUND) {
                if self == Kind::Light {
                    answer(b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\");
                }
                done += start + BACKGROUND.len();
            } else if question.starts_with(CURSOR) {
                if self == Kind::Latin1 {
                    answer(b"\x1b[1;3R");
                }
                done += start + CURSOR.len();
            } else if [GRAPHICS, ATTRIBUTES, BACKGROUND, CURSOR, VERSION, PASSTHROUGH]
                .iter()
                .any(|whole| whole.starts_with(question))
            {
                return done + start;
            } else {
                done += start + 1;
            }
        }
        received.len()
    }
}

/// What tmux passes on of what follows `ESC P tmux;`, with each ESC once, and how many bytes that took. `None`: its end is
/// not there yet.
pub fn passed_through(body: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut inner, mut place) = (vec![], 0);
    loop {
        match body.get(place..)? {
            [0x1b, b'\\', ..] => return Some((inner, place + 2)),
            [0x1b, 0x1b, ..] => {
                inner.push(0x1b);
                place += 2;
            }
            [0x1b] | [] => return None,
            [byte, ..] => {
                inner.push(*byte);
                place += 1;
            }
        }
    }
}

/// Kills every trainer of these runs.
pub fn end_trainers(runs: &RunsDir) {
    for run in runs.list().unwrap_or_default() {
        // The file is there as long as the trainer is.
        if let Some(control) = TrainerAddress::read(&run)
            && let Some(pid) = Pid::from_raw(control.process.pid as i32)
            && control.process.is_alive()
        {
            let _ = kill_process(pid, Signal::KILL);
            let _ = std::fs::remove_file(&control.socket);
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        end_trainers(&self.runs());
    }
}

pub struct TestCommand {
    command: Command,
}

impl TestCommand {
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.command.stdin(stdin);
        self
    }

    pub fn output(mut self) -> Output {
        self.command.output().unwrap()
    }

    /// Runs it to its end in the background.
    pub fn spawn(mut self) -> std::process::Child {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// What it wrote to stdout; it must have ended with 0.
    pub fn succeed(self) -> String {
        let output = self.output();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{}\nstdout: {out}\nstderr: {err}", output.status);
        out
    }

    /// What it wrote to stderr; it must have ended with `code`, and without a panic.
    pub fn fail(self, code: i32) -> String {
        let output = self.output();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "stdout: {out}\nstderr: {err}");
        assert!(err.starts_with("error: ") && !err.contains("panicked"), "stderr: {err}");
        err
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How often the bell rang, and what else called for attention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub bells: usize,
    /// By `OSC 9`.
    pub notifications: Vec<String>,
}

impl vt100::Callbacks for Calls {
    fn audible_bell(&mut self, _: &mut vt100::Screen) {
        self.bells += 1;
    }

    fn unhandled_osc(&mut self, _: &mut vt100::Screen, params: &[&[u8]]) {
        if let [b"9", text] = params {
            self.notifications.push(String::from_utf8_lossy(text).into_owned());
        }
    }
}

/// Of which a thread that answers for the terminal has one too.
type Keys = Arc<Mutex<Box<dyn Write + Send>>>;

/// A terminal with `taper` in it, and what it shows.
pub struct Terminal {
    child: Box<dyn portable_pty::Child + Send + Sync>,
    screen: Arc<Mutex<vt100::Parser<Calls>>>,
    /// All that was ever written to it.
    received: Arc<Mutex<Vec<u8>>>,
    /// Cleared, the thread that reads lets go of our side too, when the program next draws.
    open: Arc<AtomicBool>,
    /// Set, the thread that reads waits.
    unread: Arc<AtomicBool>,
    /// Our side; without it the terminal is closed.
    side: Option<(Box<dyn MasterPty + Send>, Keys)>,
}

impl Terminal {
    pub fn contents(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Row, column, text and colour of every cell.
    pub fn cells(&self) -> Vec<(usize, usize, String, vt100::Color)> {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let cell = |(row, column)| {
            let cell = screen.cell(row, column)?;
            Some((row.into(), column.into(), cell.contents().to_owned(), cell.fgcolor()))
        };
        places.filter_map(cell).collect()
    }

    pub fn calls(&self) -> Calls {
        self.screen.lock().unwrap().callbacks().clone()
    }

    pub fn received(&self) -> Vec<u8> {
        self.received.lock().unwrap().clone()
    }

    pub fn resize(&self, rows: u16, cols: u16) {
        let (master, _) = self.side.as_ref().expect("the terminal is open");
        self.screen.lock().unwrap().screen_mut().set_size(rows, cols);
        master.resize(PtySize { rows, cols, pixel_width: cols * 8, pixel_height: rows * 16 }).unwrap();
    }

    pub fn wait_for(&self, shown: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.contents().contains(shown) {
            assert!(Instant::now() < deadline, "{shown:?} is not shown:\n{}", self.contents());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn keys(&mut self, keys: &str) {
        let (_, writer) = self.side.as_ref().expect("the terminal is open");
        let mut writer = writer.lock().unwrap();
        writer.write_all(keys.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    /// A program has switched to the alternate screen, or hides the cursor.
    pub fn is_taken(&self) -> bool {
        let parser = self.screen.lock().unwrap();
        parser.screen().alternate_screen() || parser.screen().hide_cursor()
    }

    /// As a terminal that hangs: what is written to it stays in its buffer, until that is full.
    pub fn stop_reading(&self) {
        self.unread.store(true, Ordering::SeqCst);
    }

    pub fn go_on_reading(&self) {
        self.unread.store(false, Ordering::SeqCst);
    }

    /// As a terminal window that is closed, or a connection that drops.
    pub fn close(&mut self) {
        self.open.store(false, Ordering::SeqCst);
        self.side = None;
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.process_id().unwrap() as i32).unwrap()
    }

    pub fn wait(&mut self) -> portable_pty::ExitStatus {
        eventually("the program in the terminal ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The whole log of a run.
pub fn records(run: &RunDir) -> Vec<Record> {
    let mut log = Follower::new(run.events());
    let mut all = Vec::new();
    loop {
        match log.read(1 << 20) {
            Ok(records) if records.is_empty() => return all,
            Ok(records) => all.extend(records),
            // While it was read.
            Err(FollowError::Replaced { .. }) => (log, all) = (Follower::new(run.events()), Vec::new()),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Optimizer steps in the log.
pub fn steps(run: &RunDir) -> u64 {
    let mut steps = records(run).into_iter().rev().filter_map(|record| match record.event {
        Event::StepsDone(steps) => Some(steps.first_step + steps.losses.len() as u64 - 1),
        _ => None,
    });
    steps.next().unwrap_or(0)
}

/// Waits until the run has taken `more` steps from now on.
pub fn wait_for_steps(run: &RunDir, more: u64) {
    let goal = steps(run) + more;
    eventually("the run takes steps", || (steps(run) >= goal).then_some(()));
}

/// Waits for the run's latest event of a kind.
pub fn wait_for_event<T>(run: &RunDir, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
    eventually(what, || records(run).iter().rev().find_map(|record| pick(&record.event)))
}

/// Waits for a process that is no child of ours to be gone.
pub fn wait_for_end_of(pid: u32) {
    eventually("the process ends", || {
        let pid = Pid::from_raw(pid as i32).unwrap();
        rustix::process::test_kill_process(pid).is_err().then_some(())
    });
}
