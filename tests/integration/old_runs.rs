//! Runs that an older taper left on disk: this one lists them, finds them whole, shows and judges them, looks inside, and
//! goes on with them, always to the same bytes (tests/fixtures/old_runs/make.py says how they came about). Those are not the older
//! one's: gradients are summed in another order since (docs/cluster.md).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::binary::{Dir, TestCommand};
use crate::golden::{available_paths, events, file_sha256, last_checkpoint};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/old_runs");

/// What came of a run by the taper that made it.
#[derive(Deserialize)]
struct Expected {
    /// Of `taper runs --json`.
    row: BTreeMap<String, Value>,
    /// Of `taper doctor`.
    health: String,
    /// Of `taper explain`, by view.
    explained: BTreeMap<String, String>,
    /// Of `taper resume`.
    resume: Vec<String>,
    /// The last checkpoint after that, by SIMD path.
    ends: BTreeMap<String, End>,
}

#[derive(Deserialize)]
struct End {
    checkpoint: String,
    model: String,
    optimizer: String,
}

fn expected() -> BTreeMap<String, Expected> {
    let bytes = fs::read(Path::new(FIXTURES).join("expected.json")).expect("the fixture");
    serde_json::from_slice(&bytes).expect("what is expected")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// A working directory with copies of all runs.
fn copies() -> (Dir, BTreeMap<String, Expected>) {
    let (dir, expected) = (Dir::new(), expected());
    for name in expected.keys() {
        copy(&Path::new(FIXTURES).join(name), &dir.path("runs").join(name));
    }
    (dir, expected)
}

fn json(command: TestCommand) -> Value {
    serde_json::from_str(&command.succeed()).expect("JSON")
}

#[test]
fn they_are_listed() {
    let (dir, expected) = copies();
    let rows = json(dir.command(["runs", "--json"]));
    let rows = rows.as_array().expect("an array");
    assert_eq!(rows.len(), expected.len());
    for (name, expected) in &expected {
        let row = rows.iter().find(|row| row["name"] == **name).expect(name);
        for (key, value) in &expected.row {
            match (row[key].as_f64(), value.as_f64()) {
                // Summed up in another order since.
                (Some(now), Some(then)) if key == "smoothed_loss" => assert!((now - then).abs() < 1e-9, "{name}"),
                _ => assert_eq!(row[key], *value, "{name}: {key}"),
            }
        }
    }
}

#[test]
fn they_are_whole() {
    let (dir, expected) = copies();
    for (name, expected) in &expected {
        assert_eq!(dir.command(["doctor", name]).succeed(), expected.health, "{name}");
    }
}

#[test]
fn they_are_judged_as_they_were() {
    let (dir, expected) = copies();
    for name in expected.keys() {
        let epochs = events(&dir.path("runs").join(name), "epoch_done");
        let best = epochs.iter().rfind(|epoch| epoch["best"] == true).expect("a best epoch");
        let judged = json(dir.command(["eval", "--json", name]));
        assert_eq!((&judged["step"], &judged["accuracy"]), (&best["step"], &best["test_accuracy"]), "{name}");
        assert_eq!(judged["confusion"], best["confusion"], "{name}");
        let [loss, recorded] = [&judged["loss"], &best["test_loss"]].map(|loss| loss.as_f64().expect("a number"));
        assert!((loss - recorded).abs() < 1e-5, "{name}: {loss}, {recorded}");
    }
}

#[test]
fn they_are_looked_into() {
    let (dir, expected) = copies();
    for (name, expected) in &expected {
        for (view, text) in &expected.explained {
            let shown = dir.command(["explain", name, "--image", "0", "--view", view]).succeed();
            assert_eq!(shown, *text, "{name}: {view}");
        }
    }
}

#[test]
fn they_go_on_to_the_same_bytes() {
    let expected = expected();
    for path in available_paths() {
        let (dir, _) = copies();
        for (name, expected) in &expected {
            let run = dir.path("runs").join(name);
            let before = fs::read(run.join("events.jsonl")).expect("the log");
            let resume = ["resume", name, "--no-tui"].map(str::to_owned);
            dir.command(resume.iter().chain(&expected.resume)).env("TAPER_SIMD", path).succeed();
            let after = fs::read(run.join("events.jsonl")).expect("the log");
            assert!(after.starts_with(&before) && after.len() > before.len(), "{name}: the log was rewritten");
            let (last, end) = (last_checkpoint(&run), &expected.ends[path]);
            assert!(last.ends_with(&end.checkpoint), "{name}: {}", last.display());
            for (file, hash) in [("model.safetensors", &end.model), ("optimizer.safetensors", &end.optimizer)] {
                assert_eq!(file_sha256(&last.join(file)), *hash, "{path}, {name}: {file}");
            }
            let health = dir.command(["doctor", name]).succeed();
            assert!(!health.contains("DAMAGED"), "{name}: {health}");
        }
    }
}

#[test]
fn the_dashboard_shows_them() {
    let (dir, expected) = copies();
    for (name, expected) in &expected {
        let probes = events(&dir.path("runs").join(name), "probe_saved");
        let probe = probes.last().expect("a probe");
        let mut terminal = dir.terminal(["attach", name]);
        terminal.wait_for("Batch Loss");
        terminal.keys("i");
        terminal.wait_for(&format!("epoch {}  step {}", probe["epoch"], probe["step"]));
        terminal.wait_for("test image 0  true cat");
        terminal.keys("q");
        assert!(terminal.wait().success(), "{name}");
        let phase = expected.row["phase"].as_str().expect("a phase");
        terminal.wait_for(&format!("Run {name}: {phase} at step {}", expected.row["step"]));
    }
}

#[test]
fn what_happened_to_one_is_in_its_dashboard() {
    let (dir, _) = copies();
    for name in ["eventful", "format_1"] {
        let mut terminal = dir.terminal(["attach", name]);
        for what in ["by hand", "plateau", "diverged"] {
            terminal.wait_for(what);
        }
        terminal.keys("a");
        terminal.wait_for("! divergence");
        terminal.wait_for("the loss of step 67 is NaN");
    }
}
