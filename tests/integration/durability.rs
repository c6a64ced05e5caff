//! What a loss of power would leave: the system calls of a trainer, watched by strace, in the order that durability asks for.
//!
//! A file that was written, or a folder in which a name has changed, is unsafe until it is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use taper::run::dir::RunDir;

use crate::binary::{Dir, TINY};
use crate::mount::skip;

const CALLS: &str = "trace=openat,mkdir,write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat";

/// What a system call that succeeded did to a file or folder.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    Created(PathBuf),
    Written(PathBuf),
    Synced(PathBuf),
    Renamed { from: PathBuf, to: PathBuf },
}

/// Reads strace's lines, such as `11548 fsync(15</tmp/runs/far>) = 0`, in the order in which the calls ended.
fn parse(trace: &str) -> Vec<Done> {
    let mut unfinished = BTreeMap::new();
    let mut all = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').expect("a thread");
        let call = call.trim_start();
        if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, begun);
            continue;
        }
        let whole = match call.strip_prefix("<... ").and_then(|resumed| resumed.split_once(" resumed>")) {
            Some((_, rest)) => unfinished.remove(thread).expect("its beginning").to_owned() + rest,
            None => call.to_owned(),
        };
        all.extend(done(&whole));
    }
    all
}

fn done(call: &str) -> Option<Done> {
    let (call, result) = call.rsplit_once(" = ")?;
    if result.starts_with('-') {
        return None;
    }
    let (name, arguments) = call.split_once('(')?;
    let named: Vec<PathBuf> = arguments.split('"').skip(1).step_by(2).map(PathBuf::from).collect();
    // Of a file descriptor.
    let opened = || Some(PathBuf::from(arguments.split_once('<')?.1.split_once('>')?.0));
    match (name, named.as_slice()) {
        ("openat", [path]) if arguments.contains("O_CREAT") => Some(Done::Created(path.clone())),
        ("mkdir", [path]) => Some(Done::Created(path.clone())),
        ("write", _) => Some(Done::Written(opened()?)),
        ("fsync" | "fdatasync", _) => Some(Done::Synced(opened()?)),
        ("rename" | "renameat" | "renameat2", [from, to]) => Some(Done::Renamed { from: from.clone(), to: to.clone() }),
        _ => None,
    }
}

#[test]
fn a_trace_is_read() {
    let trace = "\
7  openat(AT_FDCWD</x>, \"/x/a\", O_RDWR|O_CREAT|O_CLOEXEC, 0666) = 3</x/a>
7  write(3</x/a>, \"\"..., 10 <unfinished ...>
8  fsync(4</x>)       = 0
7  <... write resumed>)          = 10
7  rename(\"/x/a\", \"/x/b\") = 0
7  rename(\"/x/c\", \"/x/d\") = -1 ENOENT (No such file or directory)
8  +++ exited with 0 +++";
    let renamed = Done::Renamed { from: "/x/a".into(), to: "/x/b".into() };
    let expected = [Done::Created("/x/a".into()), Done::Synced("/x".into()), Done::Written("/x/a".into()), renamed];
    assert_eq!(parse(trace), expected);
}

/// The calls of `taper train` with these options; None where no process can be watched.
fn trace(dir: &Dir, options: &[&str]) -> Option<String> {
    let file = dir.path("trace");
    let strace = |program: &[&str]| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-qq", "-s", "0", "-e", CALLS, "-o"]).arg(&file).args(program);
        for name in ["TAPER_RUNS_DIR", "TAPER_LOG"] {
            strace.env_remove(name);
        }
        strace.current_dir(dir.path("")).stdin(Stdio::null()).output()
    };
    let trial = strace(&["true"]).map_err(|error| error.to_string());
    if let Err(reason) = trial.and_then(|trial| {
        trial.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&trial.stderr).into_owned())
    }) {
        skip(&format!("no process can be watched by strace: {reason}"));
        return None;
    }
    let train = [&[env!("CARGO_BIN_EXE_taper"), "train", "--no-tui"], options, &TINY].concat();
    let output = strace(&train).expect("strace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read_to_string(file).expect("a trace"))
}

/// The checkpoints of a run, in the order of what was done to them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fates {
    saved: Vec<String>,
    removed: Vec<String>,
}

/// # Errors
/// Something that was not safe yet was relied on.
fn audit<'a>(calls: impl Iterator<Item = &'a Done>, run: &RunDir) -> Result<Fates> {
    let (checkpoints, log) = (run.checkpoints(), run.events());
    let folder = |path: &Path| path.parent().expect("a folder").to_owned();
    let mut fates = Fates::default();
    let mut unsafe_yet: BTreeSet<PathBuf> = BTreeSet::new();
    // Has its name, which may be lost yet.
    let mut just_saved = None;
    for call in calls {
        match call {
            Done::Created(path) => {
                unsafe_yet.extend([path.clone(), folder(path)]);
            }
            Done::Written(path) => {
                ensure!(just_saved.is_none() || *path != log, "{just_saved:?} is told of and not on the disk yet");
                unsafe_yet.insert(path.clone());
            }
            Done::Synced(path) => {
                just_saved = just_saved.filter(|_| *path != checkpoints);
                unsafe_yet.remove(path);
            }
            Done::Renamed { from, to } if folder(to) == checkpoints => {
                let name = to.file_name().expect("a name").to_string_lossy().into_owned();
                if let Some(name) = name.strip_prefix(".removed-") {
                    ensure!(!unsafe_yet.contains(&checkpoints), "{name}: its successor is not on the disk yet");
                    fates.removed.push(name.to_owned());
                } else {
                    ensure!(!unsafe_yet.iter().any(|path| path.starts_with(from)), "{name}: {unsafe_yet:?}");
                    ensure!(!unsafe_yet.contains(&log), "{name}: the log is not on the disk yet");
                    ensure!(!unsafe_yet.contains(run.path()), "{name}: the run is not on the disk yet");
                    fates.saved.push(name.clone());
                    just_saved = Some(name);
                }
                unsafe_yet.insert(checkpoints.clone());
            }
            Done::Renamed { from, to } => {
                ensure!(!unsafe_yet.contains(from), "{} is not on the disk yet", to.display());
                unsafe_yet.insert(folder(to));
            }
        }
    }
    Ok(fates)
}

#[test]
fn a_checkpoint_has_its_name_when_it_is_on_the_disk() {
    let dir = Dir::new();
    let options = ["--name", "far", "--max-steps", "9", "--set", "checkpoint.every_steps=2"];
    let keep = ["--set", "checkpoint.keep_last=2", "--set", "probe.every=0"];
    let Some(trace) = trace(&dir, &[&options[..], &keep].concat()) else { return };

    let (run, calls) = (dir.run("far"), parse(&trace));
    let steps = ["e0001-s000002", "e0001-s000004", "e0001-s000006", "e0001-s000008", "e0001-s000009"].map(String::from);
    let expected = Fates { saved: steps.to_vec(), removed: steps[..3].to_vec() };
    assert_eq!(audit(calls.iter(), &run).expect("safe"), expected);

    // Without any one of them it would not be so.
    let counts = |path: &Path| path == run.events() || path.starts_with(run.checkpoints());
    let syncs = calls.iter().enumerate().filter(|(_, call)| matches!(call, Done::Synced(path) if counts(path)));
    let mut number = 0;
    for (left_out, sync) in syncs {
        let rest = calls.iter().enumerate().filter(|(index, _)| *index != left_out).map(|(_, call)| call);
        assert!(audit(rest, &run).is_err(), "{sync:?} is of no use");
        number += 1;
    }
    // The log, three files, their folder, the folder of checkpoints.
    assert_eq!(number, 6 * steps.len());
}
