//! Where the system gives too few files, threads or memory, a command works all the same or fails with one line that says
//! what is short; it never panics or hangs.

use std::fs;
use std::process::Output;

use portable_pty::CommandBuilder;
use taper::run::dir::RunDir;
use taper::run::lock::{Liveness, liveness};

use crate::binary::{Dir, Kind, TINY, User, eventually, text};

const FILES: [u32; 8] = [4, 6, 7, 8, 9, 10, 16, 20];
const THREADS: [u32; 7] = [1, 2, 3, 4, 5, 7, 10];

/// A directory of a user whom limits bind, with a finished run.
struct Limited {
    dir: Dir,
    user: User,
}

impl Limited {
    fn new() -> Self {
        let dir = Dir::new();
        let user = User::without_privileges(&dir);
        let train = ["train", "--no-tui", "--name", "run", "--max-steps", "3"];
        dir.command_of(&user, train.into_iter().chain(TINY)).succeed();
        Self { dir, user }
    }

    /// Whether it works under the limit. If not, it says so in one line.
    fn works(&self, limit: &str, args: &[&str]) -> bool {
        let child = self.dir.program(&self.user.limited(limit, args)).spawn();
        let mut child = Some(child);
        let output = eventually("it ends", || {
            let ended = child.as_mut().expect("a child").try_wait().expect("a status").is_some();
            ended.then(|| child.take().expect("a child").wait_with_output().expect("its output"))
        });
        assert_is_told(&output, &format!("{limit}; {args:?}"));
        output.status.success()
    }

    fn trains(&self, limit: &str, watching: &str, name: &str) -> bool {
        let train = ["train", watching, "--max-steps", "3", "--name", name].into_iter().chain(TINY);
        let works = self.works(limit, &train.chain(["--set", "run.threads=2"]).collect::<Vec<_>>());
        let run = self.dir.run(name);
        if works {
            assert_trained(&run, limit);
        }
        works
    }
}

/// It has worked, or one line says what is short and what to do.
fn assert_is_told(output: &Output, what: &str) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(!(out + &err).contains("panicked"), "{what}: {err}");
    if !output.status.success() {
        assert_eq!(output.status.code(), Some(1), "{what}: {err}");
        assert!(err.starts_with("error: ") && err.contains("(ulimit -"), "{what}: {err}");
        assert_eq!(err.lines().count(), 1, "{what}: {err}");
    }
}

/// A trainer that began has come to its end, and said nothing of a panic.
fn assert_trained(run: &RunDir, limit: &str) {
    eventually("the trainer has ended", || (liveness(run) == Liveness::Dead).then_some(()));
    let log = fs::read_to_string(run.trainer_log()).unwrap_or_default();
    assert!(!log.contains("panicked"), "{limit}: {log}");
    let events = fs::read_to_string(run.events()).expect("a log");
    assert!(events.contains("\"outcome\":\"completed\""), "{limit}: {events}");
}

const BENCH: [&str; 12] = [
    "bench",
    "--steps",
    "1",
    "--batch-size",
    "8",
    "--threads",
    "2",
    "--set",
    "model.channels=[4,4,4]",
    "--set",
    "model.hidden=8",
    "--json",
];
const EXPLAIN: [&str; 4] = ["explain", "run", "--image", "1"];

#[test]
fn few_files_are_enough_or_told() {
    let limited = Limited::new();
    for files in FILES {
        let limit = format!("ulimit -n {files}");
        let trained = ["--no-tui", "--detach"].map(|watching| {
            limited.trains(&limit, watching, &format!("files{files}{}", watching.trim_start_matches('-')))
        });
        assert!(files > 8 || trained == [false, false], "{limit}: there is a check in advance");
        limited.works(&limit, &["eval", "run"]);
        limited.works(&limit, &["doctor", "run"]);
    }
    for args in [&["runs"][..], &["doctor"], &EXPLAIN, &BENCH] {
        limited.works("ulimit -n 8", args);
    }
    assert!(limited.trains("ulimit -n 64", "--no-tui", "enough"));
}

#[test]
fn few_threads_are_enough_or_told() {
    let limited = Limited::new();
    for threads in THREADS {
        let limit = format!("ulimit -u {threads}");
        for watching in ["--no-tui", "--detach"] {
            limited.trains(&limit, watching, &format!("threads{threads}{}", watching.trim_start_matches('-')));
        }
        limited.works(&limit, &["eval", "run"]);
        limited.works(&limit, &EXPLAIN);
    }
    for args in [&["runs"][..], &["doctor"], &["doctor", "run"], &BENCH] {
        limited.works("ulimit -u 3", args);
    }
}

#[test]
fn little_memory_is_enough_or_told() {
    let limited = Limited::new();
    // The first is hardly more than the program itself takes.
    for kibibytes in [160_000, 300_000, 500_000, 800_000] {
        let limit = format!("ulimit -v {kibibytes}");
        for watching in ["--no-tui", "--detach"] {
            limited.trains(&limit, watching, &format!("memory{kibibytes}{}", watching.trim_start_matches('-')));
        }
        for args in [&["eval", "run"][..], &["runs"], &EXPLAIN] {
            limited.works(&limit, args);
        }
    }
}

#[test]
fn a_dashboard_under_limits_shows_the_run_or_is_told() {
    let limited = Limited::new();
    let limits =
        [("-n", 6), ("-n", 8), ("-n", 10), ("-n", 20), ("-n", 64), ("-u", 1), ("-u", 3), ("-u", 4), ("-u", 64)];
    for (what, most) in limits {
        let limit = format!("ulimit {what} {most}");
        let argv = limited.user.limited(&limit, &["attach", "run"]);
        let mut command = CommandBuilder::new(&argv[0]);
        command.args(&argv[1..]);
        let mut terminal = limited.dir.in_terminal(Kind::Mute, command);
        let told = eventually("the dashboard, or why not", || {
            let shown = terminal.contents();
            assert!(!shown.contains("panicked"), "{limit}: {shown}");
            let is_refused = shown.contains("(ulimit -");
            (is_refused || shown.contains("completed")).then_some(is_refused)
        });
        if !told {
            terminal.keys("q");
        }
        assert_eq!(terminal.wait().exit_code(), u32::from(told), "{limit}: {}", terminal.contents());
        assert!(told || most > 4, "{limit}: there is a check in advance");
    }
}
