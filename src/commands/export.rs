//! `taper export`: a run in the formats of other programs.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::shell::say;
use crate::cli::{ExportArgs, ExportTarget};
use crate::commands::failure::UsageError;
use crate::config::Values;
use crate::export::table::{Table, tables, write_csv, write_json, write_parquet};
use crate::export::{ExportFolder, RecordedRun, plots, tensorboard};
use crate::run::dir::RunsDir;
use crate::run::event::RunStarted;
use crate::run::state::Summary;

pub fn export(runs: &RunsDir, args: &ExportArgs) -> Result<u8> {
    let ExportArgs { csv, json, parquet, tensorboard, plots, .. } = args;
    let to_stdout = [csv, json].iter().filter(|target| matches!(target, Some(ExportTarget::Stdout))).count();
    if to_stdout > 1 {
        return Err(UsageError("--csv - and --json -: only one can be written to stdout".to_owned()).into());
    }
    if csv.is_none() && json.is_none() && parquet.is_none() && tensorboard.is_none() && plots.is_none() {
        let formats = "name at least one of --csv DIR, --json DIR, --parquet DIR, --tensorboard DIR and --plots DIR";
        return Err(UsageError(format!("export {}: {formats}", args.run)).into());
    }
    let run = RecordedRun::read(&runs.open(&args.run)?)?;
    let mut folders = Folders { run: &run, open: vec![] };
    match csv {
        Some(ExportTarget::Folder(folder)) => {
            for table in tables(&run) {
                folders
                    .at(folder)?
                    .add(&format!("{}.csv", table.name), |out| Ok::<_, anyhow::Error>(write_csv(&table, out)?))?;
            }
        }
        Some(ExportTarget::Stdout) => {
            let epochs = tables(&run).into_iter().find(|table| table.name == "epochs");
            epochs.map_or(Ok(()), |epochs| write_csv(&epochs, io::stdout().lock())).context("stdout")?;
        }
        None => {}
    }
    match json {
        Some(ExportTarget::Folder(folder)) => {
            for table in tables(&run) {
                folders
                    .at(folder)?
                    .add(&format!("{}.json", table.name), |out| Ok::<_, anyhow::Error>(write_json(&table, out)?))?;
            }
            folders.at(folder)?.add("run.json", |out| Ok::<_, anyhow::Error>(write_facts(&run, out)?))?;
        }
        Some(ExportTarget::Stdout) => write_all(&run, BufWriter::new(io::stdout().lock())).context("stdout")?,
        None => {}
    }
    if let Some(folder) = parquet {
        for table in tables(&run) {
            folders
                .at(folder)?
                .add(&format!("{}.parquet", table.name), |out| Ok::<_, anyhow::Error>(write_parquet(&table, out)?))?;
        }
    }
    if let Some(folder) = tensorboard {
        // TensorBoard calls a run after its folder.
        folders
            .at(&folder.join(run.name()))?
            .add(&tensorboard::file_name(&run), |out| tensorboard::write_events(&run, out))?;
    }
    if let Some(folder) = plots {
        plots::write_plots(&run, folders.at(folder)?)?;
    }
    for folder in folders.open {
        let shown = folder.path().display().to_string();
        let written = folder.finish()?;
        let names: Vec<_> =
            written.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy()).collect();
        if to_stdout == 0 {
            say(format!("wrote {shown}: {}", names.join(", ")))?;
        }
    }
    Ok(0)
}

/// One for each path, whatever goes there: the files get their names when all could be written.
struct Folders<'a> {
    run: &'a RecordedRun,
    open: Vec<ExportFolder>,
}

impl Folders<'_> {
    fn at(&mut self, path: &Path) -> Result<&mut ExportFolder> {
        let index = match self.open.iter().position(|folder| folder.path() == path) {
            Some(index) => index,
            None => {
                self.open.push(ExportFolder::open(path, self.run.source())?);
                self.open.len() - 1
            }
        };
        Ok(&mut self.open[index])
    }
}

/// What is no table.
#[derive(Serialize)]
struct Facts<'a> {
    name: String,
    live: bool,
    #[serde(flatten)]
    summary: Summary,
    /// The latest start.
    started: Option<&'a RunStarted>,
    /// Each key with its value as TOML.
    configuration: &'a Values,
}

impl<'a> Facts<'a> {
    fn of(run: &'a RecordedRun) -> Self {
        Self {
            name: run.name(),
            live: run.is_live,
            summary: run.state.summary(),
            started: run.state.started.as_ref(),
            configuration: &run.configuration,
        }
    }
}

fn write_facts(run: &RecordedRun, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, &Facts::of(run))?;
    out.write_all(b"\n")
}

/// The facts as `run`, and every table by its name, in one object.
fn write_all(run: &RecordedRun, mut out: impl Write) -> io::Result<()> {
    out.write_all(b"{\"run\":\n")?;
    write_facts(run, &mut out)?;
    for table in tables(run) {
        let Table { name, .. } = table;
        writeln!(out, ",\"{name}\":")?;
        write_json(&table, &mut out)?;
    }
    out.write_all(b"}\n")?;
    out.flush()
}
