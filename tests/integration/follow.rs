//! The event log as it grows, and the fold of it. A new scenario is a log and its expected state in `fixtures/logs`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use taper::metrics::Confusion;
use taper::run::event::{AlarmKind, EpochDone, Event, Prediction, Record, RunStarted};
use taper::run::log::{EventLog, FollowError, Follower};
use taper::run::state::{DETAILED_EPOCHS, RunState};
use taper::run::step_time::{Breakdown, Part};
use tempfile::TempDir;

const LOGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/logs");

pub fn fixture(name: &str) -> PathBuf {
    Path::new(LOGS).join(name).with_extension("jsonl")
}

/// An example, of 50 epochs of 32 steps.
pub fn run_started() -> RunStarted {
    let log = fs::read_to_string(fixture("training")).unwrap();
    serde_json::from_str(log.lines().next().unwrap()).unwrap()
}

/// Reads whatever there is.
pub fn drain(follower: &mut Follower, chunk: usize) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let records = follower.read(chunk).unwrap();
        if records.is_empty() {
            return all;
        }
        all.extend(records);
    }
}

pub fn fold(records: &[Record]) -> RunState {
    let mut state = RunState::default();
    records.iter().for_each(|record| state.apply(record));
    state
}

#[test]
fn only_the_last_epochs_keep_their_confusion_matrix_and_mistakes() {
    let mistake = Prediction { index: 7, true_class: 3, predicted_class: 5, confidence: 0.5 };
    let done = |epoch: u64| {
        Event::EpochDone(EpochDone {
            judged_by: taper::data::Split::Test,
            epoch,
            step: epoch,
            train_loss: 1.0,
            train_accuracy: 1.0,
            test_loss: 1.0,
            test_accuracy: 1.0,
            test_time_augmentation: Default::default(),
            learning_rate: 1e-3,
            elapsed_secs: 1.0,
            evaluation_secs: 0.1,
            best: false,
            confusion: Some(Confusion::new(10)),
            mistakes: vec![mistake.clone()],
        })
    };
    let count = DETAILED_EPOCHS as u64 + 10;
    let records: Vec<Record> = (1..=count).map(|epoch| Record { time_ms: epoch, event: done(epoch) }).collect();
    let text = serde_json::to_string(&records[0]).unwrap();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), records[0]);
    let state = fold(&records);
    assert_eq!(state.epochs.len() as u64, count);
    for epoch in &state.epochs {
        let kept = epoch.epoch > 10;
        assert_eq!(
            (epoch.confusion.is_some(), epoch.mistakes.len()),
            (kept, usize::from(kept)),
            "epoch {}",
            epoch.epoch
        );
    }
}

#[test]
fn a_clock_that_jumps_breaks_no_estimate() {
    const HOUR_MS: u64 = 3_600_000;
    let mut records = drain(&mut Follower::new(fixture("training")), 1 << 20);
    let sound = fold(&records);
    let now = |state: &RunState| state.last_activity_ms;
    let a_third = records.len() / 3;
    // Back by an hour, and later on forward by a week.
    records[a_third..].iter_mut().for_each(|record| record.time_ms -= HOUR_MS);
    records[2 * a_third..].iter_mut().for_each(|record| record.time_ms += 168 * HOUR_MS);
    let jumped = fold(&records);
    assert_eq!((jumped.step, jumped.losses.len(), jumped.epochs.len()), (sound.step, sound.losses.len(), 13));
    assert_eq!(jumped.remaining_secs(), sound.remaining_secs());
    assert_eq!(jumped.images_per_sec(), sound.images_per_sec());
    let texts = |state: &RunState| state.notes.iter().map(|note| note.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&jumped), texts(&sound));
    let difference = jumped.active_secs(now(&jumped)) - sound.active_secs(now(&sound));
    assert!(difference.abs() <= 600.0, "{difference} s");
    // A dashboard whose clock is behind the trainer's.
    assert!(jumped.active_secs(0) >= 0.0 && jumped.wall_secs(0) >= 0.0);
}

fn paused(step: u64) -> Event {
    Event::Paused { step }
}

fn steps(records: &[Record]) -> Vec<u64> {
    let step = |record: &Record| match record.event {
        Event::Paused { step } => step,
        ref other => panic!("{other:?}"),
    };
    records.iter().map(step).collect()
}

struct Log {
    _dir: TempDir,
    path: PathBuf,
}

impl Log {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        Self { _dir: dir, path }
    }

    fn with(content: impl AsRef<[u8]>) -> Self {
        let log = Self::new();
        log.write(content);
        log
    }

    fn write(&self, content: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
        file.write_all(content.as_ref()).unwrap();
    }
}

fn line(step: u64) -> String {
    format!("{{\"time_ms\":{step},\"event\":\"paused\",\"step\":{step}}}\n")
}

/// What the state files of the scenarios hold, as far as they hold it.
fn describe(state: &RunState) -> Value {
    let numbers = |values: Vec<f64>| json!(values);
    let percents = |steps: Breakdown| Part::OF_ONE_PROCESS.map(|part| steps.share(part).round() as u64);
    let mut description = serde_json::to_value(state.summary()).unwrap();
    let more = json!({
        "losses": state.losses.len(),
        "steps_in_epoch": state.steps_in_epoch(),
        "open_epoch_examples": state.open_epoch.samples,
        "recent_steps": state.recent_step_time().map(|recent| recent.steps as u64),
        "recent_percents": state.recent_step_time().map(percents),
        "percents": state.step_time().map(percents),
        "epoch_numbers": state.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(),
        "learning_rates": numbers(state.learning_rate_changes.iter().map(|change| change.to).collect()),
        "checkpoints": state.checkpoints.iter().map(|checkpoint| &checkpoint.saved.name).collect::<Vec<_>>(),
        "alarms": state.alarms.iter().map(|alarm| &alarm.message).collect::<Vec<_>>(),
        "last_note": state.notes.back().map(|note| &note.text),
        "end_message": state.end_message,
    });
    description.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    description
}

#[test]
fn every_scenario_folds_to_its_expected_state() {
    let mut scenarios = 0;
    for entry in fs::read_dir(LOGS).unwrap() {
        let expected_path = entry.unwrap().path();
        if expected_path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let expected: Value = serde_json::from_slice(&fs::read(&expected_path).unwrap()).unwrap();
        // In chunks smaller than most lines, so that every boundary is met.
        let records = drain(&mut Follower::new(expected_path.with_extension("jsonl")), 100);
        let actual = describe(&fold(&records));
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&actual[key], value, "{key} in {}", expected_path.display());
        }
        scenarios += 1;
    }
    assert!(scenarios >= 10, "{scenarios}");
}

#[test]
fn what_is_appended_is_followed() {
    let log = Log::new();
    let mut follower = Follower::new(&log.path);
    assert_eq!(follower.read(1000).unwrap(), [], "before the file exists");
    let mut writer = EventLog::open(&log.path).unwrap();
    assert_eq!(follower.read(1000).unwrap(), [], "before the first event");
    let first = writer.append(paused(1)).unwrap();
    assert_eq!(follower.read(1000).unwrap(), [first]);
    let rest = [writer.append(paused(2)).unwrap(), writer.append(paused(3)).unwrap()];
    assert_eq!(follower.read(1000).unwrap(), rest);
    assert_eq!(follower.read(1000).unwrap(), []);
}

#[test]
fn a_torn_line_is_waited_for() {
    let whole = line(2);
    for torn_at in 1..whole.len() {
        let log = Log::with(line(1) + &whole[..torn_at]);
        let mut follower = Follower::new(&log.path);
        assert_eq!(steps(&drain(&mut follower, 1000)), [1], "torn at {torn_at}");
        log.write(&whole[torn_at..]);
        assert_eq!(steps(&drain(&mut follower, 1000)), [2], "torn at {torn_at}");
    }
}

#[test]
fn a_torn_line_that_was_cut_off_is_forgotten() {
    let log = Log::with(line(1) + &line(99)[..20]);
    let mut follower = Follower::new(&log.path);
    assert_eq!(steps(&drain(&mut follower, 1000)), [1]);
    let mut writer = EventLog::open(&log.path).unwrap();
    assert_eq!(drain(&mut follower, 1000), [], "mended");
    writer.append(paused(2)).unwrap();
    assert_eq!(steps(&drain(&mut follower, 1000)), [2]);
}

#[test]
fn opening_mends_any_torn_tail() {
    let long = "x".repeat(10_000);
    let cases: [(&[u8], usize); 5] =
        [(b"", 0), (b"torn", 0), (b"a\n", 2), (b"a\nb\n\0\0\0", 4), (&[b"a\n", long.as_bytes()].concat(), 2)];
    for (content, kept) in cases {
        let log = Log::with(content);
        EventLog::open(&log.path).unwrap();
        assert_eq!(fs::read(&log.path).unwrap(), &content[..kept]);
    }
}

#[test]
fn chunks_bound_what_is_read_at_a_time() {
    let log = Log::with((1..=100).map(line).collect::<String>());
    let mut follower = Follower::new(&log.path);
    let first = follower.read(200).unwrap();
    assert!((1..10).contains(&first.len()), "{}", first.len());
    let rest = drain(&mut follower, 200);
    assert_eq!(steps(&[first, rest].concat()), (1..=100).collect::<Vec<_>>());
}

#[test]
fn a_line_longer_than_the_chunk_is_read_whole() {
    let long = format!("{{\"time_ms\":1,\"event\":\"paused\",\"step\":1,\"filler\":\"{}\"}}\n", "x".repeat(5000));
    let log = Log::with(long + &line(2));
    assert_eq!(steps(&drain(&mut Follower::new(&log.path), 10)), [1, 2]);
}

#[test]
fn a_garbage_line_is_named_and_skipped() {
    let log = Log::with(line(1) + "what is this\n" + &line(2));
    let mut follower = Follower::new(&log.path);
    assert_eq!(steps(&follower.read(1000).unwrap()), [1]);
    let error = follower.read(1000).unwrap_err();
    let offset = line(1).len() as u64;
    assert!(matches!(error, FollowError::Malformed { line: 2, offset: at, .. } if at == offset), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("events.jsonl: line 2 (byte ") && text.contains("is no event"), "{text}");
    assert_eq!(steps(&follower.read(1000).unwrap()), [2]);
}

#[test]
fn every_kind_of_broken_line_is_malformed() {
    for broken in [
        "{}",
        "[1]",
        "{\"time_ms\":1}",
        "{\"event\":\"paused\",\"step\":1}",
        "{\"time_ms\":1,\"event\":\"paused\"}",
        "",
    ] {
        let log = Log::with(format!("{broken}\n"));
        let error = Follower::new(&log.path).read(1000).unwrap_err();
        assert!(matches!(error, FollowError::Malformed { line: 1, offset: 0, .. }), "{broken}: {error:?}");
    }
}

#[test]
fn fields_may_be_unknown_and_in_any_order() {
    let log = Log::with("{\"step\":7,\"new\":[1,{}],\"event\":\"paused\",\"time_ms\":3}\n");
    let records = drain(&mut Follower::new(&log.path), 1000);
    assert_eq!(records, [Record { time_ms: 3, event: paused(7) }]);
}

#[test]
fn an_alarm_of_an_unknown_kind_is_an_alarm() {
    let alarm =
        |kind| format!("{{\"time_ms\":1,\"event\":\"alarm_raised\",\"step\":7,{kind}\"message\":\"see there\"}}\n");
    let log = Log::with(alarm("") + &alarm("\"kind\":\"earthquake\",") + &alarm("\"kind\":\"plateau\","));
    let state = fold(&drain(&mut Follower::new(&log.path), 1000));
    let kinds: Vec<AlarmKind> = state.alarms.iter().map(|alarm| alarm.kind).collect();
    assert_eq!(kinds, [AlarmKind::Other, AlarmKind::Other, AlarmKind::Plateau]);
}

#[test]
fn another_format_is_refused_for_good() {
    // Another format may share no field with ours but these.
    let log = Log::with(line(1) + "{\"time_ms\":1,\"event\":\"run_started\",\"version\":3}\n");
    let mut follower = Follower::new(&log.path);
    assert_eq!(steps(&follower.read(1000).unwrap()), [1]);
    for _ in 0..2 {
        let error = follower.read(1000).unwrap_err();
        assert!(matches!(error, FollowError::Version { line: 2, found: 3, .. }), "{error:?}");
        assert!(error.to_string().contains("is of log format 3, this taper reads formats 1 to 2"), "{error}");
    }
}

#[test]
fn a_replaced_log_is_noticed() {
    let log = Log::with(line(1) + &line(2));
    let mut follower = Follower::new(&log.path);
    drain(&mut follower, 1000);
    OpenOptions::new().write(true).open(&log.path).unwrap().set_len(5).unwrap();
    assert!(matches!(follower.read(1000).unwrap_err(), FollowError::Replaced { .. }));
}

#[test]
fn records_survive_the_log() {
    for name in ["training", "continued", "failed", "paused"] {
        let records = drain(&mut Follower::new(fixture(name)), 1 << 20);
        let log = Log::new();
        let mut writer = EventLog::open(&log.path).unwrap();
        for record in &records {
            writer.append(record.event.clone()).unwrap();
        }
        let again = drain(&mut Follower::new(&log.path), 1 << 20);
        assert!(records.iter().map(|record| &record.event).eq(again.iter().map(|record| &record.event)), "{name}");
        let lines = fs::read_to_string(&log.path).unwrap();
        assert!(lines.lines().all(|line| line.starts_with("{\"time_ms\":") && line.contains(",\"event\":\"")));
        assert!(lines.lines().all(|line| line.contains(",\"crc32\":")), "{lines}");
    }
}
