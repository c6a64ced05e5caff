//! A long run with pauses, probes, checkpoints and dashboards that come and go: nothing grows but the log.
//!
//! 1 000 steps by default; `TAPER_SOAK=100000 cargo test --test integration -- soak` takes forty minutes.

use std::fs;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::Pid;
use taper::run::event::Event;
use taper::run::lock::{Liveness, liveness};

use crate::binary::{Dir, Terminal, eventually, records, steps};
use crate::exactness::trainer_pid;
use crate::follow::fold;

/// What of a process could grow.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub resident_kb: u64,
    open_files: usize,
}

impl Usage {
    pub fn of(pid: Pid) -> Self {
        let process = format!("/proc/{}", pid.as_raw_nonzero());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident_kb = resident.trim().trim_end_matches(" kB").parse().unwrap();
        Self { resident_kb, open_files: fs::read_dir(format!("{process}/fd")).unwrap().count() }
    }

    fn assert_flat(self, since: Self, more_kb: u64, what: &str) {
        let most_kb = since.resident_kb + since.resident_kb / 10 + more_kb;
        assert!(self.resident_kb <= most_kb, "{what}: {since:?}, then {self:?}");
        assert!(self.open_files <= since.open_files + 2, "{what}: {since:?}, then {self:?}");
    }
}

/// What a trainer may come to take. It keeps what it frees, and the threads that make the batches of an epoch are new in each:
/// mimalloc has every thread look for room in another of its chunks of 32 MiB first, so that all of them are used in time. A
/// leak of a batch a step would be 768 MiB in a thousand steps.
pub const TRAINER_MORE_KB: u64 = 160 << 10;
/// As for a dashboard, besides its curves, which grow by eight bytes a step, in steps of twice as much.
const DASHBOARD_MORE_KB: u64 = 8 << 10;

/// What someone may do meanwhile.
const DISTURBANCES: [&str; 5] = ["pause", "checkpoint", "probe", "attach", "leave"];

fn disturb(disturbance: &str, dir: &Dir, visitor: &mut Option<Terminal>) {
    match disturbance {
        "pause" => {
            dir.command(["pause", "far"]).succeed();
            dir.command(["resume", "far"]).succeed();
        }
        "attach" => {
            let terminal = dir.terminal(["attach", "far"]);
            terminal.wait_for("far");
            *visitor = Some(terminal);
        }
        // A window that is closed.
        "leave" => *visitor = None,
        command => {
            dir.command([command, "far"]).succeed();
        }
    }
}

#[test]
fn a_long_run_grows_by_its_log_alone() {
    let goal: u64 = std::env::var("TAPER_SOAK").map_or(1000, |steps| steps.parse().expect("TAPER_SOAK: a number"));
    let mut random = ChaCha8Rng::seed_from_u64(goal);
    let dir = Dir::new();
    let run = dir.start("far");
    let trainer = trainer_pid(&run);
    let dashboard = dir.terminal(["attach", "far"]);
    dashboard.wait_for("● training");
    let mut visitor = None;
    let take_steps = |count: u64| {
        let until = steps(&run) + count;
        eventually("the run takes steps", || (steps(&run) >= until).then_some(()));
    };
    // A trainer keeps the memory that it has once used, a first probe's too: that is no growth.
    for disturbance in DISTURBANCES.into_iter().chain(DISTURBANCES) {
        disturb(disturbance, &dir, &mut visitor);
        take_steps(20);
    }
    let warm_steps = steps(&run);
    let (trainer_then, dashboard_then) = (Usage::of(trainer), Usage::of(dashboard.pid()));
    while steps(&run) < warm_steps + goal {
        let disturbance = DISTURBANCES.choose(&mut random).expect("some");
        disturb(disturbance, &dir, &mut visitor);
        take_steps(random.random_range(1..=(goal / 4).min(1000)));
    }
    assert_eq!(liveness(&run), Liveness::Live);
    let done = steps(&run) - warm_steps;
    Usage::of(trainer).assert_flat(trainer_then, TRAINER_MORE_KB, "the trainer");
    let curves_kb = 32 * done / 1024;
    Usage::of(dashboard.pid()).assert_flat(dashboard_then, DASHBOARD_MORE_KB + curves_kb, "the dashboard");
    dir.command(["stop", "far"]).succeed();

    let records = records(&run);
    let state = fold(&records);
    assert_eq!(state.losses.len() as u64, state.step, "each step once");
    let of_steps = records.iter().filter(|record| matches!(record.event, Event::StepsDone(_))).count();
    let log_bytes = fs::metadata(run.events()).expect("a log").len();
    let others = (records.len() - of_steps) as u64;
    println!("{} steps, {log_bytes} bytes of log, trainer {trainer_then:?}, dashboard {dashboard_then:?}", state.step);
    // Two numbers a step, 400 bytes around those of a tenth of a second, and 2 kB at most for what else happens.
    assert!(log_bytes <= 50 * state.step + 400 * of_steps as u64 + 2048 * others, "{log_bytes} bytes");
}
