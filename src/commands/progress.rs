//! Plain progress of a run: a line every hundred batches, one for each epoch, and the notes of other events, each with its
//! time of day. On a terminal with a cursor a bar stands below the lines.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;

use crate::format;
use crate::ranks::launch::Launch;
use crate::run::describe;
use crate::run::event::{EpochDone, Event, Record, RunStarted, StepsDone};
use crate::run::state::{Phase, RunState};
use crate::terminal_kind::no_cursor;

/// Batches between two lines.
const LINE_EVERY: u64 = 100;

/// Events as lines for people.
#[derive(Debug)]
pub struct Progress {
    state: RunState,
    zone: TimeZone,
    /// Images and seconds since the last line.
    samples: u64,
    train_secs: f64,
}

impl Progress {
    /// Of a run whose first event is yet to come. The times of the lines are those of `zone`.
    pub fn new(zone: TimeZone) -> Self {
        Self { state: RunState::default(), zone, samples: 0, train_secs: 0.0 }
    }

    /// Folds an event in, and returns its lines.
    pub fn lines(&mut self, record: &Record) -> Vec<String> {
        let time = format::time_of_day(record.time_ms, &self.zone);
        self.texts(record).into_iter().map(|text| format!("{time}  {text}")).collect()
    }

    fn texts(&mut self, record: &Record) -> Vec<String> {
        self.state.apply(record);
        match &record.event {
            Event::RunStarted(started) if started.trainer.is_some() => {
                let note = describe::note(record).map(|note| format!("run {}: {}", started.run, note.text));
                note.into_iter().collect()
            }
            Event::RunStarted(started) => introduction(started),
            Event::StepsDone(steps) => self.batches(steps),
            Event::EpochDone(epoch) => vec![self.epoch(epoch)],
            Event::CommandReceived { .. } => Vec::new(),
            Event::Paused { step } if self.state.divergence.is_some() && self.state.other_trainer().is_none() => {
                vec![self.recoveries(*step)]
            }
            _ => describe::note(record).map(|note| note.text).into_iter().collect(),
        }
    }

    /// The run as the events so far tell it.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    fn recoveries(&self, step: u64) -> String {
        let run = self.state.started.as_ref().map_or("", |started| &started.run);
        format!(
            "paused at step {step}; to go on: taper rollback {run} (to the last good checkpoint, with half the learning \
             rate), taper skip-batch {run}, or taper stop {run}"
        )
    }

    fn batches(&mut self, steps: &StepsDone) -> Vec<String> {
        self.samples += steps.samples;
        self.train_secs += steps.train_secs;
        let per_epoch = self.state.started.as_ref().map_or(0, |started| started.steps_per_epoch);
        let epoch_start = steps.epoch.saturating_sub(1) * per_epoch;
        let mut lines = Vec::new();
        for (step, loss) in (steps.first_step..).zip(&steps.losses) {
            let batch = step.saturating_sub(epoch_start);
            if batch % LINE_EVERY != 0 {
                continue;
            }
            let mean = self.state.epoch_loss_until(step).unwrap_or(f64::NAN);
            let speed = self.samples as f64 / self.train_secs;
            let eta = self.eta();
            let batches = if per_epoch == 0 { String::new() } else { format!("/{per_epoch}") };
            lines.push(format!(
                "epoch {}  batch {batch}{batches}  loss {loss:.4}  mean {mean:.4}  {} images/s{eta}",
                steps.epoch,
                format::decimal(speed, 0)
            ));
        }
        if !lines.is_empty() {
            (self.samples, self.train_secs) = (0, 0.0);
        }
        lines
    }

    /// `  ETA 12m 03s` while there is something left to do and the speed is known.
    fn eta(&self) -> String {
        let total_steps = self.state.started.as_ref().map_or(0, |started| started.total_steps);
        match self.state.remaining_secs() {
            Some(secs) if self.state.phase != Phase::Paused && self.state.step < total_steps => {
                format!("  ETA {}", format::duration(secs))
            }
            _ => String::new(),
        }
    }

    fn epoch(&self, done: &EpochDone) -> String {
        let epoch = epoch_of(done.epoch, &self.state);
        let best = if done.best { "  best" } else { "" };
        let judged = done.judged_by.abbreviation();
        format!(
            "{epoch}  train loss {}  train acc {} %  {judged} loss {}  {judged} acc {} %{}  lr {}  {} s{best}{}",
            format::decimal(done.train_loss, 4),
            format::decimal(done.train_accuracy, 2),
            format::decimal(done.test_loss, 4),
            format::decimal(done.test_accuracy, 2),
            done.test_time_augmentation.suffix(),
            format::learning_rate(done.learning_rate),
            format::decimal(done.elapsed_secs, 1),
            self.eta()
        )
    }
}

/// `epoch 3/50`, or `epoch 3` where nobody knows how many there will be.
fn epoch_of(epoch: u64, state: &RunState) -> String {
    match state.started.as_ref().map_or(0, |started| started.epochs) {
        0 => format!("epoch {epoch}"),
        epochs => format!("epoch {epoch}/{epochs}"),
    }
}

fn introduction(started: &RunStarted) -> Vec<String> {
    let origin = match started.continued_from {
        Some(step) => format!(", from step {step}"),
        None => String::new(),
    };
    let mut lines = vec![
        format!(
            "run {}: {}, {} parameters, on {}{origin}",
            started.run, started.model, started.parameters, started.device
        ),
        format!(
            "data {} ({}): {} training and {} {} images, {} batches an epoch",
            started.data,
            started.data_origin,
            started.train_samples,
            started.test_samples,
            started.judged_by,
            started.steps_per_epoch
        ),
    ];
    lines.extend(started.notice.clone());
    lines
}

/// Writes progress to stdout.
#[derive(Debug)]
pub struct Printer {
    progress: Progress,
    bar: Option<ProgressBar>,
}

impl Printer {
    /// That goes on from `progress`, whose lines were written or are not wanted.
    pub fn new(progress: Progress) -> Self {
        // What an MPI launcher reads from looks like a terminal.
        let is_terminal = io::stdout().is_terminal() && Launch::detect().is_none();
        let bar = (is_terminal && no_cursor().is_none()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout_with_hz(4));
            bar.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}").expect("a template of our own"));
            bar
        });
        Self { progress, bar }
    }

    /// # Errors
    /// The reader of stdout has left.
    pub fn print(&mut self, record: &Record) -> io::Result<()> {
        let lines = self.progress.lines(record);
        match &self.bar {
            Some(bar) => {
                lines.iter().for_each(|line| bar.println(line));
                self.draw(bar);
                Ok(())
            }
            None => {
                let mut out = io::stdout().lock();
                lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush())
            }
        }
    }

    /// The run as the events so far tell it.
    pub fn state(&self) -> &RunState {
        self.progress.state()
    }

    /// Takes the bar away, so that other lines may follow.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn draw(&self, bar: &ProgressBar) {
        let state = self.progress.state();
        let Some(started) = &state.started else { return };
        bar.set_length(started.steps_per_epoch);
        bar.set_position(state.steps_in_epoch());
        let speed = state.images_per_sec().filter(|_| state.phase.is_active());
        let speed = speed.map_or(String::new(), |speed| format!("  {speed:.0} images/s"));
        let eta = self.progress.eta();
        bar.set_message(format!("{} {}{speed}{eta}", epoch_of(state.epoch, state), state.phase));
        if matches!(state.phase, Phase::Ended(_)) {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{AlarmKind, CheckpointReason, CheckpointSaved, LearningRateReason, Outcome};

    fn started() -> Event {
        Event::RunStarted(Box::new(RunStarted {
            run: "baseline".into(),
            notice: Some("the sample is in use; for the rest: taper data fetch".into()),
            train_samples: 16_000,
            epochs: 2,
            steps_per_epoch: 250,
            total_steps: 500,
            ..RunStarted::example()
        }))
    }

    fn steps(epoch: u64, first_step: u64, losses: Vec<f32>) -> Event {
        let samples = 64 * losses.len() as u64;
        Event::StepsDone(StepsDone {
            epoch,
            first_step,
            losses,
            samples,
            train_secs: samples as f64 / 1000.0,
            ..StepsDone::example()
        })
    }

    fn lines(events: impl IntoIterator<Item = Event>) -> String {
        let mut progress = Progress::new(TimeZone::UTC);
        let lines = events.into_iter().flat_map(|event| progress.lines(&Record { time_ms: 1_000, event }));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_run_in_lines() {
        insta::assert_snapshot!(lines([
            started(),
            steps(1, 1, vec![2.0; 99]),
            steps(1, 100, vec![4.0]),
            steps(1, 101, vec![1.0; 149]),
            Event::EvaluationStarted { epoch: 1, step: 250 },
            Event::EpochDone(EpochDone {
                epoch: 1,
                step: 250,
                train_loss: 1.5,
                train_accuracy: 41.237,
                test_loss: 1.25,
                test_accuracy: 52.0,
                elapsed_secs: 31.25,
                evaluation_secs: 2.0,
                ..EpochDone::example()
            }),
            Event::LearningRateChanged {
                epoch: 1,
                step: 250,
                from: 0.001,
                to: 0.0005,
                reason: LearningRateReason::Plateau,
            },
            Event::CheckpointSaved(CheckpointSaved {
                epoch: 1,
                step: 250,
                name: "e0001-s000250".into(),
                reason: CheckpointReason::Epoch,
                bytes: 13_800_000,
                save_secs: 0.21,
            }),
            steps(2, 251, vec![1.0; 250]),
            Event::Paused { step: 500 },
            Event::Resumed { step: 500 },
            Event::SystemSampled { step: 500, sample: Box::default() },
            Event::AlarmRaised { step: 500, kind: AlarmKind::Divergence, message: "the loss is not finite".into() },
            Event::RunEnded { step: 500, outcome: Outcome::Completed, message: "all epochs".into() },
        ]));
    }

    #[test]
    fn only_a_diverged_run_says_how_to_go_on() {
        let alarm = Event::AlarmRaised { step: 5, kind: AlarmKind::Divergence, message: "the loss is NaN".into() };
        let diverged = lines([started(), steps(1, 1, vec![1.0; 5]), alarm, Event::Paused { step: 5 }]);
        let last = diverged.lines().last().expect("a line");
        assert!(
            last.starts_with("00:00:01  paused at step 5; to go on: taper rollback baseline (to the last"),
            "{last}"
        );
        assert!(last.ends_with("taper skip-batch baseline, or taper stop baseline"), "{last}");
        let paused = lines([started(), steps(1, 1, vec![1.0; 5]), Event::Paused { step: 5 }]);
        assert!(paused.ends_with("paused at step 5"), "{paused}");
    }

    #[test]
    fn the_mean_of_a_resumed_epoch_is_of_the_known_batches() {
        let Event::RunStarted(mut start) = started() else { unreachable!() };
        start.continued_from = Some(50);
        let lines = lines([Event::RunStarted(start), steps(1, 51, vec![3.0; 50])]);
        assert!(lines.contains("from step 50"), "{lines}");
        assert!(lines.ends_with("epoch 1  batch 100/250  loss 3.0000  mean 3.0000  1000 images/s  ETA 25s"), "{lines}");
    }
}
