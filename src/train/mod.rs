//! Training: the loop, and what it needs. Knows no terminal.

mod alarms;
mod backlog;
pub mod checkpoint;
mod commands;
pub mod device;
mod divergence;
pub mod evaluate;
pub mod measure;
mod notify;
mod probe;
pub mod process;
mod recorder;
mod session;
mod step;

use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};

use self::alarms::{Alarms, Raised};
use self::checkpoint::Best;
use self::commands::{Control, Flow};
use self::divergence::{Diverged, Divergences, Recovery};
use self::evaluate::{Evaluation, correct};
use self::probe::{missing, save_probe};
use self::recorder::{Recorder, StepResult};
use self::session::Session;
use self::step::step;
use crate::config::Config;
use crate::data::loader::{Batch, EpochPlan, train_batches};
use crate::model::Mode;
use crate::run::event::{AlarmKind, CheckpointReason, EpochDone, Event, LearningRateReason, Outcome};
use crate::run::step_time::StepTime;

/// Trains until the last epoch or step, or until told to end, from wherever the session is.
fn train(session: &mut Session, control: &mut Control, recorder: &mut Recorder) -> Result<Outcome> {
    if let Some(message) = missing(session).filter(|_| session.config.probe.every > 0) {
        raise(session.state.step, AlarmKind::Probe, message, recorder)?;
    }
    let (mut divergences, mut alarms) = (Divergences::default(), session.alarms());
    'epochs: while session.state.epoch <= session.config.train.epochs && session.stopped_early().is_none() {
        // 1. Train on what is left of the epoch.
        let first_batch = session.state.batches_done as usize;
        let plan = plan_of_epoch(&session.config, session.state.epoch, first_batch);
        let mut batches = train_batches(session.train_data.clone(), plan);
        while session.state.step < session.total_steps() {
            if let Flow::End(outcome) = control.obey(session, recorder)? {
                return Ok(outcome);
            }
            let started = Instant::now();
            let Some(batch) = batches.next() else { break };
            let (x, labels) = to_tensors(&batch, &session.device)?;
            let data_secs = started.elapsed().as_secs_f64();

            let number = session.state.step + 1;
            let mode = Mode::Train { seed: session.config.run.seed, step: number };
            let taken = step(&session.cnn, &mut session.adam, session.state.learning_rate, &x, &labels, mode)?;
            let (loss, gradient_norm) = (taken.loss, taken.gradient_norm);
            if !taken.is_finite() {
                let diverged = Diverged::Batch { step: number, loss, gradient_norm };
                match divergences.recovery(diverged, session, control, recorder)? {
                    Recovery::RolledBack => {
                        alarms = session.alarms();
                        checkpoint_or_alarm(session, CheckpointReason::Rollback, &mut alarms, recorder)?;
                        continue 'epochs;
                    }
                    Recovery::Skipped => continue,
                    Recovery::End(outcome) => return Ok(outcome),
                }
            }

            let result = StepResult {
                epoch: session.state.epoch,
                step: number,
                loss,
                gradient_norm,
                correct: correct(&taken.logits, &batch.labels)?,
                samples: batch.labels.len() as u64,
                time: StepTime { data_secs, ..taken.time },
                train_secs: started.elapsed().as_secs_f64(),
            };
            session.state.step = number;
            session.state.batches_done += 1;
            session.state.epoch_so_far.add(&result);
            let raised = alarms.after_step(&result, recorder.room());
            recorder.step(result);
            raise_all(session, raised, recorder)?;
            let every_steps = session.config.checkpoint.every_steps;
            if every_steps > 0 && number.is_multiple_of(every_steps) && !session.epoch_is_trained() {
                checkpoint_or_alarm(session, CheckpointReason::Interval, &mut alarms, recorder)?;
            }
        }
        if !session.epoch_is_trained() {
            return Ok(Outcome::Completed);
        }

        // 2. Evaluate.
        recorder.record(Event::EvaluationStarted { epoch: session.state.epoch, step: session.state.step })?;
        let (mut evaluation, mut evaluation_secs) = (Evaluation::default(), 0.0);
        for start in (0..session.test_data.len()).step_by(session.config.train.eval_batch_size) {
            if let Flow::End(outcome) = control.obey(session, recorder)? {
                return Ok(outcome);
            }
            let started = Instant::now();
            let end = (start + session.config.train.eval_batch_size).min(session.test_data.len());
            evaluation.add_batch(&session.cnn, &session.test_data, start..end, &session.device)?;
            evaluation_secs += started.elapsed().as_secs_f64();
        }
        if !evaluation.mean_loss().is_finite() {
            let diverged = Diverged::Evaluation { epoch: session.state.epoch, loss: evaluation.mean_loss() };
            match divergences.recovery(diverged, session, control, recorder)? {
                Recovery::RolledBack => {
                    alarms = session.alarms();
                    checkpoint_or_alarm(session, CheckpointReason::Rollback, &mut alarms, recorder)?;
                }
                // Refused: there is none.
                Recovery::Skipped => {}
                Recovery::End(outcome) => return Ok(outcome),
            }
            continue;
        }
        finish_epoch(session, &evaluation, evaluation_secs, &mut alarms, recorder)?;
    }
    Ok(Outcome::Completed)
}

/// Records the epoch, adjusts the learning rate, and saves.
fn finish_epoch(
    session: &mut Session,
    evaluation: &Evaluation,
    evaluation_secs: f64,
    alarms: &mut Alarms,
    recorder: &mut Recorder,
) -> Result<()> {
    let epoch = session.state.epoch;
    let so_far = std::mem::take(&mut session.state.epoch_so_far);
    let test_accuracy = evaluation.accuracy();
    let test_loss = evaluation.mean_loss();
    let is_best = session.state.is_best(session.config.train.best, test_accuracy, test_loss);
    let done = EpochDone {
        epoch,
        step: session.state.step,
        train_loss: so_far.loss_sum / (session.steps_per_epoch() - so_far.skipped) as f64,
        train_accuracy: 100.0 * so_far.correct as f64 / so_far.samples as f64,
        test_loss,
        test_accuracy,
        learning_rate: session.state.learning_rate,
        elapsed_secs: so_far.train_secs + evaluation_secs,
        evaluation_secs,
        best: is_best,
        confusion: Some(evaluation.confusion().clone()),
        mistakes: evaluation.mistakes().to_vec(),
    };
    recorder.record(Event::EpochDone(done.clone()))?;

    let schedule = session.config.schedule.clone();
    let learning_rate = session.state.learning_rate;
    let scheduled = session.state.plateau.step(&schedule, test_loss, learning_rate);
    session.set_learning_rate(scheduled, LearningRateReason::Plateau, recorder)?;
    raise_all(session, alarms.after_epoch(&done, &evaluation.dead_channels(), scheduled), recorder)?;

    session.state.epoch += 1;
    session.state.batches_done = 0;
    let name = session.free_checkpoint_name();
    let best_before = session.state.best.clone();
    if is_best {
        session.state.best = Some(Best { epoch, test_accuracy, test_loss: Some(test_loss), checkpoint: name.clone() });
    }
    let saved = session.checkpoint_as(&name, CheckpointReason::Epoch, recorder);
    if saved.is_err() {
        session.state.best = best_before;
    }
    raise_all(session, alarms.after_saving(AlarmKind::Checkpoint, saved), recorder)?;
    let every = session.config.probe.every;
    if every > 0 && epoch.is_multiple_of(every) {
        // What the network sees is no reason to stop its training.
        let saved = save_probe(session, evaluation.mistakes(), recorder);
        raise_all(session, alarms.after_saving(AlarmKind::Probe, saved), recorder)?;
    }
    Ok(())
}

/// A checkpoint that cannot be saved (a full disk) is no reason to stop training.
fn checkpoint_or_alarm(
    session: &mut Session,
    reason: CheckpointReason,
    alarms: &mut Alarms,
    recorder: &mut Recorder,
) -> Result<()> {
    let saved = session.checkpoint(reason, recorder);
    raise_all(session, alarms.after_saving(AlarmKind::Checkpoint, saved), recorder)
}

fn raise_all(session: &Session, raised: Raised, recorder: &mut Recorder) -> Result<()> {
    raised.into_iter().try_for_each(|(kind, message)| raise(session.state.step, kind, message, recorder))
}

fn raise(step: u64, kind: AlarmKind, message: String, recorder: &mut Recorder) -> Result<()> {
    tracing::warn!("{}: {message}", kind.name());
    recorder.record(Event::AlarmRaised { step, kind, message })?;
    Ok(())
}

fn plan_of_epoch(config: &Config, epoch: u64, first_batch: usize) -> EpochPlan {
    EpochPlan {
        seed: config.run.seed,
        epoch,
        batch_size: config.train.batch_size,
        shuffle: config.data.shuffle,
        augment: config.augment.clone(),
        first_batch,
    }
}

/// Images (N, H, W, C) and labels (N) on `device`.
fn to_tensors(batch: &Batch, device: &Device) -> candle_core::Result<(Tensor, Tensor)> {
    let samples = batch.labels.len();
    let x =
        Tensor::from_slice(&batch.images, (samples, batch.size.height, batch.size.width, batch.size.channels), device)?;
    let labels = Tensor::from_slice(&batch.labels, samples, device)?;
    Ok((x, labels))
}
