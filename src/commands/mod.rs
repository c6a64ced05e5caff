//! What the commands do; one file each.

mod attach;
mod bench;
mod completions;
mod data;
mod doctor;
mod eval;
mod explain;
pub mod failure;
pub mod progress;
mod resume;
mod runs;
mod steer;
mod train;
mod watch;

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::cli::{Cli, Command, DEFAULT_RUNS_DIR, DataCommand};
use crate::commands::failure::UsageError;
use crate::config::{Config, ConfigError, DataConfig, Override};
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::Command as Order;
use crate::run::lock::{Liveness, liveness};

/// Carries out a command line; returns the exit code of what was not a failure.
pub fn run(cli: Cli) -> Result<u8> {
    let runs = RunsDir::at(cli.runs_dir);
    match cli.command.unwrap_or_else(|| Command::Train(Box::default())) {
        Command::Train(args) => train::train(&runs, &args),
        Command::Trainer { run } => Ok(train::trainer_process(&RunDir::at(run))),
        Command::Attach(args) => attach::attach(&runs, &args),
        Command::Runs(args) => runs::list(&runs, &args),
        Command::Pause(args) => steer::command(&runs, args.run.as_deref(), Order::Pause),
        Command::Checkpoint(args) => steer::command(&runs, args.run.as_deref(), Order::Checkpoint),
        Command::Probe(args) => steer::command(&runs, args.run.as_deref(), Order::Probe),
        Command::Rollback(args) => steer::command(&runs, args.run.as_deref(), Order::Rollback),
        Command::SkipBatch(args) => steer::command(&runs, args.run.as_deref(), Order::SkipBatch),
        Command::Stop(args) => steer::command(&runs, args.run.as_deref(), Order::Stop),
        Command::SetLr(args) => steer::set_learning_rate(&runs, &args),
        Command::Resume(args) => resume::resume(&runs, &args),
        Command::Eval(args) => eval::eval(&runs, &args),
        Command::Explain(args) => explain::explain(&runs, &args),
        Command::Bench(args) => bench::bench(&args),
        Command::Data(DataCommand::Fetch { from, dir }) => data::fetch(&dir, &from).map(|()| 0),
        Command::Data(DataCommand::Inspect { dir }) => {
            data::inspect(&DataConfig { dir, ..DataConfig::default() }).map(|()| 0)
        }
        Command::Doctor(args) => doctor::doctor(&runs, &args),
        Command::Completions { shell } => completions::print(shell),
    }
}

/// The configuration of a file under what the command line says: `--set`, and options as (option, key, value). The number
/// of threads is settled, so that the run tells how it was computed.
fn configuration(
    file: Option<&Path>,
    set: &[String],
    options: &[(&'static str, &str, &Option<String>)],
) -> Result<Config, ConfigError> {
    let mut given = set.iter().map(|set| Override::parse(set)).collect::<Result<Vec<_>, _>>()?;
    for (option, key, value) in options {
        given.extend(value.as_ref().map(|value| Override::option(option, *key, value)));
    }
    let mut config = Config::load(file, &given)?;
    if config.run.threads == 0 {
        config.run.threads = rayon::current_num_threads();
    }
    Ok(config)
}

/// Writes a line to stdout, or learns that nobody reads there.
fn say(text: impl fmt::Display) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("stdout")
}

/// The run of that name, or the only live one.
fn named_or_live(runs: &RunsDir, name: Option<&str>) -> Result<RunDir> {
    match name {
        Some(name) => Ok(runs.open(name)?),
        None => only_live(runs),
    }
}

fn only_live(runs: &RunsDir) -> Result<RunDir> {
    let all = runs.list()?;
    let mut live: Vec<&RunDir> = all.iter().filter(|run| liveness(run) != Liveness::Dead).collect();
    let shell = Shell::new(runs);
    match (live.pop(), live.as_slice()) {
        (Some(only), []) => Ok(only.clone()),
        (Some(last), others) => {
            let names: Vec<String> = others.iter().copied().chain([last]).map(RunDir::name).collect();
            Err(UsageError(format!("{} runs are live: {}; name one", names.len(), names.join(", "))).into())
        }
        (None, _) if all.is_empty() => {
            let path = runs.path().display();
            Err(UsageError(format!(
                "no run is live, and there is none in {path}; to start one: {}",
                shell.line("train")
            ))
            .into())
        }
        (None, _) => Err(UsageError(format!(
            "no run is live; for the latest: {}; for all: {}",
            shell.line("attach --last"),
            shell.line("runs")
        ))
        .into()),
    }
}

/// When something last happened in the run.
fn last_activity(run: &RunDir) -> SystemTime {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified());
    modified(&run.events()).or_else(|_| modified(&run.config())).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Command lines that the user can copy back into the shell.
struct Shell {
    program: String,
    runs_dir: String,
}

impl Shell {
    fn new(runs: &RunsDir) -> Self {
        // As it was called: under `cargo run` there is no `taper` in the PATH.
        let called = std::env::args().next().filter(|called| called.contains('/'));
        let program = called.map_or_else(|| "taper".to_owned(), |called| quoted(&called));
        let runs_dir = if runs.path() == Path::new(DEFAULT_RUNS_DIR) {
            String::new()
        } else {
            let absolute = std::path::absolute(runs.path()).unwrap_or_else(|_| runs.path().to_owned());
            format!(" --runs-dir {}", quoted(&absolute.to_string_lossy()))
        };
        Self { program, runs_dir }
    }

    fn line(&self, command: &str) -> String {
        format!("{} {command}{}", self.program, self.runs_dir)
    }

    fn line_for(&self, command: &str, run: &RunDir) -> String {
        self.line(&format!("{command} {}", quoted(&run.name())))
    }
}

/// As one word of a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted("20261124-175203-cnn"), "20261124-175203-cnn");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn the_runs_directory_is_told_where_it_is_not_the_usual_one() {
        let line = |path| Shell { program: "taper".into(), ..Shell::new(&RunsDir::at(path)) }.line("attach x");
        assert_eq!(line("runs"), "taper attach x");
        assert_eq!(line("/big disk/runs"), "taper attach x --runs-dir '/big disk/runs'");
    }
}
