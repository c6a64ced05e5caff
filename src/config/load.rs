//! Reads a configuration: command line over file over default. Every complaint names where the value came from, the
//! key, the value, and what is allowed.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::checksum::{is_unchanged, with_checksum};
use super::near_miss::meant_key;
use super::preset::{preset, preset_names};
use super::settings::{Config, ModelConfig, NetworkKind};
use super::validate::{RULES, Rule, broken, meaningless};
use crate::ordinary_file;
use crate::suggest::nearest;

/// A value given on the command line, for one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The option it was given with, such as `--set` or `--epochs`.
    option: &'static str,
    key: String,
    text: String,
}

impl Override {
    /// `--set section.key=value`.
    pub fn parse(assignment: &str) -> Result<Self, ConfigError> {
        match assignment.split_once('=') {
            Some((key, text)) if !key.trim().is_empty() => Ok(Self::option("--set", key.trim(), text.trim())),
            _ => Err(ConfigError::one(format!(
                "--set {assignment}: expected section.key=value, such as --set train.batch_size=128"
            ))),
        }
    }

    /// Each of several `--set`.
    pub fn parse_all(assignments: &[String]) -> Result<Vec<Self>, ConfigError> {
        assignments.iter().map(|assignment| Self::parse(assignment)).collect()
    }

    /// An option with a key of its own, such as `--epochs`.
    pub fn option(option: &'static str, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { option, key: key.into(), text: text.into() }
    }

    /// As the value of `--set`.
    pub fn to_assignment(&self) -> String {
        format!("{}={}", self.key, self.text)
    }

    /// As TOML, or else as the bare string it looks like; the second reading is for keys that hold text.
    fn readings(&self) -> [Value; 2] {
        let bare = Value::String(self.text.clone());
        let parsed = toml::from_str::<Table>(&format!("value = {}", self.text))
            .ok()
            .filter(|table| table.len() == 1)
            .and_then(|mut table| table.remove("value"));
        [parsed.unwrap_or_else(|| bare.clone()), bare]
    }
}

/// Everything that is wrong with a configuration, one line each.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<String>,
}

impl ConfigError {
    fn one(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()] }
    }

    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The default as a file in which every key is explained.
    pub const DEFAULT_FILE: &str = include_str!("../../config/default.toml");

    /// The default, changed by what `file` says (or the preset of that name, where there is no such file), changed by what the
    /// command line says. Every path in the result is
    /// absolute. A file with the first line of [`Config::to_toml_with_checksum`] must be as it was written.
    pub fn load(file: Option<&Path>, overrides: &[Override]) -> Result<Self, ConfigError> {
        Self::load_over(&[], file, overrides)
    }

    /// The same, over other defaults.
    pub fn load_over(defaults: &[Override], file: Option<&Path>, overrides: &[Override]) -> Result<Self, ConfigError> {
        let mut settings = Settings::default();
        for given in defaults {
            settings.read_option(given);
        }
        if let Some(path) = file {
            settings.read_file(path)?;
        }
        for given in overrides {
            settings.read_option(given);
        }
        settings.finish()
    }

    /// As the configuration file that repeats it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a validated configuration has a TOML form")
    }

    /// As [`Config::to_toml`], with a first line by which [`Config::load`] notices a change.
    pub fn to_toml_with_checksum(&self) -> String {
        with_checksum(&self.to_toml())
    }
}

/// What was set so far, by whom, and what was wrong with it.
#[derive(Default)]
struct Settings {
    table: Table,
    /// (key, where it was set, the value as it was written), the last one counts.
    origins: Vec<(&'static str, String, String)>,
    problems: Vec<String>,
}

impl Settings {
    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let mut name = path.display().to_string();
        let text = match (read(path), preset(path)) {
            (Ok(text), _) => text,
            (Err(error), Some(text)) if error.kind() == ErrorKind::NotFound => {
                name = format!("preset {name}");
                text.to_owned()
            }
            (Err(error), None) if error.kind() == ErrorKind::NotFound && path.iter().count() == 1 => {
                return Err(ConfigError::one(format!(
                    "{name}: {error}; without a file there are the presets {}",
                    preset_names()
                )));
            }
            (Err(error), _) => return Err(ConfigError::one(format!("{name}: {error}"))),
        };
        if !is_unchanged(&text) {
            return Err(ConfigError::one(format!(
                "{name}: it is not what its first line says: it was damaged, or changed by hand; if you changed it, delete \
                 that line, else copy the configuration of another run like it"
            )));
        }
        let table: Table = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            ConfigError::one(format!("{name}: line {line}: {}", error.message().replace('\n', "; ")))
        })?;
        if table.is_empty() {
            return Err(ConfigError::one(format!(
                "{name}: it sets nothing: it was cut off, or is not the file you mean; the defaults need no file, and taper config \
                 prints them as one"
            )));
        }
        for (section, value) in table {
            match value {
                Value::Table(keys) if is_section(&section) => {
                    for (key, value) in keys {
                        self.set(&name, &format!("{section}.{key}"), &[value]);
                    }
                }
                Value::Table(keys) => self.problems.push(unknown_section(&name, &section, keys.keys())),
                value if is_section(&section) => self
                    .problems
                    .push(format!("{name}: {section} = {}: {section} is a section, [{section}]", shown(&value))),
                value => self.set(&name, &section, &[value]),
            }
        }
        Ok(())
    }

    fn read_option(&mut self, given: &Override) {
        self.set(given.option, &given.key, &given.readings());
    }

    /// Takes the first reading of the value that fits the key's type.
    fn set(&mut self, origin: &str, key: &str, readings: &[Value]) {
        let Some(rule) = RULES.iter().find(|rule| rule.key == key) else {
            self.problems.push(unknown_key(origin, key));
            return;
        };
        let (section, name) = rule.key.split_once('.').expect("every key has a section");
        let fitting = readings.iter().find(|value| {
            let section_only = Table::from_iter([(name.to_owned(), (*value).clone())]);
            Config::deserialize(Table::from_iter([(section.to_owned(), Value::Table(section_only))])).is_ok()
        });
        let Some(value) = fitting else {
            self.problems.push(not_allowed(origin, rule, &shown(&readings[0])));
            return;
        };
        let keys = self.table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        keys.as_table_mut().expect("sections are tables").insert(name.to_owned(), value.clone());
        self.origins.push((rule.key, origin.to_owned(), shown(value)));
    }

    /// Another network than the study's has other defaults.
    fn take_defaults_of_network(&mut self) {
        let Some(model) = self.table.get_mut("model").and_then(Value::as_table_mut) else { return };
        if model.get("network").and_then(Value::as_str) == Some(NetworkKind::Airbench.into()) {
            for (key, value) in Table::try_from(ModelConfig::airbench()).expect("settings have a TOML form") {
                model.entry(key).or_insert(value);
            }
        }
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        self.take_defaults_of_network();
        let mut config = Config::deserialize(self.table).map_err(|error| ConfigError::one(error.message()))?;
        for rule in broken(&config) {
            // A default breaks a rule only beside a value that is not allowed itself, which is told.
            if let Some((_, origin, value)) = self.origins.iter().rfind(|(key, ..)| *key == rule.key) {
                self.problems.push(not_allowed(origin, rule, value));
            }
        }
        for (key, why) in meaningless(&config) {
            if let Some((_, origin, value)) = self.origins.iter().rfind(|(set, ..)| *set == key) {
                self.problems.push(format!("{origin}: {key} = {value}: {why}"));
            }
        }
        if !self.problems.is_empty() {
            return Err(ConfigError { problems: self.problems });
        }
        config.data.dir = absolute(&config.data.dir)?;
        config.model.init = config.model.init.as_deref().map(absolute).transpose()?;
        Ok(config)
    }
}

/// A file, or what a shell passes as one: `/dev/stdin`, or `/dev/fd/63` of `<(…)`.
fn read(path: &Path) -> std::io::Result<String> {
    let is_passed = path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd");
    if is_passed { std::fs::read_to_string(path) } else { ordinary_file::read_to_string(path) }
}

fn absolute(path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path).map_err(|error| ConfigError::one(format!("{}: {error}", path.display())))
}

fn sections() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.key.split_once('.').expect("every key has a section").0)
}

fn is_section(name: &str) -> bool {
    sections().any(|section| section == name)
}

/// On one line, however it was written.
fn shown(value: &Value) -> String {
    match value {
        // 1e-300 has as many digits.
        Value::Float(float) if *float != 0.0 && float.abs() < 1e-6 => format!("{float:e}"),
        value => value.to_string().replace('\n', " "),
    }
}

fn not_allowed(origin: &str, rule: &Rule, value: &str) -> String {
    let meant = match nearest(value.trim_matches('"'), rule.choices.iter().copied()).first() {
        Some(choice) => format!("; did you mean {choice}?"),
        None => String::new(),
    };
    format!("{origin}: {} = {value}: must be {}{meant}", rule.key, rule.allowed())
}

fn unknown_key(origin: &str, key: &str) -> String {
    match meant_key(key) {
        Some(meant) => format!("{origin}: unknown key {key}; did you mean {meant}?"),
        None => format!("{origin}: unknown key {key}; taper config lists every key"),
    }
}

fn unknown_section<'a>(origin: &str, section: &str, keys: impl Iterator<Item = &'a String>) -> String {
    let keys: Vec<String> = keys.map(|key| format!("{section}.{key}")).collect();
    match nearest(section, sections()).first() {
        Some(meant) => format!("{origin}: unknown section [{section}]; did you mean [{meant}]?"),
        None if keys.len() == 1 => unknown_key(origin, &keys[0]),
        None => {
            let mut known: Vec<&str> = sections().collect();
            known.dedup();
            format!("{origin}: unknown section [{section}]; known are {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::preset::PRESETS;
    use super::super::{DataSource, ScheduleKind};
    use super::*;
    use crate::config::{AttentionKind, Pool};

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn sets(assignments: &[&str]) -> Vec<Override> {
        assignments.iter().map(|text| Override::parse(text).unwrap()).collect()
    }

    /// The complaints about `text` as a file, which is called FILE in them, and about `assignments`.
    fn complaints(text: &str, assignments: &[&str]) -> String {
        let file = file(text);
        let error = Config::load(Some(file.path()), &sets(assignments)).unwrap_err();
        error.to_string().replace(&file.path().display().to_string(), "FILE")
    }

    #[test]
    fn the_shipped_file_is_the_default_and_tells_of_every_key() {
        let text = Config::DEFAULT_FILE;
        assert_eq!(toml::from_str::<Config>(text).unwrap(), Config::default());
        for section in sections() {
            assert!(text.contains(&format!("[{section}]")), "{section}");
        }
        for rule in RULES {
            let key = rule.key.split_once('.').unwrap().1;
            assert!(text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = "))), "{key}");
        }
    }

    #[test]
    fn each_preset_of_an_attention_differs_from_the_defaults_in_nothing_else() {
        for kind in AttentionKind::ALL.iter().copied().filter(|&kind| kind != AttentionKind::None) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/{}.toml", <&str>::from(kind)));
            let loaded = Config::load(Some(&path), &[]).unwrap();
            let mut expected = Config::load(None, &[]).unwrap();
            expected.model.attention = kind;
            assert_eq!(loaded, expected);
            let given: Table = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert_eq!(given.len(), 1);
            assert_eq!(given["model"].as_table().unwrap().len(), 1);
        }
    }

    #[test]
    fn a_preset_is_taken_by_its_name_where_no_file_has_it() {
        for (name, _) in PRESETS {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("config/{name}.toml"));
            assert_eq!(Config::load(Some(Path::new(name)), &[]).unwrap(), Config::load(Some(&file), &[]).unwrap());
        }
        let complaint = |name: &str| Config::load(Some(Path::new(name)), &[]).unwrap_err().to_string();
        assert!(
            complaint("recrod").ends_with("the presets se, eca, spatial, cbam, non-local, fast, record and digits")
        );
        assert!(!complaint("nowhere/record").contains("preset"), "only a bare name is one");
    }

    #[test]
    fn another_network_has_other_defaults() {
        let load = |given: &[&str]| Config::load(None, &sets(given)).unwrap().model;
        assert_eq!(load(&["model.network=airbench"]), ModelConfig::airbench());
        let given = load(&["model.pool=average", "model.network=airbench", "model.whitening=false"]);
        assert_eq!(given, ModelConfig { pool: Pool::Average, whitening: false, ..ModelConfig::airbench() });
        let config = Config::load(None, &sets(&["model.network=airbench", "model.hidden=0"])).unwrap();
        let file = file(&config.to_toml());
        assert_eq!(Config::load(Some(file.path()), &[]).unwrap(), config);
    }

    #[test]
    fn command_line_over_file_over_default() {
        let file = file("[train]\nepochs = 7\nbatch_size = 32\n[schedule]\nkind = \"constant\"");
        let mut given = sets(&["train.batch_size=16", "data.source=sample", "model.channels=[4,4,4]"]);
        given.push(Override::option("--epochs", "train.epochs", "9"));
        let config = Config::load(Some(file.path()), &given).unwrap();
        assert_eq!((config.train.epochs, config.train.batch_size, config.train.eval_batch_size), (9, 16, 256));
        assert_eq!((config.schedule.kind, config.data.source), (ScheduleKind::Constant, DataSource::Sample));
        assert_eq!(config.model.channels, [4, 4, 4]);
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        let config = Config::load(None, &sets(&["train.epochs=0", "train.epochs=3"])).unwrap();
        assert_eq!(config.train.epochs, 3);
    }

    #[test]
    fn values_are_toml_and_text_may_stand_bare() {
        let config = Config::load(
            None,
            &sets(&["run.device=cuda:1", "data.dir=2024", "optimizer.learning_rate=1", "augment.enabled = false"]),
        )
        .unwrap();
        assert_eq!(config.run.device, "cuda:1");
        assert!(config.data.dir.ends_with("2024"));
        assert_eq!(config.optimizer.learning_rate, 1.0);
        assert!(!config.augment.enabled);
    }

    #[test]
    fn what_is_written_to_the_run_repeats_it() {
        let mut given = sets(&["augment.hue=0.3", "model.init=weights.safetensors", "train.max_steps=20"]);
        given.push(Override::option("--seed", "run.seed", "9223372036854775807"));
        let config = Config::load(None, &given).unwrap();
        let file = file(&config.to_toml());
        assert_eq!(Config::load(Some(file.path()), &[]).unwrap(), config);
        assert!(config.data.dir.is_absolute() && config.model.init.as_ref().unwrap().is_absolute());
    }

    #[test]
    fn every_complaint_names_origin_key_value_and_what_is_allowed() {
        insta::assert_snapshot!(complaints(
            "[train]\nepochs = 0\nbatch_size = \"many\"\nepoch = 3\n[augment]\nhue = nan\n[trian]\nepochs = 1\n",
            &[
                "data.source=cifra10",
                "data.source=[]",
                "dropout=0.1",
                "model.dropuot=0.1",
                "zzz.qqq=1",
                "optimizer.learning_rate=-1",
                "optimizer.beta2=1",
                "run.seed=-1",
                "run.seed=9223372036854775808",
                "run.device=gpu",
                "model.channels=[1,2]",
                "model.channels=[0,2,3]",
                "train.batch_size=1.5",
                "train.eval_batch_size=0",
                "schedule.min_learning_rate=0.5",
                "data.dir=",
                "augment.enabled=yes",
                "train.epochs.more=1",
            ],
        ));
    }

    #[test]
    fn what_an_optimizer_has_not_is_told() {
        let beta = complaints("[optimizer]\nkind = \"sgd\"\nbeta1 = 0.8\n", &[]);
        assert_eq!(
            beta,
            "FILE: optimizer.beta1 = 0.8: optimizer.kind = sgd has no such setting; it is of adam and adamw"
        );
        let rate = complaints("[train]\nepochs = 1\n", &["optimizer.sgd_learning_rate=1"]);
        assert_eq!(
            rate,
            "--set: optimizer.sgd_learning_rate = 1: optimizer.kind = adam has no such setting; it is of muon"
        );
        let unknown = complaints("[train]\nepochs = 1\n", &["optimizer.kind=adamx"]);
        assert!(unknown.ends_with("must be adam, adamw, sgd or muon; did you mean adam?"), "{unknown}");
        let still = complaints("[optimizer]\nkind = \"sgd\"\nmomentum = 0\n", &[]);
        assert!(
            still.ends_with("momentum = 0: must be a number from 0 (without optimizer.nesterov) to below 1"),
            "{still}"
        );
        // A default means nothing, whoever wrote it down.
        let written = Config::load(None, &sets(&["optimizer.kind=muon", "optimizer.momentum=0.6"])).unwrap();
        let file = file(&written.to_toml_with_checksum());
        assert_eq!(Config::load(Some(file.path()), &[]).unwrap(), written);
    }

    #[test]
    fn a_file_that_is_not_toml_or_not_there() {
        insta::assert_snapshot!(complaints("[train]\nepochs = = 3\n", &[]));
        insta::assert_snapshot!(complaints("train = 3\nepochs = 4\n[what]\nx = 1\ny = 2\n", &[]));
        let missing = Config::load(Some(Path::new("no/such.toml")), &[]).unwrap_err();
        assert_eq!(missing.to_string(), "no/such.toml: No such file or directory (os error 2)");
        assert!(Override::parse("epochs").unwrap_err().to_string().contains("expected section.key=value"));
    }
}
