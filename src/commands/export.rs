//! `taper export`: a run in the formats of other programs.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::select::run_and_checkpoint;
use super::shell::say;
use crate::cli::{ExportArgs, ExportTarget};
use crate::commands::failure::UsageError;
use crate::config::{Config, Values};
use crate::data::DatasetInfo;
use crate::durable;
use crate::export::table::{Table, tables, write_csv, write_json, write_parquet};
use crate::export::{ExportFolder, RecordedRun, onnx, plots, tensorboard, torch};
use crate::ordinary_file;
use crate::run::dir::RunsDir;
use crate::run::event::RunStarted;
use crate::run::replay;
use crate::run::state::Summary;
use crate::train::checkpoint::Checkpoint;

pub fn export(runs: &RunsDir, args: &ExportArgs) -> Result<u8> {
    let ExportArgs { csv, json, parquet, tensorboard, plots, onnx, torch, .. } = args;
    let to_stdout = [csv, json].iter().filter(|target| matches!(target, Some(ExportTarget::Stdout))).count();
    if to_stdout > 1 {
        return Err(UsageError("--csv - and --json -: only one can be written to stdout".to_owned()).into());
    }
    let others = [parquet, tensorboard, plots, onnx, torch];
    if csv.is_none() && json.is_none() && others.iter().all(|path| path.is_none()) {
        let formats = "name at least one of --csv DIR, --json DIR, --parquet DIR, --tensorboard DIR, --plots DIR, --onnx FILE and \
                       --torch DIR";
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
    let network = match (onnx, torch) {
        (None, None) => None,
        _ => Some(TrainedNetwork::of(runs, &args.run)?),
    };
    if let (Some(network), Some(folder)) = (&network, torch) {
        network.write_torch(folders.at(folder)?)?;
    }
    if let (Some(network), Some(path)) = (&network, onnx) {
        network.write_onnx(path)?;
        if to_stdout == 0 {
            say(format!("wrote {}", path.display()))?;
        }
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

/// The network of a run's best checkpoint.
struct TrainedNetwork {
    run: String,
    checkpoint: Checkpoint,
    config: Config,
    dataset: DatasetInfo,
}

impl TrainedNetwork {
    fn of(runs: &RunsDir, name: &str) -> Result<Self> {
        let (run, checkpoint) = run_and_checkpoint(runs, name)?;
        let config = Config::load(Some(&run.config()), &[])?;
        Ok(Self { run: run.name(), checkpoint, config, dataset: replay::dataset(&run)? })
    }

    fn write_torch(&self, folder: &mut ExportFolder) -> Result<()> {
        let Self { run, checkpoint, config, dataset } = self;
        let facts = torch::facts(run, &checkpoint.name(), &config.model, &config.data, dataset);
        let (code_name, code) = torch::CODE;
        let files =
            [(code_name, code.as_bytes()), (torch::FACTS, facts.as_bytes()), (torch::WEIGHTS, checkpoint.weights())];
        for (name, bytes) in files {
            folder.add(name, |out| Ok::<_, anyhow::Error>(out.write_all(bytes)?))?;
        }
        Ok(())
    }

    /// A model of taper's that is there is replaced.
    fn write_onnx(&self, path: &Path) -> Result<()> {
        let shown = path.display();
        match ordinary_file::read(path) {
            Ok(bytes) if !onnx::is_of_taper(&bytes) => {
                let wrong =
                    format!("--onnx {shown}: it is no model of taper's, and is not overwritten; choose another name");
                return Err(UsageError(wrong).into());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("--onnx {shown}")),
        }
        let model = onnx::to_onnx(&self.config.model, &self.dataset, self.checkpoint.weights())?;
        durable::replace(path, &model).with_context(|| format!("--onnx: cannot write {shown}"))
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
