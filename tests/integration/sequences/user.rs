//! Does to the run what was drawn, with the real binary, and holds the answer against what the [`Model`] expects.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::Signal;
use taper::run::dir::{RunDir, RunsDir};
use taper::run::event::{AlarmKind, Event, LearningRateReason, Outcome, Record};
use taper::train::checkpoint::{self, Checkpoint};
use toml::{Table, Value};

use super::model::{LEARNING_RATE, MAX_STEPS, Model, Operation, PARENTS, Phase, Place, Setting};
use crate::binary::{Dir, TestCommand, end_trainers, eventually, records, steps};
use crate::exactness::{kill, wait_for_death};
use crate::follow::fold;
use crate::resume_changes::contents;

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

    fn name(&self) -> &'static str {
        self.model.place.name
    }

    /// How the run is named on a command line.
    fn address(&self) -> String {
        let Place { parent, name } = self.model.place;
        if self.by_path { format!("{parent}/{name}") } else { name.to_owned() }
    }

    /// A command for the run.
    fn taper(&self, command: &str, further: &[&str]) -> TestCommand {
        let address = self.address();
        let args = ["--runs-dir", self.model.place.parent, command, &address];
        self.dir.command(args.iter().chain(further))
    }

    fn latest(&self) -> Checkpoint {
        checkpoint::latest(&self.run()).expect("readable").expect("a checkpoint")
    }

    /// The events of the latest trainer.
    fn of_latest_trainer(&self) -> Vec<Record> {
        let mut log = records(&self.run());
        let start = log.iter().rposition(|record| matches!(record.event, Event::RunStarted(_))).expect("a start");
        log.split_off(start)
    }

    pub fn act(&mut self, operation: &Operation) {
        match *operation {
            Operation::Resume { set, in_a_hurry } => self.resume(set, in_a_hurry),
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
                assert!(refused.contains(" steps, more than the 1 of its configuration"), "{refused}");
            }
            Operation::TrainAgain => {
                let Place { parent, name } = self.model.place;
                let train = ["--runs-dir", parent, "train", "--detach", "--name", name];
                let error = self.dir.command(train).fail(1);
                assert!(error.contains(&format!("run {name} exists; to go on with it: taper resume ")), "{error}");
            }
            Operation::Move(place) => self.move_to(place),
            Operation::SwapData => self.swap_data(),
        }
    }

    fn resume(&mut self, set: Option<Setting>, in_a_hurry: bool) {
        let assignment = set.map(|(key, value)| format!("{key}={value}"));
        let set_args: Vec<&str> = assignment.iter().flat_map(|set| ["--set", set]).collect();
        let resume = || self.taper("resume", &[&["--detach"], set_args.as_slice()].concat());
        let name = self.name();
        if self.model.phase.is_live() && set.is_some() {
            let error = resume().fail(2);
            assert!(error.contains(&format!("run {name} is live; to change it, stop it first: ")), "{error}");
            return;
        }
        match self.model.phase {
            Phase::Running => assert!(resume().succeed().contains("already running, at step ")),
            Phase::Paused => {
                assert!(resume().succeed().contains("resumed at step "));
                self.model.phase = Phase::Running;
            }
            Phase::Diverged => {
                let error = resume().fail(1);
                assert!(error.contains("to go on: taper rollback "), "{error}");
            }
            Phase::Killed | Phase::Ended(_) if self.model.is_complete() => {
                let refused = self.refused(&[&["--detach"], set_args.as_slice()].concat(), 2);
                assert!(refused.contains("has done its ") && refused.contains("to extend it: "), "{refused}");
            }
            Phase::Killed | Phase::Ended(_) if self.model.is_data_swapped => {
                let refused = self.refused(&[&["--detach"], set_args.as_slice()].concat(), 1);
                let told = [format!("run {name} was trained on "), "its configuration finds ".to_owned()];
                assert!(told.iter().all(|told| refused.contains(told)), "{refused}");
            }
            Phase::Killed | Phase::Ended(_) => {
                let before = self.latest();
                resume().succeed();
                if let Some(setting) = set {
                    self.model.set(setting);
                }
                self.begun(&before);
                self.wait_for_first_steps(in_a_hurry, before.state.step);
            }
        }
    }

    /// `taper resume` of a run without a trainer, which is to be refused and to write nothing.
    fn refused(&self, further: &[&str], code: i32) -> String {
        let before = contents(&self.run());
        let error = self.taper("resume", further).fail(code);
        assert_eq!(contents(&self.run()), before, "a refused resume has written: {error}");
        error
    }

    /// Holds the beginning of the latest trainer against the checkpoint that it went on from.
    fn begun(&mut self, before: &Checkpoint) {
        let log = self.of_latest_trainer();
        let Event::RunStarted(started) = &log[0].event else { unreachable!("it begins with its start") };
        assert_eq!(started.continued_from, Some(before.state.step));
        assert_eq!(started.run, self.name());

        let changes: BTreeMap<&str, (Option<Value>, Option<Value>)> = log
            .iter()
            .filter_map(|record| match &record.event {
                Event::SettingChanged { key, from, to, .. } => Some((key.as_str(), (value(from), value(to)))),
                _ => None,
            })
            .collect();
        let then = &before.origin.as_ref().expect("an origin").settings;
        let keys = self.model.settings.keys().copied();
        let both = keys.map(|key| (key, (value(&then.get(key)), value(&self.model.settings.get(key)))));
        assert_eq!(changes, both.filter(|(_, (then, now))| then != now).collect());

        let rate = log.iter().find_map(|record| match record.event {
            Event::LearningRateChanged { from, to, reason: LearningRateReason::Configuration, .. } => Some((from, to)),
            _ => None,
        });
        let change = changes.get(LEARNING_RATE).map(|(then, now)| float(now) / float(then));
        assert_eq!(rate.is_some(), change.is_some(), "{rate:?}");
        if let (Some((from, to)), Some(factor)) = (rate, change) {
            assert_eq!(from, before.state.learning_rate);
            assert!((to / from - factor).abs() < 1e-9, "{from} to {to}, not times {factor}");
        }
        self.model.begins();
    }

    fn wait_for_first_steps(&mut self, in_a_hurry: bool, from: u64) {
        self.model.phase = Phase::Running;
        if self.model.is_poisoned() {
            self.wait_for_divergences(1);
            self.model.phase = Phase::Diverged;
        } else if !in_a_hurry {
            eventually("a checkpoint of the new trainer", || (self.latest().state.step > from).then_some(()));
        }
    }

    /// Waits until the latest trainer has paused that many times because of a divergence.
    fn wait_for_divergences(&self, times: usize) {
        eventually("the divergence", || {
            let log = self.of_latest_trainer();
            let pauses = log.iter().filter(|record| matches!(record.event, Event::Paused { .. })).count();
            let diverged = |event: &Event| matches!(event, Event::AlarmRaised { kind: AlarmKind::Divergence, .. });
            let alarms = log.iter().filter(|record| diverged(&record.event)).count();
            (pauses == times && alarms == times).then_some(())
        });
    }

    /// The command reaches no trainer.
    fn not_live(&self, command: &str, further: &[&str]) {
        let error = self.taper(command, further).fail(1);
        let told = format!("run {} has no live trainer; to go on with it: taper resume ", self.name());
        assert!(error.contains(&told), "{error}");
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
    fn ended(&mut self, outcome: Outcome) {
        let diverged = self.model.phase == Phase::Diverged;
        let outcome = if diverged { Outcome::Failed } else { outcome };
        let last = records(&self.run()).pop().expect("a log").event;
        let Event::RunEnded { step, outcome: told, .. } = last else { panic!("the log ends with {last:?}") };
        assert_eq!(told, outcome);
        assert!(diverged || self.latest().state.step == step, "the last step, {step}, is not saved");
        self.model.phase = Phase::Ended(outcome);
    }

    pub fn complete(&mut self, further: u64) {
        let before = self.latest();
        // A killed trainer took steps after the last that it saved.
        let last = (steps(&self.run()).max(before.state.step) + further).to_string();
        let out = self.taper("resume", &["--no-tui", "--max-steps", &last]).succeed();
        assert!(out.contains(&format!("Run {}: completed at step {last}, saved as ", self.name())), "{out}");
        self.model.settings.insert(MAX_STEPS, last);
        self.begun(&before);
        self.model.phase = Phase::Running;
        self.ended(Outcome::Completed);
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

    pub fn edit(&mut self, setting: Setting) {
        write_setting(&self.run(), setting);
        self.model.set(setting);
    }

    fn edit_kept(&self, setting: Setting, in_file: bool, how: &str) {
        let (key, now) = setting;
        let run = self.run();
        let kept = fs::read(run.config()).expect("a configuration");
        let assignment = format!("{key}={now}");
        let refused = if in_file {
            write_setting(&run, setting);
            self.refused(&[how], 2)
        } else {
            self.refused(&[how, "--set", &assignment], 2)
        };
        fs::write(run.config(), kept).expect("written");
        let then = &self.latest().origin.expect("an origin").settings[key];
        let name = self.name();
        let told = format!("run {name} was trained with {key} = {then}, and its configuration has {key} = {now}: ");
        assert!(refused.contains(&told), "{told} in {refused}");
    }

    fn move_to(&mut self, place: Place) {
        let (old, old_place, is_live) = (self.run(), self.model.place, self.model.phase.is_live());
        if !is_live {
            wait_for_death(&old);
        }
        fs::create_dir_all(self.dir.path(place.parent)).expect("a directory");
        self.model.place = place;
        let before = steps(&old);
        fs::rename(old.path(), self.run().path()).expect("moved");
        if is_live {
            self.wait_until_followed(before);
        }
        let command = if is_live { "pause" } else { "resume" };
        let error = self.dir.command(["--runs-dir", old_place.parent, command, old_place.name]).fail(1);
        let told = format!("there is no run {} in {}", old_place.name, old_place.parent);
        assert!(error.contains(&told), "{error}");
        assert!(!old.path().exists(), "{} is there again", old.path().display());
    }

    /// Waits until the live trainer obeys and saves where the run lies now.
    fn wait_until_followed(&self, from: u64) {
        eventually("a command in the new place", || {
            let output = self.taper("pause", &[]).output();
            output.status.success().then_some(())
        });
        if self.model.phase == Phase::Running {
            self.taper("resume", &[]).succeed();
            eventually("a checkpoint in the new place", || (self.latest().state.step > from).then_some(()));
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
        for elsewhere in PARENTS.iter().filter(|other| **other != parent) {
            let table = self.dir.command(["--runs-dir", elsewhere, "runs"]).succeed();
            assert!(table.starts_with("No runs in "), "{table}");
        }
    }
}

/// Sets a key in the run's configuration, without the line of the checksum.
fn write_setting(run: &RunDir, (key, to): Setting) {
    let config = fs::read_to_string(run.config()).expect("a configuration");
    let mut config: Table = config.parse().expect("TOML");
    let (section, name) = key.split_once('.').expect("a section and a key");
    let section = config[section].as_table_mut().expect("a section");
    section.insert(name.to_owned(), value(&Some(to)).expect("a value"));
    fs::write(run.config(), config.to_string()).expect("written");
}

/// A value by its TOML.
fn value(text: &Option<impl AsRef<str>>) -> Option<Value> {
    let text = text.as_ref()?.as_ref();
    let mut table: Table = format!("value = {text}").parse().expect("TOML");
    table.remove("value")
}

fn float(value: &Option<Value>) -> f64 {
    value.as_ref().and_then(Value::as_float).expect("a number")
}
