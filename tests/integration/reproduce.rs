//! `taper reproduce`: a table is trained run by run, whatever interrupts it, and what is published of it is a run to look at.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use taper::config::{Config, Override};
use taper::reproduce::publication::{LOGS, PAGE, PLOTS, generated};
use taper::reproduce::table::Table;
use taper::run::dir::{RunDir, RunsDir};
use taper::run::event::{Event, Outcome};
use taper::run::lock::{Liveness, liveness};
use taper::train::checkpoint;

use crate::binary::{Dir, TINY, eventually, records, wait_for_event, wait_for_steps};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Writes `NAME.toml`, of one epoch unless a row says otherwise: `rows` are in TOML.
fn write_table(dir: &Dir, name: &str, rows: &str) {
    let sets: Vec<String> = TINY.iter().skip(1).step_by(2).map(|set| format!("{set:?}")).collect();
    let text = format!("thresholds = [5, 99.5]\nset = [\"train.epochs=1\", {}]\n{rows}", sets.join(", "));
    fs::write(dir.path(&format!("{name}.toml")), text).unwrap();
}

fn reproduce(dir: &Dir, args: &[&str]) -> String {
    dir.command([&["reproduce", "study.toml"][..], args].concat()).succeed()
}

fn last_weights(run: &RunDir) -> Vec<u8> {
    let last = checkpoint::latest(run).unwrap().expect("a checkpoint");
    fs::read(last.weights_file()).unwrap()
}

#[test]
fn a_table_is_trained_told_and_published() {
    let dir = Dir::new();
    let rows = "[[row]]\nname = \"plain\"\nseeds = [0, 1]\n[[row]]\nname = \"eca\"\nset = [\"model.attention=eca\"]\nseeds = [3]\n";
    write_table(&dir, "study", rows);
    let plan = reproduce(&dir, &["--dry-run"]);
    assert!(
        plan.contains("study-eca-s3    to be trained") && plan.ends_with("3 of 3 runs are to be trained\n"),
        "{plan}"
    );
    assert!(!dir.runs().path().exists());

    let said = reproduce(&dir, &[]);
    for told in ["study.toml: 3 runs, 0 of them finished", "[2/3] study-plain-s1  epoch 1/1  test acc ", "COMMIT"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    let config = |run: &str| Config::load(Some(&dir.run(run).config()), &[]).unwrap();
    assert_eq!((config("study-plain-s1").run.seed, config("study-eca-s3").run.seed), (1, 3));
    let logs =
        || ["study-plain-s0", "study-plain-s1", "study-eca-s3"].map(|run| fs::read(dir.run(run).events()).unwrap());
    let before = logs();
    assert!(reproduce(&dir, &[]).contains("3 runs, 3 of them finished"));
    assert_eq!(logs(), before, "nothing is trained twice");
    assert!(reproduce(&dir, &["--dry-run"]).ends_with("0 of 3 runs are to be trained\n"));

    let results: Value = serde_json::from_str(&reproduce(&dir, &["--results", "--json"])).unwrap();
    assert_eq!(results["rows"][0]["finished"], 2);
    let runs: Value = serde_json::from_str(&dir.command(["runs", "--json"]).succeed()).unwrap();
    assert_eq!(results["runs"][0]["best_accuracy"], runs[0]["best_test_accuracy"]);
    assert_eq!(
        (&results["runs"][0]["reached"][0]["epoch"], &results["runs"][0]["reached"][1]),
        (&1.into(), &Value::Null)
    );
    assert_eq!(reproduce(&dir, &["--results", "--csv"]).lines().count(), 4);
    assert!(reproduce(&dir, &["--results", "--markdown"]).starts_with("| row | seeds | epochs | best (%) |"));

    fs::create_dir(dir.path("docs")).unwrap();
    fs::write(dir.path(PAGE), "<!-- results: study -->\n<!-- end -->\n").unwrap();
    let said = reproduce(&dir, &["--publish", "."]);
    assert!(said.contains("published run study-eca-s3\n") && said.contains("docs/study.md"), "{said}");
    assert!(fs::read_to_string(dir.path(PAGE)).unwrap().contains("| `study-eca-s3` | 3 | "));
    let listed = dir.command(["runs", "--runs-dir", LOGS]).succeed();
    assert!(listed.contains("study-plain-s0") && listed.contains("completed"), "{listed}");
    let attached = dir.command(["attach", "data/results/study-plain-s0", "--no-tui"]).succeed();
    assert!(attached.contains("epoch 1/1") && attached.contains("thinned out for publication"), "{attached}");
    let doctor = dir.command(["doctor", "data/results/study-plain-s0"]).succeed();
    assert!(!doctor.contains("DAMAGED"), "{doctor}");
    dir.command(["report", "data/results/study-plain-s0"]).succeed();
    let error = dir.command(["resume", "data/results/study-plain-s0", "--epochs", "9"]).fail(2);
    assert!(error.contains("was published without its checkpoints, and cannot go on"), "{error}");
    // The published runs stand for the table where the runs themselves are not.
    let again = dir.command(["reproduce", "study.toml", "--results", "--markdown", "--runs-dir", LOGS]).succeed();
    let before = reproduce(&dir, &["--results", "--markdown"]);
    assert_eq!(again, before);
}

#[test]
fn an_interrupted_table_goes_on_to_the_same_weights() {
    let dir = Dir::new();
    let row = "[[row]]\nname = \"plain\"\nset = [\"train.epochs=12\", \"checkpoint.every_steps=7\"]\nseeds = [0, 1]\n";
    write_table(&dir, "study", row);
    let working = dir.command(["reproduce", "study.toml"]).spawn();
    let run = dir.run("study-plain-s0");
    eventually("a log", || run.events().exists().then_some(()));
    wait_for_steps(&run, 40);
    kill_process(Pid::from_child(&working), Signal::INT).unwrap();
    let output = working.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("saving and ending study-plain-s0") && said.contains("to go on:  "), "{said}");
    let outcome = records(&run).iter().find_map(|record| match &record.event {
        Event::RunEnded { outcome, .. } => Some(*outcome),
        _ => None,
    });
    assert_eq!(outcome, Some(Outcome::Interrupted));
    assert_eq!(liveness(&run), Liveness::Dead);
    assert!(!dir.run("study-plain-s1").path().exists(), "nothing more is begun");
    let plan = reproduce(&dir, &["--dry-run"]);
    assert!(plan.contains("study-plain-s0  to go on in epoch "), "{plan}");

    let said = reproduce(&dir, &["--jobs", "2", "--threads", "1"]);
    assert!(said.contains("interrupted once and resumed"), "{said}");
    for seed in ["0", "1"] {
        let name = format!("whole-{seed}");
        let train = ["train", "--no-tui", "--epochs", "12", "--seed", seed, "--name", &name];
        dir.command(train.into_iter().chain(TINY)).succeed();
        assert!(
            last_weights(&dir.run(&name)) == last_weights(&dir.run(&format!("study-plain-s{seed}"))),
            "seed {seed}"
        );
    }
}

#[test]
fn a_run_that_is_not_the_tables_is_refused_before_anything_is_trained() {
    let dir = Dir::new();
    write_table(&dir, "study", "[[row]]\nname = \"plain\"\nseeds = [0, 1]\n");
    let train = ["train", "--no-tui", "--epochs", "2", "--seed", "1", "--name", "study-plain-s1"];
    dir.command(train.into_iter().chain(TINY)).succeed();
    let error = dir.command(["reproduce", "study.toml"]).fail(2);
    let expected =
        "run study-plain-s1 is not that of row plain in study.toml: it has train.epochs = 2, and the table asks for 1";
    assert!(error.contains(expected), "{error}");
    assert!(!dir.run("study-plain-s0").path().exists());
    write_table(&dir, "study", "[[row]]\nname = \"se\"\nset = [\"model.attention=se\"]\nseeds = [0]\n");
    let error = dir.command(["reproduce", "study.toml"]).fail(2);
    assert!(error.contains("study.toml: row se: model.attention = se needs at least 16 channels"), "{error}");
    let error = dir.command(["reproduce", "far.toml"]).fail(2);
    assert!(error.contains("far.toml: No such file or directory"), "{error}");
}

#[test]
fn a_live_run_of_the_table_is_waited_for() {
    let dir = Dir::new();
    write_table(&dir, "study", "[[row]]\nname = \"plain\"\nset = [\"train.epochs=9\"]\nseeds = [0]\n");
    let train = ["train", "--detach", "--epochs", "9", "--name", "study-plain-s0"];
    dir.command(train.into_iter().chain(TINY)).succeed();
    dir.command(["pause", "study-plain-s0"]).succeed();
    let waiting = dir.command(["reproduce", "study.toml"]).spawn();
    let run = dir.run("study-plain-s0");
    assert_eq!(liveness(&run), Liveness::Live);
    dir.command(["resume", "study-plain-s0"]).succeed();
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let ended = wait_for_event(&run, "the end", |event| match event {
        Event::RunEnded { outcome, .. } => Some(*outcome),
        _ => None,
    });
    assert_eq!(ended, Outcome::Completed);
}

/// What `taper reproduce TABLE --publish .` would write of the runs that are committed is what is committed.
#[test]
fn the_page_is_that_of_the_published_runs() {
    let root = Path::new(ROOT);
    let page = fs::read_to_string(root.join(PAGE)).unwrap();
    let logs = RunsDir::at(root.join(LOGS));
    for entry in fs::read_dir(root.join("config/tables")).unwrap() {
        let table = Table::load(&entry.unwrap().path(), &[] as &[Override]).unwrap();
        let expected = generated(&table, &logs).unwrap();
        let part = format!("<!-- results: {} -->\n{}<!-- end -->", table.name, expected.markdown);
        assert!(page.contains(&part), "{PAGE} is not up to date: it lacks\n{part}");
        for (name, svg) in expected.plots {
            let path = root.join(PLOTS).join(&name);
            assert!(fs::read_to_string(path).is_ok_and(|found| found == svg), "{PLOTS}/{name} is not up to date");
        }
    }
}

#[test]
fn every_published_run_is_small_and_whole() {
    let logs = RunsDir::at(Path::new(ROOT).join(LOGS));
    for run in logs.list().unwrap() {
        let bytes = fs::metadata(run.events()).unwrap().len();
        let records = records(&run);
        let epochs = records.iter().filter(|record| matches!(record.event, Event::EpochDone(_))).count() as u64;
        assert!(bytes < 150_000.max(3000 * epochs), "{}: {bytes} bytes", run.name());
        let Some(Event::RunStarted(started)) = records.first().map(|record| &record.event) else { panic!("a start") };
        assert!(started.thinned && started.host.is_empty() && !started.data_origin.starts_with('/'), "{}", run.name());
        Config::load(Some(&run.config()), &[]).unwrap();
    }
}
