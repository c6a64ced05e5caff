//! The trainer as a process of its own: it outlives whoever started it, obeys commands, and ends in good order.

use std::time::SystemTime;

use rustix::process::{Pid, Signal, getsid, kill_process};
use taper::run::control_file::TrainerAddress;
use taper::run::event::{CheckpointReason, Command, Event, Outcome};
use taper::run::lock::{Liveness, liveness};
use taper::train::checkpoint;

use crate::binary::{Dir, TINY, eventually, records, steps, text, wait_for_end_of, wait_for_event, wait_for_steps};

fn ended(event: &Event) -> Option<Outcome> {
    match event {
        Event::RunEnded { outcome, .. } => Some(*outcome),
        _ => None,
    }
}

#[test]
fn the_trainer_has_a_session_of_its_own() {
    let dir = Dir::new();
    let run = dir.start("far");
    let trainer = TrainerAddress::read(&run).unwrap();
    let pid = Pid::from_raw(trainer.process.pid as i32).unwrap();
    assert_eq!(getsid(Some(pid)).unwrap(), pid);
    kill_process(pid, Signal::HUP).unwrap();
    wait_for_steps(&run, 20);
    assert_eq!(liveness(&run), Liveness::Live);
}

#[test]
fn sigterm_saves_and_resume_goes_on_there() {
    let dir = Dir::new();
    let run = dir.start("far");
    wait_for_steps(&run, 5);
    let pid = TrainerAddress::read(&run).unwrap().process.pid;
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::TERM).unwrap();
    wait_for_end_of(pid);
    assert_eq!(wait_for_event(&run, "the end", ended), Outcome::Interrupted);
    assert_eq!(liveness(&run), Liveness::Dead);
    assert!(!run.control().exists(), "the control file goes with the trainer");
    let saved = records(&run).into_iter().rev().find_map(|record| match record.event {
        Event::CheckpointSaved(saved) => Some(saved),
        _ => None,
    });
    let saved = saved.unwrap();
    assert_eq!((saved.reason, saved.step), (CheckpointReason::End, steps(&run)));
    assert!(run.checkpoints().join(&saved.name).join("model.safetensors").is_file());

    dir.command(["resume", "far", "--detach"]).succeed();
    let continued = wait_for_event(&run, "the second start", |event| match event {
        Event::RunStarted(started) => Some(started.continued_from),
        _ => None,
    });
    assert_eq!(continued, Some(saved.step));
    wait_for_steps(&run, 5);
}

#[test]
fn a_run_goes_on_after_a_kill() {
    let dir = Dir::new();
    let run = dir.start("far");
    dir.command(["checkpoint", "far"]).succeed();
    let pid = TrainerAddress::read(&run).unwrap().process.pid;
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    eventually("the lock is free", || (liveness(&run) == Liveness::Dead).then_some(()));
    assert!(dir.command(["pause", "far"]).fail(2).contains("has no live trainer"));
    assert!(dir.command(["runs"]).succeed().lines().any(|line| line.starts_with("far") && line.contains("dead")));
    dir.command(["resume", "far", "--detach"]).succeed();
    wait_for_steps(&run, 5);
    assert_eq!(liveness(&run), Liveness::Live);
}

#[test]
fn commands_are_done_when_they_return() {
    let dir = Dir::new();
    let run = dir.start("far");
    let count = |pick: fn(&Event) -> bool| records(&run).iter().filter(|record| pick(&record.event)).count();

    // Without a name: there is only one that is live.
    assert!(dir.command(["pause"]).succeed().starts_with("far: paused at step "));
    assert_eq!(count(|event| matches!(event, Event::Paused { .. })), 1);
    let paused_at = steps(&run);
    assert!(dir.command(["pause", "far"]).succeed().contains("already paused"));
    assert_eq!(count(|event| matches!(event, Event::Paused { .. })), 1);

    assert!(dir.command(["set-lr", "far", "5e-4"]).succeed().contains("learning rate 0.0005"));
    assert!(dir.command(["set-lr", "5e-4"]).succeed().contains("learning rate 0.0005"));
    assert_eq!(count(|event| matches!(event, Event::LearningRateChanged { to: 5e-4, .. })), 1);

    assert!(dir.command(["checkpoint", "far"]).succeed().contains("checkpoint e"));
    let name = wait_for_event(&run, "a checkpoint", |event| match event {
        Event::CheckpointSaved(saved) => Some(saved.name.clone()),
        _ => None,
    });
    assert!(run.checkpoints().join(name).join("state.json").is_file());
    assert_eq!(steps(&run), paused_at, "it was paused all the while");

    let error = dir.command(["resume", "far", "--epochs", "200000"]).fail(2);
    assert!(error.contains("run far is live; to change it, stop it first: "), "{error}");
    assert!(dir.command(["resume", "far"]).succeed().contains("resumed at step "));
    wait_for_steps(&run, 5);

    let pid = TrainerAddress::read(&run).unwrap().process.pid;
    assert!(dir.command(["stop", "far"]).succeed().contains("stopped at step "));
    assert_eq!(wait_for_event(&run, "the end", ended), Outcome::Stopped);
    wait_for_end_of(pid);
    dir.command(["stop", "far"]).succeed();
    let mut orders = records(&run).into_iter().rev().filter_map(|record| match record.event {
        Event::CommandReceived { command, .. } => Some(command),
        _ => None,
    });
    assert_eq!(orders.next(), Some(Command::Stop));
}

#[test]
fn a_stop_reaches_a_paused_run() {
    let dir = Dir::new();
    let run = dir.start("far");
    dir.command(["pause"]).succeed();
    dir.command(["stop"]).succeed();
    assert_eq!(wait_for_event(&run, "the end", ended), Outcome::Stopped);
}

#[test]
fn a_finished_run_is_extended_by_epochs() {
    let dir = Dir::new();
    let train = ["train", "--no-tui", "--name", "short", "--epochs", "1"];
    dir.command(train.into_iter().chain(TINY)).succeed();
    let error = dir.command(["resume", "short", "--no-tui"]).fail(2);
    assert!(error.contains("run short has done its 1 epoch; to extend it: "), "{error}");
    assert!(error.ends_with(" resume short --epochs 2\n"), "{error}");
    assert!(dir.command(["resume", "short", "--no-tui", "--epochs", "0"]).fail(2).contains("train.epochs = 0"));
    let out = dir.command(["resume", "short", "--no-tui", "--epochs", "2"]).succeed();
    assert!(out.contains("from step 32") && out.contains("epoch 2/2  train loss "), "{out}");
    assert_eq!(steps(&dir.run("short")), 64);
    let error = dir.command(["resume", "short", "--no-tui", "--max-steps", "40"]).fail(2);
    assert!(error.contains("run short is at step 64, and 40 lies behind that; to extend it: "), "{error}");
    assert!(dir.command(["resume", "short", "--no-tui"]).fail(2).contains("has done its 2 epochs"));
    let error = dir.command(["resume", "short", "--no-tui", "--epochs", "1"]).fail(2);
    assert!(error.contains("run short is at epoch 2, and 1 lies behind that; to extend it: "), "{error}");
    assert!(error.ends_with(" resume short --epochs 4\n"), "{error}");
}

#[test]
fn of_two_live_runs_one_must_be_named() {
    let dir = Dir::new();
    dir.start("one");
    dir.start("two");
    let error = dir.command(["pause"]).fail(2);
    assert!(error.contains("2 runs are live: one, two; name one"), "{error}");
    let second = dir.command(["__train", "runs/one"]).output();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stdout).contains("run one has a live trainer"), "{}", text(&second.stdout));
}

#[test]
fn a_foreground_run_obeys_commands_and_ctrl_c() {
    let dir = Dir::new();
    let args = ["train", "--no-tui", "--epochs", "100000", "--name", "near"];
    let child = dir.command(args.into_iter().chain(TINY)).spawn();
    let run = dir.run("near");
    eventually("the trainer can be reached", || TrainerAddress::read(&run));
    dir.command(["pause", "near"]).succeed();
    dir.command(["resume", "near"]).succeed();
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(wait_for_event(&run, "the end", ended), Outcome::Interrupted);
    assert!(text(&output.stdout).contains("  checkpoint /"), "{}", text(&output.stdout));
}

#[test]
fn sigterm_in_the_foreground_gives_143() {
    let dir = Dir::new();
    let args = ["train", "--no-tui", "--epochs", "100000", "--name", "near"];
    let child = dir.command(args.into_iter().chain(TINY)).spawn();
    eventually("the trainer can be reached", || TrainerAddress::read(&dir.run("near")));
    wait_for_steps(&dir.run("near"), 1);
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(143));
}

#[test]
fn of_two_that_resume_at_once_one_wins() {
    let dir = Dir::new();
    let run = dir.start("far");
    for round in 1..=3 {
        dir.command(["stop", "far"]).succeed();
        eventually("it is dead", || (liveness(&run) == Liveness::Dead).then_some(()));
        let both = [0, 1].map(|_| dir.command(["resume", "far", "--detach"]).spawn());
        let outputs = both.map(|child| child.wait_with_output().unwrap());
        let winner = eventually("one has it", || TrainerAddress::read(&run)).process.pid;
        for output in &outputs {
            // Late enough, the second only finds that the run goes on.
            let said = text(&output.stdout) + &text(&output.stderr);
            let names_the_winner = said.contains(&format!("process {winner} on "));
            assert!(output.status.success() || names_the_winner, "{said}");
        }
        assert!(outputs.iter().any(|output| output.status.success()));
        let starts = records(&run).iter().filter(|record| matches!(record.event, Event::RunStarted(_))).count();
        assert_eq!(starts, 1 + round);
    }
    // The one that comes second to the lock.
    let winner = TrainerAddress::read(&run).unwrap().process.pid;
    let second = dir.command(["__train", "runs/far"]).output();
    assert!(text(&second.stdout).contains(&format!("run far has a live trainer, process {winner} on ")));
}

#[test]
fn a_run_resumes_where_it_was_moved_or_copied_to() {
    let dir = Dir::new();
    let run = dir.start("far");
    dir.command(["checkpoint", "far"]).succeed();
    let copy = dir.run("copy");
    let copied = std::process::Command::new("cp").arg("-r").args([run.path(), copy.path()]).status().unwrap();
    assert!(copied.success());
    assert_eq!(liveness(&copy), Liveness::Dead, "the lock is not copied");
    // Neither is the socket: what the copied file names is another's.
    let original = TrainerAddress::read(&copy).unwrap();
    assert!(dir.command(["pause", "copy"]).fail(2).contains("has no live trainer"));
    dir.command(["doctor", "copy", "--repair"]).output();
    assert!(original.socket.exists());
    dir.command(["resume", "copy", "--detach"]).succeed();
    wait_for_steps(&copy, 5);
    assert_ne!(TrainerAddress::read(&copy).unwrap().socket, original.socket);
    dir.command(["pause", "copy"]).succeed();
    wait_for_steps(&run, 5);
    dir.command(["stop", "copy"]).succeed();
    dir.command(["stop", "far"]).succeed();
    eventually("both are dead", || [&run, &copy].iter().all(|run| liveness(run) == Liveness::Dead).then_some(()));

    std::fs::create_dir(dir.path("elsewhere")).unwrap();
    std::fs::rename(run.path(), dir.path("elsewhere/moved")).unwrap();
    let last = (steps(&taper::run::dir::RunDir::at(dir.path("elsewhere/moved"))) + 3).to_string();
    let resume = ["--runs-dir", "elsewhere", "resume", "moved", "--no-tui", "--max-steps", &last];
    assert!(dir.command(resume).succeed().contains("completed at step"));
}

#[test]
fn a_recycled_pid_is_not_the_trainer() {
    let dir = Dir::new();
    let run = dir.start("far");
    dir.command(["checkpoint", "far"]).succeed();
    let mut left = TrainerAddress::read(&run).unwrap();
    kill_process(Pid::from_raw(left.process.pid as i32).unwrap(), Signal::KILL).unwrap();
    eventually("the lock is free", || (liveness(&run) == Liveness::Dead).then_some(()));
    // This process lives, and did not start then.
    left.process.pid = std::process::id();
    left.write(&run).unwrap();
    assert!(dir.command(["stop", "far"]).succeed().contains("it has no live trainer"));
    dir.command(["resume", "far", "--detach"]).succeed();
    wait_for_steps(&run, 5);
}

#[test]
fn sigusr1_and_the_end_of_a_jobs_time_save_and_end() {
    let train = ["train", "--no-tui", "--epochs", "100000", "--name"];
    for (name, code) in [("told", 138), ("timed", 143)] {
        let dir = Dir::new();
        let run = dir.run(name);
        let mut command = dir.command(train.into_iter().chain([name]).chain(TINY));
        if name == "timed" {
            // A minute before it, which is in some seconds.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
            command = command.env("SLURM_JOB_END_TIME", (now + 70).to_string());
        }
        let child = command.spawn();
        wait_for_steps(&run, 3);
        if name == "told" {
            kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::USR1).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {}", text(&output.stderr));
        let end = wait_for_event(&run, "its end", |event| match event {
            Event::RunEnded { step, outcome, .. } => Some((*step, *outcome)),
            _ => None,
        });
        assert_eq!(
            end,
            (checkpoint::latest(&run).unwrap().expect("a checkpoint").state.step, Outcome::Interrupted),
            "{name}"
        );
    }
}
