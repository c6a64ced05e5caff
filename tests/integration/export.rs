//! `taper export` and `taper report`, by the real binary.

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use taper::run::event::Event;

use crate::binary::{Dir, TINY, records, wait_for_steps};

fn trained(name: &str, further: &[&str]) -> Dir {
    let dir = Dir::new();
    train(&dir, name, further);
    dir
}

fn train(dir: &Dir, name: &str, further: &[&str]) {
    let args = ["train", "--no-tui", "--epochs", "2", "--name", name, "--set", "probe.images=[3]"];
    dir.command(args.iter().chain(&TINY).chain(further)).succeed();
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn every_format_is_written_and_written_again() -> Result<()> {
    let dir = trained("run", &[]);
    let args = [
        "export",
        "run",
        "--csv",
        "out",
        "--json",
        "out",
        "--parquet",
        "out",
        "--plots",
        "out",
        "--tensorboard",
        "logs",
    ];
    let first = dir.command(args).succeed();
    assert!(first.starts_with("wrote out: ") && first.contains("\nwrote logs/run: events.out.tfevents."), "{first}");
    let written = names(&dir.path("out"));
    for name in
        ["steps.csv", "epochs.json", "system.parquet", "run.json", "loss.svg", "heat-maps-3.png", "grad-cam.png"]
    {
        assert!(written.contains(&name.to_owned()), "{name} in {written:?}");
    }
    assert!(written.iter().all(|name| !name.starts_with('.')), "{written:?}");
    assert_eq!(dir.command(args).succeed(), first);
    assert_eq!((names(&dir.path("out")), names(&dir.path("logs/run")).len()), (written, 2));

    let csv = fs::read_to_string(dir.path("out/steps.csv"))?;
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("step,epoch,elapsed_secs,time_ms,loss,gradient_norm,learning_rate"));
    let losses: Vec<f32> = lines.map(|line| line.split(',').nth(4).unwrap().parse().unwrap()).collect();
    let steps = |event| match event {
        Event::StepsDone(steps) => steps.losses,
        _ => vec![],
    };
    let logged: Vec<f32> = records(&dir.run("run")).into_iter().flat_map(|record| steps(record.event)).collect();
    assert_eq!(losses, logged);

    let all: Value = serde_json::from_str(&dir.command(["export", "run", "--json", "-"]).succeed())?;
    assert_eq!((&all["epochs"][1]["epoch"], all["steps"].as_array().map(Vec::len)), (&2.into(), Some(losses.len())));
    assert_eq!(all["run"]["configuration"]["model.hidden"], "8");
    let epochs = dir.command(["export", "run", "--csv", "-"]).succeed();
    assert_eq!(epochs, fs::read_to_string(dir.path("out/epochs.csv"))?);
    Ok(())
}

#[test]
fn nothing_of_others_is_overwritten() {
    let dir = trained("run", &[]);
    train(&dir, "other", &["--set", "train.batch_size=128"]);
    fs::create_dir(dir.path("out")).unwrap();
    fs::write(dir.path("out/epochs.csv"), "mine").unwrap();
    let error = dir.command(["export", "run", "--csv", "out"]).fail(1);
    assert!(error.contains("out/epochs.csv is not of an export of taper, and is not overwritten"), "{error}");
    assert_eq!(names(&dir.path("out")), ["epochs.csv"], "nothing is half done");
    dir.command(["export", "run", "--csv", "tables"]).succeed();
    let error = dir.command(["export", "other", "--csv", "tables"]).fail(1);
    assert!(error.contains("tables has an export of another run, run; choose another folder"), "{error}");
    fs::write(dir.path("run.html"), "<p>mine").unwrap();
    let error = dir.command(["report", "run"]).fail(2);
    assert!(error.contains("run.html is no report of taper"), "{error}");
    assert_eq!(fs::read_to_string(dir.path("run.html")).unwrap(), "<p>mine");
    let error = dir.command(["export", "run"]).fail(2);
    assert!(error.contains("name at least one of --csv DIR"), "{error}");
}

#[test]
fn a_report_is_one_page_that_asks_for_nothing() {
    let dir = trained("<b>&", &["--set", "model.attention=cbam", "--set", "model.channels=[16,16,16]"]);
    train(&dir, "plain", &[]);
    for args in [&["report", "<b>&", "-o", "page.html"][..], &["report", "<b>&", "plain", "-o", "page.html"]] {
        assert_eq!(dir.command(args).succeed(), "wrote page.html\n");
        let page = fs::read_to_string(dir.path("page.html")).unwrap();
        assert!(page.contains("&lt;b&gt;&amp;") && !page.contains("<b>"), "a name is text");
        let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
        for asks in ["http:", "https:", "<script", "<link", "@import", "url("] {
            assert!(!without_namespace.contains(asks), "{asks}");
        }
        for part in [
            "Confusion Matrix",
            "Precision (%)",
            "Grad-CAM",
            "Feature Maps of Image 3",
            "model.attention",
            "Iteration Loss",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }
}

#[test]
fn a_run_that_is_live_or_has_not_begun_is_exported_as_far_as_it_is() {
    let dir = Dir::new();
    let run = dir.start("live");
    wait_for_steps(&run, 1);
    fs::create_dir_all(dir.path("runs/bare")).unwrap();
    fs::copy(run.config(), dir.run("bare").config()).unwrap();
    for name in ["live", "bare"] {
        let (tables, logs, figures) = (format!("{name}/tables"), "logs", format!("{name}/figures"));
        let args = ["export", name, "--csv", &tables, "--parquet", &tables, "--tensorboard", logs, "--plots", &figures];
        dir.command(args).succeed();
        let page = dir.command(["report", name, "-o", "-"]).succeed();
        assert!(page.contains(if name == "live" { "live: " } else { "not begun" }));
        assert_eq!(page.contains("No step has been taken yet."), name == "bare");
        let steps = fs::read_to_string(dir.path(&tables).join("steps.csv")).unwrap();
        assert_eq!(steps.lines().count() > 1, name == "live");
    }
    dir.command(["stop", "live"]).succeed();
}
