//! Does to the run what was drawn, with the real binary, and holds the answer against what the [`Model`] expects.

use std::fs;

use rustix::process::Signal;
use taper::run::dir::{RunDir, RunsDir};
use taper::run::event::{Event, Outcome, Record};
use taper::train::checkpoint::{self, Checkpoint};

use super::model::{Model, Operation, PARENTS, Phase, Place};
use crate::binary::{Dir, TestCommand, end_trainers, eventually, records, steps, wait_for_steps};
use crate::exactness::{kill, wait_for_death};
use crate::follow::fold;

/// Someone with a run.
pub struct User {
    pub dir: Dir,
    pub model: Model,
    /// The run is named by its path, not by its name.
    pub by_path: bool,
}

impl Drop for User {
    fn drop(&mut self) {
        for parent in PARENTS {
            end_trainers(&RunsDir::at(self.dir.path(parent)));
        }
    }
}

impl User {
    pub fn run(&self) -> RunDir {
        let Place { parent, name } = self.model.place;
        RunDir::at(self.dir.path(parent).join(name))
    }

    pub fn name(&self) -> &'static str {
        self.model.place.name
    }

    /// How the run is named on a command line.
    fn address(&self) -> String {
        let Place { parent, name } = self.model.place;
        if self.by_path { format!("{parent}/{name}") } else { name.to_owned() }
    }

    /// A command for the run.
    pub fn taper(&self, command: &str, further: &[&str]) -> TestCommand {
        let address = self.address();
        let args = ["--runs-dir", self.model.place.parent, command, &address];
        self.dir.command(args.iter().chain(further))
    }

    pub fn latest(&self) -> Checkpoint {
        checkpoint::latest(&self.run()).expect("readable").expect("a checkpoint")
    }

    /// The events of the latest trainer.
    pub fn of_latest_trainer(&self) -> Vec<Record> {
        let mut log = records(&self.run());
        let start = log.iter().rposition(|record| matches!(record.event, Event::RunStarted(_))).expect("a start");
        log.split_off(start)
    }

    pub fn act(&mut self, operation: &Operation) {
        match *operation {
            Operation::Resume { set, in_a_hurry } => self.resume(set, in_a_hurry),
            Operation::Train { steps } => wait_for_steps(&self.run(), steps),
            Operation::Pause => self.pause(),
            Operation::Checkpoint => self.checkpoint(),
            Operation::Probe => self.probe(),
            Operation::Rollback => self.roll_back(),
            Operation::SkipBatch => self.skip_batch(),
            Operation::SetLearningRate(rate) => self.set_learning_rate(rate),
            Operation::Stop => self.stop(),
            Operation::Complete { further } => self.complete(further),
            Operation::Kill => {
                kill(&self.run(), Signal::KILL);
                self.model.phase = Phase::Killed;
            }
            Operation::Terminate => {
                kill(&self.run(), Signal::TERM);
                self.ended(Outcome::Interrupted);
            }
            Operation::Attach => self.attach(),
            Operation::Doctor => self.doctor(),
            Operation::Edit(setting) => self.edit(setting),
            Operation::EditKept { setting, in_file, how } => self.edit_kept(setting, in_file, how),
            Operation::ResumeToTooFewSteps => {
                let refused = self.refused(&["--no-tui", "--max-steps", "1"], 2);
                assert!(refused.contains(", and 1 lies behind that; to extend it: "), "{refused}");
            }
            Operation::TrainAgain => {
                let Place { parent, name } = self.model.place;
                let train = ["--runs-dir", parent, "train", "--detach", "--name", name];
                let error = self.dir.command(train).fail(1);
                let told = format!("run {name} exists; to go on with it: ");
                assert!(error.contains(&told) && error.contains(&format!(" resume {}", quoted(name))), "{error}");
            }
            Operation::Move(place) => self.move_to(place),
            Operation::SwapData => self.swap_data(),
        }
    }

    /// The command reaches no trainer.
    fn not_live(&self, command: &str, further: &[&str]) {
        let error = self.taper(command, further).fail(2);
        let told = format!("run {} has no live trainer; to go on with it: ", self.name());
        assert!(error.contains(&told) && error.contains(&format!(" resume {}", quoted(self.name()))), "{error}");
    }

    /// Does what the command is to do, and says so.
    fn obeyed(&self, command: &str, told: &str) -> String {
        let answer = self.taper(command, &[]).succeed();
        assert!(answer.starts_with(&format!("{}: ", self.name())) && answer.contains(told), "{answer}");
        answer
    }

    fn pause(&mut self) {
        match self.model.phase {
            Phase::Running => {
                self.obeyed("pause", "paused at step ");
                self.model.phase = Phase::Paused;
            }
            Phase::Paused | Phase::Diverged => drop(self.obeyed("pause", "already paused at step ")),
            Phase::Killed | Phase::Ended(_) => self.not_live("pause", &[]),
        }
    }

    fn checkpoint(&self) {
        match self.model.phase {
            Phase::Running | Phase::Paused => {
                let answer = self.obeyed("checkpoint", "saved checkpoint e");
                let name = answer.trim_end().rsplit(' ').next().expect("a name");
                // A run that goes on may have removed it by now.
                let is_there = self.run().checkpoints().join(name).join("state.json").is_file();
                assert!(is_there || self.model.phase == Phase::Running, "{answer}");
            }
            Phase::Diverged => {
                let error = self.taper("checkpoint", &[]).fail(1);
                assert!(error.contains("not saved, because the weights are not finite"), "{error}");
            }
            Phase::Killed | Phase::Ended(_) => self.not_live("checkpoint", &[]),
        }
    }

    fn probe(&self) {
        if !self.model.phase.is_live() {
            return self.not_live("probe", &[]);
        }
        let answer = self.obeyed("probe", "saved probe e");
        let name = answer.trim_end().rsplit(' ').next().expect("a name");
        let files = fs::read_dir(self.run().probes()).expect("probes");
        let mut names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
        assert!(names.any(|file| file.trim_end_matches(".safetensors") == name.trim_end_matches(".safetensors")));
    }

    fn roll_back(&mut self) {
        match self.model.phase {
            Phase::Diverged => {
                let before = self.latest();
                let rate = fold(&records(&self.run())).learning_rate.expect("a learning rate");
                let pauses = self.of_latest_trainer();
                let pauses = pauses.iter().filter(|record| matches!(record.event, Event::Paused { .. })).count();
                let told = format!("back at step {}, with learning rate {}", before.state.step, rate / 2.0);
                self.obeyed("rollback", &told);
                self.model.is_exact = false;
                // It is poisoned as before.
                self.wait_for_divergences(pauses + 1);
            }
            _ => self.not_diverged("rollback"),
        }
    }

    fn skip_batch(&self) {
        self.not_diverged("skip-batch");
    }

    fn not_diverged(&self, command: &str) {
        if !self.model.phase.is_live() {
            return self.not_live(command, &[]);
        }
        let error = self.taper(command, &[]).fail(1);
        assert!(error.contains("the run has not diverged"), "{error}");
    }

    fn set_learning_rate(&mut self, rate: &str) {
        let answer = self.taper("set-lr", &[rate]).succeed();
        assert!(answer.contains(&format!("learning rate {rate} from step ")), "{answer}");
        self.model.is_exact = false;
    }

    fn stop(&mut self) {
        let answer = self.taper("stop", &[]).succeed();
        match self.model.phase {
            Phase::Running | Phase::Paused => assert!(answer.contains("stopped at step "), "{answer}"),
            Phase::Diverged => assert!(answer.contains("failed at step "), "{answer}"),
            Phase::Killed => assert!(answer.contains("it has no live trainer"), "{answer}"),
            // It may still be ending.
            Phase::Ended(_) => {
                assert!(["no live trainer", " at step "].iter().any(|told| answer.contains(told)), "{answer}");
            }
        }
        if self.model.phase.is_live() {
            self.ended(Outcome::Stopped);
        }
    }

    /// A live trainer has ended the run: so, unless the run had diverged.
    pub fn ended(&mut self, outcome: Outcome) {
        let diverged = self.model.phase == Phase::Diverged;
        let outcome = if diverged { Outcome::Failed } else { outcome };
        let last = records(&self.run()).pop().expect("a log").event;
        let Event::RunEnded { step, outcome: told, .. } = last else { panic!("the log ends with {last:?}") };
        assert_eq!(told, outcome);
        assert!(diverged || self.latest().state.step == step, "the last step, {step}, is not saved");
        self.model.phase = Phase::Ended(outcome);
    }

    fn attach(&self) {
        let address = self.address();
        let mut terminal = self.dir.terminal(["--runs-dir", self.model.place.parent, "attach", &address]);
        terminal.wait_for(self.name());
        let (shown, code): (&[&str], u32) = match self.model.phase {
            Phase::Running => (&["○ starting", "● training", "◐ evaluating", "silent for"], 0),
            Phase::Paused | Phase::Diverged => (&["‖ paused"], 0),
            Phase::Killed => (&["✗ trainer gone"], 1),
            Phase::Ended(Outcome::Completed) => (&["✓ completed"], 0),
            Phase::Ended(Outcome::Stopped) => (&["■ stopped"], 0),
            Phase::Ended(Outcome::Interrupted) => (&["■ interrupted"], 0),
            Phase::Ended(_) => (&["✗ failed"], 1),
        };
        eventually(&format!("{shown:?}"), || {
            let contents = terminal.contents();
            shown.iter().any(|shown| contents.contains(shown)).then_some(())
        });
        terminal.keys("q");
        assert_eq!(terminal.wait().exit_code(), code);
    }

    pub fn doctor(&self) {
        if self.model.phase.is_live() {
            let error = self.taper("doctor", &["--repair"]).fail(1);
            assert!(error.contains(&format!("run {} has a live trainer", self.name())), "{error}");
            return;
        }
        wait_for_death(&self.run());
        if self.model.phase == Phase::Killed {
            // Its last line may be torn.
            self.taper("doctor", &["--repair"]).succeed();
        }
        let report = self.taper("doctor", &[]).succeed();
        assert!(!report.contains("DAMAGED"), "{report}");
    }

    fn move_to(&mut self, place: Place) {
        let (old, old_place, is_live) = (self.run(), self.model.place, self.model.phase.is_live());
        if !is_live {
            wait_for_death(&old);
        }
        fs::create_dir_all(self.dir.path(place.parent)).expect("a directory");
        let (told, trained) = (moves_in_log(&old).len(), steps(&old));
        self.model.place = place;
        fs::rename(old.path(), self.run().path()).expect("moved");
        if is_live {
            self.wait_until_followed(told, trained);
        }
        let command = if is_live { "pause" } else { "resume" };
        let error = self.dir.command(["--runs-dir", old_place.parent, command, old_place.name]).fail(1);
        let told = format!("there is no run {} in {}", old_place.name, old_place.parent);
        assert!(error.contains(&told), "{error}");
        assert!(!old.path().exists(), "{} is there again", old.path().display());
        for elsewhere in PARENTS.iter().filter(|other| **other != place.parent) {
            let table = self.dir.command(["--runs-dir", elsewhere, "runs"]).succeed();
            assert!(table.starts_with("No runs in "), "{table}");
        }
    }

    /// Waits until the live trainer has told that it was moved, which it had `told` so many times, and saves there.
    fn wait_until_followed(&self, told: usize, trained: u64) {
        let run = self.run();
        let path = eventually("the trainer follows", || moves_in_log(&run).into_iter().nth(told));
        assert_eq!(path, run.path().to_string_lossy());
        if self.model.phase == Phase::Running {
            eventually("a checkpoint in the new place", || (self.latest().state.step > trained).then_some(()));
        }
    }

    pub fn swap_data(&mut self) {
        let (data, aside) = (self.dir.path("data"), self.dir.path("set aside"));
        let (from, to) = if data.exists() { (data, aside) } else { (aside, data) };
        fs::rename(from, to).expect("moved");
        self.model.is_data_swapped = !self.model.is_data_swapped;
    }

    /// `taper runs` lists the run, where it is and as it is.
    pub fn assert_listed(&self) {
        let Place { parent, name } = self.model.place;
        let table = self.dir.command(["--runs-dir", parent, "runs"]).succeed();
        let row = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("  "));
        let phase = row.unwrap_or_else(|| panic!("no {name} in:\n{table}")).trim_start();
        let expected: &[&str] = match self.model.phase {
            Phase::Running => &["starting", "training", "evaluating"],
            Phase::Paused | Phase::Diverged => &["paused"],
            Phase::Killed => &["dead"],
            Phase::Ended(Outcome::Completed) => &["completed"],
            Phase::Ended(Outcome::Stopped) => &["stopped"],
            Phase::Ended(Outcome::Interrupted) => &["interrupted"],
            Phase::Ended(_) => &["failed"],
        };
        assert!(expected.iter().any(|expected| phase.starts_with(expected)), "not {expected:?}:\n{table}");
    }
}

/// Where the trainers of the run have followed it to.
fn moves_in_log(run: &RunDir) -> Vec<String> {
    let log = fs::read_to_string(run.events()).expect("a log");
    // The last line may be half written.
    let events = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let moves = events.filter(|event| event["event"] == "directory_moved");
    moves.map(|event| event["path"].as_str().expect("a path").to_owned()).collect()
}

/// As a shell takes it.
fn quoted(name: &str) -> String {
    if name.contains(' ') { format!("'{name}'") } else { name.to_owned() }
}
