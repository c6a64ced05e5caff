//! Files with arbitrary or changed bytes: an error that names the file, or what stands before the damage; never a panic.
//! (Arbitrary bytes: `fuzz_corpus`.)

use std::fs;

use proptest::prelude::*;
use taper::config::Config;
use taper::run::control_file::TrainerAddress;
use taper::run::dir::{RunDir, RunsDir};
use taper::run::event::{EpochDone, Event, Record, RunStarted, StepsDone};
use taper::run::lock::{Liveness, holder, liveness};
use taper::run::state::RunState;
use taper::run::system_sample::SystemSample;

use crate::follow::{fixture, fold, run_started};
use crate::fuzz_corpus::targets::{look_at, read};

/// Bytes of a log that are read at once.
const WINDOW: usize = 1 << 16;

#[test]
fn lines_before_a_changed_byte_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    for name in ["first_epoch", "continued", "paused"] {
        let mut log = fs::read(fixture(name)).expect("a log");
        let whole = read(&fixture(name), WINDOW).0;
        for at in 0..log.len() {
            let bit = 1 << (at % 8);
            log[at] ^= bit;
            fs::write(&path, &log).expect("written");
            log[at] ^= bit;
            let (records, errors) = read(&path, WINDOW);
            let before = log[..at].iter().filter(|&&byte| byte == b'\n').count();
            assert!(records.len() >= before.min(whole.len()), "{name}, byte {at}");
            assert_eq!(records[..before.min(whole.len())], whole[..before.min(whole.len())], "{name}, byte {at}");
            for error in errors {
                let line = format!("events.jsonl: line {} ", before + 1);
                assert!(error.to_string().contains(&line), "{name}, byte {at}: {error}");
            }
            look_at(&fold(&records));
        }
    }
}

#[test]
fn every_changed_bit_of_a_log_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    let mut log = fs::read(fixture("checksums")).expect("a log");
    let (whole, none) = read(&fixture("checksums"), WINDOW);
    assert!(none.is_empty() && whole.len() == 12);
    for (at, bit) in (0..log.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        log[at] ^= 1 << bit;
        fs::write(&path, &log).expect("written");
        let (records, errors) = read(&path, WINDOW);
        let line = log[..at].iter().filter(|&&byte| byte == b'\n').count();
        // The changed line is lost, or both that were joined by the loss of a newline: then the last one waits for its own.
        let lost = if log[at] ^ (1 << bit) == b'\n' { 2 } else { 1 };
        let kept: Vec<_> = whole.iter().take(line).chain(whole.iter().skip(line + lost)).cloned().collect();
        assert_eq!(records, kept, "bit {bit} of byte {at}");
        assert_eq!(errors.is_empty(), at == log.len() - 1, "bit {bit} of byte {at}");
        log[at] ^= 1 << bit;
    }
}

#[test]
fn every_byte_of_a_runs_configuration_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = Config::load(None, &[]).expect("the defaults");
    let run = RunsDir::at(folder.path()).create(Some("run"), &whole).expect("a run");
    let bytes = fs::read(run.config()).expect("its configuration");
    assert_eq!(Config::load(Some(&run.config()), &[]), Ok(whole.clone()));
    let refused = |damaged: &[u8], what: String| {
        fs::write(run.config(), damaged).expect("written");
        match Config::load(Some(&run.config()), &[]) {
            Err(error) => assert!(error.to_string().contains("config.toml"), "{what}: {error}"),
            // A letter in the words of the first line.
            Ok(config) => assert_eq!(config, whole, "{what}"),
        }
    };
    let mut damaged = bytes.clone();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            damaged[at] ^= 1 << bit;
            refused(&damaged, format!("bit {bit} of byte {at}"));
            damaged[at] = bytes[at];
        }
        fs::write(run.config(), &bytes[..at]).expect("written");
        let error = Config::load(Some(&run.config()), &[]).expect_err("it is cut off").to_string();
        assert!(error.contains("config.toml: it "), "cut off at {at}: {error}");
    }
    refused(&[&bytes[..], b"x"].concat(), "one byte more".into());
}

/// A number such as a file may hold and a program may trip over.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..10u64, any::<u64>(), Just(u64::MAX), Just(1 << 53), Just(i64::MAX as u64)]
}

fn real() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..10.0f64, any::<f64>().prop_filter("JSON has it", |real| real.is_finite()), Just(-1.0), Just(0.0)]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (number(), number(), number(), number(), proptest::option::of(number()), real()).prop_map(
            |(epochs, steps_per_epoch, total_steps, batch_size, continued_from, learning_rate)| {
                Event::RunStarted(Box::new(RunStarted {
                    parameters: epochs,
                    train_samples: batch_size,
                    epochs,
                    batch_size,
                    steps_per_epoch,
                    total_steps,
                    learning_rate,
                    continued_from,
                    ..run_started()
                }))
            }
        ),
        (number(), number(), proptest::collection::vec(any::<f32>(), 0..5), number(), number(), real()).prop_map(
            |(epoch, first_step, losses, correct, samples, train_secs)| {
                Event::StepsDone(StepsDone {
                    epoch,
                    first_step,
                    gradient_norms: losses.clone(),
                    losses,
                    correct,
                    samples,
                    train_secs,
                    split_us: None,
                    learning_rate: None,
                })
            }
        ),
        // By its JSON, so that a field which is added later does not matter here.
        (number(), number(), real(), real()).prop_map(|(epoch, step, loss, secs)| {
            let json = serde_json::json!({
                "epoch": epoch, "step": step, "train_loss": loss, "train_accuracy": loss, "test_loss": loss,
                "test_accuracy": loss, "learning_rate": loss, "elapsed_secs": secs, "evaluation_secs": secs,
                "best": true,
            });
            Event::EpochDone(serde_json::from_value::<EpochDone>(json).expect("an epoch"))
        }),
        (number(), number()).prop_map(|(epoch, step)| Event::EvaluationStarted { epoch, step }),
        number().prop_map(|step| Event::Paused { step }),
        number().prop_map(|step| Event::Resumed { step }),
        (number(), number()).prop_map(|(step, bytes)| {
            let sample = SystemSample { resident_bytes: Some(bytes), ..SystemSample::default() };
            Event::SystemSampled { step, sample: Box::new(sample) }
        }),
    ]
}

proptest! {
    #![proptest_config(crate::testing::property(2000))]

    #[test]
    fn any_sequence_of_events_can_be_folded(
        events in proptest::collection::vec((number(), any_event()), 0..12)
    ) {
        let mut state = RunState::default();
        for (time_ms, event) in events {
            state.apply(&Record { time_ms, event });
            look_at(&state);
        }
    }

    #[test]
    fn any_bytes_may_be_a_control_file_or_lock(
        bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0.0..1.0f64, byte: u8
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let run = RunDir::at(folder.path());
        let mut own = serde_json::to_vec(&TrainerAddress::own("/nowhere".into())).expect("JSON");
        let at = (at * own.len() as f64) as usize;
        own[at] ^= byte;
        for bytes in [bytes, own] {
            fs::write(run.control(), &bytes).expect("written");
            fs::write(run.lock(), &bytes).expect("written");
            if let Some(address) = TrainerAddress::read(&run) {
                let _ = (address.process.is_on_this_host(), address.process.is_alive());
            }
            let _ = holder(&run);
            // The lock decides, whatever the files say.
            prop_assert_eq!(liveness(&run), Liveness::Dead);
        }
    }
}
