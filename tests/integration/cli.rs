//! The command line: help, bad input, exit codes.

use taper::config::TestTimeAugmentation;
use taper::run::event::{EpochDone, Event};

use crate::binary::{Dir, TINY, eventually, records, text};

#[test]
fn help_has_every_command_with_examples_and_exit_codes() {
    let dir = Dir::new();
    insta::assert_snapshot!("help", dir.command(["--help"]).succeed());
    for command in [
        "train",
        "attach",
        "compare",
        "set-lr",
        "resume",
        "eval",
        "predict",
        "explain",
        "export",
        "runs",
        "data",
        "bench",
        "lr-find",
        "selftest",
        "doctor",
        "checkpoints",
        "config",
        "rename",
        "rm",
        "completions",
        "reproduce",
    ] {
        insta::assert_snapshot!(format!("help-{command}"), dir.command([command, "--help"]).succeed());
    }
}

#[test]
fn a_command_line_that_cannot_be_is_usage() {
    let dir = Dir::new();
    for args in [&["trian"][..], &["train", "--epochz", "3"], &["set-lr", "fast"], &["train", "--detach", "--no-tui"]] {
        let output = dir.command(args).output();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_bad_configuration_names_origin_key_value_and_what_is_allowed() {
    let dir = Dir::new();
    std::fs::write(dir.path("se.toml"), "[model]\ndropuot = 0.1\n").unwrap();
    std::fs::write(dir.path("nan.toml"), "[optimizer]\nlearning_rate = nan\n").unwrap();
    std::fs::write(dir.path("syntax.toml"), "[optimizer\n").unwrap();
    let cases: [(&[&str], &str); 12] = [
        (&["--config", "se.toml"], "se.toml: unknown key model.dropuot; did you mean model.dropout?"),
        (&["--config", "nan.toml"], "nan.toml: optimizer.learning_rate = nan: must be a number from 1e-12 to 10"),
        (&["--config", "syntax.toml"], "syntax.toml: line 1: "),
        (&["--config", "missing.toml"], "missing.toml: No such file or directory"),
        (&["--epochs", "0"], "--epochs: train.epochs = 0: must be a whole number from 1 to 1000000"),
        (&["--epochs", "-3"], "--epochs: train.epochs = -3: must be"),
        (&["--seed", "x"], "--seed: run.seed = \"x\": must be a whole number"),
        (&["--max-steps", "0"], "--max-steps: train.max_steps = 0: must be"),
        (&["--device", "gpu"], "--device: run.device = \"gpu\": must be auto, cpu, cuda[:N] or candle-cuda[:N]"),
        (&["--set", "train.batch_size=0"], "--set: train.batch_size = 0: must be a whole number from 1 to 1000000"),
        (&["--set", "optimizer.learning_rate=inf"], "--set: optimizer.learning_rate = inf: must be"),
        (&["--set", "epochs"], "--set epochs: expected section.key=value"),
    ];
    for (args, complaint) in cases {
        let error = dir.command(["train", "--no-tui"].iter().chain(args)).fail(2);
        assert!(error.starts_with(&format!("error: {complaint}")), "{args:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert!(!dir.runs().path().exists(), "nothing is made before the configuration is known to be good");
}

#[test]
fn a_name_that_exists_is_not_overwritten() {
    let dir = Dir::new();
    let train =
        |name: &str| dir.command(["train", "--no-tui", "--max-steps", "1", "--name", name].into_iter().chain(TINY));
    train("first").succeed();
    let log = std::fs::read(dir.run("first").events()).unwrap();
    let error = train("first").fail(1);
    assert!(error.starts_with("error: run first exists; to go on with it: "), "{error}");
    assert!(error.ends_with(" resume first --max-steps 2\n"), "{error}");
    std::fs::create_dir(dir.run("mine").path()).unwrap();
    assert_eq!(train("mine").fail(1), "error: runs/mine exists, and is not a run: choose another name\n");
    assert_eq!(std::fs::read(dir.run("first").events()).unwrap(), log);
    assert!(train("a/b").fail(2).contains("a name has no slash"));
    assert!(train("").fail(2).contains("at least one character"));
    assert!(train("-x").fail(2).contains("dot or a dash"));
}

#[test]
fn an_unknown_run_is_answered_with_the_nearest() {
    let dir = Dir::new();
    dir.command(["train", "--no-tui", "--max-steps", "1", "--name", "baseline"].into_iter().chain(TINY)).succeed();
    for command in ["pause", "checkpoint", "stop", "resume", "eval", "attach"] {
        let error = dir.command([command, "basline"]).fail(1);
        assert!(error.contains("no run basline") && error.contains("did you mean baseline?"), "{error}");
    }
}

#[test]
fn without_a_live_run_the_commands_say_what_there_is() {
    let dir = Dir::new();
    let none = dir.command(["pause"]).fail(2);
    assert!(none.contains("no run is live, and there is none in runs; to start one: "), "{none}");
    dir.command(["train", "--no-tui", "--max-steps", "1", "--name", "done"].into_iter().chain(TINY)).succeed();
    let none = dir.command(["attach"]).fail(2);
    assert!(none.contains("no run is live") && none.contains("attach --last"), "{none}");
    let dead = dir.command(["pause", "done"]).fail(2);
    assert!(dead.contains("run done has no live trainer; to go on with it: "), "{dead}");
    assert!(dead.ends_with(" resume done --max-steps 2\n"), "{dead}");
    assert!(dir.command(["stop", "done"]).succeed().contains("no live trainer"), "stopping twice is stopping once");
    let no_terminal = dir.command(["attach", "done"]).fail(2);
    assert!(no_terminal.contains("the dashboard needs a terminal"), "{no_terminal}");
}

#[test]
fn a_learning_rate_out_of_range_is_usage() {
    let dir = Dir::new();
    for rate in ["0", "-1", "nan", "inf", "11"] {
        let error = dir.command(["set-lr", rate]).fail(2);
        assert!(error.contains("must be a number from 1e-12 to 10"), "{error}");
    }
}

#[test]
fn what_keeps_training_from_beginning_leaves_no_run_behind() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path("data")).unwrap();
    std::fs::write(dir.path("weights.safetensors"), "no weights").unwrap();
    let cases: [(&[&str], &str); 3] = [
        (&["--set", "data.source=cifar10"], "no CIFAR-10 under"),
        (&["--set", "data.source=sample", "--init", "weights.safetensors"], "weights.safetensors"),
        (&["--set", "data.source=sample", "--device", "cuda:0"], "device cuda:0: "),
    ];
    for (args, complaint) in cases {
        for watching in ["--no-tui", "--detach"] {
            let error = dir.command(["train", "--name", "x", watching].iter().chain(args)).fail(1);
            assert!(error.contains(complaint), "{args:?} {watching}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(!dir.run("x").path().exists(), "{args:?} {watching}");
        }
    }
}

#[test]
fn a_runs_directory_that_cannot_be_written_is_told_before_training() {
    let dir = Dir::new();
    std::fs::write(dir.path("file"), "").unwrap();
    let error = dir.command(["--runs-dir", "file/runs", "train", "--no-tui"].into_iter().chain(TINY)).fail(1);
    assert!(error.starts_with("error: runs directory file/runs: ") && error.ends_with("--runs-dir\n"), "{error}");
}

#[test]
fn plain_progress_and_the_result() {
    let dir = Dir::new();
    let args = ["train", "--no-tui", "--name", "plain", "--epochs", "2", "--set", "train.batch_size=10"];
    let out = dir.command(args.into_iter().chain(TINY)).succeed();
    // Behind the time.
    let count =
        |start: &str| out.lines().filter(|line| line.get(10..).is_some_and(|line| line.starts_with(start))).count();
    assert_eq!(count("epoch 1  batch 100/200  loss "), 1, "{out}");
    assert_eq!(count("epoch 2  batch 200/200  loss "), 1, "{out}");
    assert_eq!((count("epoch 1/2  train loss "), count("epoch 2/2  train loss ")), (1, 1), "{out}");
    assert!(out.contains("taper data fetch"), "the notice that the sample is in use: {out}");
    assert!(out.contains("  best epoch ") && out.contains("  checkpoint /"), "{out}");
    assert!(!out.contains('\u{1b}'), "no control sequences without a terminal: {out}");
}

#[test]
fn the_run_holds_a_configuration_that_repeats_it() {
    let dir = Dir::new();
    let args = ["train", "--no-tui", "--name", "one", "--max-steps", "3", "--seed", "7"];
    dir.command(args.into_iter().chain(TINY)).succeed();
    dir.command(["train", "--no-tui", "--name", "two", "--config", "runs/one/config.toml"]).succeed();
    let read = |name: &str| std::fs::read_to_string(dir.run(name).config()).unwrap();
    assert_eq!(read("one"), read("two"));
    let losses = |name: &str| {
        let records = crate::binary::records(&dir.run(name)).into_iter();
        let losses = records.filter_map(|record| match record.event {
            taper::run::event::Event::StepsDone(steps) => Some(steps.losses),
            _ => None,
        });
        losses.flatten().collect::<Vec<f32>>()
    };
    assert_eq!(losses("one"), losses("two"));
    assert_eq!(losses("one").len(), 3);
}

#[test]
fn runs_as_a_table_and_as_json() {
    let dir = Dir::new();
    assert!(dir.command(["runs"]).succeed().starts_with("No runs in runs."));
    assert_eq!(dir.command(["runs", "--json"]).succeed(), "[]\n");
    dir.command(["train", "--no-tui", "--name", "done", "--epochs", "1"].into_iter().chain(TINY)).succeed();
    let live = dir.start("live");
    crate::binary::wait_for_steps(&live, 1);

    let table = dir.command(["runs"]).succeed();
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(table.starts_with("NAME"), "{table}");
    assert!(line("done").contains("completed") && line("done").contains(" % (epoch 1)"), "{table}");
    assert!(!line("live").contains("dead"), "{table}");

    let json: serde_json::Value = serde_json::from_str(&dir.command(["runs", "--json"]).succeed()).unwrap();
    let run = |name: &str| json.as_array().unwrap().iter().find(|run| run["name"] == name).unwrap();
    assert_eq!((&run("done")["live"], &run("done")["phase"]), (&false.into(), &"completed".into()));
    assert_eq!(run("live")["live"], true);
    assert!(run("done")["best_test_accuracy"].is_f64());
}

#[test]
fn runs_lie_where_the_option_or_the_environment_says() {
    let dir = Dir::new();
    let train = ["train", "--no-tui", "--max-steps", "1", "--name"];
    dir.command(train.into_iter().chain(["a", "--runs-dir", "here"]).chain(TINY)).succeed();
    dir.command(train.into_iter().chain(["b"]).chain(TINY)).env("TAPER_RUNS_DIR", dir.path("there")).succeed();
    assert!(dir.path("here/a/events.jsonl").is_file() && dir.path("there/b/events.jsonl").is_file());
}

#[test]
fn the_last_epoch_alone_is_judged_with_test_time_augmentation_and_its_figure_says_so() {
    let dir = Dir::new();
    let train = ["train", "--no-tui", "--name", "run", "--epochs", "2", "--set"];
    let augmentation = "train.test_time_augmentation=flip-and-shift";
    // A loss that improves, so that the last epoch is the best.
    let settings = [augmentation, "--set", "train.best=loss", "--set", "probe.every=0"];
    let printed = dir.command(train.into_iter().chain(settings).chain(TINY)).succeed();
    let said = " with test-time flips and shifts";
    let lines = |part: &str| -> Vec<&str> { printed.lines().filter(|line| line.contains(part)).collect() };
    assert_eq!(lines(said).len(), 2, "{printed}");
    assert!(lines(said)[0].contains("epoch 2/2") && lines(said)[1].contains("best epoch 2 of 2"), "{printed}");

    let epochs: Vec<EpochDone> = records(&dir.run("run"))
        .into_iter()
        .filter_map(|record| match record.event {
            Event::EpochDone(done) => Some(done),
            _ => None,
        })
        .collect();
    let augmentations: Vec<_> = epochs.iter().map(|done| done.test_time_augmentation).collect();
    assert_eq!(augmentations, [TestTimeAugmentation::None, TestTimeAugmentation::FlipAndShift]);

    let evaluated = |rest: &[&str]| -> serde_json::Value {
        let args = ["eval", "run", "--json"].into_iter().chain(rest.iter().copied());
        serde_json::from_str(&dir.command(args).succeed()).expect("JSON")
    };
    let with = evaluated(&["--test-time-augmentation", "flip-and-shift"]);
    assert_eq!(with["accuracy"].as_f64(), Some(epochs[1].test_accuracy));
    assert_eq!(with["loss"].as_f64(), Some(epochs[1].test_loss));
    assert_eq!(with["test_time_augmentation"], "flip-and-shift");
    let plain = evaluated(&[]);
    assert!(plain.get("test_time_augmentation").is_none() && plain["loss"] != with["loss"], "{plain}");
    let out = dir.command(["eval", "run", "--test-time-augmentation", "flip"]).succeed();
    assert!(out.lines().next().is_some_and(|line| line.ends_with(" with test-time flips")), "{out}");

    for (command, told) in
        [(&["runs"][..], " % TTA (epoch 2)"), (&["checkpoints", "run"], " % TTA "), (&["doctor", "run"], said)]
    {
        let out = dir.command(command.iter().copied()).succeed();
        assert!(out.contains(told), "{command:?}: {out}");
    }
    let runs: serde_json::Value = serde_json::from_str(&dir.command(["runs", "--json"]).succeed()).expect("JSON");
    assert_eq!(runs[0]["best_test_time_augmentation"], "flip-and-shift");
}

#[test]
fn a_checkpoint_is_evaluated_as_its_epoch_was() {
    let dir = Dir::new();
    dir.command(["train", "--no-tui", "--name", "done", "--epochs", "2"].into_iter().chain(TINY)).succeed();
    let evaluated: serde_json::Value =
        serde_json::from_str(&dir.command(["eval", "done", "--json"]).succeed()).unwrap();
    let runs: serde_json::Value = serde_json::from_str(&dir.command(["runs", "--json"]).succeed()).unwrap();
    assert_eq!(evaluated["accuracy"], runs[0]["best_test_accuracy"]);
    assert_eq!(evaluated["examples"], 500);
    let path = format!("runs/done/checkpoints/{}", evaluated["checkpoint"].as_str().unwrap());
    let out = dir.command(["eval", &path]).succeed();
    assert!(out.contains(" on 500 test images of CIFAR-10 sample\n  macro F1 "), "{out}");
    let classes: Vec<&str> = out.lines().filter(|line| line.contains(" 50  most often taken for ")).collect();
    assert_eq!((out.lines().count(), classes.len()), (13, 10), "{out}");
    let rows = evaluated["confusion"].as_array().unwrap();
    let right: u64 = rows.iter().enumerate().map(|(class, row)| row[class].as_u64().unwrap()).sum();
    assert_eq!(100.0 * right as f64 / 500.0, evaluated["accuracy"].as_f64().unwrap());
    let error = dir.command(["eval", "runs/done/checkpoints/e9999-s999999"]).fail(1);
    assert!(error.contains("e9999-s999999"), "{error}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let dir = Dir::new();
    let mut child = dir.command(["completions", "bash"]).spawn();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

#[test]
fn completions_for_every_shell() {
    let dir = Dir::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = dir.command(["completions", shell]).succeed();
        assert!(script.contains("TAPER_COMPLETE") && script.contains(env!("CARGO_BIN_EXE_taper")), "{shell}: {script}");
    }
}

/// What bash offers for the last word of a command line.
fn completed(dir: &Dir, words: &[&str]) -> Vec<String> {
    let last = words.len() - 1;
    let quoted = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let line = format!(
        "source <({}); COMP_WORDS=({quoted}); COMP_CWORD={last}; _clap_complete_taper taper '{}' '{}'; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        dir.shell_words(["completions", "bash"]),
        words[last],
        words[last - 1],
    );
    let mut completed: Vec<String> = dir.bash(&line).succeed().lines().map(str::to_owned).collect();
    completed.sort_unstable();
    completed
}

#[test]
fn a_shell_knows_commands_and_runs() {
    let dir = Dir::new();
    for name in ["wide", "wider", "narrow"] {
        dir.command(["train", "--no-tui", "--max-steps", "1", "--name", name].into_iter().chain(TINY)).succeed();
    }
    assert_eq!(completed(&dir, &["taper", "checkpo"]), ["checkpoint", "checkpoints"]);
    for command in ["attach", "resume", "eval", "explain", "doctor", "rm", "rename", "config", "checkpoints", "runs"] {
        assert_eq!(completed(&dir, &["taper", command, "wi"]), ["wide", "wider"], "{command}");
    }
    assert_eq!(completed(&dir, &["taper", "rm", "wide", "na"]), ["narrow"]);
    assert_eq!(completed(&dir, &["taper", "train", "--lr", "1", "--batch"]), ["--batch-size"]);
    assert_eq!(completed(&dir, &["taper", "pause", "wi"]), [""], "none is live");
    assert_eq!(completed(&dir, &["taper", "--runs-dir", "elsewhere", "attach", "wi"]), [""]);
    dir.start("wild");
    assert_eq!(completed(&dir, &["taper", "pause", "wi"]), ["wild"]);
}

#[test]
fn shorthands_set_what_their_help_says() {
    let dir = Dir::new();
    let train = ["train", "--no-tui", "--max-steps", "1", "--set", "data.source=sample", "--set", "model.hidden=8"];
    let shorthands = ["--lr", "5e-4", "--batch-size", "16", "--data", "images", "--threads", "1", "--name", "run"];
    dir.command(train.into_iter().chain(shorthands).chain(["--model", "cnn-eca"])).succeed();
    let differing = dir.command(["config", "run", "--diff"]).succeed();
    for line in [
        "threads = 1  # default: ",
        "/images\"  # default: ",
        "attention = \"eca\"  # default: \"none\"",
        "hidden = 8  # default: 512",
        "learning_rate = 0.0005  # default: 0.001",
        "batch_size = 16  # default: 64",
        "max_steps = 1  # default: not set",
    ] {
        assert!(differing.contains(line), "{line}: {differing}");
    }
    assert!(!differing.contains("beta1"), "{differing}");
    let error = dir.command(["train", "--no-tui", "--lr", "11"]).fail(2);
    assert_eq!(error, "error: --lr: optimizer.learning_rate = 11: must be a number from 1e-12 to 10\n");
    let error = dir.command(["train", "--no-tui", "--attention", "sse"]).fail(2);
    assert!(error.contains("--attention: model.attention = \"sse\": must be none, se, "), "{error}");
    dir.command(["resume", "run", "--no-tui", "--max-steps", "2", "--lr", "0.002", "--threads", "2"]).succeed();
    let all = dir.command(["config", "run"]).succeed();
    assert!(all.contains("learning_rate = 0.002  # default: 0.001") && all.contains("\nbeta1 = 0.9\n"), "{all}");
}

#[test]
fn a_configuration_that_is_printed_is_one() {
    let dir = Dir::new();
    let default = dir.command(["config"]).succeed();
    assert!(default.contains("\n# Probability of a horizontal flip.\nflip_probability = 0.5\n"), "{default}");
    std::fs::write(dir.path("mine.toml"), &default).unwrap();
    let train = ["train", "--no-tui", "--max-steps", "2", "--name"];
    dir.command(train.into_iter().chain(["one", "--config", "mine.toml"]).chain(TINY)).succeed();
    for further in [&["config", "one"][..], &["config", "one", "--diff"]] {
        std::fs::write(dir.path("again.toml"), dir.command(further).succeed()).unwrap();
        dir.command(train.into_iter().chain(["two", "--config", "again.toml"])).succeed();
        let config = |name: &str| std::fs::read_to_string(dir.run(name).config()).unwrap();
        assert_eq!(config("one"), config("two"));
        dir.command(["rm", "two", "--yes"]).succeed();
    }
    assert!(dir.command(["config", "onne"]).fail(1).contains("did you mean one?"));
}

#[test]
fn the_checkpoints_on_disk_are_told() {
    let dir = Dir::new();
    let train = ["train", "--no-tui", "--name", "run", "--epochs", "5", "--set", "checkpoint.keep_last=1"];
    dir.command(train.into_iter().chain(TINY)).succeed();
    let listed = || -> Vec<serde_json::Value> {
        serde_json::from_str(&dir.command(["checkpoints", "run", "--json"]).succeed()).unwrap()
    };
    let found = listed();
    let on_disk = taper::train::checkpoint::paths(&dir.run("run")).unwrap();
    assert_eq!(
        found.iter().map(|one| one["path"].as_str().unwrap().into()).collect::<Vec<std::path::PathBuf>>(),
        on_disk
    );
    let marked = |mark: &str| found.iter().find(|one| one[mark] == true).unwrap();
    let runs: serde_json::Value = serde_json::from_str(&dir.command(["runs", "--json"]).succeed()).unwrap();
    assert_eq!(marked("best")["accuracy"], runs[0]["best_test_accuracy"]);
    assert_eq!((&marked("latest")["step"], &marked("latest")["epoch"]), (&160.into(), &5.into()));
    let evaluated: serde_json::Value = serde_json::from_str(&dir.command(["eval", "run", "--json"]).succeed()).unwrap();
    assert_eq!(evaluated["checkpoint"], marked("best")["name"]);
    assert_eq!((&evaluated["classes"][0], evaluated["classes"].as_array().unwrap().len()), (&"airplane".into(), 10));
    let table = dir.command(["checkpoints", "run"]).succeed();
    assert!(table.starts_with("CHECKPOINT") && table.contains(" kB") && table.contains("latest"), "{table}");
    // However it went.
    std::fs::remove_dir_all(&on_disk[0]).unwrap();
    assert_eq!(listed().len(), found.len() - 1);
    // That an older one was the best once, and was removed since, is no fault of a whole run.
    let said = dir.command(["doctor", "run"]).succeed();
    assert!(!said.contains("DAMAGED"), "{said}");
}

#[test]
fn runs_are_filtered_and_sorted() {
    let dir = Dir::new();
    for (name, epochs) in [("wide", "1"), ("narrow", "2"), ("wider", "3")] {
        let train = ["train", "--no-tui", "--name", name, "--epochs", epochs];
        dir.command(train.into_iter().chain(TINY)).succeed();
    }
    let names = |args: &[&str]| -> Vec<String> {
        let json = dir.command(["runs", "--json"].iter().chain(args)).succeed();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["wide", "narrow", "wider"]);
    assert_eq!(names(&["WIDE"]), ["wide", "wider"]);
    assert_eq!(names(&["w?de", "narrow"]), ["wide", "narrow"]);
    assert_eq!(names(&["--sort", "name"]), ["narrow", "wide", "wider"]);
    assert_eq!(names(&["--sort", "epoch"]), ["wider", "narrow", "wide"]);
    assert_eq!(names(&["--sort", "epoch", "--reverse"]), ["wide", "narrow", "wider"]);
    assert_eq!(names(&["--live"]), Vec::<String>::new());
    assert_eq!(names(&["--failed"]), Vec::<String>::new());
    let table = dir.command(["runs", "wide"]).succeed();
    assert!(table.ends_with("\n\n2 of 3 runs\n"), "{table}");
    for column in ["DATA", "MODEL", "LR", "DURATION", "CIFAR-10 sample", "cnn 4-4-4", " 0.001 "] {
        assert!(table.contains(column), "{column}: {table}");
    }
    assert_eq!(dir.command(["runs", "zzz"]).succeed(), "None of the 3 runs in runs matches.\n");
    assert_eq!(dir.command(["runs"]).succeed().lines().last(), Some("3 runs"));
}

#[test]
fn a_run_that_is_not_there_is_a_failure_and_no_live_run_is_usage() {
    let dir = Dir::new();
    let live = ["pause", "checkpoint", "probe", "rollback", "skip-batch"];
    let needs_run = ["stop", "resume", "attach", "eval", "doctor", "checkpoints", "config"];
    for command in live.into_iter().chain(needs_run) {
        assert!(dir.command([command, "none"]).fail(1).contains("there is no run none"), "{command}");
    }
    for args in [&["set-lr", "none", "1e-3"][..], &["explain", "none", "--image", "1"], &["rename", "none", "x"]] {
        assert!(dir.command(args).fail(1).contains("there is no run none"), "{args:?}");
    }
    assert!(dir.command(["attach", "--last"]).fail(1).contains("there is no run in runs"));
    dir.command(["train", "--no-tui", "--max-steps", "1", "--name", "done"].into_iter().chain(TINY)).succeed();
    for command in live {
        assert!(dir.command([command, "done"]).fail(2).contains("has no live trainer"), "{command}");
    }
    assert!(dir.command(["set-lr", "done", "1e-3"]).fail(2).contains("has no live trainer"));
    for command in live.into_iter().chain(["stop", "resume", "attach", "checkpoints"]) {
        assert!(dir.command([command]).fail(2).contains("no run is live"), "{command}");
    }
    assert!(dir.command(["set-lr", "1e-3"]).fail(2).contains("no run is live"));
}

#[test]
fn what_is_meant_by_other_words_is_told() {
    let dir = Dir::new();
    for (line, tip) in [
        ("list", "taper runs lists the runs"),
        ("ls", "taper runs lists the runs"),
        ("delete x", "taper rm deletes runs"),
        ("status", "taper runs says how all runs stand, taper attach shows one"),
        ("logs", "runs/NAME/trainer.log"),
        ("infer x", "taper predict RUN FILE says"),
        ("train --learning-rate 0.1", "here that is --lr"),
        ("train --batchsize 3", "here that is --batch-size"),
        ("train --gpu", "here that is --device cuda"),
    ] {
        let output = dir.command(line.split(' ')).output();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(&format!("tip: {tip}")) || error.contains(tip) && error.contains("tip: "), "{error}");
    }
    let error = text(&dir.command(["eval", "x", "--set", "a=b"]).output().stderr);
    assert!(error.contains("unexpected argument '--set'") && !error.contains("-- --set"), "{error}");
    let error = dir.command(["train", "--no-tui", "--set", "optimizer.lr=1"]).fail(2);
    assert_eq!(error, "error: --set: unknown key optimizer.lr; did you mean optimizer.learning_rate?\n");
}

#[test]
fn doctor_tells_of_every_subject() {
    let dir = Dir::new();
    let out = dir.command(["doctor"]).env("LC_ALL", "C").succeed();
    for subject in
        ["device", "threads", "SIMD", "CPU", "memory", "disk", "GPUs", "data", "runs", "terminal", "encoding", "logout"]
    {
        assert!(out.lines().any(|line| line.starts_with(subject)), "{subject}: {out}");
    }
    assert!(out.contains("CIFAR-10 sample") && out.contains("taper data fetch"), "{out}");
    let out_forced = dir.command(["doctor"]).env("TAPER_SIMD", "portable").succeed();
    assert!(out_forced.contains("portable, forced by TAPER_SIMD; this CPU has "), "{out_forced}");
    assert!(out.contains("the locale is another one") && out.contains("stdout is no terminal"), "{out}");
}

#[test]
fn vector_instructions_that_do_not_exist_are_usage() {
    let dir = Dir::new();
    for args in [&["train", "--no-tui"][..], &["train", "--detach"], &["bench"]] {
        let args = args.iter().copied().chain(["--device", "cpu"]).chain(TINY);
        let error = dir.command(args).env("TAPER_SIMD", "nonsense").fail(2);
        assert_eq!(error, "error: TAPER_SIMD=nonsense: expected avx512, avx2 or portable\n");
    }
    assert!(dir.runs().list().unwrap_or_default().is_empty());
}

#[test]
fn bench_tells_where_the_time_goes() {
    let dir = Dir::new();
    let args = ["bench", "--steps", "2", "--batch-size", "8", "--device", "cpu", "--threads", "1", "--json"];
    let network = ["--set", "model.channels=[4,4,4]", "--set", "model.hidden=8", "--set", "train.eval_batch_size=16"];
    let out = dir.command(args.into_iter().chain(network)).succeed();
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {report}"));
    let parts = ["data_ms", "forward_ms", "backward_ms", "optimizer_ms", "other_ms"].map(number);
    // The median of two is their mean, so the parts are all of the step.
    assert!((parts.iter().sum::<f64>() - number("step_ms")).abs() < 1e-6 * number("step_ms"), "{report}");
    assert!((number("images_per_sec") * number("step_ms") - 8.0 * 1e3).abs() < 1e-6, "{report}");
    assert_eq!((number("batch_size"), number("steps"), number("threads")), (8.0, 2.0, 1.0));
    assert_eq!(report["model"], "cnn 4-4-4");
    for key in ["eval_images_per_sec", "gflop_per_step", "gflop_per_sec", "sgemm_gflop_per_sec", "percent_of_sgemm"] {
        assert!(number(key) > 0.0, "{key}: {report}");
    }
    assert!(!dir.runs().path().exists(), "no run is made");
}

#[test]
fn bench_shows_what_attention_costs() {
    let dir = Dir::new();
    let args = ["bench", "--steps", "2", "--batch-size", "8", "--device", "cpu", "--threads", "1"];
    let network = ["--set", "model.channels=[4,4,4]", "--set", "model.hidden=8", "--set", "train.eval_batch_size=16"];
    let args: Vec<&str> = args.into_iter().chain(network).chain(["--set", "model.attention=spatial"]).collect();
    let out = dir.command([&args[..], &["--json"]].concat()).succeed();
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let costs = &report["attention"];
    assert_eq!(
        (&costs["configured"]["model"], &costs["plain"]["model"]),
        (&"cnn-spatial 4-4-4".into(), &"cnn 4-4-4".into())
    );
    let number = |network: &str, key: &str| costs[network][key].as_f64().unwrap_or_else(|| panic!("no number {key}"));
    assert_eq!(number("configured", "parameters") - number("plain", "parameters"), 3.0 * 2.0 * 49.0);
    for key in ["step_ms", "latency_ms", "batch_latency_ms"] {
        assert!(number("configured", key) > 0.0 && number("plain", key) > 0.0, "{key}: {report}");
    }
    let text = dir.command(args).succeed();
    assert!(text.contains("what attention costs") && text.contains("16, each ms"), "{text}");
}

#[test]
fn the_latest_run_is_the_one_with_the_latest_event() {
    let dir = Dir::new();
    let train = |name: &str| {
        dir.command(["train", "--no-tui", "--max-steps", "1", "--name", name].into_iter().chain(TINY)).succeed();
    };
    train("zzz");
    train("aaa");
    let mut terminal = dir.terminal(["attach", "--last"]);
    terminal.wait_for("aaa");
    terminal.keys("q");
    assert!(terminal.wait().success());
    eventually("the shell shows how the run ended", || {
        terminal.contents().contains("Run aaa: completed").then_some(())
    });
}
