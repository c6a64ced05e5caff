//! How fast training is: the steps of the training loop, on the bundled sample, without a run.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use candle_core::Tensor;

use super::device::Device;
use super::engine::Engine;
use super::evaluate::Evaluation;
use crate::config::{Config, TestTimeAugmentation};
use crate::data::Dataset;
use crate::data::loader::{EpochPlan, evaluation_batch, train_batches_here};
use crate::data::source::sample;
use crate::model::{ActiveChannels, Mode, NetworkShape, input};
use crate::run::step_time::Breakdown;

/// Steps that are taken before the first is counted: memory is touched, caches are filled, the loader is ahead.
pub const WARM_UP_STEPS: u64 = 5;
/// Evaluation batches that are counted.
pub const EVALUATION_BATCHES: usize = 10;
/// Training batches that are made on one core and counted.
pub const LOADED_BATCHES: usize = 20;
/// Of the sample, where its images are made larger.
const MOST_BYTES: usize = 256 << 20;
/// Single images that are classified before one is counted, and that are counted.
const SINGLE_IMAGES: [usize; 2] = [10, 100];
/// Rows and columns of the matrices whose product stands for the peak.
pub const PEAK_SIDE: usize = 1536;
const PEAK_PRODUCTS: usize = 5;

/// What a measurement is made with.
pub struct Bench {
    config: Config,
    device: Device,
    engine: Engine,
    train_data: Arc<Dataset>,
    test_data: Dataset,
}

impl Bench {
    /// The configured network, and as many of the sample's images as fill whole batches, with sides of `data.side` pixels if that is
    /// set: some come twice.
    pub fn new(mut config: Config, device: Device) -> Result<Self> {
        // A step is one of full size.
        config.train.progressive_epochs = 0;
        let (mut train_data, mut test_data) = sample::read()?;
        if let Some(side) = config.data.side {
            train_data = train_data.resized(side, MOST_BYTES)?;
            test_data = test_data.resized(side, MOST_BYTES)?;
        }
        let train_data = Arc::new(in_whole_batches(&train_data, config.train.batch_size));
        let engine = Engine::new(&config, &train_data.info, &device)
            .and_then(|mut engine| engine.prepare(&train_data).map(|()| engine))
            .map_err(|error| Engine::with_fitting_batch_size(error, &config, &train_data, &device))?;
        let test_data = in_whole_batches(&test_data, config.train.eval_batch_size);
        Ok(Self { config, device, engine, train_data, test_data })
    }

    pub fn shape(&self) -> NetworkShape {
        self.engine.shape()
    }

    /// The network in a few words.
    pub fn summary(&self) -> String {
        self.engine.summary()
    }

    /// Kernels of a step on a card, once it has trained.
    pub fn launches(&self) -> Option<usize> {
        self.engine.launches()
    }

    /// Trains, and returns the times of `steps` steps after the warm-up; `taken` is called after every step.
    pub fn train(&mut self, steps: u64, mut taken: impl FnMut()) -> Result<Vec<Breakdown>> {
        let Self { config, engine, train_data, .. } = self;
        let (learning_rate, last) = (config.optimizer.learning_rate, WARM_UP_STEPS + steps);
        let (mut measured, mut epoch) = (Vec::new(), 1);
        engine.begin_epoch(train_data, EpochPlan::of(config, epoch, 0), 1)?;
        for number in 1..=last {
            let began = Instant::now();
            let step = loop {
                if let Some(step) = engine.next_step(last, &|_| learning_rate)? {
                    break step;
                }
                epoch += 1;
                engine.begin_epoch(train_data, EpochPlan::of(config, epoch, 0), number)?;
            };
            if !step.is_finite() {
                let (loss, norm) = (step.loss, step.gradient_norm);
                bail!("step {number} has loss {loss} and gradient norm {norm}: try a lower learning rate")
            }
            if number > WARM_UP_STEPS {
                measured.push(Breakdown {
                    steps: 1.0,
                    samples: step.samples as f64,
                    total_secs: began.elapsed().as_secs_f64(),
                    time: step.time,
                });
            }
            taken();
        }
        engine.leave_epoch();
        Ok(measured)
    }

    /// Seconds that each of some batches takes to evaluate; `taken` is called after every one.
    pub fn evaluate(&self, mut taken: impl FnMut()) -> Result<Vec<f64>> {
        let classes = self.test_data.info.classes.len();
        let new = || Evaluation::new(classes, self.config.train.eval_batch_size, TestTimeAugmentation::None);
        let (mut evaluation, mut secs) = (new(), Vec::new());
        // The first is the warm-up.
        for _ in 0..1 + EVALUATION_BATCHES {
            if evaluation.is_complete(&self.test_data) {
                evaluation = new();
            }
            let before = evaluation.secs();
            evaluation.add_next_batch(&self.engine, &self.test_data)?;
            secs.push(evaluation.secs() - before);
            taken();
        }
        Ok(secs.split_off(1))
    }

    /// Seconds that one core takes to make each of some training batches; `taken` is called after every one.
    pub fn load(&self, mut taken: impl FnMut()) -> Vec<f64> {
        let mut batches =
            (1..).flat_map(|epoch| train_batches_here(self.train_data.clone(), EpochPlan::of(&self.config, epoch, 0)));
        let mut secs = Vec::new();
        // The first is the warm-up.
        for _ in 0..1 + LOADED_BATCHES {
            let started = Instant::now();
            std::hint::black_box(batches.next());
            secs.push(started.elapsed().as_secs_f64());
            taken();
        }
        secs.split_off(1)
    }

    /// Seconds that each of some single images takes to classify, on the device already; on a card its way there is counted.
    pub fn classify_one(&self) -> Result<Vec<f64>> {
        let batch = evaluation_batch(&self.test_data, 0..1)?;
        if let Device::Cuda(_) = self.device {
            return classify_often(|| self.engine.evaluate(&batch, &mut ActiveChannels::default()).map(drop));
        }
        let (device, network) = (self.device.candle(), self.engine.network()?);
        let x = input::images(&batch, device)?;
        // Read, so that a device has finished.
        classify_often(|| {
            Ok(device.with_context(|| network.forward(&x, Mode::Evaluate)?.detach().to_vec2::<f32>()).map(drop)?)
        })
    }

    /// Seconds that each of some products of two f32 matrices of [`PEAK_SIDE`] takes, on all threads.
    pub fn multiply(&self) -> Result<Vec<f64>> {
        let (shape, device) = ((PEAK_SIDE, PEAK_SIDE), self.device.candle());
        let [a, b] = [Tensor::rand(-1f32, 1.0, shape, device)?, Tensor::rand(-1f32, 1.0, shape, device)?];
        let mut secs = Vec::new();
        // The first is the warm-up.
        for _ in 0..1 + PEAK_PRODUCTS {
            device.synchronize()?;
            let started = Instant::now();
            a.matmul(&b)?;
            device.synchronize()?;
            secs.push(started.elapsed().as_secs_f64());
        }
        Ok(secs.split_off(1))
    }
}

/// The seconds of each, after some to warm up.
fn classify_often(classify: impl Fn() -> Result<()>) -> Result<Vec<f64>> {
    let [warm_up, counted] = SINGLE_IMAGES;
    let mut secs = Vec::new();
    for _ in 0..warm_up + counted {
        let started = Instant::now();
        classify()?;
        secs.push(started.elapsed().as_secs_f64());
    }
    Ok(secs.split_off(warm_up))
}

/// The dataset, begun again until the last batch is full.
fn in_whole_batches(dataset: &Dataset, batch_size: usize) -> Dataset {
    let samples = dataset.len().next_multiple_of(batch_size);
    let indices: Vec<usize> = (0..dataset.len()).cycle().take(samples).collect();
    dataset.select(&indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_is_full() {
        let (_, test) = sample::read().expect("the sample");
        for (batch_size, samples) in [(1, 500), (64, 512), (500, 500), (501, 501), (1200, 1200)] {
            let filled = in_whole_batches(&test, batch_size);
            assert_eq!(filled.len(), samples);
            assert_eq!(filled.labels[samples - 1], test.labels[(samples - 1) % 500]);
        }
    }
}
