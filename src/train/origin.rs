//! What a run was trained on and with, as its checkpoints remember it: a step goes on meaning what it meant, or training
//! does not go on.

use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{self, Change, Config, Values};
use crate::data::Source;
use crate::data::fingerprint::DataFingerprint;
use crate::format;
use crate::run::dir::RunDir;
use crate::run::event::RunStarted;

/// Saved with each checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub data: DataFingerprint,
    pub settings: Values,
}

/// Why a run cannot go on from a checkpoint, or its figures would be others. For people: names both sides, and how to go on.
#[derive(Debug, Error)]
pub enum OriginError {
    #[error(
        "run {run} was trained on {then}, and its configuration finds {now}; bring the first back (data.dir, data.source), or \
         begin a new run from its weights: taper train --init {weights}"
    )]
    Data { run: String, then: String, now: String, weights: String },
    #[error(
        "run {run} was trained with {then}, and its configuration has {now}: its steps would not be the same steps; set it \
         back, or begin a new run from its weights: taper train --config {config} --init {weights}"
    )]
    Settings { run: String, then: String, now: String, config: String, weights: String },
    #[error(
        "the checkpoint was judged by {then}, and the configuration of run {run} finds {now}; bring the first back (data.dir, \
         data.source, data.validation_examples)"
    )]
    Images { run: String, then: String, now: String },
}

impl Origin {
    pub fn new(config: &Config, source: &Source) -> Self {
        Self { data: DataFingerprint::of(source), settings: config.values() }
    }

    /// What `now` changes of the origin of a checkpoint whose model file is `weights`.
    ///
    /// # Errors
    /// Other images, or another value of a key in [`crate::config::KEPT_ON_RESUME`].
    pub fn changes(&self, now: &Self, dir: &RunDir, weights: &Path) -> Result<Vec<Change>, OriginError> {
        let changes = config::changes(&self.settings, &now.settings);
        let refused: Vec<&Change> = changes.iter().filter(|change| !change.is_allowed()).collect();
        if !refused.is_empty() {
            let told = |value: fn(&Change) -> &Option<String>| {
                let told = refused.iter().map(|change| match value(change) {
                    Some(value) => format!("{} = {value}", change.key),
                    None => format!("no {}", change.key),
                });
                told.collect::<Vec<_>>().join(", ")
            };
            return Err(OriginError::Settings {
                run: dir.name(),
                then: told(|change| &change.from),
                now: told(|change| &change.to),
                config: dir.config().display().to_string(),
                weights: weights.display().to_string(),
            });
        }
        if self.data != now.data {
            return Err(OriginError::Data {
                run: dir.name(),
                then: self.data.to_string(),
                now: now.data.to_string(),
                weights: weights.display().to_string(),
            });
        }
        Ok(changes)
    }

    /// # Errors
    /// A checkpoint of this origin was not judged by the images of `source`.
    pub fn check_images(&self, source: &Source, dir: &RunDir) -> Result<(), OriginError> {
        let now = DataFingerprint::of(source);
        if now == self.data {
            return Ok(());
        }
        Err(OriginError::Images { run: dir.name(), then: self.data.to_string(), now: now.to_string() })
    }

    /// As [`Origin::changes`], of a checkpoint that an older version saved without an origin, by what the run's log says.
    ///
    /// # Errors
    /// Other images by name or number, another seed or batch size.
    pub fn check_logged(&self, then: &RunStarted, dir: &RunDir, weights: &Path) -> Result<(), OriginError> {
        let (run, weights) = (dir.name(), weights.display().to_string());
        let now = &self.data;
        // Older versions call those test images that a run is judged by.
        let judging = if now.validation_samples > 0 { now.validation_samples } else { now.test_samples };
        if (&then.data, then.train_samples, then.test_samples) != (&now.name, now.train_samples, judging) {
            let (train, test) = (format::count(then.train_samples), format::count(then.test_samples));
            let then = format!("{} ({}, {train} training and {test} test images)", then.data, then.data_origin);
            return Err(OriginError::Data { run, then, now: now.to_string(), weights });
        }
        let logged = [("run.seed", then.seed), ("train.batch_size", then.batch_size)];
        for (key, then) in logged {
            let now = &self.settings[key];
            if *now != then.to_string() {
                let (then, now) = (format!("{key} = {then}"), format!("{key} = {now}"));
                let config = dir.config().display().to_string();
                return Err(OriginError::Settings { run, then, now, config, weights });
            }
        }
        Ok(())
    }
}
