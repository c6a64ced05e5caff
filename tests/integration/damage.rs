//! Damaged run directories: what the commands say of them, and what `taper doctor RUN` makes of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use taper::run::control_file::TrainerAddress;
use taper::run::dir::RunDir;
use taper::run::event::Event;
use taper::train::checkpoint;

use crate::binary::{Dir, TINY, records, text, wait_for_event, wait_for_steps};
use crate::exactness::{kill, wait_for_death};

/// A finished run of 40 steps with checkpoints at 20, 30 and 40.
fn trained(dir: &Dir) -> RunDir {
    let args = ["train", "--no-tui", "--name", "run", "--max-steps", "40", "--set", "checkpoint.every_steps=10"];
    dir.command(args.into_iter().chain(TINY).chain(["--set", "checkpoint.keep_last=3"])).succeed();
    dir.run("run")
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// What the doctor says of the run, and whether it finds it whole.
fn doctor(dir: &Dir, further: &[&str]) -> (String, bool) {
    let output = dir.command(["doctor", "run"].iter().chain(further)).output();
    let said = text(&output.stdout);
    assert_eq!(text(&output.stderr), "", "{said}");
    assert_eq!(said.contains("DAMAGED"), !output.status.success(), "{said}");
    assert!(matches!(output.status.code(), Some(0 | 1)));
    (said, output.status.success())
}

fn latest(run: &RunDir) -> PathBuf {
    checkpoint::paths(run).expect("checkpoints").remove(0)
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let dir = Dir::new();
    let run = trained(&dir);
    let damaged = latest(&run).join("model.safetensors");
    flip(&damaged, 5000);
    let error = dir.command([Path::new("eval"), &latest(&run)]).fail(1);
    let other = checkpoint::paths(&run).expect("checkpoints")[1].display().to_string();
    assert!(error.contains("model.safetensors is damaged: its SHA-256 is not the one in state.json"), "{error}");
    assert!(error.contains(&format!("; {other} is whole")), "{error}");

    dir.command(["resume", "run", "--no-tui", "--max-steps", "50"]).succeed();
    wait_for_event(&run, "an alarm", |event| match event {
        Event::AlarmRaised { message, .. } => message.contains("a later checkpoint was passed over: ").then_some(()),
        _ => None,
    });
    let second_start = records(&run).into_iter().rev().find_map(|record| match record.event {
        Event::RunStarted(started) => started.continued_from,
        _ => None,
    });
    assert_eq!(second_start, Some(32), "the one before, saved at the end of the epoch");
}

#[test]
fn without_a_whole_checkpoint_nothing_is_trained() {
    let dir = Dir::new();
    let run = trained(&dir);
    let paths = checkpoint::paths(&run).expect("checkpoints");
    for path in &paths {
        fs::write(path.join("state.json"), "{").expect("written");
    }
    let error = dir.command(["resume", "run", "--no-tui", "--max-steps", "50"]).fail(1);
    for path in &paths {
        assert!(error.contains(&path.join("state.json").display().to_string()), "{error}");
    }
    assert!(error.contains("is whole: ") && error.contains("moved away, they let the run begin again"), "{error}");
}

#[test]
fn the_doctor_names_every_damage() {
    let dir = Dir::new();
    let run = trained(&dir);
    let (said, whole) = doctor(&dir, &[]);
    assert!(whole, "{said}");
    for part in ["config ", "log ", "e0002-s000040 ", "probes ", "control ", "lock "] {
        assert!(said.lines().any(|line| line.starts_with(part) && line.contains(" whole ")), "{part}: {said}");
    }

    // One after the other, so that each is told beside the others.
    let name = |path: PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    let newest = name(latest(&run));
    flip(&latest(&run).join("optimizer.safetensors"), 4000);
    let (said, whole) = doctor(&dir, &[]);
    assert!(!whole && said.contains(&format!("{newest}     DAMAGED")), "{said}");
    assert!(said.contains("is not the one in state.json") && said.contains("taper resume passes over it"), "{said}");

    let probe = fs::read_dir(run.probes()).expect("probes").next().expect("one").expect("an entry").path();
    let middle = fs::metadata(&probe).expect("a probe").len() as usize / 2;
    flip(&probe, middle);
    let (said, _) = doctor(&dir, &[]);
    assert!(said.contains(&format!("{}: it is damaged: its SHA-256 is not", probe.display())), "{said}");

    let config = fs::read_to_string(run.config()).expect("the configuration");
    let log = fs::read_to_string(run.events()).expect("the log");
    let mut lines: Vec<&str> = log.lines().collect();
    let steps = lines.iter().position(|line| line.contains("\"steps_done\"")).expect("steps");
    let other_loss = lines[steps].replace("\"examples\":", "\"examples\":1");
    assert_ne!(lines[steps], other_loss);
    let torn = steps + 1;
    (lines[steps], lines[torn]) = (&other_loss, "{\"time_ms\":1,");
    fs::write(run.events(), lines.join("\n") + "\n{\"time_ms\":2").expect("written");
    let (said, _) = doctor(&dir, &[]);
    assert!(
        said.contains(&format!("events.jsonl: line {} (byte ", torn + 1)) && said.contains("the line is passed over"),
        "{said}"
    );
    assert!(
        said.contains(&format!("line {} (byte ", steps + 1)) && said.contains("its checksum does not match"),
        "{said}"
    );
    assert!(said.contains("the last line is torn, 12 bytes of it are there"), "{said}");

    fs::write(run.control(), "rubbish").expect("written");
    let (first_line, others) = config.split_once('\n').expect("lines");
    fs::write(run.config(), config.replace("seed = 0", "seed = 1")).expect("written");
    let (said, _) = doctor(&dir, &[]);
    assert!(
        said.contains("config            DAMAGED") && said.contains("it is not what its first line says"),
        "{said}"
    );
    assert!(first_line.contains("delete this line if you change something"), "{first_line}");
    fs::write(run.config(), others.replace("hidden = 8", "hidden = 0")).expect("written");
    let (said, _) = doctor(&dir, &[]);
    assert!(said.contains("config            DAMAGED") && said.contains("model.hidden = 0: must be"), "{said}");
    assert!(said.contains("control           DAMAGED"), "{said}");
    assert!(said.contains("e0001-s000032 "), "the rest is looked at all the same: {said}");

    // Only the torn line and the control file.
    let (said, whole) = doctor(&dir, &["--repair"]);
    assert!(!whole && said.contains("repaired: 12 bytes of an unfinished line cut off "), "{said}");
    assert!(said.contains("control removed") && !said.contains("the last line is torn"), "{said}");
    assert!(said.contains("line 3 (byte ") && said.contains("config            DAMAGED"), "{said}");
    assert!(fs::read_to_string(run.events()).expect("the log").ends_with('\n'));
}

#[test]
fn one_run_that_cannot_be_read_hides_no_other() {
    let dir = Dir::new();
    trained(&dir);
    for name in ["future", "fifo", "folder"] {
        let run = dir.run(name);
        fs::create_dir(run.path()).expect("a folder");
        fs::copy(dir.run("run").config(), run.config()).expect("a configuration");
    }
    let later = "{\"time_ms\":1,\"event\":\"run_started\",\"version\":9}\n";
    fs::write(dir.run("future").events(), later).expect("written");
    mkfifo(&dir.run("fifo").events());
    fs::create_dir(dir.run("folder").events()).expect("a folder");
    let table = dir.command(["runs"]).succeed();
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line("run ").contains("completed"), "{table}");
    for (name, why) in [
        ("future", "is of log format 9"),
        ("fifo", "events.jsonl: it is a FIFO, and no ordinary file"),
        ("folder", "events.jsonl: it is a folder, and no ordinary file"),
    ] {
        assert!(line(&format!("{name} ")).contains("cannot be read"), "{table}");
        assert!(line(&format!("{name}: ")).contains(why), "{table}");
    }
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&dir.command(["runs", "--json"]).succeed()).expect("a list");
    assert_eq!(rows.iter().filter(|row| row["error"].is_string()).count(), 3);
}

#[test]
fn what_is_no_ordinary_file_is_not_waited_for() {
    let dir = Dir::new();
    let fifo = dir.path("fifo");
    mkfifo(&fifo);
    let fifo = fifo.display().to_string();
    let train = ["train", "--no-tui", "--max-steps", "1"];
    for option in ["--config", "--init"] {
        let arguments = train.iter().chain(&TINY).copied().chain([option, &fifo]);
        let error = dir.command(arguments).output();
        let error = text(&error.stderr);
        assert!(error.contains(&fifo) && error.contains("it is a FIFO, and no ordinary file"), "{option}: {error}");
    }
    let data = dir.path("data");
    fs::create_dir_all(data.join("cifar-10-batches-bin")).expect("a folder");
    mkfifo(&data.join("cifar-10-batches-bin/data_batch_1.bin"));
    let error = dir.command(train).fail(1);
    assert!(error.contains("data_batch_1.bin") && error.contains("it is a FIFO"), "{error}");
}

#[test]
fn a_configuration_may_come_through_a_pipe() {
    let dir = Dir::new();
    for name in ["substituted", "piped"] {
        let train = dir.shell_words(["train", "--no-tui", "--max-steps", "1", "--name", name].into_iter().chain(TINY));
        let text = "printf '[train]\nbatch_size = 16\n'";
        let line = match name {
            "substituted" => format!("{train} --config <({text})"),
            _ => format!("{text} | {train} --config /dev/stdin"),
        };
        dir.bash(&line).succeed();
        let config = fs::read_to_string(dir.run(name).config()).expect("a configuration");
        assert!(config.contains("batch_size = 16"), "{config}");
    }
}

fn mkfifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("a FIFO");
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let dir = Dir::new();
    let run = trained(&dir);
    let config = fs::read_to_string(run.config()).expect("a configuration");
    let (_, config) = config.split_once('\n').expect("lines after the checksum");
    fs::write(run.config(), config.replace("hidden = 8", "hidden = 9")).expect("written");
    let (said, whole) = doctor(&dir, &[]);
    assert!(!whole && said.contains("fc1.weight: shape [8, 64], expected [9, 64]; fc1.bias: shape [8]"), "{said}");
    let error = dir.command(["eval", "run"]).fail(1);
    assert!(
        error.contains("model.safetensors") && error.contains("fc2.weight: shape [10, 8], expected [10, 9]"),
        "{error}"
    );
    let error = dir.command(["resume", "run", "--no-tui", "--max-steps", "50"]).fail(2);
    assert!(error.contains("was trained with model.hidden = 8, and its configuration has model.hidden = 9"), "{error}");
}

#[test]
fn the_doctor_repairs_only_a_dead_run() {
    let dir = Dir::new();
    let train = ["train", "--detach", "--epochs", "100000", "--name", "run"];
    dir.command(train.into_iter().chain(TINY)).succeed();
    let run = dir.run("run");
    wait_for_steps(&run, 5);
    let control = TrainerAddress::read(&run).expect("a live trainer");
    let (said, whole) = doctor(&dir, &[]);
    assert!(
        whole && said.contains(&format!("held by the live trainer, process {} on ", control.process.pid)),
        "{said}"
    );
    let error = dir.command(["doctor", "run", "--repair"]).fail(1);
    assert!(error.contains(&format!("run run has a live trainer, process {} on ", control.process.pid)), "{error}");
    assert!(run.control().exists() && control.socket.exists());

    dir.command(["checkpoint", "run"]).succeed();
    kill(&run, Signal::KILL);
    wait_for_death(&run);
    fs::create_dir(run.checkpoints().join(".unfinished-x")).expect("a folder");
    let (said, whole) = doctor(&dir, &[]);
    assert!(
        whole && said.contains(&format!("control           stale    of process {}", control.process.pid)),
        "{said}"
    );
    assert!(said.contains("1 unfinished, left by a trainer that was killed"), "{said}");
    let (said, whole) = doctor(&dir, &["--repair"]);
    assert!(whole && said.contains("control           whole    none"), "{said}");
    assert!(!run.control().exists() && !control.socket.exists());
    dir.command(["resume", "run", "--detach"]).succeed();
    wait_for_steps(&run, 5);
}

#[test]
fn a_run_is_as_open_as_the_umask_says() {
    let dir = Dir::new();
    let train = dir.shell_words(["train", "--no-tui", "--max-steps", "33", "--name", "run"].into_iter().chain(TINY));
    dir.bash(&format!("umask 027; {train}")).succeed();
    let run = dir.run("run");
    let checkpoint =
        fs::read_dir(run.checkpoints()).expect("checkpoints").next().expect("one").expect("an entry").path();
    let probe = fs::read_dir(run.probes()).expect("probes").next().expect("one").expect("an entry").path();
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    for folder in [run.path(), &run.checkpoints(), &checkpoint, &run.probes()] {
        assert_eq!(mode(folder), 0o750, "{}", folder.display());
    }
    for file in [
        run.config(),
        run.events(),
        run.lock(),
        probe,
        checkpoint.join("state.json"),
        checkpoint.join("model.safetensors"),
    ] {
        assert_eq!(mode(&file), 0o640, "{}", file.display());
    }
}
