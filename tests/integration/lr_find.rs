//! `taper lr-find`: the range test of the real binary, as a table, as JSON and CSV, on a terminal, and as a figure.

use rustix::process::{Signal, kill_process};

use crate::binary::{Dir, Kind, TINY};

/// A test of the tiny network that diverges, whatever the vector instructions: its weight decay sees to that.
const DIVERGING: [&str; 12] = [
    "--set",
    "optimizer.kind=sgd",
    "--set",
    "optimizer.weight_decay=0.5",
    "--set",
    "augment.enabled=false",
    "--set",
    "model.dropout=0",
    "--from",
    "1e-4",
    "--batch-size",
    "64",
];

fn lr_find<'a>(args: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    ["lr-find"].into_iter().chain(TINY).chain(args.iter().copied())
}

fn json(dir: &Dir, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&dir.command(lr_find(&[args, &["--json"]].concat())).succeed()).expect("JSON")
}

#[test]
fn the_same_seed_gives_the_same_table_and_no_run_is_left_behind() {
    let dir = Dir::new();
    let table = |seed| dir.command(lr_find(&["--steps", "40", "--seed", seed])).succeed();
    let first = table("3");
    assert_eq!(table("3"), first);
    assert_ne!(table("4"), first);
    let mut lines = first.lines();
    let subject = lines.next().expect("a line");
    assert!(subject.starts_with("cnn 4-4-4, adam, batches of 64, on "), "{subject}");
    let headings: Vec<&str> = lines.next().expect("headings").split_whitespace().collect();
    assert_eq!(headings, ["STEP", "LEARNING", "RATE", "LOSS", "SMOOTHED"]);
    // The sample has 32 steps an epoch.
    let steps: Vec<Vec<&str>> = lines.by_ref().take(40).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((steps[0][0], steps[0][1]), ("1", "1.000e-6"));
    assert_eq!((steps[39][0], steps[39][1]), ("40", "1.000e0"));
    let left: Vec<_> = std::fs::read_dir(dir.path(".")).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_steps_are_those_that_a_run_would_take() {
    let dir = Dir::new();
    // Under rates that hardly move a weight, the losses are those of a run whose rate hardly does.
    let tested = json(&dir, &["--from", "1e-12", "--to", "1.001e-12", "--steps", "40"]);
    let train = ["train", "--no-tui", "--name", "same", "--max-steps", "40", "--lr", "1e-12"];
    dir.command(train.into_iter().chain(TINY)).succeed();
    let exported = dir.command(["export", "same", "--json", "-"]).succeed();
    let exported: serde_json::Value = serde_json::from_str(&exported).expect("JSON");
    let losses = |points: &serde_json::Value| -> Vec<f64> {
        let points = points.as_array().expect("points");
        points.iter().map(|point| point["loss"].as_f64().expect("a loss")).collect()
    };
    let (tested, trained) = (losses(&tested["curve"]), losses(&exported["steps"]));
    assert_eq!((tested.len(), trained.len()), (40, 40));
    for (step, (tested, trained)) in tested.iter().zip(&trained).enumerate() {
        assert!((tested - trained).abs() < 1e-5, "step {}: {tested}, the run's {trained}", step + 1);
    }
}

#[test]
fn a_test_that_diverges_ends_early_and_suggests_what_can_be_trained_with() {
    let dir = Dir::new();
    let report = json(&dir, &DIVERGING);
    assert!(report["end"] == "diverged" || report["end"] == "not_finite", "{}", report["end"]);
    let steps = report["curve"].as_array().expect("points").len();
    assert!((20..200).contains(&steps), "{steps}");
    let suggestion = &report["suggestion"];
    let rate = |key: &str| suggestion[key].as_f64().expect("a rate");
    assert!(rate("learning_rate") < rate("minimum") && rate("minimum") < 10.0, "{suggestion}");
    let command = suggestion["command"].as_str().expect("a command");
    assert!(command.contains(" train --set ") && command.contains(" --batch-size 64 --lr "), "{command}");
    dir.bash(&format!("{command} --no-tui --max-steps 1 --name suggested")).succeed();
    let config = std::fs::read_to_string(dir.run("suggested").config()).expect("a configuration");
    let set = config.lines().find_map(|line| line.strip_prefix("learning_rate = ")).expect("a rate");
    assert_eq!(set.parse::<f64>(), Ok(rate("learning_rate")));
}

#[test]
fn the_curve_as_csv() {
    let dir = Dir::new();
    let csv = dir.command(lr_find(&["--steps", "20", "--csv"])).succeed();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("step,learning_rate,loss,smoothed_loss"));
    assert_eq!(lines.count(), 20);
}

#[test]
fn what_cannot_be_tested_is_one_line() {
    let dir = Dir::new();
    std::fs::write(dir.path("there.png"), "mine").expect("written");
    let cases: [(&[&str], &str); 8] = [
        (&["--from", "0.1", "--to", "0.01"], "error: --to 0.01: must be above --from 0.1, to 10\n"),
        (&["--from", "0"], "error: --from: learning rate 0: must be a number from 1e-12 to 10\n"),
        (&["--from", "-1"], "error: --from: learning rate -1: must be a number from 1e-12 to 10\n"),
        (&["--to", "11"], "error: --to: learning rate 11: must be a number from 1e-12 to 10\n"),
        (&["--from", "3"], "error: --from 3: must be below --to 1; give a higher --to\n"),
        (&["--png", "curve.jpg"], "error: --png curve.jpg: must end in .png or .svg\n"),
        (
            &["--png", "there.png"],
            "error: --png there.png: is there already, and is not overwritten; name another file, or remove it\n",
        ),
        (&["--png", "no/curve.png"], "error: --png no/curve.png: there is no folder no\n"),
    ];
    for (args, complaint) in cases {
        assert_eq!(dir.command(lr_find(args)).fail(2), complaint);
    }
    let none = dir.command(lr_find(&["--steps", "0"])).fail(2);
    assert!(none.contains("invalid value '0' for '--steps <N>': 0 is not in 20..=100000"), "{none}");
    let key = dir.command(lr_find(&["--set", "optimizer.kind=sdg"])).fail(2);
    assert!(key.starts_with("error: --set: optimizer.kind = \"sdg\": must be"), "{key}");
    assert_eq!(std::fs::read_to_string(dir.path("there.png")).expect("a file"), "mine");
}

#[test]
fn the_figure_is_written_beside_what_is_printed() {
    let dir = Dir::new();
    for name in ["curve.png", "curve.SVG"] {
        let printed = dir.command(lr_find(&["--steps", "60", "--png", name])).succeed();
        assert!(printed.ends_with(&format!("\n\nwrote {name}\n")), "{printed}");
    }
    let png = image::open(dir.path("curve.png")).expect("a PNG");
    assert_eq!((png.width(), png.height()), (1500, 1000));
    let svg = std::fs::read_to_string(dir.path("curve.SVG")).expect("an SVG");
    for text in ["Learning-Rate Range Test", "Learning Rate", ">0.001<", "smoothed, 0.9333"] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(!dir.runs().path().exists());
}

#[test]
fn on_a_terminal_the_curve_is_drawn() {
    let dir = Dir::new();
    for kind in [Kind::Plain, Kind::Latin1] {
        let mut terminal = dir.terminal_of(kind, lr_find(&DIVERGING));
        assert!(terminal.wait().success());
        terminal.wait_for("To train with it, as the rate that the run starts with:");
        let shown = terminal.contents();
        assert!(shown.contains("suggestion 0.") && shown.contains("0.001"), "{shown}");
        let is_braille = |char: char| ('\u{2801}'..='\u{28ff}').contains(&char);
        match kind {
            Kind::Latin1 => assert!(shown.is_ascii() && shown.contains("'."), "{shown}"),
            _ => assert!(shown.contains(is_braille), "{shown}"),
        }
    }
    assert!(!dir.runs().path().exists());
}

#[test]
fn an_interrupted_test_tells_what_it_measured() {
    let dir = Dir::new();
    let endless = ["--from", "1e-12", "--to", "1e-11", "--steps", "100000"];
    for (signal, exit_code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut terminal = dir.terminal_of(Kind::Plain, lr_find(&endless));
        // Its bar.
        terminal.wait_for("learning rate 1");
        match signal {
            Signal::INT => terminal.keys("\x03"),
            _ => kill_process(terminal.pid(), signal).expect("sent"),
        }
        assert_eq!(terminal.wait().exit_code(), exit_code);
        terminal.wait_for(": interrupted.");
    }
    assert!(!dir.runs().path().exists());
}
