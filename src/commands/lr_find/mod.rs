//! `taper lr-find`: a learning-rate range test.

use std::io;
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::configuration::configuration;
use super::failure::UsageError;
use super::shell::say;
use crate::cli::LrFindArgs;
use crate::run::spawn;
use crate::terminal_kind::no_cursor;
use crate::train::range_test::{RangeTest, Rates, usual_range};

pub fn lr_find(args: &LrFindArgs) -> Result<u8> {
    let options = [
        ("--device", "run.device", &args.device),
        ("--batch-size", "train.batch_size", &args.batch_size),
        ("--data", "data.dir", &args.data),
        ("--attention", "model.attention", &args.attention),
        ("--threads", "run.threads", &args.threads),
        ("--seed", "run.seed", &args.seed),
        ("--init", "model.init", &args.init),
    ];
    let config = configuration(args.config.as_deref(), &args.set, &options)?;
    let rates = Rates::new(args.from, args.to, usual_range(config.optimizer.kind), args.steps)
        .map_err(|bad| UsageError(bad.to_string()))?;
    spawn::restart_with_threads(config.run.threads).context("cannot restart with the threads of the run")?;
    let test = RangeTest::open(config)?;
    let bar = ProgressBar::new(rates.steps());
    bar.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}")?);
    if no_cursor().is_some() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let (curve, end) = test.run(rates, |curve| { bar.set_position(curve.points().len() as u64); true })?;
    bar.finish_and_clear();
    let _ = io::stdout();
    say("step,learning_rate,loss,smoothed_loss")?;
    for p in curve.points() { say(format!("{},{:e},{},{}", p.step, p.learning_rate, p.loss, p.smoothed_loss))?; }
    eprintln!("{end:?}");
    Ok(0)
}
