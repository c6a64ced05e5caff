//! The lines of the page with the run's configuration: its keys, and which of them differ from the default.

use super::layout::{Direction, scrolled};
use crate::config::{self, Config, Values};
use crate::run::state::SettingChange;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The keys that differ from the default, or were changed.
    #[default]
    Different,
    Every,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct ConfigurationPage {
    pub shown: Shown,
    /// The first line in view.
    first: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigurationLine {
    Section(String),
    Key(Key),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Without its section.
    pub name: String,
    /// As TOML; `None`: it is not set.
    pub value: Option<String>,
    pub against_default: AgainstDefault,
    /// What became of it while the run went on, such as `0.001 → 0.01 at step 384`.
    pub changes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgainstDefault {
    Same,
    /// The default; `None`: it is not set.
    Differs(Option<String>),
    /// From the default, and how.
    Resolved(String, &'static str),
    /// No key of this version.
    Unknown,
}

impl Key {
    /// Somebody chose it.
    pub fn differs(&self) -> bool {
        matches!(self.against_default, AgainstDefault::Differs(_) | AgainstDefault::Unknown)
    }
}

/// The keys of a configuration, those that this version knows in its order, and the others after them.
pub fn keys(values: &Values, changes: &[SettingChange]) -> Vec<(String, Key)> {
    let defaults = Config::default().values();
    let known: Vec<&str> = config::keys().collect();
    let others = values.keys().map(String::as_str).filter(|key| !known.contains(key));
    let key = |full: &str| {
        let (section, name) = full.split_once('.').unwrap_or(("", full));
        // What an older version did not know had its default.
        let value = values.get(full).or_else(|| defaults.get(full)).cloned();
        let default = defaults.get(full).cloned();
        let resolved = config::RESOLVED.iter().find(|(key, _)| *key == full);
        let against_default = match (resolved, default) {
            _ if !known.contains(&full) => AgainstDefault::Unknown,
            (_, default) if default == value => AgainstDefault::Same,
            (Some((_, how)), Some(default)) => AgainstDefault::Resolved(default, how),
            (_, default) => AgainstDefault::Differs(default),
        };
        let words = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        let changes = changes.iter().filter(|change| change.key == full);
        let changes =
            changes.map(|change| format!("{} → {} at step {}", words(&change.from), words(&change.to), change.step));
        (section.to_owned(), Key { name: name.to_owned(), value, against_default, changes: changes.collect() })
    };
    known.iter().copied().chain(others).map(key).collect()
}

impl ConfigurationPage {
    pub fn toggle(&mut self) {
        self.shown = match self.shown {
            Shown::Different => Shown::Every,
            Shown::Every => Shown::Different,
        };
        self.first = 0;
    }

    /// A heading for each section, and its keys.
    pub fn lines(&self, keys: Vec<(String, Key)>) -> Vec<ConfigurationLine> {
        let mut lines = vec![];
        let mut last_section = None;
        for (section, key) in keys {
            if self.shown == Shown::Different && !key.differs() && key.changes.is_empty() {
                continue;
            }
            if last_section.as_ref() != Some(&section) {
                lines.push(ConfigurationLine::Section(section.clone()));
                last_section = Some(section);
            }
            lines.push(ConfigurationLine::Key(key));
        }
        lines
    }

    /// The first line in view, of `count` where `page` fit.
    pub fn first(&self, count: usize, page: usize) -> usize {
        self.first.min(count.saturating_sub(page))
    }

    pub fn scroll(&mut self, direction: Direction, count: usize, page: usize) {
        self.first = scrolled(self.first(count, page), direction, page, count.saturating_sub(page));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(keys: &[(String, Key)], section: &str, name: &str) -> Key {
        let found = keys.iter().find(|(of, key)| of == section && key.name == name);
        found.unwrap_or_else(|| panic!("no {section}.{name}")).1.clone()
    }

    fn values() -> Values {
        let mut values = Config::default().values();
        values.insert("train.batch_size".into(), "128".into());
        values.insert("run.threads".into(), "2".into());
        values.insert("future.key".into(), "1".into());
        values.remove("model.pool");
        values
    }

    #[test]
    fn what_differs_from_the_default_is_told() {
        let changes = ["0.01", "0.02"].map(|to| SettingChange {
            step: 384,
            key: "optimizer.learning_rate".into(),
            from: Some("0.001".into()),
            to: Some(to.into()),
        });
        let keys = keys(&values(), &changes);
        let batch_size = key(&keys, "train", "batch_size");
        assert_eq!(batch_size.against_default, AgainstDefault::Differs(Some("64".into())));
        assert_eq!(
            key(&keys, "run", "threads").against_default,
            AgainstDefault::Resolved("0".into(), "one for each core")
        );
        assert_eq!(key(&keys, "future", "key").against_default, AgainstDefault::Unknown);
        assert_eq!(key(&keys, "model", "pool").value.as_deref(), Some("\"flatten\""));
        assert_eq!(key(&keys, "train", "max_steps").value, None);
        let told = key(&keys, "optimizer", "learning_rate").changes;
        assert_eq!(told, ["0.001 → 0.01 at step 384", "0.001 → 0.02 at step 384"]);
    }

    #[test]
    fn every_key_or_those_that_differ() {
        let mut page = ConfigurationPage::default();
        let heading = |section: &str| ConfigurationLine::Section(section.into());
        let lines = page.lines(keys(&values(), &[]));
        assert_eq!((lines.len(), &lines[0], &lines[2]), (4, &heading("train"), &heading("future")));
        page.toggle();
        let count = page.lines(keys(&values(), &[])).len();
        assert!(count > 50, "{count}");
        page.scroll(Direction::Latest, count, 10);
        assert_eq!(page.first(count, 10), count - 10);
        page.scroll(Direction::PageUp, count, 10);
        assert_eq!(page.first(count, 10), count - 20);
        page.toggle();
        assert_eq!(page.first(4, 10), 0);
    }
}
