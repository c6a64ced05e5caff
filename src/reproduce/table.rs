//! A file that says which runs a result is made of.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use crate::config::{Change, Config, ConfigError, DataSource, Override, changes};
use crate::data::DatasetInfo;
use crate::model::{NetworkShape, ShapeError};
use crate::ordinary_file;

/// Keys that say where and on what a run computes, not what: they may differ between machines.
const OF_THE_MACHINE: [&str; 5] = ["run.device", "run.threads", "data.dir", "data.source", "notify.command"];

/// Configurations by seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The name of its file, without the extension.
    pub name: String,
    pub path: PathBuf,
    /// Accuracies in percent: when runs reach them is told.
    pub thresholds: Vec<f64>,
    pub rows: Vec<Row>,
}

/// A configuration, and the seeds that it is trained with.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    /// With the seed of none of them.
    pub config: Config,
    pub seeds: Vec<u64>,
}

/// A run that a table asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRun {
    /// Such as `study-plain-s0`.
    pub name: String,
    pub row: String,
    pub config: Config,
}

/// What is wrong with a table, for people.
#[derive(Debug, Error)]
pub enum TableError {
    #[error("{path}: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{path}: line {line}: {fault}")]
    Line { path: String, line: usize, fault: String },
    #[error("{path}: {fault}")]
    Whole { path: String, fault: String },
    #[error("{}", .fault.problems().iter().map(|problem| format!("{path}: row {row}: {problem}")).collect::<Vec<_>>().join("\n"))]
    Row { path: String, row: String, fault: ConfigError },
    #[error("{path}: row {row}: {fault}")]
    Network { path: String, row: String, fault: ShapeError },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    #[serde(default)]
    thresholds: Vec<f64>,
    /// For every row, as `--set`.
    #[serde(default)]
    set: Vec<String>,
    #[serde(default, rename = "row")]
    rows: Vec<Spanned<RowFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowFile {
    name: String,
    /// From the folder of the table; none: the defaults.
    config: Option<PathBuf>,
    #[serde(default)]
    set: Vec<String>,
    seeds: Vec<u64>,
}

impl Table {
    /// `overrides`: what the command line says of every run, over what the table says.
    ///
    /// # Errors
    /// The file cannot be read, or is no table, or a row's configuration is none.
    pub fn load(path: &Path, overrides: &[Override]) -> Result<Self, TableError> {
        let shown = path.display().to_string();
        let text = ordinary_file::read_to_string(path)
            .map_err(|source| TableError::Unreadable { path: shown.clone(), source })?;
        let line_of = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
        let fault_at = |at: usize, fault: String| TableError::Line { path: shown.clone(), line: line_of(at), fault };
        let file: TableFile = toml::from_str(&text).map_err(|error| {
            fault_at(error.span().map_or(0, |span| span.start), error.message().replace('\n', "; "))
        })?;
        let whole = |fault: &str| TableError::Whole { path: shown.clone(), fault: fault.to_owned() };
        if file.rows.is_empty() {
            return Err(whole("it has no [[row]], of which each has a name, seeds, and if need be config and set"));
        }
        if let Some(bad) = file.thresholds.iter().find(|&&threshold| !(threshold > 0.0 && threshold <= 100.0)) {
            return Err(whole(&format!("thresholds: {bad}: must be accuracies in percent, above 0 up to 100")));
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut names = HashSet::new();
        let mut rows = vec![];
        for spanned in file.rows {
            let start = spanned.span().start;
            let row = spanned.into_inner();
            check_row(&row).map_err(|fault| fault_at(start, fault))?;
            if !names.insert(row.name.clone()) {
                return Err(fault_at(start, format!("row {}: there is another row of that name", row.name)));
            }
            let of_row = |fault| TableError::Row { path: shown.clone(), row: row.name.clone(), fault };
            let sets: Vec<String> = file.set.iter().chain(&row.set).cloned().collect();
            let mut sets = Override::parse_all(&sets).map_err(of_row)?;
            sets.extend(overrides.iter().cloned());
            let config = Config::load(row.config.map(|config| folder.join(config)).as_deref(), &sets);
            let config = config.map_err(of_row)?;
            check_network(&config).map_err(|fault| TableError::Network {
                path: shown.clone(),
                row: row.name.clone(),
                fault,
            })?;
            rows.push(Row { config, name: row.name, seeds: row.seeds });
        }
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        if !is_plain(&name) {
            return Err(whole("runs are called after it: its name has letters, digits, - and _ only"));
        }
        Ok(Self { name, path: path.to_owned(), thresholds: file.thresholds, rows })
    }

    /// Leaves out all other rows; with no names, none.
    ///
    /// # Errors
    /// There is none of a name.
    pub fn keep_rows(&mut self, names: &[String]) -> Result<(), TableError> {
        if let Some(name) = names.iter().find(|&name| !self.rows.iter().any(|row| row.name == *name)) {
            let known = self.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ");
            let fault = format!("there is no row {name}; its rows are {known}");
            return Err(TableError::Whole { path: self.path.display().to_string(), fault });
        }
        if !names.is_empty() {
            self.rows.retain(|row| names.contains(&row.name));
        }
        Ok(())
    }

    /// Seed by seed of each row.
    pub fn runs(&self) -> Vec<PlannedRun> {
        let planned = self.rows.iter().flat_map(|row| row.seeds.iter().map(|&seed| self.planned(row, seed)));
        planned.collect()
    }

    pub fn planned(&self, row: &Row, seed: u64) -> PlannedRun {
        let mut config = row.config.clone();
        config.run.seed = seed;
        PlannedRun { name: format!("{}-{}-s{seed}", self.name, row.name), row: row.name.clone(), config }
    }
}

impl Row {
    /// In what it is not `base`: from the value there to that of the row.
    pub fn differences(&self, base: &Config) -> Vec<Change> {
        of_what_is_computed(base, &self.config)
    }
}

impl PlannedRun {
    /// In what a run of its name is not what the table asks for: from the table's value to that of the run.
    pub fn differences(&self, found: &Config) -> Vec<Change> {
        of_what_is_computed(&self.config, found)
    }
}

fn of_what_is_computed(before: &Config, now: &Config) -> Vec<Change> {
    let mut differences = changes(&before.values(), &now.values());
    differences.retain(|change| !OF_THE_MACHINE.contains(&change.key));
    differences
}

fn check_row(row: &RowFile) -> Result<(), String> {
    let name = &row.name;
    if !is_plain(name) {
        return Err(format!("row {name:?}: a name has letters, digits, - and _ only, and at least one of them"));
    }
    if row.seeds.is_empty() {
        return Err(format!("row {name}: seeds = []: must have at least one"));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = row.seeds.iter().find(|&&seed| !seen.insert(seed)) {
        return Err(format!("row {name}: seed {twice} is there twice"));
    }
    Ok(())
}

/// Before anything is trained, where the images are known to be CIFAR-10's; else when the row is.
fn check_network(config: &Config) -> Result<(), ShapeError> {
    match config.data.source {
        DataSource::Cifar10 | DataSource::Sample => {
            NetworkShape::new(&config.model, &DatasetInfo::cifar10())?;
            NetworkShape::check_progressive(config, &DatasetInfo::cifar10())
        }
        DataSource::Auto | DataSource::Cifar100 | DataSource::Idx | DataSource::Folder => Ok(()),
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Table, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("se.toml"), "[model]\nattention = \"se\"\n").unwrap();
        let path = folder.path().join("study.toml");
        std::fs::write(&path, text).unwrap();
        let prefix = format!("{}/", folder.path().display());
        Table::load(&path, &[]).map_err(|error| error.to_string().replace(&prefix, ""))
    }

    #[test]
    fn rows_are_configurations_by_seeds() {
        let table = load(
            "thresholds = [84.68]\nset = [\"train.epochs=2\"]\n[[row]]\nname = \"plain\"\nseeds = [0, 7]\n\
             [[row]]\nname = \"se\"\nconfig = \"se.toml\"\nset = [\"train.epochs=3\"]\nseeds = [1]\n",
        )
        .unwrap();
        let runs = table.runs();
        let told: Vec<_> =
            runs.iter().map(|run| (&run.name[..], run.config.run.seed, run.config.train.epochs)).collect();
        assert_eq!(told, [("study-plain-s0", 0, 2), ("study-plain-s7", 7, 2), ("study-se-s1", 1, 3)]);
        assert_ne!(runs[0].config.model.attention, runs[2].config.model.attention);
        assert_eq!((table.name.as_str(), table.thresholds), ("study", vec![84.68]));
    }

    #[test]
    fn rows_may_be_left_out() {
        let text = "[[row]]\nname = \"a\"\nseeds = [0]\n[[row]]\nname = \"b\"\nseeds = [0]\n[[row]]\nname = \"c\"\nseeds = [0]\n";
        let mut table = load(text).unwrap();
        let error = table.keep_rows(&["a".into(), "d".into()]).unwrap_err().to_string();
        assert!(error.ends_with("study.toml: there is no row d; its rows are a, b, c"), "{error}");
        table.keep_rows(&[]).unwrap();
        assert_eq!(table.rows.len(), 3);
        table.keep_rows(&["c".into(), "a".into()]).unwrap();
        assert_eq!(table.rows.iter().map(|row| &row.name[..]).collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        let row = "[[row]]\nname = \"plain\"\nseeds = [0]\n";
        let complaints = [
            ("", "study.toml: it has no [[row]], of which each has a name, seeds, and if need be config and set"),
            ("[[row]\n", "study.toml: line 1: unclosed"),
            (&format!("epochs = 3\n{row}"), "study.toml: line 1: unknown field `epochs`, expected one of"),
            (&format!("thresholds = [0.0]\n{row}"), "study.toml: thresholds: 0: must be accuracies in percent"),
            (&format!("{row}colour = 1\n"), "study.toml: line 4: unknown field `colour`, expected one of"),
            ("[[row]]\nseeds = [0]\n", "study.toml: line 1: missing field `name`"),
            (&format!("{row}{row}"), "study.toml: line 4: row plain: there is another row of that name"),
            ("[[row]]\nname = \"a/b\"\nseeds = [0]\n", "study.toml: line 1: row \"a/b\": a name has letters, digits,"),
            ("[[row]]\nname = \"x\"\nseeds = []\n", "study.toml: line 1: row x: seeds = []: must have at least one"),
            ("[[row]]\nname = \"x\"\nseeds = [1, 1]\n", "study.toml: line 1: row x: seed 1 is there twice"),
            (&format!("{row}config = \"far.toml\"\n"), "study.toml: row plain: far.toml: No such file or directory"),
            (
                &format!("{row}set = [\"train.epoch=3\"]\n"),
                "study.toml: row plain: --set: unknown key train.epoch; did you mean train.epochs?",
            ),
            (
                &format!("{row}set = [\"train.epochs=-1\"]\n"),
                "study.toml: row plain: --set: train.epochs = -1: must be",
            ),
        ];
        for (text, expected) in complaints {
            let complaint = load(text).unwrap_err();
            assert!(complaint.starts_with(expected) && !complaint.contains('\n'), "{text:?}: {complaint}");
        }
        let missing = Table::load(Path::new("far/study.toml"), &[]).unwrap_err().to_string();
        assert!(missing.starts_with("far/study.toml: No such file"), "{missing}");
    }

    #[test]
    fn a_run_differs_in_what_it_computes_alone() {
        let planned = load("[[row]]\nname = \"plain\"\nseeds = [0]\n").unwrap().runs().remove(0);
        let mut found = planned.config.clone();
        (found.run.threads, found.data.dir, found.run.device) = (7, "/elsewhere".into(), "cpu".into());
        assert_eq!(planned.differences(&found), []);
        found.train.epochs = 3;
        let told: Vec<_> = planned.differences(&found).into_iter().map(|change| (change.key, change.to)).collect();
        assert_eq!(told, [("train.epochs", Some("3".to_owned()))]);
    }

    #[test]
    fn every_table_that_is_shipped_is_one() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tables");
        let mut names = vec![];
        for entry in std::fs::read_dir(folder).unwrap() {
            names.push(Table::load(&entry.unwrap().path(), &[]).unwrap().name);
        }
        assert!(names.contains(&"study".to_owned()), "{names:?}");
    }
}
