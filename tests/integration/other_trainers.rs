//! Runs that other programs write: the published schema, the page that says how, and its example.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ratatui::crossterm::event::KeyCode;
use serde_json::{Map, Value, json};
use taper::run::event::{Event, Record};
use taper::run::lock::{Liveness, liveness};
use taper::run::log::Follower;
use taper::tui::input::Effect;

use crate::binary::{Dir, TINY, eventually, text};
use crate::follow::drain;
use crate::json_schema::Schema;
use crate::screen::{Screen, snapshot};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn schema() -> Schema {
    let text = fs::read(Path::new(ROOT).join("docs/events.schema.json")).expect("the schema");
    Schema::new(serde_json::from_slice(&text).expect("it is JSON"))
}

/// The lines of a log that taper reads.
fn lines(path: &Path) -> Vec<Value> {
    let bytes = fs::read(path).expect("a log");
    let whole = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    whole
        .filter(|line| serde_json::from_slice::<Record>(line).is_ok())
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect()
}

/// Every log among the fixtures.
fn logs() -> Vec<PathBuf> {
    let mut logs = vec![];
    let mut folders = vec![Path::new(ROOT).join("tests/fixtures")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jsonl") {
                logs.push(path);
            }
        }
    }
    logs
}

#[track_caller]
fn check(schema: &Schema, path: &Path) -> Vec<Value> {
    let lines = lines(path);
    for line in &lines {
        assert_eq!(schema.faults(line), [""; 0], "{}: {line}", path.display());
    }
    lines
}

/// Fields of `value` that the schema does not describe.
fn undescribed(schema: &Schema, part: &Value, value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let part = schema.resolve(part);
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match part.pointer(&format!("/properties/{key}")) {
                    Some(part) => undescribed(schema, part, value, &format!("{path}.{key}"), found),
                    None => drop(found.insert(format!("{path}.{key}"))),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                undescribed(schema, &part["items"], item, path, found);
            }
        }
        _ => {}
    }
}

fn undescribed_in(schema: &Schema, line: &Value) -> BTreeSet<String> {
    let event = line["event"].as_str().expect("an event");
    let mut fields = line.as_object().expect("an object").clone();
    for key in ["time_ms", "event", "crc32"] {
        fields.remove(key);
    }
    let mut found = BTreeSet::new();
    undescribed(schema, schema.definition(event), &Value::Object(fields), event, &mut found);
    found
}

#[test]
fn every_log_is_of_the_published_schema() {
    let schema = schema();
    let mut events = BTreeSet::new();
    for path in logs() {
        for line in check(&schema, &path) {
            events.extend(line["event"].as_str().map(str::to_owned));
            if !path.ends_with("other_trainer.jsonl") && !path.ends_with("unknown_event.jsonl") {
                assert_eq!(undescribed_in(&schema, &line), BTreeSet::new(), "{}", path.display());
            }
        }
    }
    assert!(events.len() > 12, "{events:?}");
    for wrong in [
        json!({"event": "paused", "step": 1}),
        json!({"time_ms": 1, "event": "paused"}),
        json!({"time_ms": 1, "event": "run_started"}),
        json!({"time_ms": 1, "event": "steps_done", "first_step": 1, "losses": ["low"]}),
        json!({"time_ms": 1, "event": "epoch_done", "epoch": -1, "step": 1}),
    ] {
        assert!(!schema.is_valid(&wrong), "{wrong}");
    }
    assert!(schema.is_valid(&json!({"time_ms": 1, "event": "of_a_later_version"})));
}

#[test]
fn a_fresh_run_writes_nothing_that_the_schema_lacks() {
    let dir = Dir::new();
    let warm = ["--set", "schedule.kind=\"cosine\"", "--set", "schedule.warmup_steps=5"];
    let args = ["train", "--no-tui", "--name", "fresh", "--epochs", "1"];
    dir.command(args.into_iter().chain(TINY).chain(warm)).succeed();
    let schema = schema();
    let lines = check(&schema, &dir.run("fresh").events());
    assert!(lines.len() > 5);
    for line in lines {
        assert_eq!(undescribed_in(&schema, &line), BTreeSet::new());
    }
}

/// One line of each event, with all its fields.
fn examples() -> Vec<Map<String, Value>> {
    let prediction = json!({"index": 1, "true_class": 0, "predicted_class": 1, "confidence": 0.5});
    let events = json!([
        {"event": "run_started", "version": 1, "trainer": "x", "epochs": 3, "learning_rate": 0.1, "pid": 5},
        {"event": "steps_done", "epoch": 1, "first_step": 1, "losses": [1.0, null], "gradient_norms": [null], "correct": 1,
         "examples": 2, "train_secs": 0.1, "learning_rate": 0.1},
        {"event": "evaluation_started", "epoch": 1, "step": 2},
        {"event": "epoch_done", "epoch": 1, "step": 2, "train_loss": 1.0, "train_accuracy": 1.0, "test_loss": 1.0,
         "test_accuracy": 1.0, "learning_rate": 0.1, "elapsed_secs": 1.0, "evaluation_secs": 0.1, "best": true,
         "confusion": [[1]], "mistakes": [prediction]},
        {"event": "learning_rate_changed", "epoch": 1, "step": 2, "from": 0.1, "to": 0.2, "reason": "plateau"},
        {"event": "paused", "step": 2},
        {"event": "resumed", "step": 2},
        {"event": "checkpoint_saved", "epoch": 1, "step": 2, "name": "a", "reason": "epoch", "bytes": 1, "save_secs": 0.1},
        {"event": "probe_saved", "epoch": 1, "step": 2, "file": "a", "bytes": 1, "elapsed_secs": 0.1, "pictures": [prediction]},
        {"event": "alarm_raised", "step": 2, "kind": "plateau", "message": "x"},
        {"event": "rolled_back", "from_step": 2, "to_step": 1, "learning_rate": 0.1},
        {"event": "setting_changed", "step": 2, "key": "a.b", "from": "1", "to": "2"},
        {"event": "directory_moved", "step": 2, "path": "a"},
        {"event": "batch_skipped", "epoch": 1, "step": 2},
        {"event": "command_received", "step": 2, "command": {"name": "pause"}},
        {"event": "system_sampled", "step": 2, "cpu_percent": 1.0},
        {"event": "run_ended", "step": 2, "outcome": "completed", "message": "x"},
    ]);
    let events = events.as_array().expect("an array").iter();
    events
        .map(|event| {
            let mut line = event.as_object().expect("an object").clone();
            line.insert("time_ms".to_owned(), json!(1));
            line
        })
        .collect()
}

#[test]
fn what_the_schema_requires_is_what_taper_needs() {
    let schema = schema();
    let examples = examples();
    for (name, _) in schema.definitions().iter().filter(|(_, part)| part.get("required").is_some()) {
        assert!(name == "prediction" || examples.iter().any(|example| example["event"] == name.as_str()), "{name}");
    }
    for example in examples {
        let whole = Value::Object(example.clone());
        assert!(schema.is_valid(&whole) && undescribed_in(&schema, &whole).is_empty(), "{whole}");
        for key in example.keys() {
            let mut fields = example.clone();
            fields.remove(key);
            let without = Value::Object(fields);
            let is_read = serde_json::from_value::<Record>(without.clone()).is_ok();
            assert_eq!(is_read, schema.is_valid(&without), "without {key}: {without}");
        }
    }
}

#[test]
fn what_another_trainer_tells_is_shown_and_what_it_does_not_is_not_offered() {
    for (width, height) in [(80, 24), (120, 40)] {
        snapshot(&format!("other_trainer_{width}x{height}"), &mut Screen::new("other_trainer", width, height));
    }
    let mut screen = Screen::new("other_trainer", 120, 40);
    for key in [' ', 'c', '+', '-', 's', 'P'] {
        assert_eq!(screen.press(KeyCode::Char(key)), None, "{key}");
        assert!(screen.line_with("not offered").contains("by this run's trainer, sentiment.py"), "{key}");
    }
    screen.keys("?");
    snapshot("other_trainer_help_120x40", &mut screen);
    screen.keys("?i");
    assert!(screen.text().contains("sentiment.py saves no probes"));
    screen.press(KeyCode::Esc);
    screen.keys("C");
    assert!(screen.text().contains("negative") && screen.text().contains("310"), "its names of the classes");
    assert_eq!(screen.press(KeyCode::Char('q')), Some(Effect::Leave));
    let mut gone = Screen::new("other_trainer", 120, 40);
    gone.app.update(taper::tui::app::Update::Liveness(Liveness::Dead));
    let notice = gone.line_with("the trainer is gone");
    assert!(notice.contains("sentiment.py does not run any more") && !notice.contains("resume"), "{notice}");
}

fn write(dir: &Dir, name: &str, lines: &[Value]) {
    let run = dir.run(name);
    fs::create_dir_all(run.path()).expect("a folder");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(run.events(), text).expect("written");
}

#[test]
fn commands_know_a_run_that_another_program_trains() {
    let dir = Dir::new();
    let pid = std::process::id();
    let start = json!({"time_ms": 1, "event": "run_started", "version": 1, "trainer": "my-script", "pid": pid});
    let steps = json!({"time_ms": 2, "event": "steps_done", "first_step": 1, "losses": [1.0, 0.5]});
    write(&dir, "theirs", &[start.clone(), steps.clone()]);
    assert_eq!(liveness(&dir.run("theirs")), Liveness::Live, "this test is the process");
    let listed: Value = serde_json::from_str(&dir.command(["runs", "--json"]).succeed()).expect("JSON");
    assert_eq!(
        (&listed[0]["name"], &listed[0]["live"], &listed[0]["step"]),
        (&json!("theirs"), &json!(true), &json!(2))
    );
    assert!(dir.command(["runs"]).succeed().contains("training"));
    for command in [&["pause"][..], &["checkpoint"], &["stop", "theirs"], &["set-lr", "theirs", "0.1"], &["probe"]] {
        let error = dir.command(command).fail(1);
        assert_eq!(
            error, "error: run theirs is trained by my-script, which takes no commands from taper\n",
            "{command:?}"
        );
    }
    for (command, said) in [
        (&["resume", "theirs"][..], "it goes on with that, not with taper"),
        (&["eval", "theirs"], "knows neither its network nor its data"),
        (&["explain", "theirs", "--image", "1"], "knows neither its network nor its data"),
        (&["doctor", "theirs", "--repair"], "taper shows it, and leaves it alone"),
    ] {
        let error = dir.command(command).fail(1);
        assert!(error.starts_with("error: run theirs is trained by my-script") && error.contains(said), "{error}");
    }
    let health = dir.command(["doctor", "theirs"]).succeed();
    assert!(health.contains("my-script, which is at work") && health.contains("2 events, up to step 2"), "{health}");
    let files: Vec<_> = fs::read_dir(dir.run("theirs").path()).expect("a folder").collect();
    assert_eq!(files.len(), 1, "nothing was added to it: {files:?}");

    let end = json!({"time_ms": 3, "event": "run_ended", "step": 2, "outcome": "completed"});
    write(&dir, "second", &[start.clone(), steps.clone(), end.clone()]);
    write(&dir, "theirs", &[start, steps, end]);
    let compared = dir.command(["compare", "theirs", "second"]).succeed();
    assert!(compared.starts_with("RUN "), "without a configuration: {compared}");
    assert!(["NaN", " 0 + 0 images"].iter().all(|untold| !compared.contains(untold)), "{compared}");
    assert_eq!(liveness(&dir.run("theirs")), Liveness::Dead, "though the process goes on");
    assert!(dir.command(["runs"]).succeed().contains("completed"));
    assert!(dir.command(["attach"]).fail(2).contains("no run is live"));
}

#[test]
fn a_program_that_holds_the_lock_lives_as_long_as_it_does() {
    let dir = Dir::new();
    let start = json!({"time_ms": 1, "event": "run_started", "version": 1, "trainer": "my-script"});
    write(&dir, "theirs", &[start]);
    let run = dir.run("theirs");
    assert_eq!(liveness(&run), Liveness::Live, "a line was written just now");
    let lock = fs::File::create(run.lock()).expect("a file");
    assert_eq!(liveness(&run), Liveness::Dead, "the lock says so, whatever else would");
    lock.lock().expect("locked");
    assert_eq!(liveness(&run), Liveness::Live);
    lock.unlock().expect("unlocked");
    assert_eq!(liveness(&run), Liveness::Dead);
}

#[test]
fn the_example_in_pytorch_is_watched() {
    let dir = Dir::new();
    let watched = dir.path("watched");
    let example = || {
        let mut example = Command::new("python3");
        example.arg(Path::new(ROOT).join("docs/examples/pytorch_run.py"));
        // In the place of torch, which no test may need.
        example.env("PYTHONPATH", Path::new(ROOT).join("tests/fixtures/other_trainers"));
        example.env("PYTHONDONTWRITEBYTECODE", "1").env("STAND_IN_WAITS_FOR", &watched).current_dir(dir.path("."));
        example
    };
    let mut training = example().spawn().expect("python3 runs the example");
    let run = dir.run("pytorch");
    eventually("its log", || run.events().exists().then_some(()));
    let mut terminal = dir.terminal(["attach", "pytorch"]);
    terminal.wait_for("● training");
    terminal.wait_for("pytorch_run.py");
    fs::write(&watched, "").expect("written");
    terminal.wait_for("✓ completed");
    assert!(training.wait().expect("an end").success());
    terminal.keys("q");
    assert!(terminal.wait().success());
    terminal.wait_for("Run pytorch: completed at step 2000, 20 epochs");
    assert_eq!(check(&schema(), &run.events()).len(), 1 + 20 * 100 + 20 + 1);

    let refused = example().output().expect("python3 runs");
    let why = text(&refused.stderr);
    assert!(!refused.status.success() && why.contains("FileExistsError"), "a run is never overwritten: {why}");
}

#[test]
fn the_page_shows_a_log_as_taper_reads_it() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/writing-runs.md")).expect("the page");
    let (_, rest) = page.split_once("```json\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let dir = Dir::new();
    let run = dir.run("shown");
    fs::create_dir_all(run.path()).expect("a folder");
    fs::write(run.events(), example).expect("written");
    let schema = schema();
    assert_eq!(check(&schema, &run.events()).len(), 4);
    let records = drain(&mut Follower::new(run.events()), 1 << 10);
    assert!(matches!(records.last().expect("a record").event, Event::RunEnded { step: 100, .. }));
    assert_eq!(records.len(), 4);
}
