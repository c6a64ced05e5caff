//! The real binary trains: the loss falls, and an interrupted run ends in the same bytes as an uninterrupted one.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use taper::run::dir::RunDir;

use crate::binary::Dir;
use crate::exactness::{assert_same_end, wait_for_death};

const NETWORK: [&str; 6] =
    ["--set", "data.source=sample", "--set", "model.channels=[4,4,8]", "--set", "model.hidden=16"];

const OFTEN_SAVED: [&str; 2] = ["--set", "checkpoint.every_steps=10"];

/// Runs of a tiny network.
struct Runs {
    dir: Dir,
}

impl Runs {
    fn new() -> Self {
        Self { dir: Dir::new() }
    }

    /// Trains a tiny network on the sample: 32 steps an epoch, the last on a batch of 16.
    fn train(&self, name: &str, further: &[&str]) {
        let mut args = vec!["train", "--no-tui", "--device", "cpu", "--name", name];
        args.extend(NETWORK);
        args.extend(OFTEN_SAVED);
        args.extend(further);
        self.dir.command(args).succeed();
    }

    /// The same, stopped and resumed twice on its way.
    fn train_in_parts(&self, name: &str, further: &[&str]) {
        let start = ["train", "--detach", "--device", "cpu", "--name", name];
        self.dir.command([&start, &NETWORK[..], &OFTEN_SAVED, further].concat()).succeed();
        for how in ["--detach", "--no-tui"] {
            self.dir.command(["stop", name]).succeed();
            wait_for_death(&self.dir.run(name));
            self.dir.command(["resume", name, how]).succeed();
        }
    }

    fn events(&self, name: &str, kind: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.dir.run(name).events()).expect("the log");
        let events = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events.filter(|event| event["event"] == kind).collect()
    }

    /// The losses of all steps, in order, and which step each is of.
    fn losses(&self, name: &str) -> Vec<(u64, f64)> {
        let mut losses = vec![];
        for event in self.events(name, "steps_done") {
            let first = event["first_step"].as_u64().expect("a step");
            for (i, loss) in event["losses"].as_array().expect("losses").iter().enumerate() {
                losses.push((first + i as u64, loss.as_f64().expect("a number")));
            }
        }
        losses
    }
}

/// The latest checkpoint of a run, by name.
fn latest_checkpoint(run: &RunDir) -> PathBuf {
    let entries = fs::read_dir(run.checkpoints()).expect("checkpoints");
    entries.map(|entry| entry.expect("an entry").path()).max().expect("a checkpoint")
}

#[test]
fn an_interrupted_run_ends_in_the_same_bytes_as_an_uninterrupted_one() {
    let runs = Runs::new();
    let falling = ["--epochs", "3", "--set", "schedule.patience=0"];
    runs.train("whole", &falling);
    // Within an epoch, at the end of one before its evaluation counts for anything else, and within the next.
    runs.train("parts", &[&falling[..], &["--max-steps", "23"]].concat());
    for steps in ["32", "41", "96"] {
        runs.dir.command(["resume", "parts", "--no-tui", "--max-steps", steps]).succeed();
    }

    assert_eq!(runs.losses("whole"), runs.losses("parts"));
    assert_eq!(runs.losses("whole").len(), 96);
    let rows = |name| -> Vec<Value> {
        let mut rows = runs.events(name, "epoch_done");
        for row in &mut rows {
            let row = row.as_object_mut().expect("an object");
            row.retain(|key, _| !key.ends_with("_secs") && key != "time_ms" && key != "crc32");
        }
        rows
    };
    assert_eq!(rows("whole").len(), 3);
    assert_eq!(rows("whole"), rows("parts"));
    let (whole, parts) = (latest_checkpoint(&runs.dir.run("whole")), latest_checkpoint(&runs.dir.run("parts")));
    assert_eq!(whole.file_name(), parts.file_name());
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert_eq!(fs::read(whole.join(file)).expect(file), fs::read(parts.join(file)).expect(file), "{file}");
    }
}

#[test]
fn without_a_better_epoch_the_run_ends_early_wherever_it_was_interrupted() {
    let runs = Runs::new();
    // Nothing is learned, so that the first epochs are as good as it gets.
    let further =
        ["--epochs", "60", "--set", "train.early_stop=2", "--set", "train.best=loss", "--set", "probe.every=0"];
    let further = [&further[..], &["--set", "optimizer.learning_rate=1", "--set", "train.on_divergence=stop"]].concat();
    let further = [&further[..], &["--set", "schedule.patience=0"]].concat();
    runs.train("whole", &further);
    runs.train("parts", &[&further[..], &["--max-steps", "40"]].concat());
    for steps in ["64", "1000000"] {
        runs.dir.command(["resume", "parts", "--no-tui", "--max-steps", steps]).succeed();
    }
    let end = |name| runs.events(name, "run_ended").pop().expect("an end");
    let (whole, parts) = (end("whole"), end("parts"));
    assert_eq!(whole["outcome"], "completed");
    let message = whole["message"].as_str().expect("a message");
    assert!(message.starts_with("stopped early: epoch ") && message.contains(", 2 epochs ago"), "{message}");
    assert_eq!((&whole["step"], &whole["message"]), (&parts["step"], &parts["message"]));
    let bests: Vec<Value> = runs.events("whole", "epoch_done").into_iter().filter(|row| row["best"] == true).collect();
    let losses: Vec<f64> = bests.iter().map(|row| row["test_loss"].as_f64().expect("a number")).collect();
    assert!(losses.is_sorted_by(|a, b| a > b) && bests.len() < 20, "{losses:?}");

    let again = runs.dir.command(["resume", "whole", "--no-tui"]).fail(2);
    assert!(again.contains("ended early at step "), "{again}");
}

/// The learning rate of the last step of each event of steps; none where the log does not tell.
fn learning_rates(runs: &Runs, name: &str) -> Vec<Option<f64>> {
    runs.events(name, "steps_done").iter().map(|event| event.get("learning_rate").and_then(Value::as_f64)).collect()
}

#[test]
fn a_cosine_run_takes_up_its_rate_wherever_it_was_interrupted() {
    let runs = Runs::new();
    let cosine = ["--set", "schedule.kind=cosine", "--set", "schedule.warmup_steps=8", "--epochs", "6"];
    runs.train("whole", &cosine);
    runs.train_in_parts("parts", &cosine);
    assert_same_end(&runs.dir.run("parts"), &runs.dir.run("whole"));
    let rates: Vec<f64> = learning_rates(&runs, "whole").into_iter().map(|rate| rate.expect("a rate")).collect();
    let last = 1e-3 * (std::f64::consts::FRAC_PI_2 / 184.0).sin().powi(2);
    assert!((rates.last().expect("steps") - last).abs() < 1e-12 * last, "{rates:?}");
    assert_eq!(runs.events("whole", "learning_rate_changed").len(), 0);
    let epochs = runs.events("whole", "epoch_done");
    assert_eq!(epochs[5]["learning_rate"].as_f64(), rates.last().copied());

    runs.train("plateau", &["--max-steps", "5"]);
    assert!(learning_rates(&runs, "plateau").iter().all(Option::is_none));
}

#[test]
fn every_optimizer_and_schedule_goes_on_to_the_byte() {
    for (optimizer, schedule) in [("adamw", "one-cycle"), ("sgd", "triangular"), ("muon", "linear")] {
        let runs = Runs::new();
        let settings = [
            format!("optimizer.kind={optimizer}"),
            "optimizer.learning_rate=0.01".to_owned(),
            "optimizer.weight_decay=0.001".to_owned(),
            format!("schedule.kind={schedule}"),
        ];
        let sets = settings.iter().flat_map(|setting| ["--set", setting.as_str()]);
        let further: Vec<&str> = sets.chain(["--epochs", "6", "--set", "probe.every=0"]).collect();
        runs.train("whole", &further);
        runs.train_in_parts("parts", &further);
        assert_same_end(&runs.dir.run("parts"), &runs.dir.run("whole"));
        let rates: Vec<f64> = learning_rates(&runs, "whole").into_iter().map(|rate| rate.expect("a rate")).collect();
        assert!(rates.windows(2).all(|rates| rates[0] != rates[1]), "{schedule}: {rates:?}");
    }
}

#[test]
fn averaged_weights_go_on_to_the_byte_and_are_what_is_judged() {
    for (kind, file, evaluated) in
        [("ema", "raw.safetensors", Some("averaged")), ("lookahead", "slow.safetensors", None)]
    {
        let runs = Runs::new();
        let average = format!("average.kind={kind}");
        let average = ["--set", &average, "--set", "average.every=3", "--epochs", "6"];
        runs.train("whole", &average);
        runs.train_in_parts("parts", &average);
        let (whole, parts) = (runs.dir.run("whole"), runs.dir.run("parts"));
        assert_same_end(&parts, &whole);
        let [whole, parts] = [whole, parts].map(|run| fs::read(latest_checkpoint(&run).join(file)).expect(file));
        assert!(whole == parts, "{kind}: {file}");

        let started = &runs.events("whole", "run_started")[0];
        assert_eq!(started.get("evaluated_weights").and_then(Value::as_str), evaluated);
        assert_eq!(started["notice"].to_string().contains("the average of its weights"), evaluated.is_some());
        let best = runs.events("whole", "epoch_done").into_iter().rfind(|row| row["best"] == true).expect("an epoch");
        let accuracy = best["test_accuracy"].as_f64().expect("a number");
        let said = runs.dir.command(["eval", "whole"]).succeed();
        let by = if evaluated.is_some() { ", by its averaged weights" } else { "" };
        assert!(
            said.contains(&format!("accuracy {accuracy:.2} % on 500 test images of CIFAR-10 sample{by}\n")),
            "{said}"
        );

        let config = runs.dir.run("whole").config();
        let text = fs::read_to_string(&config).expect("the configuration");
        let (_, text) = text.split_once('\n').expect("its checksum");
        let none = text.replace(&format!("kind = \"{kind}\"\ndecay = 0.995\nevery = 3"), "kind = \"none\"");
        assert_ne!(none, text);
        fs::write(&config, none).expect("written");
        let refused = runs.dir.command(["resume", "whole", "--no-tui", "--epochs", "8"]).output();
        let told = format!("trained with average.kind = \"{kind}\", and its configuration has average.kind = \"none\"");
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains(&told), "{refused:?}");
    }
}

#[test]
fn a_setting_that_averages_nothing_is_refused() {
    let runs = Runs::new();
    for (sets, told) in [
        (&["average.decay=0.9"][..], "average.decay = 0.9: average.kind = none has no such setting; it is of ema"),
        (&["average.every=2"], "average.kind = none has no such setting; it is of ema and lookahead"),
        (
            &["average.kind=lookahead", "average.decay=0.9"],
            "average.kind = lookahead has no such setting; it is of ema",
        ),
        (&["average.kind=ema", "average.decay=1"], "average.decay = 1: must be a number from 0 to below 1"),
        (
            &["average.kind=ema", "average.every=0"],
            "average.every = 0: must be a whole number from 1 to 1000000 (steps)",
        ),
        (&["average.kind=emu"], "average.kind = \"emu\": must be none, ema or lookahead; did you mean ema?"),
    ] {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let error = runs.dir.command(["train", "--no-tui"].into_iter().chain(sets)).fail(2);
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn the_loss_falls_and_the_seed_decides() {
    let runs = Runs::new();
    let plain = ["--set", "augment.enabled=false", "--set", "model.dropout=0", "--epochs", "2"];
    runs.train("one", &plain);
    runs.train("again", &plain);
    runs.train("other", &[&plain[..], &["--seed", "1"]].concat());
    let losses = runs.losses("one");
    let mean = |losses: &[(u64, f64)]| losses.iter().map(|(_, loss)| loss).sum::<f64>() / losses.len() as f64;
    assert!(mean(&losses[48..]) < mean(&losses[..16]) - 0.1, "{losses:?}");
    assert_eq!(losses, runs.losses("again"));
    assert_ne!(losses, runs.losses("other"));
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    let runs = Runs::new();
    let weights =
        |name: &str| fs::read(latest_checkpoint(&runs.dir.run(name)).join("model.safetensors")).expect("weights");
    for attention in ["se", "eca", "cbam", "non-local"] {
        let attends = format!("model.attention={attention}");
        let network = ["--set", "model.channels=[16,20,32]", "--set", &attends, "--max-steps", "6"];
        let [one, two, three] = [1, 2, 3].map(|threads| {
            let name = format!("{attention}-{threads}");
            runs.train(&name, &[&network[..], &["--set", &format!("run.threads={threads}")]].concat());
            name
        });
        assert_eq!(runs.losses(&one), runs.losses(&two), "{attention}");
        assert!(weights(&one) == weights(&two) && weights(&one) == weights(&three), "{attention}");
    }
}

#[test]
fn initial_weights_are_taken_and_the_resolved_configuration_repeats_the_run() {
    let runs = Runs::new();
    runs.train("source", &["--max-steps", "3"]);
    let init = latest_checkpoint(&runs.dir.run("source")).join("model.safetensors");
    let init = init.to_str().expect("UTF-8");
    let further = ["--init", init, "--max-steps", "4", "--set", "data.shuffle=false", "--set", "augment.enabled=false"];
    runs.train("with-init", &further);
    runs.train("without", &further[2..]);
    assert_ne!(runs.losses("with-init"), runs.losses("without"));
    let repeat = ["train", "--no-tui", "--name", "repeated", "--config", "runs/with-init/config.toml"];
    runs.dir.command(repeat).succeed();
    assert_eq!(runs.losses("with-init"), runs.losses("repeated"));
}

#[test]
fn the_log_tells_where_the_time_of_the_steps_went() {
    let runs = Runs::new();
    runs.train("run", &["--epochs", "1"]);
    for event in runs.events("run", "steps_done") {
        let split: Vec<u64> = serde_json::from_value(event["split_us"].clone()).expect("an array of whole numbers");
        let train_secs = event["train_secs"].as_f64().expect("a number");
        let [data, forward, backward, optimizer] = split[..] else { panic!("{event}") };
        assert!(forward > 0 && backward > 0 && optimizer > 0, "{event}");
        // Each is rounded.
        assert!((data + forward + backward + optimizer) as f64 <= train_secs * 1e6 + 2.0, "{event}");
    }
}
