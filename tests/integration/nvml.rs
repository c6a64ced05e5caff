//! A stand-in for the NVIDIA driver's library: what a run's log and `taper doctor` say of cards, and of a driver with faults.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use taper::run::dir::RunDir;
use taper::run::event::Event;
use taper::run::held_dir::HeldRunDir;
use taper::run::system_sample::{SystemSample, ThrottleReason};
use taper::system::{CardId, Cards, Sampler};
use tempfile::TempDir;

use crate::binary::{Dir, TINY, eventually, wait_for_event};

/// The library, by a name that the system's loader would look for.
struct StandIn(TempDir);

impl StandIn {
    /// With these faults, as the source names them.
    fn build(faults: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("libnvidia-ml.so.1");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nvml/stand_in.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(library).arg(source);
        let compiled = compiler.args(faults.iter().map(|fault| format!("-D{fault}"))).status().unwrap();
        assert!(compiled.success());
        Self(dir)
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("libnvidia-ml.so.1")
    }

    fn cards(&self) -> Cards {
        Cards::open_library(self.library().as_os_str()).unwrap()
    }
}

#[test]
fn the_doctor_lists_every_card_or_says_why_there_is_none() {
    let dir = Dir::new();
    let doctor = |stand_in: &StandIn| dir.command(["doctor"]).env("LD_LIBRARY_PATH", stand_in.0.path()).succeed();
    let said = doctor(&StandIn::build(&[]));
    for line in [
        "GPU 0     NVIDIA H100 80GB HBM3, driver 575.57.08, 85.9 GB, power limit 700 W, 61 °C, compute capability 9.0",
        "GPU 1     NVIDIA GeForce RTX 3060, driver 575.57.08, 12.9 GB, power limit 170 W, 61 °C, compute capability 8.6",
    ] {
        assert!(said.lines().any(|said| said == line), "{said}");
    }
    let said = doctor(&StandIn::build(&["UNSUPPORTED=\"nvmlDeviceGetEnforcedPowerLimit nvmlDeviceGetTemperature\""]));
    assert!(said.contains("NVIDIA H100 80GB HBM3, driver 575.57.08, 85.9 GB, compute capability 9.0\n"), "{said}");
    let said = doctor(&StandIn::build(&["INIT_RESULT=DRIVER_NOT_LOADED"]));
    assert!(
        said.contains("GPUs      none: the NVIDIA driver does not answer: NVIDIA driver is not loaded\n"),
        "{said}"
    );
    if Cards::open().is_err() {
        let said = dir.command(["doctor"]).succeed();
        assert!(said.contains("GPUs      none: no NVIDIA driver: libnvidia-ml.so.1 is not there\n"), "{said}");
    }
}

#[test]
fn a_card_is_found_by_each_of_its_names() {
    let stand_in = StandIn::build(&[]);
    let cards = stand_in.cards();
    let name = |id| cards.look(&id).and_then(|card| card.name);
    assert_eq!(name(CardId::Ordinal(0)).as_deref(), Some("NVIDIA H100 80GB HBM3"));
    for id in [CardId::Ordinal(1), CardId::PciBusId("00000000:65:00.0".into()), CardId::Uuid("GPU-stand-in".into())] {
        assert_eq!(name(id).as_deref(), Some("NVIDIA GeForce RTX 3060"));
    }
    for id in [CardId::Ordinal(2), CardId::PciBusId("nowhere".into()), CardId::Uuid("GPU-another".into())] {
        assert_eq!(name(id), None);
    }
}

#[test]
fn what_a_card_does_is_all_read_and_what_it_does_not_tell_is_absent() {
    let whole = StandIn::build(&[]).cards().look(&CardId::Ordinal(0)).unwrap();
    assert_eq!((whole.utilisation_percent, whole.power_watts), (Some(97.0), Some(512.3)));
    assert_eq!((whole.memory_used_bytes, whole.memory_total_bytes), (Some(62_000_000_000), Some(85_899_345_920)));
    assert_eq!((whole.power_limit_watts, whole.temperature_celsius), (Some(700.0), Some(61)));
    assert_eq!((whole.sm_clock_mhz, whole.memory_clock_mhz), (Some(1755), Some(2619)));
    let reasons = whole.throttle_reasons.clone().unwrap();
    assert_eq!(reasons, [ThrottleReason::PowerCap, ThrottleReason::SoftwareThermal]);

    let without = StandIn::build(&["UNSUPPORTED=\"nvmlDeviceGetPowerUsage nvmlDeviceGetMemoryInfo_v2\""]);
    let without = without.cards().look(&CardId::Ordinal(0)).unwrap();
    assert_eq!((without.power_watts, without.memory_used_bytes, without.memory_total_bytes), (None, None, None));
    assert_eq!((without.power_limit_watts, without.throttle_reasons), (Some(700.0), Some(reasons)));
}

#[test]
fn a_driver_that_goes_away_is_absent_and_the_rest_is_still_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let dir = HeldRunDir::hold(&RunDir::at(folder.path())).unwrap();
    let stand_in = StandIn::build(&["LOST_AFTER=2"]);
    let library = stand_in.library();
    let open = move || Some((Cards::open_library(library.as_os_str()).ok()?, CardId::Ordinal(0)));
    let sampler = Sampler::with(dir, Duration::from_millis(20), open);
    let next = || eventually("a sample", || sampler.take());
    let card_of = |sample: &SystemSample| sample.card.as_ref().and_then(|card| card.power_watts);
    assert_eq!(card_of(&next()), Some(512.3));
    let after = eventually("the driver to be gone", || Some(next()).filter(|sample| sample.card.is_none()));
    assert!(after.disk_free_bytes.is_some() && after.resident_bytes.is_some(), "{after:?}");
    assert_eq!(next().card, None);
}

#[test]
fn a_driver_that_hangs_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let dir = HeldRunDir::hold(&RunDir::at(folder.path())).unwrap();
    let stand_in = StandIn::build(&["HANG_SECS=5"]);
    let library = stand_in.library();
    let (opened, is_open) = std::sync::mpsc::channel();
    let open = move || {
        let cards = Cards::open_library(library.as_os_str()).ok()?;
        opened.send(()).ok()?;
        Some((cards, CardId::Ordinal(0)))
    };
    let sampler = Sampler::with(dir, Duration::ZERO, open);
    is_open.recv().unwrap();
    let began = Instant::now();
    assert_eq!(sampler.take(), None);
    drop(sampler);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn a_run_on_the_processor_tells_of_the_machine_and_of_no_card() {
    let dir = Dir::new();
    let stand_in = StandIn::build(&[]);
    let args = ["train", "--detach", "--name", "run", "--device", "cpu", "--set", "train.epochs=1000"];
    dir.command(args.into_iter().chain(TINY)).env("LD_LIBRARY_PATH", stand_in.0.path()).succeed();
    let sample = wait_for_event(&dir.run("run"), "a sample", |event| match event {
        Event::SystemSampled { sample, .. } => Some(sample.clone()),
        _ => None,
    });
    assert!(sample.tells_of_machine() && sample.card.is_none(), "{sample:?}");
    assert!(sample.cpu_percent.is_some() && sample.resident_bytes.is_some(), "{sample:?}");
}
