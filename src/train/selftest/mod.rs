//! The self-test of a card: its kernels against what is stored ([`crate::cuda::selftest`]), then training steps beside the
//! CPU's. It runs by itself before the first training with a build, a driver and a card.

mod passed;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use self::passed::Passed;
use super::device::{self, Device};
use super::engine::Engine;
use crate::config::{AttentionKind, Config, Precision};
use crate::cuda::Context;
use crate::cuda::selftest::{self, BF16_BOUND, CASE_COUNT, Compared, Verdict};
use crate::data::Dataset;
use crate::data::loader::EpochPlan;
use crate::data::source::sample;

const STEPS: u64 = 20;
/// In five batches an epoch, the last of them not full.
const IMAGES: usize = 38;
const BATCH_SIZE: usize = 8;
/// Between card and CPU, of a loss as a share of the CPU's. They sum in different orders, which moves a loss by some 1e-7 of
/// itself, as measured also after twenty steps. A weight whose gradient is almost 0 may go either way, by the learning rate
/// at most, since Adam divides a gradient by its own size: this leaves room for some of those.
const F32_BOUND: f64 = 1e-5;
/// The same with products of factors that are 2⁻⁹ off at most: 0.2 % each, and 0.7 % of a loss after twenty steps, as
/// measured.
const BF16_LOSS_BOUND: f64 = 0.05;

/// How far it is: parts that are done, of [`PARTS`].
pub const PARTS: u64 = CASE_COUNT as u64 + STEPS;

/// What was found.
pub struct Selftest {
    pub compared: Vec<Compared>,
    pub steps: Vec<Step>,
}

/// The losses of a training step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub card: f32,
    pub cpu: f32,
    /// By candle's kernels on the same card, where they were asked.
    pub candle: Option<f32>,
    /// As a share of the CPU's loss.
    pub bound: f64,
}

impl Step {
    /// From the CPU's loss or candle's, whichever is further.
    pub fn difference(&self) -> f64 {
        let from = |other: f32| (f64::from(self.card) - f64::from(other)).abs() / f64::from(other).abs();
        // A NaN is the greatest.
        [Some(self.cpu), self.candle].into_iter().flatten().map(from).max_by(f64::total_cmp).unwrap_or(f64::NAN)
    }

    pub fn is_right(&self) -> bool {
        self.difference() <= self.bound
    }
}

/// What is wrong with the card, first.
#[derive(Debug)]
pub struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Selftest {
    /// Runs it; `done` is called after each of [`PARTS`] parts.
    ///
    /// # Errors
    /// The card fails, or has no memory.
    pub fn run(context: &Arc<Context>, mut done: impl FnMut()) -> Result<Self> {
        let compared = selftest::compare(context, &mut done)?;
        let steps = match train_beside_cpu(context, &mut done) {
            // That is known already, and why.
            Err(_) if compared.iter().any(|compared| !compared.is_right()) => vec![],
            steps => steps?,
        };
        Ok(Self { compared, steps })
    }

    /// Takes the same steps by candle's kernels too, a second way to the same card.
    ///
    /// # Errors
    /// candle's kernels fail, or were not built in.
    pub fn compare_with_candle(&mut self, context: &Context) -> Result<()> {
        let (mut config, data) = training()?;
        config.run.device = format!("candle-cuda:{}", context.card().ordinal);
        let losses = losses(&device::open(&config)?, &config, &data, &mut || {})?;
        self.steps.iter_mut().zip(losses).for_each(|(step, loss)| step.candle = Some(loss));
        Ok(())
    }

    pub fn fault(&self) -> Option<Fault> {
        let of_kernel = self.compared.iter().find(|compared| !compared.is_right()).map(|compared| {
            let Compared { case, kernel, what, verdict } = compared;
            let distance = match verdict {
                Verdict::Equal | Verdict::Near(0.0) => String::new(),
                Verdict::Near(distance) | Verdict::Different(distance) if distance.is_nan() => {
                    ", not numbers".to_owned()
                }
                Verdict::Near(distance) | Verdict::Different(distance) => format!(" by {distance:.1e} of its size"),
            };
            format!(
                "kernel {} computes another {what} than it should{distance} (network {case})",
                <&str>::from(*kernel)
            )
        });
        let of_step = || {
            let number = self.steps.iter().position(|step| !step.is_right())?;
            let Step { card, cpu, bound, .. } = self.steps[number];
            Some(format!("the loss of step {} is {card}, {cpu} on the CPU, further than {bound:.0e} of it", number + 1))
        };
        of_kernel.or_else(of_step).map(Fault)
    }
}

/// A small network, and some of the sample's images.
fn training() -> Result<(Config, Arc<Dataset>)> {
    let (sample, _) = sample::read()?;
    // Of all classes, which lie one after the other.
    let chosen: Vec<usize> = (0..IMAGES).map(|index| index * (sample.len() / IMAGES)).collect();
    let data = Arc::new(sample.select(&chosen));
    let mut config = Config::default();
    (config.model.channels, config.model.hidden) = (vec![4, 8], 16);
    (config.model.attention, config.train.batch_size) = (AttentionKind::None, BATCH_SIZE);
    Ok((config, data))
}

/// Trains on both.
fn train_beside_cpu(context: &Arc<Context>, done: &mut impl FnMut()) -> Result<Vec<Step>> {
    let (config, data) = training()?;
    let bound = match context.precision() {
        Precision::F32 => F32_BOUND,
        Precision::Bf16 => BF16_LOSS_BOUND,
    };
    let on_card = losses(&Device::Cuda(Arc::clone(context)), &config, &data, done)?;
    let on_cpu = losses(&Device::CPU, &config, &data, &mut || {})?;
    Ok(on_card.into_iter().zip(on_cpu).map(|(card, cpu)| Step { card, cpu, candle: None, bound }).collect())
}

/// Of each step, to the first that is not finite.
fn losses(device: &Device, config: &Config, data: &Arc<Dataset>, done: &mut impl FnMut()) -> Result<Vec<f32>> {
    let mut engine = Engine::new(config, &data.info, device)?;
    let mut losses = vec![];
    for epoch in 1.. {
        engine.begin_epoch(data, EpochPlan::of(config, epoch, 0), losses.len() as u64 + 1)?;
        while let Some(step) = engine.next_step(STEPS, &|_| config.optimizer.learning_rate)? {
            losses.push(step.loss);
            done();
            if losses.len() as u64 == STEPS || !step.is_finite() {
                while engine.finish_started()?.is_some() {}
                return Ok(losses);
            }
        }
    }
    Ok(losses)
}

/// Before a training: runs the self-test unless this card has passed it with this driver and these kernels. What was done, if
/// something was.
///
/// # Errors
/// A kernel computes something else than it should, or the card fails.
pub fn ensure_passed(device: &Device) -> Result<Option<String>> {
    let Device::Cuda(context) = device else { return Ok(None) };
    let passed = Passed::of(context);
    if passed.is_noted() {
        return Ok(None);
    }
    tracing::info!("checking the GPU's kernels, once for this driver and GPU");
    let began = Instant::now();
    let (ordinal, name) = (context.card().ordinal, &context.card().name);
    let found = Selftest::run(context, || {});
    let found = found.with_context(|| format!("cuda:{ordinal} ({name}) cannot run the self-test"))?;
    if let Some(fault) = found.fault() {
        bail!(
            "cuda:{ordinal} ({name}) fails the self-test: {fault}; take --device cpu, and see `taper selftest --device \
             cuda:{ordinal}`"
        )
    }
    let secs = began.elapsed().as_secs_f64();
    if let Err(error) = passed.note() {
        tracing::warn!("the GPU's kernels will be checked before every training: {error:#}");
    }
    Ok(Some(format!("the GPU's kernels were checked, once for this driver and GPU: all right after {secs:.1} s")))
}

/// What the bounds are, in a line.
pub fn describe_bound(precision: Precision) -> String {
    match precision {
        Precision::F32 => format!("kernels to the bit, losses within {F32_BOUND:.0e} of the CPU's"),
        Precision::Bf16 => format!(
            "kernels to the bit or, behind a tensor core, within {:.0} % of an output's norm; losses within {:.0} % of the \
             CPU's",
            100.0 * BF16_BOUND,
            100.0 * BF16_LOSS_BOUND
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::Card;
    use crate::cuda::stand_in::{Built, ORDERS, on_stand_in};

    const TESTS: &str = "train::selftest::tests::";

    fn context(precision: Precision) -> Arc<Context> {
        Context::open(Card::find(0).expect("a GPU"), precision).expect("a context")
    }

    fn passes(precision: Precision) {
        let (mut parts, began) = (0, Instant::now());
        let found = Selftest::run(&context(precision), || parts += 1).expect("a GPU that works");
        println!("{:?}", began.elapsed());
        println!("{:.1e}", found.steps.iter().map(Step::difference).fold(0.0, f64::max));
        assert_eq!(parts, PARTS);
        assert_eq!(found.steps.len() as u64, STEPS);
        assert!(found.fault().is_none(), "{:?}", found.fault());
        // So that another order of sums has room.
        assert!(found.steps.iter().all(|step| step.difference() < step.bound / 4.0), "{:?}", found.steps);
    }

    #[test]
    fn a_card_that_works_passes() {
        let test = format!("{TESTS}a_card_that_works_passes");
        on_stand_in(&test, Built::Plain, &ORDERS[2..], || passes(Precision::F32));
    }

    #[test]
    fn it_passes_with_bf16() {
        on_stand_in(&format!("{TESTS}it_passes_with_bf16"), Built::Bf16, &ORDERS[2..], || passes(Precision::Bf16));
    }

    #[test]
    fn it_runs_once_for_a_card() {
        let cache = tempfile::tempdir().expect("a folder");
        let cached = [("XDG_CACHE_HOME", cache.path().to_str().expect("a path"))];
        let test = format!("{TESTS}it_runs_once_for_a_card");
        on_stand_in(&test, Built::Plain, &[&cached], || {
            let device = Device::Cuda(context(Precision::F32));
            let told = ensure_passed(&device).expect("a GPU that works").expect("the first time");
            assert!(told.starts_with("the GPU's kernels were checked, once for this driver and GPU: "), "{told}");
            assert_eq!(ensure_passed(&device).expect("a GPU that works"), None);
            assert_eq!(ensure_passed(&Device::CPU).expect("nothing to check"), None);
        });
    }
}
