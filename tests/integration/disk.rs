//! A disk that takes nothing more, a small one or played by the limit on the size of files: training goes on, and nothing is
//! lost.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use taper::config::BestBy;
use taper::run::control_file::TrainerAddress;
use taper::run::dir::RunDir;
use taper::run::event::{AlarmKind, Event};
use taper::run::log::torn_bytes;
use taper::train::checkpoint;

use crate::any_dataset::grey;
use crate::binary::{Dir, TINY, eventually, records, steps, wait_for_event, wait_for_steps};
use crate::follow::fold;

/// No file of the run's trainer can grow beyond that many bytes.
fn limit_files(run: &RunDir, bytes: Option<u64>) {
    let pid = TrainerAddress::read(run).expect("a live trainer").process.pid;
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Pid::from_raw(pid as i32), Resource::Fsize, limit).expect("a limit");
}

/// Pauses the run, and resumes it: the step that it had reached.
fn reached(dir: &Dir) -> u64 {
    let paused = dir.command(["pause"]).succeed();
    dir.command(["resume", "far"]).succeed();
    paused.trim().rsplit(' ').next().expect("a step").parse().expect(&paused)
}

fn alarms(run: &RunDir, text: &str) -> usize {
    let is = |event: &Event| matches!(event, Event::AlarmRaised { message, .. } if message.contains(text));
    records(run).iter().filter(|record| is(&record.event)).count()
}

fn start(dir: &Dir) -> RunDir {
    let train = ["train", "--detach", "--epochs", "100000", "--name", "far", "--set", "checkpoint.every_steps=5"];
    dir.command(train.into_iter().chain(TINY)).succeed();
    dir.run("far")
}

#[test]
fn on_a_full_disk_training_goes_on() {
    let dir = Dir::new();
    let run = start(&dir);
    wait_for_event(&run, "a checkpoint", |event| matches!(event, Event::CheckpointSaved(_)).then_some(()));
    // First in the middle of a line, then nothing that is longer than a page; so no checkpoint either.
    for (name, bytes) in [("a line", None), ("a page", Some(4096))] {
        wait_for_steps(&run, 5);
        dir.command(["pause"]).succeed();
        let length = run.events().metadata().expect("a log").len();
        limit_files(&run, Some(bytes.unwrap_or(length + 10)));
        let alarms_before = alarms(&run, "checkpoint: cannot write ");
        let (before, saved) = (reached(&dir), checkpoint::latest(&run).expect("readable").expect("one").state.step);
        eventually("the run goes on", || (reached(&dir) > before + 30).then_some(()));
        assert_eq!(
            (run.events().metadata().expect("a log").len(), torn_bytes(&run.events()).expect("a log")),
            (length, 0)
        );
        let still_saved = checkpoint::latest(&run).expect("readable").expect("one").state.step;
        assert!(still_saved >= saved, "{name}");
        if bytes.is_some() {
            assert_eq!(still_saved, saved, "no checkpoint fits");
            assert_eq!(alarms(&run, "checkpoint: cannot write "), alarms_before, "not yet in the log");
        }
        limit_files(&run, None);
        wait_for_event(&run, "an alarm", |event| match event {
            Event::AlarmRaised { message, .. } => message.contains("the event log can be written again").then_some(()),
            _ => None,
        });
    }
    dir.command(["stop"]).succeed();
    assert_eq!(alarms(&run, "the event log cannot be written (File too large"), 2);
    assert_eq!(alarms(&run, "none was lost"), 2);
    assert!(alarms(&run, "checkpoint: cannot write ") > 0);

    let (state, saved) = (fold(&records(&run)), checkpoint::latest(&run).expect("readable").expect("one").state);
    assert_eq!((state.losses.len() as u64, state.step), (saved.step, saved.step));
    assert!(state.losses.values().iter().all(|loss| loss.is_finite()));
    let times: Vec<u64> = records(&run).iter().map(|record| record.time_ms).collect();
    assert!(times.is_sorted());
}

/// Takes the rest of the disk, to the last block.
fn fill(file: &Path) {
    let mut filler = File::options().create(true).append(true).open(file).expect("a file");
    let full = loop {
        if let Err(error) = filler.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
    assert_eq!(free_blocks(file), 0);
}

fn free_blocks(file: &Path) -> u64 {
    rustix::fs::statvfs(file).expect("a file system").f_bavail
}

#[test]
fn on_a_small_disk_that_fills_the_dashboard_is_told() {
    let Some(dir) = Dir::on_small_disk(24) else { return };
    let train = ["train", "--detach", "--epochs", "100000", "--name", "far", "--set", "checkpoint.every_steps=5"];
    let alarm = ["--set", "alarms.disk_free_bytes=100000"];
    dir.command(train.into_iter().chain(alarm).chain(TINY)).succeed();
    let run = dir.run("far");
    wait_for_event(&run, "a checkpoint", |event| matches!(event, Event::CheckpointSaved(_)).then_some(()));
    let mut terminal = dir.terminal(["attach", "far"]);
    terminal.wait_for("far");

    // The log has a reserve.
    dir.command(["pause"]).succeed();
    assert_eq!(alarms(&run, ""), 0);
    let filler = dir.path("filler");
    fill(&filler);
    let saved = checkpoint::latest(&run).expect("readable").expect("one").state.step;
    dir.command(["resume", "far"]).succeed();
    let alarm_of = |kind| {
        move |event: &Event| match event {
            Event::AlarmRaised { kind: of, message, .. } if *of == kind => Some(message.clone()),
            _ => None,
        }
    };
    let message = wait_for_event(&run, "an alarm", alarm_of(AlarmKind::Checkpoint));
    assert!(message.contains("No space left on device"), "{message}");
    wait_for_event(&run, "an alarm", alarm_of(AlarmKind::DiskNearlyFull));
    terminal.keys("a");
    terminal.wait_for("No space left on device");
    terminal.wait_for("are free where the run lies");
    wait_for_steps(&run, 100);
    assert_eq!(free_blocks(&filler), 0);
    assert_eq!(alarms(&run, "the event log cannot be written"), 0);
    assert_eq!(checkpoint::latest(&run).expect("readable").expect("one").state.step, saved);

    // It is used up.
    dir.command(["pause"]).succeed();
    let log = File::options().write(true).open(run.events()).expect("a log");
    log.set_len(log.metadata().expect("a log").len()).expect("without what lies behind its end");
    fill(&filler);
    let before = reached(&dir);
    eventually("the run goes on", || (reached(&dir) > before + 100).then_some(()));
    assert_eq!((free_blocks(&filler), torn_bytes(&run.events()).expect("a log")), (0, 0));
    assert_eq!(checkpoint::latest(&run).expect("readable").expect("one").state.step, saved);
    assert_eq!(alarms(&run, "the event log cannot be written"), 0, "not yet in the log");

    std::fs::remove_file(&filler).expect("space");
    terminal.wait_for("the event log can be written again");
    let goal = steps(&run);
    wait_for_event(&run, "a later checkpoint", |event| match event {
        Event::CheckpointSaved(saved) => (saved.step > goal).then_some(()),
        _ => None,
    });
    dir.command(["stop"]).succeed();
    assert_eq!(alarms(&run, "the event log cannot be written (No space left on device"), 1);
    assert_eq!(alarms(&run, "none was lost"), 1);
    let (state, saved) = (fold(&records(&run)), checkpoint::latest(&run).expect("readable").expect("one").state);
    assert_eq!((state.losses.len() as u64, state.step), (saved.step, saved.step));
    assert!(state.losses.values().iter().all(|loss| loss.is_finite()));
}

#[test]
fn a_folder_that_takes_no_checkpoint_raises_an_alarm() {
    let dir = Dir::new();
    let run = start(&dir);
    wait_for_event(&run, "a checkpoint", |event| matches!(event, Event::CheckpointSaved(_)).then_some(()));
    let aside = dir.path("aside");
    // A folder that is not there is made anew.
    dir.command(["pause"]).succeed();
    std::fs::rename(run.checkpoints(), &aside).expect("moved");
    std::fs::write(run.checkpoints(), "").expect("a file in its place");
    dir.command(["resume", "far"]).succeed();
    let alarm = |event: &Event| match event {
        Event::AlarmRaised { message, step, .. } => message.contains("checkpoint: cannot write to").then_some(*step),
        _ => None,
    };
    let step = wait_for_event(&run, "an alarm", alarm);
    dir.command(["pause"]).succeed();
    std::fs::remove_file(run.checkpoints()).expect("removed");
    std::fs::rename(&aside, run.checkpoints()).expect("moved back");
    dir.command(["resume", "far"]).succeed();
    wait_for_event(&run, "a later checkpoint", |event| match event {
        Event::CheckpointSaved(saved) => (saved.step > step).then_some(()),
        _ => None,
    });
}

/// Score (greater is better) of each epoch in the log, and whether it was called the best.
fn judged(run: &RunDir, by: BestBy) -> Vec<(f64, bool)> {
    let epochs = records(run).into_iter().filter_map(|record| match record.event {
        Event::EpochDone(done) => {
            let score = if by == BestBy::Loss { -done.test_loss } else { done.test_accuracy };
            Some((score, done.best))
        }
        _ => None,
    });
    epochs.collect()
}

/// Whether each epoch is better than all before it.
fn better_than_all_before(epochs: &[(f64, bool)]) -> Vec<bool> {
    (0..epochs.len()).map(|index| epochs[..index].iter().all(|before| before.0 < epochs[index].0)).collect()
}

/// A run that has no place for checkpoints from before the end of its first epoch; the place is `aside`.
fn start_without_checkpoints(dir: &Dir, name: &str, best: &str) -> Option<RunDir> {
    let train = ["train", "--detach", "--epochs", "100000", "--name", name, "--set", best];
    let data = ["--set", "data.source=idx", "--set", "probe.every=0"];
    // Large, so that many an epoch is worse than one before.
    let rate = ["--set", "optimizer.learning_rate=0.02", "--set", "schedule.patience=0"];
    dir.command(train.into_iter().chain(TINY).chain(data).chain(rate)).succeed();
    let (run, aside) = (dir.run(name), dir.path("aside"));
    std::fs::rename(run.checkpoints(), &aside).expect("moved");
    // A folder that is not there is made anew, by then perhaps.
    let is_closed = std::fs::write(run.checkpoints(), "").is_ok();
    let is_in_time = is_closed && std::fs::read_dir(&aside).expect("a folder").next().is_none();
    if !is_in_time {
        dir.command(["stop", name]).output();
        std::fs::remove_dir_all(&aside).expect("removed");
    }
    is_in_time.then_some(run)
}

#[test]
fn the_best_epoch_is_the_best_of_all_whether_it_was_saved_or_not() {
    for (by, best) in [(BestBy::Accuracy, "train.best=accuracy"), (BestBy::Loss, "train.best=loss")] {
        let dir = Dir::new();
        grey().write(&dir);
        let mut names = (0..20).map(|number| format!("run{number}"));
        let run = names.find_map(|name| start_without_checkpoints(&dir, &name, best)).expect("one in time");
        let name = run.name();
        // None is saved, and the first was the best; it is no news when a later one is better than any that was saved.
        eventually("epochs worse than others", || {
            let better = better_than_all_before(&judged(&run, by));
            (better.iter().filter(|better| !**better).count() >= 3).then_some(())
        });
        dir.command(["pause", &name]).succeed();
        assert_eq!(alarms(&run, "checkpoint: cannot write to"), 1, "once for all of them");
        let unsaved = judged(&run, by).len();
        std::fs::remove_file(run.checkpoints()).expect("removed");
        std::fs::rename(dir.path("aside"), run.checkpoints()).expect("moved back");
        dir.command(["resume", &name]).succeed();
        eventually("epochs that are saved", || (judged(&run, by).len() >= unsaved + 3).then_some(()));
        dir.command(["stop", &name]).succeed();

        let epochs = judged(&run, by);
        let told: Vec<bool> = epochs.iter().map(|epoch| epoch.1).collect();
        assert_eq!(told, better_than_all_before(&epochs), "{epochs:?}");
    }
}

#[test]
fn training_does_not_begin_where_its_log_cannot() {
    let dir = Dir::new();
    let run = start(&dir);
    dir.command(["stop"]).succeed();
    eventually("the trainer is gone", || (!run.control().exists()).then_some(()));
    std::fs::remove_file(run.events()).expect("removed");
    std::fs::create_dir(run.events()).expect("a folder in its place");
    let error = dir.command(["resume", "far", "--no-tui"]).fail(1);
    assert!(error.contains("events.jsonl"), "{error}");
}
