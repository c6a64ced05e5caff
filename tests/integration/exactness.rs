//! Whatever interrupts a run, and however often: continued, it ends in the bytes of one that nothing interrupted.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use taper::run::control_file::TrainerAddress;
use taper::run::dir::RunDir;
use taper::run::event::{Command, Event};
use taper::run::lock::{Liveness, liveness};
use taper::run::log::Follower;
use taper::run::state::RunState;
use taper::train::checkpoint;

use crate::binary::{DEADLINE, Dir, TINY, eventually, records, steps, wait_for_steps};
use crate::follow::fold;

/// Evaluation and probes take long enough to be hit, and the learning rate falls.
pub const FRAGILE: [&str; 10] = [
    "--set",
    "train.eval_batch_size=1",
    "--set",
    "schedule.patience=0",
    "--set",
    "schedule.threshold=0.01",
    "--set",
    "checkpoint.every_steps=7",
    "--set",
    // As many as there may be.
    "probe.images=[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,\
     36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63]",
];

/// How a trainer is brought to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Terminate,
    /// The command.
    Stop,
}

/// When that happens.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Training,
    Evaluation,
    Pause,
    /// One that is asked for in a pause.
    Probe,
}

impl Moment {
    /// Waits for it; the last line of the log then tells.
    fn await_in(self, dir: &Dir, run: &RunDir, random: &mut ChaCha8Rng) {
        let mut log = Follower::new(run.events());
        let mut last_is = |is: fn(&Event) -> bool| {
            // In a hurry: a probe takes a few hundredths of a second.
            let deadline = Instant::now() + DEADLINE;
            while !log.read(1 << 20).expect("a log").last().is_some_and(|last| is(&last.event)) {
                assert!(Instant::now() < deadline, "the moment does not come: {self:?}");
                thread::sleep(Duration::from_millis(1));
            }
        };
        match self {
            Self::Training => wait_for_steps(run, random.random_range(3..40)),
            Self::Evaluation => last_is(|event| matches!(event, Event::EvaluationStarted { .. })),
            Self::Pause => drop(dir.command(["pause"]).succeed()),
            Self::Probe => {
                dir.command(["pause"]).succeed();
                drop(dir.command(["probe"]).spawn());
                last_is(|event| matches!(event, Event::CommandReceived { command: Command::Probe, .. }));
            }
        }
    }
}

/// The process of a run's live trainer.
pub fn trainer_pid(run: &RunDir) -> Pid {
    let pid = TrainerAddress::read(run).expect("a live trainer").process.pid;
    Pid::from_raw(pid as i32).expect("a process")
}

/// Ends the run's trainer and waits until it is gone.
pub fn kill(run: &RunDir, signal: Signal) {
    kill_process(trainer_pid(run), signal).expect("killed");
    wait_for_death(run);
}

pub fn wait_for_death(run: &RunDir) {
    eventually("the trainer is gone", || (liveness(run) == Liveness::Dead).then_some(()));
}

/// What must not depend on interruptions: all of the curves but times, and the state that training goes on from.
fn essence(run: &RunDir) -> Value {
    let state: RunState = fold(&records(run));
    let epochs: Vec<Value> = state
        .epochs
        .iter()
        .map(|epoch| {
            let mut row = serde_json::to_value(epoch).expect("JSON");
            row.as_object_mut().expect("an object").retain(|key, _| !key.ends_with("_secs"));
            row
        })
        .collect();
    let changes = state.learning_rate_changes.iter();
    let learning_rates: Vec<_> =
        changes.map(|change| json!([change.epoch, change.step, change.from, change.to])).collect();
    let saved = checkpoint::latest(run).expect("readable").expect("a checkpoint").state;
    json!({
        "losses": state.losses.values(),
        "epochs": epochs,
        "learning_rates": learning_rates,
        "saved": [saved.epoch, saved.batches_done, saved.step],
        "schedule": saved.schedule,
        "learning_rate": saved.learning_rate,
        "sums": [json!(saved.epoch_so_far.loss_sum), json!(saved.epoch_so_far.correct)],
        "best": saved.best.map(|best| json!([best.epoch, best.test_accuracy])),
    })
}

/// Continues the run for some steps to its end, and compares it with one of the same configuration that was trained
/// without a break.
pub fn assert_ends_as_if_uninterrupted(dir: &Dir, name: &str, further: &[&str]) {
    let run = dir.run(name);
    let last = checkpoint::latest(&run).expect("readable").map_or(0, |latest| latest.state.step) + 40;
    let last = last.to_string();
    dir.command(["resume", name, "--no-tui", "--max-steps", &last]).succeed();
    let train = ["train", "--no-tui", "--name", "whole", "--epochs", "100000", "--max-steps", &last];
    dir.command(train.into_iter().chain(TINY).chain(further.iter().copied())).succeed();

    let whole = dir.run("whole");
    assert_same_end(&run, &whole);
    assert_eq!(fold(&records(&whole)).losses.len().to_string(), last);
}

/// The curves and the latest checkpoints of both are the same, to the byte.
pub fn assert_same_end(run: &RunDir, whole: &RunDir) {
    let (ours, expected) = (essence(run), essence(whole));
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&ours[key], value, "{key}");
    }
    let bytes = |run: &RunDir, file: &str| {
        let latest = checkpoint::latest(run).expect("readable").expect("a checkpoint");
        fs::read(run.checkpoints().join(latest.name()).join(file)).expect(file)
    };
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(bytes(run, file) == bytes(whole, file), "{file}");
    }
}

#[test]
fn a_run_interrupted_in_every_way_at_every_moment_ends_in_the_bytes_of_an_uninterrupted_one() {
    use End::{Kill, Stop, Terminate};
    use Moment::{Evaluation, Pause, Probe, Training};
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let dir = Dir::new();
    let run = dir.run("parts");
    let train = ["train", "--detach", "--name", "parts", "--epochs", "100000"];
    dir.command(train.into_iter().chain(TINY).chain(FRAGILE)).succeed();
    for (moment, end) in [
        (Training, Kill),
        (Evaluation, Kill),
        (Pause, Kill),
        (Probe, Kill),
        (Training, Terminate),
        (Evaluation, Terminate),
        (Pause, Terminate),
        (Probe, Terminate),
        (Training, Stop),
        (Evaluation, Stop),
        (Pause, Stop),
        (Training, Kill),
    ] {
        moment.await_in(&dir, &run, &mut random);
        match end {
            Kill => kill(&run, Signal::KILL),
            Terminate => kill(&run, Signal::TERM),
            Stop => drop(dir.command(["stop"]).succeed()),
        }
        wait_for_death(&run);
        let last = records(&run).last().expect("a log").event.clone();
        match (moment, end) {
            (Evaluation, Kill) => assert!(matches!(last, Event::EvaluationStarted { .. }), "{last:?}"),
            (Pause, Kill) => assert!(matches!(last, Event::Paused { .. }), "{last:?}"),
            (Probe, Kill) => assert!(matches!(last, Event::CommandReceived { .. }), "{last:?}"),
            (_, Kill) => {}
            _ => assert!(matches!(last, Event::RunEnded { .. }), "{moment:?}, {end:?}: {last:?}"),
        }
        let before = steps(&run);
        dir.command(["resume", "parts", "--detach"]).succeed();
        eventually("it goes on", || (steps(&run) != before).then_some(()));
    }
    kill(&run, Signal::KILL);
    assert_ends_as_if_uninterrupted(&dir, "parts", &FRAGILE);
}
