//! The learning-rate range test (Smith 2017, section 3.3): some steps of a run under a rate that grows from step to step. It
//! trains as the run would, from the same weights on the same batches, and leaves nothing behind.

mod curve;
mod rates;
mod suggestion;

use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;

pub use self::curve::{Curve, DIVERGED, Point};
pub use self::rates::{BadRange, Rates, usual_range};
pub use self::suggestion::{Finding, Suggestion};
use super::device;
use super::engine::Engine;
use super::resume_point::initial_engine;
use super::selftest;
use crate::config::Config;
use crate::data::loader::EpochPlan;
use crate::data::{self, Dataset};

/// How a test came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    /// It took the last rate.
    Completed,
    /// The smoothed loss was far above its least.
    Diverged,
    /// Loss or gradient of the step with this rate were not finite, and it was not taken.
    NotFinite { learning_rate: f64 },
    /// It was told to end.
    Interrupted,
}

/// What is trained, on what and where, in a few words each.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    pub model: String,
    pub data: String,
    pub device: String,
}

/// A test that is ready for its first step.
pub struct RangeTest {
    config: Config,
    engine: Engine,
    train_data: Arc<Dataset>,
    pub subject: Subject,
    /// What the user should know.
    pub notices: Vec<String>,
}

impl RangeTest {
    /// Reads the data and builds the network, as a run of the configuration does.
    ///
    /// # Errors
    /// Those that keep a run from beginning.
    pub fn open(mut config: Config) -> Result<Self> {
        // Where its data is small, it takes several epochs for what stands for the first one of the run; and a loss must not move
        // with the size of the images.
        (config.train.freeze_after_first_epoch, config.train.progressive_epochs) = (false, 0);
        let source = data::source::open(&config.data, config.run.seed)?;
        let (data, of_data) = (source.name.clone(), source.notice.clone());
        let train_data = Arc::new(source.into_parts().0);
        let (device, (checked, engine, of_weights)) = device::begin_on(&config, None, |device| {
            let checked = selftest::ensure_passed(device)?;
            initial_engine(&config, &train_data.info, device)
                .and_then(|(mut engine, notice)| engine.prepare(&train_data).map(|()| (checked, engine, notice)))
                .map_err(|error| Engine::with_fitting_batch_size(error, &config, &train_data, device))
        })?;
        Ok(Self {
            subject: Subject { model: engine.summary(), data, device: device.describe() },
            notices: [of_data, checked, of_weights].into_iter().flatten().collect(),
            config,
            engine,
            train_data,
        })
    }

    pub fn steps_per_epoch(&self) -> u64 {
        self.config.train.steps_per_epoch(self.train_data.len())
    }

    /// Takes a step with each of the rates, until there is a reason to end; epoch after epoch, where one has not so many.
    /// `go_on` is shown the curve after each step, and says whether there is to be another.
    ///
    /// # Errors
    /// Those of the device.
    pub fn run(mut self, rates: Rates, mut go_on: impl FnMut(&Curve) -> bool) -> Result<(Curve, End)> {
        let Self { config, engine, train_data, .. } = &mut self;
        let (mut curve, mut epoch) = (Curve::of(rates.steps()), 1);
        engine.begin_epoch(train_data, EpochPlan::of(config, epoch, 0), 1)?;
        let mut end = End::Completed;
        for number in 1..=rates.steps() {
            let step = loop {
                if let Some(step) = engine.next_step(rates.steps(), &|step| rates.at(step))? {
                    break step;
                }
                epoch += 1;
                engine.begin_epoch(train_data, EpochPlan::of(config, epoch, 0), number)?;
            };
            if !step.is_finite() {
                end = End::NotFinite { learning_rate: step.learning_rate };
                break;
            }
            curve.push(step.learning_rate, step.loss.into());
            let is_wanted = go_on(&curve);
            if curve.has_diverged() {
                end = End::Diverged;
                break;
            }
            if !is_wanted && number < rates.steps() {
                end = End::Interrupted;
                break;
            }
        }
        // A device may be ahead.
        while engine.finish_started()?.is_some() {}
        engine.leave_epoch();
        Ok((curve, end))
    }
}
