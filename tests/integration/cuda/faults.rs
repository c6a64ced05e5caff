//! A driver or a card that fails: one line says what, `auto` trains on the CPU, and no checkpoint is torn.

use std::collections::VecDeque;
use std::process::Output;
use std::sync::Mutex;
use std::thread;

use taper::run::dir::RunDir;
use taper::run::event::{Event, Outcome};
use taper::run::state::Phase;
use taper::train::checkpoint;

use super::{NETWORK, all_succeed, bytes, devices, dir, losses, report, resume, train, with_card, without_card};
use crate::binary::{Dir, records, text};
use crate::follow::fold;

/// What the program said of its end, apart from what the stand-in says.
fn complaint(output: &Output) -> String {
    let stderr = text(&output.stderr);
    let own: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("libcuda stand-in: ")).collect();
    assert!(own.len() == 1 && own[0].starts_with("error: ") && !stderr.contains("panicked"), "{stderr}");
    own[0].to_owned()
}

/// Wherever it ended, each checkpoint is whole.
fn assert_whole(run: &RunDir) -> Option<u64> {
    let (latest, passed_over) = checkpoint::latest_whole(run).expect("readable");
    assert!(passed_over.is_empty(), "{passed_over:?}");
    latest.map(|latest| latest.state.step)
}

#[test]
fn what_is_missing_is_one_line_and_auto_takes_the_cpu_and_says_why() {
    let dir = dir();
    for (number, (variable, value, told)) in [
        ("LD_LIBRARY_PATH", dir.path("no-driver").to_str().expect("text"), "there is no NVIDIA driver"),
        ("TAPER_TWIN_DRIVER_VERSION", "11070", "too old: it is of CUDA 11.7, and 11.8 is the oldest that is taken"),
        ("TAPER_TWIN_CARDS", "0", "the NVIDIA driver finds no GPU"),
        ("TAPER_TWIN_CAPABILITY", "7.0", "has compute capability 7.0, and 7.5 is the least that is taken"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = number.to_string();
        let refused = train(&dir, "refused", "cuda", &["--max-steps", "3"]).env(variable, value).fail(1);
        assert!(refused.starts_with("error: device cuda:0: ") && refused.contains(told), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
        train(&dir, &name, "auto", &["--max-steps", "3"]).env(variable, value).succeed();
        let doctor = with_card(dir.command(["doctor"])).env(variable, value).succeed();
        let told = match told {
            "there is no NVIDIA driver" => "; no NVIDIA driver)".to_owned(),
            _ => format!("; no GPU: {}", refused.trim().trim_start_matches("error: device cuda:0: ")),
        };
        for described in [&devices(&dir.run(&name))[0], doctor.lines().next().expect("a line")] {
            assert!(described.contains("cpu (") && described.contains(&told), "{told} in {described}");
        }
    }
    let refused = train(&dir, "refused", "cuda:3", &["--max-steps", "3"]).env("TAPER_TWIN_CARDS", "2").fail(1);
    assert_eq!(refused, "error: device cuda:3: there is no such GPU: this box has 2, numbers 0 to 1\n");
    let bf16 = ["--max-steps", "3", "--set", "train.precision=bf16"];
    let refused = train(&dir, "refused", "cuda", &bf16).env("TAPER_TWIN_CAPABILITY", "7.5").fail(1);
    assert!(refused.contains("has compute capability 7.5, and bf16 needs 8.0"), "{refused}");
    let args = ["train", "--no-tui", "--device", "auto"];
    let command = dir.command(args.iter().chain(&NETWORK).chain(&bf16)).env("TAPER_SIMD", "portable");
    let refused = without_card(&dir, command).fail(1);
    assert!(refused.contains("no NVIDIA driver: train.precision: bf16 needs "), "{refused}");
}

#[test]
fn a_batch_that_does_not_fit_is_told_with_one_that_does() {
    let dir = dir();
    let further = ["--max-steps", "2", "--set", "train.eval_batch_size=8", "--set", "train.batch_size=96"];
    let memory = |command: crate::binary::TestCommand| command.env("TAPER_TWIN_MEMORY", "2000000");
    let refused = memory(train(&dir, "refused", "cuda", &further)).fail(1);
    assert!(refused.starts_with("error: device cuda:0: the GPU has no memory left: "), "{refused}");
    let (_, advice) = refused.split_once("train.batch_size = ").unwrap_or_else(|| panic!("{refused}"));
    let (fits, rest) = advice.split_once(' ').expect("words");
    assert_eq!((refused.lines().count(), rest.trim()), (1, "would fit, 96 does not"), "{refused}");
    let fitting = format!("train.batch_size={fits}");
    memory(train(&dir, "fits", "cuda", &[&further[..4], &["--set", &fitting]].concat())).succeed();
    memory(train(&dir, "auto", "auto", &further)).succeed();
    let device = &devices(&dir.run("auto"))[0];
    assert!(device.contains("no memory left: ") && device.contains(&format!("{fits} would fit")), "{device}");
    let refused = train(&dir, "refused", "cuda", &further).env("TAPER_TWIN_MEMORY", "10000").fail(1);
    assert!(refused.contains("no batch would fit: another program may be using the GPU"), "{refused}");
}

/// Calls that give back what is not needed any more: whatever they say, nothing is lost.
const AT_THE_END: [&str; 7] = [
    "cuMemFree",
    "cuMemFreeHost",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuModuleUnload",
    "cuStreamDestroy",
    "cuDevicePrimaryCtxRelease",
];

/// A run whose driver fails at that call of an entry point.
struct Fault {
    name: String,
    entry: String,
    fault: String,
    device: &'static str,
}

impl Fault {
    fn new(entry: &str, nth: u64, device: &'static str) -> Self {
        let entry = entry.trim_end_matches("_v2");
        let (name, fault) = (format!("{entry}-{nth}-{device}"), format!("{entry}:{nth}"));
        Self { name, entry: entry.to_owned(), fault, device }
    }

    fn run(&self, dir: &Dir) {
        let further = ["--max-steps", "14", "--set", "checkpoint.every_steps=4"];
        let mut command = train(dir, &self.name, self.device, &further).env("TAPER_TWIN_FAIL", &self.fault);
        if self.entry == "cuStreamQuery" {
            // Asked only where a step takes long.
            command = command.env("TAPER_TWIN_DELAY", "60000");
        }
        let (output, run) = (command.output(), dir.run(&self.name));
        let named = self.entry.trim_end_matches("WithFlags");
        let device = || devices(&run).pop().unwrap_or_default();
        let Some(0) = output.status.code() else {
            assert_eq!(output.status.code(), Some(1), "{}: {output:?}", self.name);
            let complaint = complaint(&output);
            assert!(complaint.contains(named), "{}: {complaint}", self.name);
            // What has begun on the card ends on it.
            assert!(self.device == "cuda" || device().starts_with("cuda:0 "), "{}: {complaint}", self.name);
            if run.events().exists() && self.entry != "cuStreamQuery" {
                assert_whole(&run);
            }
            return;
        };
        let state = fold(&records(&run));
        assert_eq!((state.step, assert_whole(&run)), (14, Some(14)), "{}", self.name);
        let is_told = state.alarms.iter().any(|alarm| alarm.message.contains(named));
        let took_the_cpu = self.device == "auto" && device().starts_with("cpu (") && device().contains(named);
        assert!(is_told || took_the_cpu || AT_THE_END.contains(&named), "{}: no word of it", self.name);
    }
}

#[test]
fn each_call_of_the_driver_that_fails_is_named_and_tears_nothing() {
    let dir = dir();
    let well = ["--max-steps", "14", "--set", "checkpoint.every_steps=4"];
    train(&dir, "well", "cuda", &well).env("TAPER_TWIN_REPORT", dir.path("report")).succeed();
    let report = report(&dir, "report");
    let calls = report["calls"].as_object().expect("an object");
    assert!(calls.len() > 30, "{report}");
    let mut faults = VecDeque::from([Fault::new("cuStreamQuery", 1, "cuda")]);
    for (entry, count) in calls.iter().filter(|(entry, _)| *entry != "cuStreamQuery") {
        faults.extend(["cuda", "auto"].map(|device| Fault::new(entry, 1, device)));
        let count = count.as_u64().expect("a number");
        // In the midst of the run; of waits, those of its end are more than half.
        let later = if entry == "cuStreamSynchronize" { count / 4 } else { count / 2 + 1 };
        if count >= 4 {
            faults.push_back(Fault::new(entry, later, "cuda"));
        }
    }
    // A driver that cannot even say what its error is.
    let unnamed = Fault { fault: "cuInit,cuGetErrorName,cuGetErrorString".into(), ..Fault::new("cuInit", 0, "cuda") };
    faults.push_back(unnamed);
    let faults = Mutex::new(faults);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let next = || faults.lock().expect("no panic while it is locked").pop_front();
                while let Some(fault) = next() {
                    fault.run(&dir);
                }
            });
        }
    });
}

#[test]
fn a_run_whose_card_is_lost_goes_on_from_its_last_checkpoint() {
    let dir = dir();
    let until = |last| ["--max-steps", last, "--set", "checkpoint.every_steps=3"];
    for name in ["again", "moved"] {
        let output = train(&dir, name, "cuda", &until("20")).env("TAPER_TWIN_LOST_AFTER", "8").output();
        assert_eq!(output.status.code(), Some(1));
        let complaint = complaint(&output);
        assert!(complaint.contains("CUDA_ERROR_LAUNCH_FAILED"), "{complaint}");
        let (run, state) = (dir.run(name), fold(&records(&dir.run(name))));
        assert_eq!(state.phase, Phase::Ended(Outcome::Failed));
        let ended =
            |event: &Event| matches!(event, Event::RunEnded { message, .. } if complaint.contains(message.as_str()));
        assert!(records(&run).iter().any(|record| ended(&record.event)), "{complaint}");
        assert_eq!(assert_whole(&run), Some(6), "the GPU was lost within the next three steps");
    }
    all_succeed([
        train(&dir, "whole", "cuda", &until("20")),
        resume(&dir, "again", 20, &[]),
        without_card(&dir, dir.command(["resume", "moved", "--no-tui", "--set", "run.device=cpu"])),
    ]);
    let [whole, again, moved] = ["whole", "again", "moved"].map(|name| dir.run(name));
    assert!(bytes(&whole, "e0002-s000020") == bytes(&again, "e0002-s000020"));
    assert_eq!(losses(&whole), losses(&again));
    assert_eq!(assert_whole(&moved), Some(20));
    super::assert_close_losses(&losses(&whole), &losses(&moved));
}
