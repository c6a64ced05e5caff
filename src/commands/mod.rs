//! The commands, one file each.

mod attach;
mod bench;
mod completions;
mod configuration;
mod data;
mod doctor;
mod eval;
mod explain;
pub mod failure;
mod follow;
pub mod progress;
mod resume;
mod runs;
mod select;
mod selftest;
mod shell;
mod steer;
mod train;
mod watch;

use anyhow::Result;

use self::failure::UsageError;
use crate::cli::{Cli, Command, DataCommand};
use crate::config::DataConfig;
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::Command as Order;

/// Carries out a command line; returns the exit code of what was not a failure.
pub fn run(cli: Cli) -> Result<u8> {
    if cli.runs_dir.as_os_str().is_empty() {
        let message =
            "where the runs lie is set to nothing: name a folder with --runs-dir or TAPER_RUNS_DIR, or unset it";
        return Err(UsageError(message.to_owned()).into());
    }
    let runs = RunsDir::at(cli.runs_dir);
    match cli.command.unwrap_or_else(|| Command::Train(Box::default())) {
        Command::Train(args) => train::train(&runs, &args),
        Command::Trainer { run, set } => Ok(train::trainer_process(&RunDir::at(run), &set)),
        Command::TrainHere { name } => train::restarted_in_foreground(&runs, name.as_deref()),
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
        Command::Selftest(args) => selftest::selftest(&args),
        Command::Data(DataCommand::Fetch { from, dir }) => data::fetch(&dir, &from).map(|()| 0),
        Command::Data(DataCommand::Inspect { dir }) => {
            data::inspect(&DataConfig { dir, ..DataConfig::default() }).map(|()| 0)
        }
        Command::Doctor(args) => doctor::doctor(&runs, &args),
        Command::Completions { shell } => completions::print(shell),
    }
}
