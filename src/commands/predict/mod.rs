//! `taper predict`: what a run's network takes images for, a line for each as it is ready.

mod grad_cam;
mod inputs;
mod lines;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use anyhow::{Context, Result};
use rayon::prelude::*;

use self::grad_cam::GradCams;
use self::inputs::{Input, Separator, Unusable};
use self::lines::{Format, Lines, Prediction};
use super::select::run_and_checkpoint;
use crate::cli::PredictArgs;
use crate::commands::failure::FAILURE;
use crate::config::Config;
use crate::data::folder::fit::{Fit, Form};
use crate::data::loader::evaluation_batch;
use crate::data::{Dataset, DatasetInfo};
use crate::model::ActiveChannels;
use crate::ordinary_file;
use crate::run::dir::RunsDir;
use crate::run::replay;
use crate::train::device;
use crate::train::engine::Engine;

pub fn predict(runs: &RunsDir, args: &PredictArgs) -> Result<u8> {
    let (run, checkpoint) = run_and_checkpoint(runs, &args.target)?;
    let config = Config::load(Some(&run.config()), &[])?;
    let info = Arc::new(replay::dataset(&run)?);
    let (_, engine) = device::begin_anywhere(&config, |device| {
        let mut engine = Engine::new(&config, &info, device)?;
        checkpoint.load_weights(&mut engine)?;
        Ok(engine)
    })?;
    let form = Form::of_evaluation(info.size(), &config.data);
    let predictor = Predictor { form, info, engine, batch_size: config.train.eval_batch_size };
    let mut grad_cams = args
        .explain
        .as_deref()
        .map(|folder| GradCams::new(&config, &predictor.info, &checkpoint, folder))
        .transpose()?;
    let format = match (args.json, args.csv) {
        (true, _) => Format::Json,
        (false, true) => Format::Csv,
        (false, false) => Format::Text,
    };
    let lines = Lines::new(format, args.top.into(), &predictor.info.classes);
    let mut out = io::stdout().lock();
    lines.begin(&mut out).context("stdout")?;

    // Paths are found while images are decoded; a list on stdin may come as slowly as it likes.
    let (sender, inputs) = sync_channel(2 * predictor.batch_size);
    let separator = if args.null { Separator::Null } else { Separator::Newline };
    let named = args.images.clone();
    std::thread::Builder::new().name("inputs".into()).spawn(move || inputs::send(&named, separator, &sender))?;
    let mut failed = false;
    while let Some(batch) = next_batch(&inputs, predictor.batch_size) {
        for (input, outcome) in predictor.predict(batch)? {
            let explained = match (&mut grad_cams, &outcome) {
                (Some(grad_cams), Ok(prediction)) => grad_cams.write(&input.path, prediction).map(|_| ()),
                _ => Ok(()),
            };
            let outcome = outcome.and_then(|prediction| match explained {
                Ok(()) => Ok(prediction),
                Err(error) => Err(format!("{error:#}")),
            });
            failed |= outcome.is_err();
            lines.write(&mut out, &input.path, outcome.as_ref().map_err(String::as_str)).context("stdout")?;
        }
        out.flush().context("stdout")?;
    }
    Ok(if failed { FAILURE } else { 0 })
}

/// As many as are there, to a full batch; waits for the first. None: there are no more.
fn next_batch(inputs: &Receiver<Input>, most: usize) -> Option<Vec<Input>> {
    let mut batch = vec![inputs.recv().ok()?];
    while batch.len() < most {
        match inputs.try_recv() {
            Ok(input) => batch.push(input),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    Some(batch)
}

struct Predictor {
    form: Form,
    info: Arc<DatasetInfo>,
    engine: Engine,
    batch_size: usize,
}

impl Predictor {
    /// Of each input in its order; an error is one line.
    fn predict(&self, inputs: Vec<Input>) -> Result<Vec<(Input, Result<Prediction, String>)>> {
        let form = self.form;
        let decode = |fit: &mut Fit, input: &Input| match &input.unusable {
            Some(Unusable(reason)) => Err(reason.clone()),
            None => {
                let bytes = ordinary_file::read(&input.path).map_err(|error| error.to_string())?;
                fit.decode(&bytes).map(|fitted| fitted.planes).map_err(|error| error.to_string())
            }
        };
        let decoded: Vec<Result<Vec<u8>, String>> = inputs.par_iter().map_init(|| Fit::new(form), decode).collect();
        let mut readable = Dataset::new(Arc::clone(&self.info));
        for planes in decoded.iter().flatten() {
            readable.push(0, planes);
        }
        let logits = if readable.is_empty() {
            vec![]
        } else {
            let batch = evaluation_batch(&readable, 0..readable.len())?;
            self.engine.evaluate(&batch, &mut ActiveChannels::default())?.logits
        };
        let mut logits = logits.into_iter();
        let outcomes = inputs.into_iter().zip(decoded).map(|(input, decoded)| {
            let outcome = decoded.map(|planes| {
                let logits = logits.next().expect("there are logits for each readable image");
                Prediction { planes, logits }
            });
            (input, outcome)
        });
        Ok(outcomes.collect())
    }
}
