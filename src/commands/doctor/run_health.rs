//! `taper doctor RUN`: which parts of a run directory are whole, which are damaged, and what to do.

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::super::shell::say;
use crate::commands::failure;
use crate::config::Config;
use crate::data::DatasetInfo;
use crate::format;
use crate::ordinary_file;
use crate::run::control_file::TrainerAddress;
use crate::run::dir::RunDir;
use crate::run::events_index::{self, IndexError};
use crate::run::lock::{Liveness, RunLock, holder_of_held, liveness};
use crate::run::log::{EventLog, FollowError, Follower, torn_bytes};
use crate::run::other_trainer::OtherTrainer;
use crate::run::probe::Probe;
use crate::run::replay;
use crate::run::state::RunState;
use crate::train::checkpoint::{self, Checkpoint};
use crate::train::device::Device;
use crate::train::engine::Engine;
use crate::train::state::Best;

/// Damaged lines of the log that are listed one by one.
const LINES: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Whole,
    /// Harmless: the next trainer repairs it.
    Stale,
    /// May not be read: it may be whole.
    Denied,
    Damaged,
}

impl Health {
    /// Of what cannot be read.
    fn of(error: &(dyn Error + 'static)) -> Self {
        if ordinary_file::is_denied(error) { Self::Denied } else { Self::Damaged }
    }
}

/// What to do about what may not be read.
const ASK: &str = "it may be whole: ask its owner for the right to read it";

/// One line of the report.
struct Finding {
    subject: String,
    health: Health,
    text: String,
}

/// Prints the health of each part of the run, after a repair if asked for; returns the exit code.
pub fn examine(run: &RunDir, repair: bool) -> Result<u8> {
    if repair {
        self::repair(run)?;
    }
    let findings = match OtherTrainer::of(run) {
        Some(trainer) => std::iter::once(other_trainer(run, trainer)).chain(log(run)).collect(),
        None => parts(run),
    };
    for Finding { subject, health, text } in &findings {
        let health = match health {
            Health::Whole => "whole",
            Health::Stale => "stale",
            Health::Denied => "DENIED",
            Health::Damaged => "DAMAGED",
        };
        say(format!("{subject:<17} {health:<9}{text}"))?;
    }
    let is_whole = findings.iter().all(|finding| matches!(finding.health, Health::Whole | Health::Stale));
    Ok(if is_whole { 0 } else { failure::FAILURE })
}

/// Of a run of taper's own.
fn parts(run: &RunDir) -> Vec<Finding> {
    let (config, mut engine) = config(run);
    std::iter::once(config)
        .chain(log(run))
        .chain(index(run))
        .chain(checkpoints(run, engine.as_mut()))
        .chain(probes(run))
        .chain([control(run), lock(run)])
        .collect()
}

/// Of a run that another program trains, all but its log is its own affair.
fn other_trainer(run: &RunDir, trainer: OtherTrainer) -> Finding {
    let state = match liveness(run) {
        Liveness::Live => "which is at work".to_owned(),
        Liveness::Elsewhere { host } => format!("which is at work on {host}"),
        Liveness::Dead => "which is not at work".to_owned(),
        Liveness::Unknown { why } => why,
    };
    finding("trainer", Health::Whole, format!("{}, {state}; of the run, taper reads the log alone", trainer.name))
}

/// Does what the next trainer would do before it goes on. Fails while a trainer is live.
fn repair(run: &RunDir) -> Result<()> {
    let _lock = RunLock::acquire(run)?;
    let path = run.events();
    let torn = match torn_bytes(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| path.display().to_string());
        }
        torn => torn.unwrap_or(0),
    };
    if torn > 0 {
        EventLog::open(&path).with_context(|| path.display().to_string())?;
        say(format!("repaired: {torn} bytes of an unfinished line cut off {}", path.display()))?;
    }
    let remove = |path: &Path| -> Result<()> {
        fs::remove_file(path).with_context(|| path.display().to_string())?;
        say(format!("repaired: {} removed", path.display()))
    };
    // Its trainer is dead, for the lock is ours; unless the run was copied with the file of a live one.
    if let Some(TrainerAddress { socket, process }) = TrainerAddress::read(run)
        && process.is_on_this_host()
        && !process.is_alive()
        && fs::symlink_metadata(&socket).is_ok_and(|found| found.file_type().is_socket())
    {
        remove(&socket)?;
    }
    if run.control().exists() {
        remove(&run.control())?;
    }
    Ok(())
}

fn finding(subject: impl Into<String>, health: Health, text: impl Into<String>) -> Finding {
    Finding { subject: subject.into(), health, text: text.into() }
}

/// Also returns the engine of the run, which its checkpoints must fit.
fn config(run: &RunDir) -> (Finding, Option<Engine>) {
    if let Err(error) = ordinary_file::open(&run.config())
        && ordinary_file::is_denied(&error)
    {
        let text = format!("{}: {error}; {ASK}", run.config().display());
        return (finding("config", Health::Denied, text), None);
    }
    // What is wrong with the log is said of the log.
    let dataset = replay::dataset(run).unwrap_or_else(|_| DatasetInfo::cifar10());
    let built = Config::load(Some(&run.config()), &[])
        .map_err(anyhow::Error::from)
        .and_then(|config| Engine::new(&config, &dataset, &Device::CPU));
    match built {
        Ok(engine) => (finding("config", Health::Whole, engine.summary()), Some(engine)),
        Err(error) => {
            let text = format!(
                "{}; put it right: without it the run can be watched, but not resumed",
                failure::describe(&error).replace('\n', "; ")
            );
            (finding("config", Health::Damaged, text), None)
        }
    }
}

fn log(run: &RunDir) -> Vec<Finding> {
    const BYTES: usize = 1 << 20;
    let path = run.events();
    let torn = match torn_bytes(&path) {
        Ok(torn) => torn,
        Err(error) => {
            let health = Health::of(&error);
            let advice = if health == Health::Denied { ASK } else { "the curves are lost, training can go on" };
            return vec![finding("log", health, format!("{}: {error}; {advice}", path.display()))];
        }
    };
    let (mut state, mut events, mut faults) = (RunState::default(), 0, vec![]);
    let mut follower = Follower::new(&path);
    loop {
        match follower.read(BYTES) {
            Ok(records) if records.is_empty() => break,
            Ok(records) => {
                events += records.len();
                records.iter().for_each(|record| state.apply(record));
            }
            Err(error) => {
                let is_final = !matches!(error, FollowError::Malformed { .. });
                faults.push(error.to_string());
                if is_final {
                    break;
                }
            }
        }
    }
    let summary = format!("{events} events, up to step {}", state.step);
    let mut findings = vec![finding("log", Health::Whole, summary)];
    findings.extend(faults.iter().take(LINES).map(|fault| {
        finding("log", Health::Damaged, format!("{fault}; the line is passed over, what it told is lost"))
    }));
    if faults.len() > LINES {
        findings.push(finding("log", Health::Damaged, format!("and {} more such lines", faults.len() - LINES)));
    }
    let missing = state.losses.values().iter().filter(|loss| loss.is_nan()).count();
    // Another program need not know them all.
    let other_trainer = state.other_trainer();
    let is_thinned = state.started.as_ref().is_some_and(|started| started.thinned);
    if missing > 0 && is_thinned {
        let text = format!("it was thinned out for publication: the losses of {missing} steps were left out");
        findings.push(finding("log", Health::Whole, text));
    } else if missing > 0 && other_trainer.is_none() {
        findings.push(finding(
            "log",
            Health::Damaged,
            format!("the losses of {missing} steps are missing; training can go on"),
        ));
    }
    // A live trainer may be writing a line just now.
    if torn > 0 && liveness(run) == Liveness::Dead {
        let cure = if other_trainer.is_some() { "it is passed over" } else { "taper resume or --repair cuts it off" };
        let text = format!("the last line is torn, {torn} bytes of it are there; {cure}");
        findings.push(finding("log", Health::Damaged, text));
    }
    findings
}

/// The index of a long log, which a short one lacks.
fn index(run: &RunDir) -> Option<Finding> {
    match events_index::load(run) {
        Ok((_, rest)) => {
            let text = format!("of the first {}", format::bytes(rest.position().bytes));
            Some(finding("index", Health::Whole, text))
        }
        Err(IndexError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let text = format!(
                "{}: {error}; the log is read instead, and the next trainer writes it anew",
                run.events_index().display()
            );
            Some(finding("index", Health::Stale, text))
        }
    }
}

fn checkpoints(run: &RunDir, mut engine: Option<&mut Engine>) -> Vec<Finding> {
    let paths = match checkpoint::paths(run) {
        Ok(paths) => paths,
        Err(error) => {
            let (health, described) = (Health::of(error.as_ref()), failure::describe(&error));
            let text = if health == Health::Denied { format!("{described}; {ASK}") } else { described };
            return vec![finding("checkpoints", health, text)];
        }
    };
    let mut findings: Vec<Finding> =
        paths.iter().map(|path| one_checkpoint(path, engine.as_deref_mut(), &paths)).collect();
    if findings.is_empty() {
        findings.push(finding("checkpoints", Health::Whole, "none yet"));
    }
    let entries = fs::read_dir(run.checkpoints()).into_iter().flatten().flatten();
    let leftovers = entries.filter(|entry| checkpoint::is_leftover(&entry.file_name().to_string_lossy())).count();
    if leftovers > 0 && liveness(run) == Liveness::Dead {
        let text = format!("{leftovers} unfinished, left by a trainer that was killed; taper resume removes them");
        findings.push(finding("checkpoints", Health::Stale, text));
    }
    findings
}

fn one_checkpoint(path: &Path, engine: Option<&mut Engine>, all: &[PathBuf]) -> Finding {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let read = Checkpoint::read(path).and_then(|checkpoint| {
        if let Some(engine) = engine {
            checkpoint.load(engine)?;
        }
        Ok(checkpoint.state)
    });
    match read {
        Ok(state) => {
            let is_latest = all.first().is_some_and(|latest| latest == path);
            let accuracy = |best: &Best| format!("{:.2} %{}", best.test_accuracy, best.test_time_augmentation.suffix());
            let best = match state.best {
                Some(best) if all.iter().any(|path| path.ends_with(&best.checkpoint)) => {
                    format!(", best {} in {}", accuracy(&best), best.checkpoint)
                }
                Some(best) if is_latest => {
                    format!(", best {} in {}, which is not there", accuracy(&best), best.checkpoint)
                }
                // Removed when a better one was saved.
                Some(best) => format!(", best until then {}", accuracy(&best)),
                None => String::new(),
            };
            finding(name, Health::Whole, format!("step {}{best}", state.step))
        }
        Err(error) => {
            let health = Health::of(error.as_ref());
            let advice = if health == Health::Denied { ASK } else { "taper resume passes over it, it can be removed" };
            finding(name, health, format!("{}; {advice}", failure::describe(&error)))
        }
    }
}

fn probes(run: &RunDir) -> Vec<Finding> {
    let entries = match fs::read_dir(run.probes()) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let health = Health::of(&error);
            let advice = if health == Health::Denied { ASK } else { "it can be removed" };
            return vec![finding("probes", health, format!("{}: {error}; {advice}", run.probes().display()))];
        }
    };
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension() == Some(OsStr::new("safetensors"))).collect();
    paths.sort();
    let mut whole = 0;
    let mut findings = vec![];
    for path in paths {
        let read = ordinary_file::read(&path).map_err(anyhow::Error::from);
        match read.and_then(|bytes| Probe::from_bytes(&bytes).map_err(Into::into)) {
            Ok(_) => whole += 1,
            Err(error) => {
                let health = Health::of(error.as_ref());
                let advice = if health == Health::Denied { ASK } else { "it can be removed" };
                let text = format!("{}: {}; {advice}", path.display(), failure::describe(&error));
                findings.push(finding("probes", health, text));
            }
        }
    }
    findings.insert(0, finding("probes", Health::Whole, whole.to_string()));
    findings
}

fn control(run: &RunDir) -> Finding {
    let live = liveness(run) != Liveness::Dead;
    match TrainerAddress::look(run) {
        Ok(Some(address)) if live => finding("control", Health::Whole, address.process.to_string()),
        Ok(Some(address)) => {
            let text = format!("of {}, which is dead; taper resume replaces it, --repair removes it", address.process);
            finding("control", Health::Stale, text)
        }
        Err(error) if ordinary_file::is_denied(&error) => {
            finding("control", Health::Denied, format!("{}: {error}; {ASK}", run.control().display()))
        }
        Err(_) => {
            let text = format!(
                "{} cannot be read; taper resume replaces it, --repair removes it if no trainer is live",
                run.control().display()
            );
            finding("control", Health::Damaged, text)
        }
        Ok(None) if live => finding("control", Health::Stale, "not there: the trainer is starting or ending"),
        Ok(None) => finding("control", Health::Whole, "none: no trainer is live"),
    }
}

fn lock(run: &RunDir) -> Finding {
    let text = match liveness(run) {
        Liveness::Live => match holder_of_held(run) {
            Some(holder) => format!("held by the live trainer, {holder}"),
            None => "held by the live trainer".to_owned(),
        },
        Liveness::Elsewhere { host } => format!("held by a trainer on {host}, or it cannot be told from here"),
        Liveness::Dead => "free: no trainer is live".to_owned(),
        Liveness::Unknown { why } => return finding("lock", Health::Denied, why),
    };
    finding("lock", Health::Whole, text)
}
