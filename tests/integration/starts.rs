//! A start that is called off: a signal at any moment between the shell and the first step ends it within a second or so, is
//! told in a line, and leaves nothing half done.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Output};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::{Pid, Signal, kill_process};
use taper::run::dir::RunDir;
use taper::run::event::{Event, Outcome};
use taper::run::lock::{Liveness, holder, liveness};
use taper::train::checkpoint;

use crate::binary::{Dir, TINY, eventually, records, steps, text};

/// Far longer than an end takes, and far shorter than a start does.
const AT_ONCE: Duration = Duration::from_millis(2500);

/// Images that take some seconds to read, and more to hash, but hardly any space.
fn write_slow_data(dir: &Dir) {
    const IMAGES: usize = 400_000;
    let folder = dir.path("data");
    fs::create_dir(&folder).expect("a folder");
    let write = |name: &str, sizes: &[usize]| {
        let mut header = vec![0, 0, 8, sizes.len() as u8];
        header.extend(sizes.iter().flat_map(|&size| (size as u32).to_be_bytes()));
        let mut file = GzEncoder::new(fs::File::create(folder.join(name)).expect("a file"), Compression::fast());
        file.write_all(&header).expect("written");
        file.write_all(&vec![0; sizes.iter().product()]).expect("written");
        file.finish().expect("written");
    };
    write("train-images-idx3-ubyte.gz", &[IMAGES, 28, 28]);
    write("train-labels-idx1-ubyte.gz", &[IMAGES]);
    write("t10k-images-idx3-ubyte.gz", &[10, 28, 28]);
    write("t10k-labels-idx1-ubyte.gz", &[10]);
}

/// A tiny network on those images.
const SLOW: [&str; 8] = [
    "--set",
    "model.channels=[4,4,4]",
    "--set",
    "model.hidden=8",
    "--set",
    "data.source=idx",
    "--set",
    "run.threads=1",
];

/// When a signal comes.
#[derive(Clone, Copy, Debug)]
enum When {
    /// That long after the program was started.
    After(u64),
    /// As soon as the run has that file.
    FileIsThere(&'static str),
}

const MOMENTS: [When; 14] = [
    When::After(0),
    When::After(2),
    When::After(5),
    When::After(10),
    When::After(15),
    When::After(25),
    When::After(40),
    When::After(70),
    When::After(150),
    When::After(300),
    When::FileIsThere("config.toml"),
    When::FileIsThere("lock"),
    When::FileIsThere("control"),
    When::FileIsThere("checkpoints"),
];

impl When {
    fn wait(self, run: &RunDir) {
        match self {
            Self::After(milliseconds) => thread::sleep(Duration::from_millis(milliseconds)),
            Self::FileIsThere(name) => eventually(name, || run.path().join(name).exists().then_some(())),
        }
    }
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).expect("a process"), signal).expect("it is there");
}

/// Signals a program that starts a run; how it ended.
fn call_off(child: Child, run: &RunDir, when: When, signal: Signal) -> Output {
    when.wait(run);
    let asked = Instant::now();
    send(child.id(), signal);
    let output = child.wait_with_output().expect("it ends");
    assert!(asked.elapsed() < AT_ONCE, "{when:?}: {:?}", asked.elapsed());
    output
}

/// Whether it ended as it should: by itself with the code and the line, or by the signal before it could say anything.
fn was_told(output: &Output, when: When, signal: Signal) -> bool {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(out, "", "{when:?}: {err}");
    if output.status.signal() == Some(signal.as_raw()) {
        assert_eq!(err, "", "{when:?}");
        return false;
    }
    let how = if signal == Signal::TERM { "terminated by SIGTERM" } else { "interrupted by SIGINT" };
    assert_eq!(err, format!("error: run run was {how} before it began to train\n"), "{when:?}");
    assert_eq!(output.status.code(), Some(128 + signal.as_raw()), "{when:?}: {err}");
    true
}

fn signals() -> impl Iterator<Item = (When, Signal)> {
    MOMENTS.into_iter().zip([Signal::TERM, Signal::INT].into_iter().cycle())
}

#[test]
fn a_new_run_in_the_foreground_is_called_off_at_any_moment() {
    called_off_everywhere("--no-tui");
}

#[test]
fn a_new_run_in_the_background_is_called_off_at_any_moment() {
    called_off_everywhere("--detach");
}

fn called_off_everywhere(watching: &str) {
    let dir = Dir::new();
    write_slow_data(&dir);
    let run = dir.run("run");
    let mut told = 0;
    for (when, signal) in signals() {
        let child = dir.command(["train", watching, "--name", "run"].into_iter().chain(SLOW)).spawn();
        let output = call_off(child, &run, when, signal);
        told += usize::from(was_told(&output, when, signal));
        assert!(!run.path().exists(), "{when:?}: nothing is left");
    }
    // Where there is a file of the run, somebody listens.
    assert!(told >= 4, "{told}");
}

#[test]
fn a_trainer_that_is_called_off_is_told_by_who_waits_for_it() {
    let dir = Dir::new();
    write_slow_data(&dir);
    let run = dir.run("run");
    for (number, signal) in [Signal::TERM, Signal::INT].into_iter().cycle().take(4).enumerate() {
        let waiting = dir.command(["train", "--detach", "--name", "run"].into_iter().chain(SLOW)).spawn();
        let trainer = eventually("the trainer has the lock", || holder(&run)).pid;
        thread::sleep(Duration::from_millis(200 * number as u64));
        let asked = Instant::now();
        send(trainer, signal);
        let output = waiting.wait_with_output().expect("it ends");
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        assert!(was_told(&output, When::FileIsThere("lock"), signal));
        assert!(!run.path().exists(), "nothing is left");
    }
}

/// All files below a run but its lock and what its trainers had to say, with their bytes.
fn contents(run: &RunDir) -> Vec<(PathBuf, Vec<u8>)> {
    let mut folders = vec![run.path().to_owned()];
    let mut found = vec![];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path != run.lock() && path != run.trainer_log() {
                let bytes = fs::read(&path).expect("a file");
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_resumed_run_that_is_called_off_is_left_as_it_was() {
    let dir = Dir::new();
    write_slow_data(&dir);
    let run = dir.run("run");
    dir.command(["train", "--no-tui", "--name", "run", "--max-steps", "2"].into_iter().chain(SLOW)).succeed();
    let before = contents(&run);
    let mut told = 0;
    let after = [5, 15, 30, 60, 100, 150, 200, 300].map(When::After);
    for (when, watching) in after.into_iter().zip(["--no-tui", "--detach"].into_iter().cycle()) {
        let resume = ["resume", "run", watching, "--max-steps", "4", "--set", "train.eval_batch_size=7"];
        let output = call_off(dir.command(resume).spawn(), &run, when, Signal::TERM);
        told += usize::from(was_told(&output, when, Signal::TERM));
        eventually("nobody has it", || (liveness(&run) == Liveness::Dead).then_some(()));
        assert!(contents(&run) == before, "{when:?}: it is as it was");
    }
    assert!(told >= 3, "{told}");
}

/// Signals a short start around its first step: how it ended.
fn signal_at_first_step(dir: &Dir, watching: &str, number: u64) -> (RunDir, Output) {
    let name = format!("run{number}");
    let run = dir.run(&name);
    let train = ["train", watching, "--epochs", "100000", "--name", &name];
    let child = dir.command(train.into_iter().chain(TINY)).spawn();
    eventually("a log", || run.events().exists().then_some(()));
    thread::sleep(Duration::from_millis(10 * number));
    send(child.id(), Signal::TERM);
    (run, child.wait_with_output().expect("it ends"))
}

/// Either it was called off and is gone, or it is whole up to its end.
fn assert_nothing_half_done(run: &RunDir, err: &str) {
    if !run.path().exists() {
        assert!(err.contains("before it began to train"), "{err}");
        return;
    }
    let outcome = records(run).into_iter().rev().find_map(|record| match record.event {
        Event::RunEnded { outcome, .. } => Some(outcome),
        _ => None,
    });
    assert_eq!(outcome, Some(Outcome::Interrupted), "{err}");
    assert_eq!(checkpoint::latest(run).expect("readable").expect("one").state.step, steps(run));
}

#[test]
fn a_signal_around_the_first_step_finds_nothing_half_done() {
    let dir = Dir::new();
    for number in 0..12 {
        let (run, output) = signal_at_first_step(&dir, "--no-tui", number);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(143), "{err}");
        assert_nothing_half_done(&run, &err);
    }
}

#[test]
fn who_waits_for_the_first_step_knows_whether_it_came() {
    let dir = Dir::new();
    for number in 0..12 {
        let (run, output) = signal_at_first_step(&dir, "--detach", number);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        if output.status.success() {
            assert!(out.contains("goes on training without you"), "{out}");
            dir.command(["stop", &run.name()]).succeed();
            continue;
        }
        assert_eq!(output.status.code(), Some(143), "{err}");
        assert_eq!(run.path().exists(), err.contains("had just begun to train"), "{err}");
        eventually("nobody has it", || (liveness(&run) == Liveness::Dead).then_some(()));
        assert_nothing_half_done(&run, &err);
    }
}

#[cfg(not(feature = "mpi"))]
#[test]
fn several_processes_without_mpi_are_told_in_one_line() {
    let dir = Dir::new();
    let started = |rank: &str| {
        let command = dir.command(["train", "--no-tui", "--name", "shared"].into_iter().chain(TINY));
        command.env("OMPI_COMM_WORLD_RANK", rank).env("OMPI_COMM_WORLD_SIZE", "4").output()
    };
    let first = started("0");
    let expected = "error: 4 processes were started together, but this taper is built without MPI; install it with MPI (cargo install \
                    --path . --features mpi), or start one process\n";
    assert_eq!((text(&first.stderr).as_str(), first.status.code()), (expected, Some(2)));
    let other = started("3");
    assert_eq!((text(&other.stderr).as_str(), other.status.code()), ("", Some(0)));
    assert!(!dir.run("shared").path().exists());
}
