//! `taper resume`: a paused run goes on; a stopped or dead one restarts from its latest checkpoint.

use anyhow::{Context, Result, bail};

use super::configuration::{overrides, threads_to_use};
use super::ranks;
use super::remaining::NothingLeft;
use super::select::named_or_live;
use super::shell::Shell;
use super::steer;
use super::train::{follow_on, in_foreground, listen};
use super::watch::{self, Watch};
use crate::cli::ResumeArgs;
use crate::commands::failure::UsageError;
use crate::config::{Config, Override};
use crate::run::dir::RunsDir;
use crate::run::event::Command;
use crate::run::lock::check_writable;
use crate::run::other_trainer::OtherTrainer;
use crate::run::replay::outline;
use crate::run::spawn;

pub fn resume(runs: &RunsDir, args: &ResumeArgs) -> Result<u8> {
    if ranks::is_led()? {
        let given = args.threads.as_ref().and_then(|threads| threads.parse().ok()).filter(|&threads| threads > 0);
        return follow_on(given.map_or_else(threads_to_use, Ok));
    }
    let run = named_or_live(runs, args.run.as_deref())?;
    if let Some(trainer) = OtherTrainer::of(&run) {
        bail!("run {} is trained by {}: it goes on with that, not with taper", run.name(), trainer.name);
    }
    let shell = Shell::new(runs);
    let shorthands = [
        ("--epochs", "train.epochs", &args.epochs),
        ("--max-steps", "train.max_steps", &args.max_steps),
        ("--lr", "optimizer.learning_rate", &args.lr),
        ("--data", "data.dir", &args.data),
        ("--device", "run.device", &args.device),
        ("--threads", "run.threads", &args.threads),
    ];
    let changes = overrides(&args.set, &shorthands)?;

    if steer::is_live(&run)? {
        if !changes.is_empty() {
            let stop = shell.line_for("stop", &run);
            let message = format!("run {} is live; to change it, stop it first: {stop}", run.name());
            return Err(UsageError(message).into());
        }
        return steer::give(runs, &run, Command::Resume);
    }

    let config = Config::load(Some(&run.config()), &changes)?;
    let watch = Watch::of(&args.watching);
    if watch == Watch::Foreground {
        spawn::restart_with_threads(config.run.threads).context("cannot restart with the threads of the run")?;
    }
    let state = outline(&run)?;
    if state.started.as_ref().is_some_and(|started| started.thinned) {
        let (run, config) = (run.name(), run.config());
        let message = format!(
            "run {run} was published without its checkpoints, and cannot go on; to train it anew: {} --config {}",
            shell.line("train"),
            config.display()
        );
        return Err(UsageError(message).into());
    }
    if let Some(nothing_left) = NothingLeft::of(&state, &config) {
        return Err(UsageError(nothing_left.message(&run.name(), &shell.line_for("resume", &run))).into());
    }
    check_writable(&run)?;
    if watch == Watch::Foreground {
        watch::explain_plain_lines(&args.watching)?;
    }
    // The trainer writes the configuration, once it has found that the run may go on with it.
    match watch {
        Watch::Foreground => {
            ranks::with_the_others(listen()?, |listening, leader| in_foreground(runs, &run, config, listening, leader))
        }
        how => {
            let sets: Vec<String> = changes.iter().map(Override::to_assignment).collect();
            spawn::spawn(&run, config.run.threads, &sets, listen()?)?;
            watch::watch(runs, &run, how, args.watching.dashboard)
        }
    }
}
