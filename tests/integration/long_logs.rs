//! A log of days: commands that look at a run need not read all of it, and say the same as if they had.

use std::fs;

use taper::run::dir::RunDir;
use taper::run::event::{Event, RunStarted, StepsDone};
use taper::run::log::EventLog;

use crate::binary::{Dir, TINY, records};

/// More than the index takes, and the part of the log behind it that is always read.
const LONG_BYTES: u64 = 10 << 20;

/// Lengthens the log of a run that ended at `end` as if it had gone on for long, and then again from there.
fn lengthen(run: &RunDir, end: u64, steps_per_epoch: u64) {
    let mut step = end;
    let first = records(run).swap_remove(0).event;
    let Event::RunStarted(started) = first else { panic!("{first:?}") };
    let mut log = EventLog::open(&run.events()).expect("a log");
    while run.events().metadata().expect("a log").len() < LONG_BYTES {
        let steps = StepsDone {
            epoch: 1 + step / steps_per_epoch,
            first_step: step + 1,
            losses: (0..100).map(|number| 1.0 + number as f32 / 7.0).collect(),
            gradient_norms: (0..100).map(|number| 2.0 + number as f32 / 9.0).collect(),
            correct: 64,
            samples: 6400,
            train_secs: 0.1,
            split_us: None,
            learning_rate: None,
        };
        log.append(Event::StepsDone(steps)).expect("written");
        step += 100;
    }
    log.append(Event::RunStarted(Box::new(RunStarted { continued_from: Some(end), ..*started }))).expect("written");
}

#[test]
fn a_long_log_is_indexed_and_the_index_is_no_authority() {
    let dir = Dir::new();
    let train = ["train", "--no-tui", "--name", "long", "--max-steps", "40"];
    dir.command(train.into_iter().chain(TINY)).succeed();
    let run = dir.run("long");
    lengthen(&run, 40, 32);
    let listed = || dir.command(["runs", "--json"]).succeed();
    let doctor = || dir.command(["doctor", "long"]).succeed();
    let before = listed();
    assert!(!run.events_index().exists() && !doctor().contains("index"));

    dir.command(["resume", "long", "--no-tui", "--max-steps", "60"]).succeed();
    let indexed = fs::read(run.events_index()).expect("an index");
    assert!(doctor().contains("of the first 6."), "{}", doctor());
    let with_index = listed();
    assert_ne!(with_index, before);
    assert!(with_index.contains("\"step\": 60"), "{with_index}");

    let mut damaged = indexed.clone();
    damaged[indexed.len() / 2] ^= 1;
    fs::write(run.events_index(), damaged).expect("written");
    assert_eq!(listed(), with_index);
    assert!(doctor().contains("it is damaged; the log is read instead"), "{}", doctor());
    // The log of another run.
    fs::write(run.events_index(), &indexed).expect("written");
    let log = fs::read(run.events()).expect("a log");
    let second_line = log.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
    fs::write(run.events(), [&log[..second_line], &log[..]].concat()).expect("written");
    assert_eq!(listed(), with_index);
    assert!(doctor().contains("it was not made from this log"), "{}", doctor());
    fs::remove_file(run.events_index()).expect("removed");
    assert_eq!(listed(), with_index);
}
