//! What changes where a run goes on with another configuration than it was trained with.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::settings::Config;
use super::validate::RULES;

/// The keys on which depends what a step of a run is: how many there are in an epoch, which images each is of, and which
/// weights it moves. Every other key may change between two trainers of a run.
pub const KEPT_ON_RESUME: [&str; 18] = [
    "run.seed",
    "data.shuffle",
    "data.validation_examples",
    "data.mean",
    "data.std",
    "train.batch_size",
    "train.sampler",
    "train.class_weights",
    "model.network",
    "model.channels",
    "model.activation",
    "model.whitening",
    "model.hidden",
    "model.attention",
    "model.pool",
    "model.init",
    "optimizer.kind",
    "average.kind",
];

/// Each key that is set, `section.key`, with its value as TOML.
pub type Values = BTreeMap<String, String>;

/// A key whose value is another now. None: it is not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: &'static str,
    pub from: Option<String>,
    pub to: Option<String>,
}

impl Change {
    /// Whether a run may go on with it.
    pub fn is_allowed(&self) -> bool {
        !KEPT_ON_RESUME.contains(&self.key)
    }
}

/// Keys that a run always records otherwise than their default, and how.
pub const RESOLVED: [(&str, &str); 2] = [("run.threads", "one for each core"), ("data.dir", "made absolute")];

impl Config {
    pub fn values(&self) -> Values {
        // As a file has them: a table would widen an f32 of 0.2 to 0.20000000298.
        values_of(&self.to_toml()).expect("a validated configuration has a TOML form")
    }
}

/// The values of a configuration file as they stand in it, whether this version knows their keys or not.
///
/// # Errors
/// For people: it is not TOML.
pub fn values_of(text: &str) -> Result<Values, String> {
    let table: Table = toml::from_str(text).map_err(|error| error.message().replace('\n', "; "))?;
    let mut values = Values::new();
    for (section, value) in &table {
        match value {
            Value::Table(keys) => {
                values.extend(keys.iter().map(|(key, value)| (format!("{section}.{key}"), value.to_string())));
            }
            value => {
                values.insert(section.clone(), value.to_string());
            }
        }
    }
    Ok(values)
}

/// Every key that this version knows, section by section.
pub fn keys() -> impl Iterator<Item = &'static str> {
    RULES.iter().map(|rule| rule.key)
}

/// What has changed between two configurations. A key that an older version did not know had its default.
pub fn changes(before: &Values, now: &Values) -> Vec<Change> {
    let defaults = Config::default().values();
    let change = |key: &'static str| {
        let from = before.get(key).or_else(|| defaults.get(key)).cloned();
        let to = now.get(key).cloned();
        (from != to).then_some(Change { key, from, to })
    };
    RULES.iter().filter_map(|rule| change(rule.key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Override;

    fn with(sets: &[&str]) -> Config {
        let sets: Vec<Override> = sets.iter().map(|set| Override::parse(set).unwrap()).collect();
        Config::load(None, &sets).unwrap()
    }

    #[test]
    fn every_kept_key_is_one() {
        for key in KEPT_ON_RESUME {
            assert!(RULES.iter().any(|rule| rule.key == key), "{key}");
        }
    }

    #[test]
    fn the_documents_say_of_each_key_whether_it_may_change() {
        let documents = include_str!("../../docs/configuration.md");
        let rows = documents.lines().skip_while(|line| !line.starts_with("| section | stays as it was")).skip(2);
        let mut told = Vec::new();
        for row in rows.take_while(|row| row.starts_with('|')) {
            let cells: Vec<Vec<&str>> =
                row.split('|').map(|cell| cell.split('`').skip(1).step_by(2).collect()).collect();
            for (cell, is_kept) in [(2, true), (3, false)] {
                told.extend(cells[cell].iter().map(|key| (format!("{}.{key}", cells[1][0]), is_kept)));
            }
        }
        let mut rules: Vec<_> =
            RULES.iter().map(|rule| (rule.key.to_owned(), KEPT_ON_RESUME.contains(&rule.key))).collect();
        told.sort_unstable();
        rules.sort_unstable();
        assert_eq!(told, rules);
    }

    #[test]
    fn a_file_is_read_as_it_stands() {
        let config = with(&["train.batch_size=32"]);
        assert_eq!(values_of(&config.to_toml_with_checksum()).unwrap(), config.values());
        let other = values_of("framework = \"torch\"\n[optim]\nlr = 0.1\n").unwrap();
        assert_eq!((other["framework"].as_str(), other["optim.lr"].as_str()), ("\"torch\"", "0.1"));
        assert!(values_of("[train\n").is_err());
    }

    #[test]
    fn changes_are_told_key_by_key() {
        let before = with(&["train.batch_size=32", "train.max_steps=7"]);
        assert_eq!(changes(&before.values(), &before.values()), []);
        let now = with(&["optimizer.learning_rate=0.01"]);
        let changes = changes(&before.values(), &now.values());
        let told: Vec<_> =
            changes.iter().map(|change| (change.key, change.from.as_deref(), change.to.as_deref())).collect();
        let expected = [
            ("optimizer.learning_rate", Some("0.001"), Some("0.01")),
            ("train.batch_size", Some("32"), Some("64")),
            ("train.max_steps", Some("7"), None),
        ];
        assert_eq!(told, expected);
        assert_eq!(changes.iter().map(Change::is_allowed).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn what_an_older_version_did_not_know_had_its_default() {
        let mut older = Config::default().values();
        older.remove("model.pool");
        assert_eq!(
            changes(&older, &with(&["model.pool=average"]).values())
                .iter()
                .filter(|change| change.key == "model.pool")
                .count(),
            1
        );
        assert!(changes(&older, &with(&[]).values()).iter().all(|change| change.key == "data.dir"));
    }
}
