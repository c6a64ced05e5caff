//! `taper train`, and the trainer process that it starts.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, bail};
use jiff::tz::TimeZone;

use super::configuration::threads_to_use;
use super::own_images::{self, Images, configuration_for_data};
use super::ranks;
use super::remaining::resume_line;
use super::shell::{Shell, say};
use super::watch::{self, Watch};
use crate::cli::TrainArgs;
use crate::commands::failure;
use crate::commands::progress::{Printer, Progress};
use crate::config::{Config, Override};
use crate::run::dir::{CreateError, RunDir, RunsDir};
use crate::run::event::{Outcome, Record};
use crate::run::held_dir::HeldRunDir;
use crate::run::limits;
use crate::run::signals::{self, Listening};
use crate::run::spawn::{self, Handshake, SpawnError};
use crate::train::leader::Leader;
use crate::train::process::{self, ExitReason};

pub fn train(runs: &RunsDir, args: &TrainArgs) -> Result<u8> {
    let own = [
        ("--device", "run.device", &args.device),
        ("--epochs", "train.epochs", &args.epochs),
        ("--lr", "optimizer.learning_rate", &args.lr),
        ("--max-steps", "train.max_steps", &args.max_steps),
    ];
    let options = [&own[..], &args.beginning.shorthands()].concat();
    let is_led = ranks::is_led()?;
    let configured = configuration_for_data(args.config.as_deref(), &args.set, &options);
    if is_led {
        // The configuration is the first's, and what is wrong with it the first says.
        return follow_on(configured.map(|(config, _)| config.run.threads));
    }
    let (config, images) = configured?;
    let watch = Watch::of(&args.watching);
    let name = args.name.as_deref();
    if watch == Watch::Foreground {
        watch::explain_plain_lines(&args.watching)?;
        spawn::restart_as_trainer(runs, name, &config).context("cannot restart with the threads of the run")?;
        return new_in_foreground(runs, name, config);
    }
    // Here is the terminal that shows how far it is, and whom an image concerns that cannot be read.
    if images == Images::InFolders && config.data.cache {
        say(own_images::decode(&config)?)?;
    }
    let listening = listen()?;
    let run = create(runs, name, &config)?;
    let begun = spawn::spawn(&run, config.run.threads, &[], listening)
        .map_err(anyhow::Error::from)
        .and_then(|()| watch::watch(runs, &run, watch, args.watching.dashboard));
    discard_if_untrained(&run, begun)
}

/// Trains a new run in this process, which was restarted for it.
pub fn restarted_in_foreground(runs: &RunsDir, name: Option<&str>) -> Result<u8> {
    let text = std::env::var(spawn::CONFIG_VARIABLE).context(spawn::CONFIG_VARIABLE)?;
    let config = toml::from_str(&text).context(spawn::CONFIG_VARIABLE)?;
    new_in_foreground(runs, name, config)
}

fn new_in_foreground(runs: &RunsDir, name: Option<&str>, config: Config) -> Result<u8> {
    ranks::with_the_others(listen()?, |listening, leader| {
        let run = create(runs, name, &config)?;
        discard_if_untrained(&run, in_foreground(runs, &run, config, listening, leader))
    })
}

/// Trains as the first of the processes says that were started together.
pub fn follow_on(threads: Result<usize>) -> Result<u8> {
    let threads = threads.or_else(|_| threads_to_use())?;
    spawn::restart_with_threads(threads).context("cannot restart with the threads of the run")?;
    ranks::with_the_others(listen()?, |_, _| bail!("this process was not started as one of several"))
}

fn create(runs: &RunsDir, name: Option<&str>, config: &Config) -> Result<RunDir> {
    runs.create(name, config).map_err(|error| match error {
        CreateError::Exists(name) => match runs.open(&name) {
            Ok(run) => anyhow!("run {name} exists; to go on with it: {}", resume_line(&Shell::new(runs), &run)),
            Err(_) => {
                let folder = runs.path().join(&name);
                anyhow!("{} exists, and is not a run: choose another name", folder.display())
            }
        },
        error => error.into(),
    })
}

/// Before anything is made that a signal would leave behind.
pub fn listen() -> Result<Listening> {
    limits::check_memory().context("cannot train")?;
    Listening::begin().context("cannot listen for signals")
}

/// A run that failed before it was trained must not block the next try, except where the log of a trainer that exited
/// unexpectedly may tell why.
pub fn discard_if_untrained<T>(run: &RunDir, begun: Result<T>) -> Result<T> {
    if let Err(error) = &begun
        && !matches!(error.downcast_ref(), Some(SpawnError::Died { .. }))
    {
        run.discard_untrained().with_context(|| run.path().display().to_string())?;
    }
    begun
}

/// Trains in this process, with plain progress on stdout.
pub fn in_foreground(
    runs: &RunsDir,
    run: &RunDir,
    config: Config,
    listening: Listening,
    leader: Option<Arc<Leader>>,
) -> Result<u8> {
    spawn::trace_to_log(run).with_context(|| run.trainer_log().display().to_string())?;
    let mut printer = Printer::new(Progress::new(TimeZone::system()));
    let mut dir = HeldRunDir::hold(run).with_context(|| run.path().display().to_string())?;
    // A reader that has left costs the output, never the training.
    let print = move |record: &Record| drop(printer.print(record));
    let exit_reason = process::run(run, config, listening, leader, print, || {})?;
    // A closed stdout does not fail the run.
    let _ = dir.follow().map(|_| watch::print_result(runs, &dir));
    Ok(exit_code(exit_reason))
}

/// The process that `spawn` starts: trains without a terminal, and reports by log and exit code.
pub fn trainer_process(run: &RunDir, sets: &[String]) -> u8 {
    let handshake = match Handshake::detach(run) {
        Ok(handshake) => Arc::new(Mutex::new(Some(handshake))),
        Err(error) => {
            tracing::error!("{error}");
            return failure::FAILURE;
        }
    };
    let listening = listen();
    let take = |handshake: &Mutex<Option<Handshake>>| handshake.lock().ok().and_then(|mut guard| guard.take());
    let trained = spawn::trace_to_log(run).map_err(anyhow::Error::from).and_then(|()| {
        let sets = Override::parse_all(sets)?;
        let config = Config::load(Some(&run.config()), &sets)?;
        let handshake = handshake.clone();
        process::run(
            run,
            config,
            listening?,
            None,
            |_| {},
            move || {
                if let Some(handshake) = take(&handshake) {
                    handshake.ready();
                }
            },
        )
    });
    match trained {
        Ok(exit_reason) => exit_code(exit_reason),
        Err(error) => {
            tracing::error!("{}", failure::describe(&error));
            let code = failure::exit_code(&error);
            if let Some(handshake) = take(&handshake) {
                handshake.failed(failure::describe(&error), code);
            }
            code
        }
    }
}

fn exit_code(exit_reason: ExitReason) -> u8 {
    match exit_reason {
        ExitReason::Outcome(Outcome::Completed | Outcome::Stopped) => 0,
        ExitReason::Outcome(Outcome::Interrupted | Outcome::Failed | Outcome::Other) => failure::FAILURE,
        ExitReason::Signal(signal) => signals::exit_code(signal),
    }
}
