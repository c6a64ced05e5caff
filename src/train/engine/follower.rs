//! A rank that is not the first: it has no run, and does what rank 0 says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use strum::VariantArray;

use super::candle::CandleEngine;
use super::weights_file::WeightsFile;
use crate::average::Companion;
use crate::config::Config;
use crate::data::fingerprint::DataFingerprint;
use crate::data::loader::EpochPlan;
use crate::data::{self, Dataset};
use crate::model::ActiveChannels;
use crate::ranks::Communicator;
use crate::train::device;
use crate::train::leader::{Call, Joined, LEADER, Program, own_rank};

/// How long a rank that a signal asked to end waits for rank 0, which may be saving, before it ends all.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a rank has read.
struct Data {
    config: Config,
    train: Arc<Dataset>,
    evaluation: Dataset,
}

/// Trains with the other ranks until rank 0 says that the run has ended. Where `interrupted` becomes true, rank 0 hears of it
/// with the next step, and ends the run.
///
/// # Errors
/// What keeps this rank from going on: the others are to be ended.
pub fn follow(ranks: &Arc<Communicator>, interrupted: &Arc<AtomicBool>) -> Result<()> {
    let (mut data, mut engine): (Option<Data>, Option<CandleEngine>) = (None, None);
    loop {
        let message = receive(ranks, interrupted)?;
        let call: Call = serde_json::from_slice(&message).context("a call of rank 0")?;
        match call {
            Call::Join { config, data: of_leader } => {
                let read = read(*config, &of_leader);
                let error = read.as_ref().err().map(|error| format!("{error:#}"));
                let joined = Joined { rank: own_rank(), program: Program::own(), error };
                ranks.send(LEADER, &serde_json::to_vec(&joined)?)?;
                data = read.ok();
            }
            Call::NewEngine => {
                let Data { config, train, .. } = data.as_ref().context("an engine before the data")?;
                let new = CandleEngine::new(config, &train.info, &candle_core::Device::Cpu)?;
                engine = Some(new.on_ranks(Arc::clone(ranks)).ended_by(Arc::clone(interrupted)));
            }
            Call::End => return Ok(()),
            call => {
                let data = data.as_ref().context("a call before the data")?;
                let engine = engine.as_mut().context("a call before the engine")?;
                obey(call, data, engine, || receive(ranks, interrupted))?;
            }
        }
    }
}

/// The next message of rank 0.
fn receive(ranks: &Communicator, interrupted: &AtomicBool) -> Result<Vec<u8>> {
    let began = Instant::now();
    let end_if_left_alone = || {
        if interrupted.load(Ordering::SeqCst) && began.elapsed() >= PATIENCE {
            ranks.abort(1);
        }
    };
    Ok(ranks.receive(LEADER, &end_if_left_alone)?)
}

fn read(config: Config, of_leader: &DataFingerprint) -> Result<Data> {
    device::prepare_cpu()?;
    let source = data::source::open(&config.data, config.run.seed)?;
    let own = DataFingerprint::of(&source);
    if own != *of_leader {
        bail!("{own} here, {of_leader} at rank 0: every rank needs the same images (data.dir)")
    }
    let (train, evaluation) = source.into_parts();
    Ok(Data { config, train: Arc::new(train), evaluation })
}

fn obey(call: Call, data: &Data, engine: &mut CandleEngine, next: impl Fn() -> Result<Vec<u8>>) -> Result<()> {
    let path = Path::new("the weights of rank 0");
    match call {
        Call::Prepare => engine.prepare(&data.train),
        Call::LoadWeights { companion: None } => engine.load_weights(&next()?, path),
        Call::LoadWeights { companion: Some(name) } => {
            let companion = Companion::VARIANTS.iter().find(|&&companion| <&str>::from(companion) == name);
            let companion =
                *companion.ok_or_else(|| anyhow!("rank 0 has {name} weights, which this rank does not know"))?;
            let (model, beside) = (next()?, next()?);
            let file = |bytes| WeightsFile { bytes, path };
            engine.load_weights_and(file(&model), companion, file(&beside))
        }
        Call::LoadOptimizer => engine.load_optimizer(&next()?, path),
        Call::BeginEpoch { epoch, first_batch, first_step } => {
            engine.begin_epoch(&data.train, EpochPlan::of(&data.config, epoch, first_batch), first_step)
        }
        Call::Step { learning_rate } => engine.next_step(u64::MAX, &|_| learning_rate).map(drop),
        Call::Evaluate { images, augmentation } => {
            let mut active = ActiveChannels::default();
            engine.evaluate_together(&data.evaluation, images, augmentation, &mut active).map(drop)
        }
        Call::Join { .. } | Call::NewEngine | Call::End => bail!("a call that is not of an engine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DataSource;
    use crate::data::source;

    #[test]
    fn images_that_are_not_those_of_rank_0_are_named() -> Result<()> {
        let mut config = Config::default();
        config.data.source = DataSource::Sample;
        let own = DataFingerprint::of(&source::open(&config.data, 0)?);
        assert!(read(config.clone(), &own).is_ok());
        let of_leader = DataFingerprint { sha256: "0".repeat(64), name: "flowers".to_owned(), ..own };
        let error = read(config, &of_leader).err().expect("other images").to_string();
        assert!(error.contains("flowers") && error.contains("CIFAR-10 sample"), "{error}");
        assert!(error.ends_with("every rank needs the same images (data.dir)"), "{error}");
        Ok(())
    }

    #[test]
    fn a_call_out_of_order_ends_the_rank() -> Result<()> {
        let answers = crate::ranks::threads::on_ranks(2, |ranks| -> Result<()> {
            if ranks.rank() == LEADER {
                return Ok(ranks.send(1, &serde_json::to_vec(&Call::Step { learning_rate: 1e-3 })?)?);
            }
            follow(&ranks, &Arc::default())
        });
        assert_eq!(answers[1].as_ref().expect_err("no engine").to_string(), "a call before the data");
        Ok(())
    }
}
