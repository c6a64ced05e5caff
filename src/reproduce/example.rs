//! A table with runs, for tests.

use crate::config::Config;
use crate::metrics::Confusion;
use crate::reproduce::table::Table;
use crate::run::dir::RunsDir;
use crate::run::event::{
    CheckpointReason, CheckpointSaved, EpochDone, Event, Outcome, Prediction, Record, RunStarted, StepsDone,
};
use crate::run::log::EventLog;
use crate::run::step_time::StepTime;
use crate::run::system_sample::SystemSample;

const STEPS_PER_EPOCH: u64 = 100;
const EPOCHS: u64 = 3;

/// Three epochs of 20 seconds, 18 of them in 100 steps; one that is not finished lacks its end.
pub fn records(seed: u64, best: f64, epochs: u64, has_end: bool) -> Vec<Record> {
    let mut now = 1_795_815_830_000;
    let mut records = vec![];
    let mut tell = |secs: f64, event: Event| {
        now += (1e3 * secs) as u64;
        records.push(Record { time_ms: now, event });
    };
    let started = RunStarted {
        epochs,
        seed,
        steps_per_epoch: STEPS_PER_EPOCH,
        total_steps: epochs * STEPS_PER_EPOCH,
        continued_from: None,
        host: "secret-host".to_owned(),
        data_origin: "/home/me/data/cifar-10-batches-bin".to_owned(),
        machine: Some("AMD EPYC 9B14, 2 cores".to_owned()),
        ..RunStarted::example()
    };
    tell(0.0, Event::RunStarted(Box::new(started)));
    for epoch in 1..=epochs {
        for line in 0..STEPS_PER_EPOCH / 4 {
            let first_step = (epoch - 1) * STEPS_PER_EPOCH + 4 * line + 1;
            let loss = |step: u64| 2.3 - 0.001 * (first_step + step) as f32;
            let steps = StepsDone {
                epoch,
                first_step,
                losses: (0..4).map(loss).collect(),
                gradient_norms: (0..4).map(|step| 3.0 * loss(step)).collect(),
                correct: 100,
                samples: 256,
                train_secs: 0.04,
                split_us: Some(StepTime::from([1000, 14_000, 20_000, 4000])),
                learning_rate: None,
            };
            tell(0.72, Event::StepsDone(steps));
            tell(0.0, Event::SystemSampled { step: first_step + 3, sample: Box::new(SystemSample::default()) });
        }
        let step = epoch * STEPS_PER_EPOCH;
        tell(0.0, Event::EvaluationStarted { epoch, step });
        let test_accuracy = best - 10.0 * (EPOCHS.max(epochs) - epoch) as f64;
        let mistake = Prediction { index: 7, true_class: 1, predicted_class: 2, confidence: 0.99 };
        let done = EpochDone {
            epoch,
            step,
            test_accuracy,
            elapsed_secs: 20.0,
            evaluation_secs: 2.0,
            confusion: Some(Confusion::new(10)),
            mistakes: vec![mistake; 12],
            ..EpochDone::example()
        };
        tell(2.0, Event::EpochDone(done));
        let saved = CheckpointSaved {
            epoch,
            step,
            name: format!("e{epoch:04}-s{step:06}"),
            reason: CheckpointReason::Epoch,
            bytes: 1,
            save_secs: 0.1,
        };
        tell(0.1, Event::CheckpointSaved(saved));
    }
    if has_end {
        let (step, message) = (epochs * STEPS_PER_EPOCH, "saved as e0003-s000300".to_owned());
        tell(0.0, Event::RunEnded { step, outcome: Outcome::Completed, message });
    }
    records
}

pub fn write_run(runs: &RunsDir, name: &str, config: &Config, records: &[Record]) {
    let run = runs.create(Some(name), config).unwrap();
    let mut log = EventLog::open(&run.events()).unwrap();
    records.iter().for_each(|record| log.write(record).unwrap());
}

/// Two finished runs of one row, of which the second was interrupted at step 200, and one of another that is not finished.
pub fn study() -> (tempfile::TempDir, Table, RunsDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.toml");
    let text = "thresholds = [61.5]\nset = [\"data.dir=/home/me/data\"]\n[[row]]\nname = \"plain\"\nseeds = [0, 1]\n\
                [[row]]\nname = \"se\"\nset = [\"model.attention=se\"]\nseeds = [0]\n";
    std::fs::write(&path, text).unwrap();
    let table = Table::load(&path, &[]).unwrap();
    let runs = RunsDir::at(folder.path().join("runs"));
    let planned = table.runs();
    write_run(&runs, &planned[0].name, &planned[0].config, &records(0, 60.0, EPOCHS, true));
    let whole = records(1, 62.0, EPOCHS, true);
    let cut = whole.iter().position(|record| matches!(&record.event, Event::EpochDone(done) if done.epoch == 2));
    let (before, after) = whole.split_at(cut.unwrap() + 2);
    let mut start = whole[0].clone();
    start.time_ms = after[0].time_ms;
    if let Event::RunStarted(started) = &mut start.event {
        started.continued_from = Some(2 * STEPS_PER_EPOCH);
    }
    write_run(&runs, &planned[1].name, &planned[1].config, &[before, &[start], after].concat());
    write_run(&runs, &planned[2].name, &planned[2].config, &records(0, 65.0, 2, false));
    (folder, table, runs)
}
