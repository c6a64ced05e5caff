//! Files that may not be read: that is said, with the path, and they are taken neither for damaged nor for absent.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use taper::run::dir::RunDir;
use taper::train::checkpoint;

use crate::binary::{Dir, TINY, User, text};

/// What would be said of what is damaged or not there.
const OTHER_VERDICTS: [&str; 8] = [
    "DAMAGED",
    "damaged",
    "can be removed",
    "moved away",
    "there is no",
    "no live trainer",
    "sample (built in)",
    "curves are lost",
];

/// A directory of a user for whom permissions count, with a finished run.
struct Theirs {
    dir: Dir,
    user: User,
}

impl Theirs {
    fn new() -> Self {
        let dir = Dir::new();
        let user = User::without_privileges(&dir);
        let theirs = Self { dir, user };
        let train = ["train", "--no-tui", "--name", "run", "--max-steps", "34"];
        theirs.taper(&train.into_iter().chain(TINY).collect::<Vec<_>>(), 0);
        theirs
    }

    fn run(&self) -> RunDir {
        self.dir.run("run")
    }

    /// What `taper` says, on both streams; it must end with `code`.
    fn taper(&self, args: &[&str], code: i32) -> String {
        let output = self.dir.command_of(&self.user, args).output();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        said
    }

    /// What `taper` says while nobody may look at `path`.
    fn denied(&self, path: &Path, args: &[&str], code: i32) -> String {
        let mode = fs::metadata(path).expect("it is there").permissions();
        fs::set_permissions(path, Permissions::from_mode(0o000)).expect("closed");
        let said = self.taper(args, code);
        fs::set_permissions(path, mode).expect("opened");
        assert!(said.contains("Permission denied"), "{} {args:?}: {said}", path.display());
        let name = path.file_name().expect("a name").to_string_lossy();
        assert!(said.contains(&*name), "{} {args:?}: {said}", path.display());
        for verdict in OTHER_VERDICTS {
            assert!(!said.contains(verdict), "{} {args:?}: {verdict}: {said}", path.display());
        }
        said
    }
}

fn first_in(folder: &Path) -> PathBuf {
    fs::read_dir(folder).expect("a folder").next().expect("one").expect("an entry").path()
}

const RESUME: [&str; 5] = ["resume", "run", "--no-tui", "--max-steps", "40"];

#[test]
fn a_run_that_nobody_may_look_into_is_listed_and_told() {
    let theirs = Theirs::new();
    let run = theirs.run();
    for closed in [run.path().to_owned(), run.events()] {
        let table = theirs.denied(&closed, &["runs"], 0);
        assert!(table.lines().any(|line| line.starts_with("run ") && line.contains("cannot be read")), "{table}");
    }
    for args in
        [&["eval", "run"][..], &["explain", "run", "--image", "1"], &["doctor", "run"], &["stop", "run"], &RESUME]
    {
        let said = theirs.denied(run.path(), args, 1);
        assert!(said.contains("config.toml: Permission denied") && said.contains("ask its owner"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    theirs.denied(theirs.dir.runs().path(), &["runs"], 1);
    theirs.denied(theirs.dir.runs().path(), &["eval", "run"], 1);
    theirs.taper(&RESUME, 0);
}

#[test]
fn a_checkpoint_that_may_not_be_read_is_no_damaged_one() {
    let theirs = Theirs::new();
    let run = theirs.run();
    let latest = checkpoint::paths(&run).expect("checkpoints").remove(0);
    for closed in [latest.join("model.safetensors"), latest.join("state.json"), latest, run.checkpoints()] {
        for args in [&["eval", "run"][..], &["explain", "run", "--image", "1"], &RESUME] {
            theirs.denied(&closed, args, 1);
        }
        assert!(theirs.denied(&closed, &["doctor", "run"], 1).contains("DENIED"));
    }
    theirs.taper(&RESUME, 0);
}

#[test]
fn whether_a_trainer_lives_cannot_always_be_told() {
    let theirs = Theirs::new();
    let run = theirs.run();
    for args in [&["stop", "run"][..], &["resume", "run", "--no-tui", "--max-steps", "40"], &["pause", "run"]] {
        let said = theirs.denied(&run.lock(), args, 1);
        assert!(said.contains("whether a trainer has it cannot be told"), "{said}");
    }
    assert!(theirs.denied(&run.lock(), &["runs"], 0).contains("whether a trainer has it cannot be told"));
    assert!(theirs.denied(&run.lock(), &["doctor", "run"], 1).contains("lock              DENIED"));

    fs::write(run.control(), "{}").expect("written");
    theirs.user.owns(&run.control());
    assert!(theirs.denied(&run.control(), &["doctor", "run"], 1).contains("control           DENIED"));
}

#[test]
fn the_doctor_tells_what_it_may_not_read() {
    let theirs = Theirs::new();
    let run = theirs.run();
    for (closed, part) in
        [(run.config(), "config"), (run.events(), "log"), (run.probes(), "probes"), (first_in(&run.probes()), "probes")]
    {
        let said = theirs.denied(&closed, &["doctor", "run"], 1);
        assert!(said.contains(&format!("{part:<17} DENIED")) && said.contains("it may be whole"), "{said}");
    }
    theirs.denied(&run.events(), &["doctor", "run", "--repair"], 1);
    assert!(!theirs.taper(&["doctor", "run"], 0).contains("DENIED"));
}

#[test]
fn data_that_may_not_be_read_is_not_replaced_by_the_sample() {
    let theirs = Theirs::new();
    let data = theirs.dir.path("data");
    let batches = data.join("cifar-10-batches-bin");
    fs::create_dir_all(&batches).expect("a folder");
    let batch = batches.join("data_batch_1.bin");
    fs::write(&batch, "").expect("written");
    let idx = data.join("train-images-idx3-ubyte");
    for name in
        ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
    {
        fs::write(data.join(name), "").expect("written");
    }
    for path in [&data, &batches, &batch, &idx] {
        theirs.user.owns(path);
    }
    let train = ["train", "--no-tui", "--max-steps", "1", "--name", "new"];
    for closed in [&data, &batches, &batch] {
        theirs.denied(closed, &train, 1);
    }
    for closed in [&data, &batches] {
        assert_eq!(
            theirs.denied(closed, &["data", "inspect"], 1).matches("DENIED").count(),
            6 * usize::from(closed == &batches)
        );
    }
    for closed in [&data, &idx] {
        theirs.denied(closed, &[&train[..], &["--set", "data.source=idx"]].concat(), 1);
    }
    assert!(!theirs.dir.run("new").path().exists());
}

#[test]
fn files_that_were_named_and_may_not_be_read_are_named() {
    let theirs = Theirs::new();
    let named = theirs.dir.path("named");
    fs::write(&named, "x").expect("written");
    theirs.user.owns(&named);
    let train: Vec<&str> =
        ["train", "--no-tui", "--max-steps", "1"].into_iter().chain(TINY.into_iter().take(4)).collect();
    for (args, code) in [
        ([&train[..], &["--config", "named"]].concat(), 2),
        ([&train[..], &["--set", "data.source=sample", "--init", "named"]].concat(), 1),
        (vec!["explain", "run", "--image", "./named"], 2),
    ] {
        theirs.denied(&named, &args, code);
    }
}
