//! How a run goes on: from which step, with what changed, or why not.

use std::collections::BTreeMap;
use std::fs;

use taper::run::dir::RunDir;
use taper::run::event::{AlarmKind, Event, LearningRateReason, Outcome};
use taper::train::checkpoint::Checkpoint;
use toml::{Table, Value};

use super::model::{LEARNING_RATE, MAX_STEPS, Phase, Setting};
use super::user::User;
use crate::binary::{eventually, steps};
use crate::resume_changes::contents;

impl User {
    pub fn resume(&mut self, set: Option<Setting>, in_a_hurry: bool) {
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
    pub fn refused(&self, further: &[&str], code: i32) -> String {
        let before = whole_contents(&self.run());
        let error = self.taper("resume", further).fail(code);
        assert!(whole_contents(&self.run()) == before, "a refused resume has written: {error}");
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
    pub fn wait_for_divergences(&self, times: usize) {
        eventually("the divergence", || {
            let log = self.of_latest_trainer();
            let pauses = log.iter().filter(|record| matches!(record.event, Event::Paused { .. })).count();
            let diverged = |event: &Event| matches!(event, Event::AlarmRaised { kind: AlarmKind::Divergence, .. });
            let alarms = log.iter().filter(|record| diverged(&record.event)).count();
            (pauses == times && alarms == times).then_some(())
        });
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

    pub fn edit(&mut self, setting: Setting) {
        write_setting(&self.run(), setting);
        self.model.set(setting);
    }

    pub fn edit_kept(&self, setting: Setting, in_file: bool, how: &str) {
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
}

/// What a refused resume leaves as it was. What a killed trainer left unfinished is none of it.
fn whole_contents(run: &RunDir) -> Vec<Vec<u8>> {
    let mut contents = contents(run);
    let log = &mut contents[1];
    log.truncate(log.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1));
    let is_unfinished =
        |path: &[u8]| path.rsplit(|&byte| byte == b'/').next().is_some_and(|name| name.starts_with(b"."));
    let names = contents.split_off(2).into_iter().filter(|path| !is_unfinished(path));
    contents.extend(names);
    contents
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
