//! The commands, one file each.

mod attach;
mod bench;
mod checkpoints;
mod columns;
mod compare;
pub mod completions;
mod config;
mod configuration;
mod data;
mod doctor;
mod eval;
mod explain;
mod export;
pub mod failure;
mod follow;
mod lr_find;
pub mod near_misses;
mod own_images;
mod predict;
mod print_figures;
pub mod progress;
mod ranks;
mod remaining;
mod rename;
mod report;
mod reproduce;
mod resume;
mod rm;
mod runs;
mod select;
mod selftest;
mod shell;
mod steer;
mod train;
mod watch;

use anyhow::Result;

use self::failure::UsageError;
use crate::cli::{Cli, Command, DashboardArgs, DataCommand, TrainArgs};
use crate::config::{Config, DataConfig, Override};
use crate::run::dir::{RunDir, RunsDir};
use crate::run::event::Command as Order;
use crate::tui::Place;

/// Carries out a command line; returns the exit code of what was not a failure.
pub fn run(cli: Cli) -> Result<u8> {
    if cli.runs_dir.as_os_str().is_empty() {
        let message =
            "where the runs lie is set to nothing: name a folder with --runs-dir or TAPER_RUNS_DIR, or unset it";
        return Err(UsageError(message.to_owned()).into());
    }
    let runs = RunsDir::at(cli.runs_dir);
    let Some(command) = cli.command else { return without_command(&runs) };
    match command {
        Command::Compare(args) => compare::compare(&runs, &args),
        Command::Train(args) => train::train(&runs, &args),
        Command::Trainer { run, set } => Ok(train::trainer_process(&RunDir::at(run), &set)),
        Command::TrainHere { name } => train::restarted_in_foreground(&runs, name.as_deref()),
        Command::Attach(args) => attach::attach(&runs, &args),
        Command::Runs(args) => runs::list(&runs, &args),
        Command::Checkpoints(args) => checkpoints::list(&runs, &args),
        Command::Config(args) => config::print(&runs, &args),
        Command::Rename(args) => rename::rename(&runs, &args),
        Command::Rm(args) => rm::rm(&runs, &args),
        Command::Pause(args) => steer::command(&runs, args.run.as_deref(), Order::Pause),
        Command::Checkpoint(args) => steer::command(&runs, args.run.as_deref(), Order::Checkpoint),
        Command::Probe(args) => steer::command(&runs, args.run.as_deref(), Order::Probe),
        Command::Rollback(args) => steer::command(&runs, args.run.as_deref(), Order::Rollback),
        Command::SkipBatch(args) => steer::command(&runs, args.run.as_deref(), Order::SkipBatch),
        Command::Stop(args) => steer::command(&runs, args.run.as_deref(), Order::Stop),
        Command::SetLr(args) => steer::set_learning_rate(&runs, &args),
        Command::Resume(args) => resume::resume(&runs, &args),
        Command::Eval(args) => eval::eval(&runs, &args),
        Command::Predict(args) => predict::predict(&runs, &args),
        Command::Explain(args) => explain::explain(&runs, &args),
        Command::Export(args) => export::export(&runs, &args),
        Command::Report(args) => report::report_runs(&runs, &args),
        Command::Reproduce(args) => reproduce::reproduce(&runs, &args),
        Command::Bench(args) => bench::bench(&args),
        Command::LrFind(args) => lr_find::lr_find(&runs, &args),
        Command::Selftest(args) => selftest::selftest(&args),
        Command::Data(DataCommand::Fetch { from, dir }) => data::fetch(&dir, &from).map(|()| 0),
        Command::Data(DataCommand::Inspect { dir, dir_option, set, images }) => {
            let config = Config::load(None, &Override::parse_all(&set)?)?.data;
            let dir = dir.or(dir_option).unwrap_or(DataConfig::default().dir);
            data::inspect(&DataConfig { dir, ..config }, images).map(|()| 0)
        }
        Command::Doctor(args) => doctor::doctor(&runs, &args),
        Command::Completions { shell } => completions::print(shell),
    }
}

/// The list of runs; where there are none, or no terminal to show them on, a new one is trained.
fn without_command(runs: &RunsDir) -> Result<u8> {
    if watch::has_screen() && !runs.list()?.is_empty() {
        return watch::session(runs, Place::RunList, DashboardArgs::from_env());
    }
    train::train(runs, &TrainArgs::default())
}
