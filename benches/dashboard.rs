//! What long runs cost: a frame of the dashboard, attaching, and comparing ten. `cargo bench --bench dashboard`

use std::path::Path;

use divan::Bencher;
use jiff::tz::TimeZone;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Size;
use ratatui::{Frame, Terminal};
use taper::config::Config;
use taper::run::dir::RunDir;
use taper::run::event::{EpochDone, Event, FORMAT_VERSION, Record, RunStarted, StepsDone};
use taper::run::lock::Liveness;
use taper::run::log::{EventLog, Follower};
use taper::run::metric::Metric;
use taper::tui::Comparison;
use taper::tui::app::{App, Update};
use taper::tui::compare;
use taper::tui::compare::reader::read_run;
use taper::tui::compare::state::Compare;
use taper::tui::theme::{Depth, Theme};
use taper::tui::view;

const STEPS: u64 = 1_000_000;
const STEPS_PER_EPOCH: u64 = 782;

fn main() {
    divan::main();
}

/// A whole frame at 200×50 after a million steps.
#[divan::bench]
fn frame(bencher: Bencher) {
    let mut app = app();
    app.update(Update::Records(records(10).collect()));
    app.update(Update::Liveness(Liveness::Live));
    let mut terminal = Terminal::new(TestBackend::new(200, 50)).expect("a terminal in memory");
    bencher.bench_local(|| {
        let draw = |frame: &mut Frame| drop(view::render(&app, frame));
        terminal.draw(draw).expect("a terminal in memory");
    });
}

/// A chart on the whole screen at 200×50 after a million steps: all of it, zoomed in and panned in the middle, smoothed, by
/// time.
#[divan::bench(args = ["whole", "zoomed", "smoothed", "by time"])]
fn chart(bencher: Bencher, what: &str) {
    let mut app = app();
    app.update(Update::Records(records(10).collect()));
    app.update(Update::Liveness(Liveness::Live));
    let mut press = |codes: &[KeyCode]| {
        for &code in codes {
            app.handle_key(KeyEvent::new(code, KeyModifiers::NONE));
        }
    };
    press(&[KeyCode::Char('3')]);
    match what {
        "zoomed" => press(&[KeyCode::Up, KeyCode::Up, KeyCode::PageUp, KeyCode::Left, KeyCode::Left]),
        "smoothed" => press(&[KeyCode::Char('w'); 4]),
        "by time" => press(&[KeyCode::Char('x'), KeyCode::Char('x')]),
        _ => {}
    }
    let mut terminal = Terminal::new(TestBackend::new(200, 50)).expect("a terminal in memory");
    bencher.bench_local(|| {
        let draw = |frame: &mut Frame| drop(view::render(&app, frame));
        terminal.draw(draw).expect("a terminal in memory");
    });
}

/// From opening the log of a million steps to having all of it, with so many steps to a line.
#[divan::bench(args = [1, 4], sample_count = 5, sample_size = 1)]
fn attach(bencher: Bencher, steps_per_line: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("events.jsonl");
    write(&path, steps_per_line);
    bencher.bench_local(|| {
        let mut app = app();
        let mut follower = Follower::new(&path);
        loop {
            let records = follower.read(256 * 1024).expect("a sound log");
            if records.is_empty() {
                break;
            }
            app.update(Update::Records(records));
        }
        assert_eq!(app.run.losses.len() as u64, STEPS);
        app.run.step
    });
}

/// From opening the logs of ten such runs to having all of them.
#[divan::bench(args = [1, 4], sample_count = 3, sample_size = 1)]
fn compare_open(bencher: Bencher, steps_per_line: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runs = ten_runs(dir.path(), steps_per_line);
    bencher.bench_local(|| compare(&runs));
}

/// A frame at 200×50 of ten such runs: all of their batch losses, smoothed, and a part of them.
#[divan::bench(args = [0, 3])]
fn compare_frame(bencher: Bencher, zoom: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut compare = compare(&ten_runs(dir.path(), 4));
    compare.metric = Metric::BatchLoss;
    let press = |code| KeyEvent::new(code, KeyModifiers::NONE);
    compare.handle_key(press(KeyCode::Char('w')));
    for _ in 0..zoom {
        compare.handle_key(press(KeyCode::Up));
    }
    let mut terminal = Terminal::new(TestBackend::new(200, 50)).expect("a terminal in memory");
    bencher.bench_local(|| {
        terminal.draw(|frame| compare::view::render(&compare, frame)).expect("a terminal in memory");
    });
}

/// As the session does it.
fn compare(runs: &[RunDir]) -> Compare {
    let mut compare = Compare::new(Comparison::of(runs.to_vec()), Theme::Dark(Depth::TrueColour));
    let (updates, mut updates_out) = tokio::sync::mpsc::channel(4);
    for (number, run) in runs.iter().cloned().enumerate() {
        let updates = updates.clone();
        std::thread::spawn(move || read_run(number, &run, |_| Liveness::Dead, &updates));
    }
    while compare.progress().is_some() {
        compare.update(updates_out.blocking_recv().expect("threads that read"));
    }
    assert_eq!(compare.states().map(|state| state.losses.len() as u64).sum::<u64>(), 10 * STEPS);
    compare
}

fn ten_runs(dir: &Path, steps_per_line: u64) -> Vec<RunDir> {
    let log = dir.join("events.jsonl");
    write(&log, steps_per_line);
    let runs = (0..10).map(|number| RunDir::at(dir.join(format!("run{number}"))));
    runs.inspect(|run| {
        std::fs::create_dir(run.path()).expect("a folder");
        std::fs::hard_link(&log, run.events()).expect("a link");
        run.write_config(&Config::default()).expect("a configuration");
    })
    .collect()
}

fn app() -> App {
    App::new("long", Size::new(200, 50), Theme::Dark(Depth::TrueColour), TimeZone::UTC)
}

fn write(path: &Path, steps_per_line: u64) {
    let mut log = EventLog::open(path).expect("a log");
    for record in records(steps_per_line) {
        log.write(&record).expect("a line");
    }
}

/// A run of a million steps, an epoch's end after every 782.
fn records(steps_per_line: u64) -> impl Iterator<Item = Record> {
    let example = include_str!("../tests/fixtures/logs/training.jsonl").lines().next().expect("a line");
    let started = RunStarted {
        version: FORMAT_VERSION,
        epochs: STEPS / STEPS_PER_EPOCH + 1,
        steps_per_epoch: STEPS_PER_EPOCH,
        total_steps: STEPS + 1000,
        ..serde_json::from_str(example).expect("the start of a run")
    };
    let lines = (0..STEPS / steps_per_line).flat_map(move |line| {
        let first_step = line * steps_per_line + 1;
        let last_step = first_step + steps_per_line - 1;
        let epoch = (first_step - 1) / STEPS_PER_EPOCH + 1;
        let losses = (first_step..=last_step).map(loss).collect();
        let steps = StepsDone {
            epoch,
            first_step,
            losses,
            gradient_norms: vec![],
            correct: 40 * steps_per_line,
            samples: 64 * steps_per_line,
            train_secs: 0.03 * steps_per_line as f64,
            split_us: Some([312, 10_234, 17_123, 1_834].map(|micros| micros * steps_per_line).into()),
            learning_rate: None,
        };
        let ended = (last_step / STEPS_PER_EPOCH > (first_step - 1) / STEPS_PER_EPOCH).then(|| {
            Event::EpochDone(EpochDone {
                judged_by: taper::data::Split::Test,
                epoch,
                step: epoch * STEPS_PER_EPOCH,
                train_loss: f64::from(loss(last_step)),
                train_accuracy: 70.0,
                test_loss: f64::from(loss(first_step)),
                test_accuracy: 70.0 + (epoch % 10) as f64,
                test_time_augmentation: Default::default(),
                learning_rate: 1e-3,
                elapsed_secs: 25.0,
                evaluation_secs: 1.0,
                best: epoch == 9,
                confusion: None,
                mistakes: vec![],
            })
        });
        [Some(Event::StepsDone(steps)), ended].into_iter().flatten()
    });
    std::iter::once(Event::RunStarted(Box::new(started)))
        .chain(lines)
        .zip(0..)
        .map(|(event, index)| Record { time_ms: 1_795_542_723_000 + 100 * index, event })
}

/// Falls with the step, with noise that repeats.
fn loss(step: u64) -> f32 {
    let noise = (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1 << 24) as f32;
    0.5 + 1.8 / (1.0 + step as f32 / 50_000.0) + 0.3 * noise
}
