//! What is published of a table, in a checkout: the thinned runs under `data/results`, and a part of a page with its plots that
//! is made of nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::page;
use super::results::{self, RecordedResult};
use super::table::Table;
use super::thinning::thin;
use crate::config::Config;
use crate::durable;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::{Event, Record, RunStarted};
use crate::run::log::with_checksum;
use crate::run::process;
use crate::run::replay::replay_each;
use crate::system::Host;

/// From the root of the checkout.
pub const LOGS: &str = "data/results";
pub const PAGE: &str = "docs/study.md";
pub const PLOTS: &str = "docs/results";

/// What is told about the builds of runs whose logs do not tell.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    pub commit: Option<String>,
}

/// What was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Published {
    pub runs: Vec<String>,
    pub files: Vec<PathBuf>,
}

/// Publishes every finished run of the table, and writes its part of the page anew, of all runs that are published.
///
/// # Errors
/// A run cannot be read, holds something private still, or was trained on other data than the rest; or a file cannot be written,
/// or the page has no place for the table.
pub fn publish(table: &Table, runs: &RunsDir, checkout: &Path, provenance: &Provenance) -> Result<Published> {
    let page = checkout.join(PAGE);
    let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    page::place(&text, &table.name).with_context(|| page.display().to_string())?;
    let found = results::read(table, runs)?;
    if let Some(warning) = results::data_differs(found.iter().map(|recorded| &recorded.result)) {
        bail!("{warning}");
    }
    let logs = RunsDir::at(checkout.join(LOGS));
    fs::create_dir_all(logs.path()).with_context(|| logs.path().display().to_string())?;
    let mut published = Published::default();
    for RecordedResult { result, state } in &found {
        let (from, to) = (runs.open(&result.run)?, RunDir::at(logs.path().join(&result.run)));
        if !result.is_finished || is_same_folder(from.path(), to.path()) {
            continue;
        }
        let is_thinned = state.started.as_ref().is_some_and(|started| started.thinned);
        publish_run(&from, &to, is_thinned, provenance).with_context(|| format!("run {}", result.run))?;
        published.runs.push(result.run.clone());
    }
    let generated = generated(table, &logs)?;
    let plots = checkout.join(PLOTS);
    fs::create_dir_all(&plots).with_context(|| plots.display().to_string())?;
    for (name, svg) in &generated.plots {
        let path = plots.join(name);
        durable::replace(&path, svg.as_bytes()).with_context(|| path.display().to_string())?;
        published.files.push(path);
    }
    let text = page::replace(&text, &table.name, &generated.markdown).with_context(|| page.display().to_string())?;
    durable::replace(&page, text.as_bytes()).with_context(|| page.display().to_string())?;
    published.files.push(page);
    Ok(published)
}

/// A table's part of the page, and the plots in it by their names.
#[derive(Debug, PartialEq, Eq)]
pub struct Generated {
    pub markdown: String,
    pub plots: Vec<(String, String)>,
}

/// Of the runs of the table in `logs`.
///
/// # Errors
/// A log cannot be read.
pub fn generated(table: &Table, logs: &RunsDir) -> Result<Generated> {
    let results = results::read(table, logs)?;
    let charts = super::charts::charts(table, &results);
    let file = |name: &str| format!("{}-{name}.svg", table.name);
    let folder = Path::new(PLOTS).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let pictures: Vec<(String, String)> =
        charts.iter().map(|(name, text, _)| (text.clone(), format!("{folder}/{}", file(name)))).collect();
    let runs: Vec<_> = results.iter().map(|recorded| &recorded.result).collect();
    let markdown = page::markdown(table, &runs, &pictures);
    let plots = charts.into_iter().map(|(name, _, svg)| (file(name), format!("{}\n", svg.to_document()))).collect();
    Ok(Generated { markdown, plots })
}

fn publish_run(from: &RunDir, to: &RunDir, is_thinned: bool, provenance: &Provenance) -> Result<()> {
    let config = Config::load(Some(&from.config()), &[])?;
    let mut records = vec![];
    replay_each(from, |record| records.push(record.clone()))?;
    let mut records = if is_thinned { records } else { thin(&records) };
    for record in &mut records {
        if let Event::RunStarted(started) = &mut record.event {
            complete(started, provenance);
            make_public(started, &config);
        }
    }
    records.retain(|record| {
        !matches!(&record.event, Event::SettingChanged { key, .. } if key == "data.dir" || key == "notify.command")
    });
    let private = Private::of(from, &config);
    let mut log = vec![];
    for record in &records {
        let record = private.replaced_in(record)?;
        log.extend(with_checksum(&record)?);
    }
    let mut config = config;
    config.data.dir = PathBuf::from("data");
    config.notify.command = None;
    config.model.init = config.model.init.and_then(|path| path.file_name().map(PathBuf::from));
    fs::create_dir_all(to.path())?;
    check_replaceable(to)?;
    to.write_config(&config)?;
    durable::replace(&to.events(), &log)?;
    Ok(())
}

/// # Errors
/// There is a run that was not published, with checkpoints of its own.
fn check_replaceable(run: &RunDir) -> Result<()> {
    match fs::read_dir(run.checkpoints()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context(run.checkpoints().display().to_string()),
        Ok(_) => bail!("{} has checkpoints: it is a run of its own, and is not overwritten", run.path().display()),
    }
}

/// Tells what an older log does not: by what is known here.
fn complete(started: &mut RunStarted, provenance: &Provenance) {
    if started.machine.is_none() && started.host == process::host() {
        started.machine = Host::cpu().map(|cpu| cpu.to_string());
    }
    if let Some(commit) = &provenance.commit {
        let build = started.taper.get_or_insert_with(crate::version::Build::own);
        build.commit.get_or_insert_with(|| commit.clone());
    }
}

/// Without names of hosts, processes and folders; says that it was thinned.
fn make_public(started: &mut RunStarted, config: &Config) {
    let folder = config.data.dir.display().to_string();
    started.data_origin = started.data_origin.replace(&folder, "data");
    (started.host, started.pid, started.start_ticks) = (String::new(), 0, None);
    started.thinned = true;
    const THINNED: &str = "thinned out for publication: some of the steps, and no checkpoints or images, are kept";
    let notice = started.notice.take().filter(|notice| !notice.contains(THINNED));
    started.notice = Some(notice.map_or(THINNED.to_owned(), |notice| format!("{notice}; {THINNED}")));
}

/// Folders that nobody else need know, and what is written instead.
struct Private {
    /// The longest first: one may lie in another.
    folders: Vec<(String, String)>,
}

impl Private {
    fn of(run: &RunDir, config: &Config) -> Self {
        let mut folders = vec![
            (run.path().display().to_string(), format!("runs/{}", run.name())),
            (config.data.dir.display().to_string(), "data".to_owned()),
        ];
        folders.extend(run.path().parent().map(|runs| (runs.display().to_string(), "runs".to_owned())));
        folders.extend(std::env::home_dir().map(|home| (home.display().to_string(), "~".to_owned())));
        // The root of all folders is in every path.
        folders.retain(|(folder, _)| folder.len() > 1);
        folders.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
        Self { folders }
    }

    fn replaced_in(&self, record: &Record) -> Result<Record> {
        let mut text = serde_json::to_string(record)?;
        for (folder, public) in &self.folders {
            // As it stands in JSON.
            let [folder, public] = [folder, public].map(|path| serde_json::Value::from(path.as_str()).to_string());
            text = text.replace(folder.trim_matches('"'), public.trim_matches('"'));
        }
        Ok(serde_json::from_str(&text)?)
    }
}

fn is_same_folder(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::example::study;
    use crate::run::replay::replay;

    const TEXT: &str = "# The study\n\n<!-- results: study -->\nold\n<!-- end -->\n\nAfter.\n";

    fn checkout() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        fs::write(folder.path().join(PAGE), TEXT).unwrap();
        folder
    }

    #[test]
    fn finished_runs_are_published_without_what_is_private() {
        let (_folder, table, runs) = study();
        let checkout = checkout();
        let provenance = Provenance { commit: Some("900ef1f".to_owned()) };
        let published = publish(&table, &runs, checkout.path(), &provenance).unwrap();
        assert_eq!(published.runs, ["study-plain-s0", "study-plain-s1"]);
        let logs = RunsDir::at(checkout.path().join(LOGS));
        for name in &published.runs {
            let run = logs.open(name).unwrap();
            let text = fs::read_to_string(run.events()).unwrap() + &fs::read_to_string(run.config()).unwrap();
            for private in ["secret-host", "/home/me", &runs.path().display().to_string()] {
                assert!(!text.contains(private), "{private} in {text}");
            }
            let started = replay(&run).unwrap().started.unwrap();
            assert!(started.thinned && started.notice.unwrap().contains("thinned out for publication"));
            assert_eq!(started.taper.unwrap().commit.as_deref(), Some("900ef1f"));
            assert_eq!(started.data_origin, "data/cifar-10-batches-bin");
        }
        let of = |runs| results::read(&table, runs).unwrap().into_iter().map(|read| read.result).collect::<Vec<_>>();
        for (before, after) in of(&runs).iter().zip(of(&logs)) {
            let before = results::RunResult { commit: after.commit.clone(), ..before.clone() };
            assert_eq!(after, before);
        }
    }

    #[test]
    fn the_page_follows_from_the_published_runs_alone() {
        let (_folder, table, runs) = study();
        let checkout = checkout();
        publish(&table, &runs, checkout.path(), &Provenance::default()).unwrap();
        let page = fs::read_to_string(checkout.path().join(PAGE)).unwrap();
        let logs = RunsDir::at(checkout.path().join(LOGS));
        let generated = generated(&table, &logs).unwrap();
        assert!(page.starts_with("# The study\n") && page.ends_with("<!-- end -->\n\nAfter.\n"), "{page}");
        assert!(page.contains(&generated.markdown));
        assert_eq!(generated.plots.len(), 3);
        for (name, svg) in &generated.plots {
            assert_eq!(fs::read_to_string(checkout.path().join(PLOTS).join(name)).unwrap(), *svg);
        }
        // From what is published already, nothing changes.
        let again = publish(&table, &logs, checkout.path(), &Provenance::default()).unwrap();
        assert_eq!(again.runs, [""; 0]);
        assert_eq!(fs::read_to_string(checkout.path().join(PAGE)).unwrap(), page);
    }

    #[test]
    fn a_page_without_a_place_for_the_table_is_left_alone() {
        let (_folder, table, runs) = study();
        let checkout = checkout();
        fs::write(checkout.path().join(PAGE), "# The study\n").unwrap();
        let error = format!("{:#}", publish(&table, &runs, checkout.path(), &Provenance::default()).unwrap_err());
        assert!(
            error.ends_with("study.md: it has no line <!-- results: study --> with a line <!-- end --> after it"),
            "{error}"
        );
        assert!(!checkout.path().join(LOGS).exists());
    }
}
