//! The way from the loop to the event log: steps are gathered, so that a fast device does not write a line a step.

use std::io;
use std::time::{Duration, Instant};

use super::backlog::{Backlog, Kept};
use super::rank_times::RankTimes;
use super::standing::Standing;
use super::step_result::StepResult;
use crate::run::event::{AlarmKind, Event, Record, RunStarted, StepsDone};
use crate::run::log::{EventLog, Interference, Room, now_ms};
use crate::run::step_time::StepTime;
use crate::run::system_sample::SystemSample;
use crate::system::{Sampler, Thinning};

/// At most ten lines of steps a second.
const STEPS_INTERVAL: Duration = Duration::from_millis(100);
/// Between two attempts to write what the log could not take.
pub const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Is shown every record.
pub type Reporter = Box<dyn FnMut(&Record) + Send>;

pub struct Recorder {
    log: EventLog,
    reporter: Reporter,
    standing: Standing,
    /// What another program did to the log, until the log tells it.
    untold: Option<Interference>,
    gathered: Option<StepsDone>,
    backlog: Backlog,
    /// When the backlog was last tried.
    last_retry: Instant,
    /// The step of the last record.
    step: u64,
    last_steps_written: Instant,
    sampler: Sampler,
    rank_times: RankTimes,
    thinning: Thinning,
    began: Instant,
}

impl Recorder {
    /// Begins with a trainer's start.
    ///
    /// # Errors
    /// The log cannot take it: training does not begin on a full disk.
    pub fn begin(
        mut log: EventLog,
        mut reporter: Reporter,
        sampler: Sampler,
        started: Box<RunStarted>,
    ) -> io::Result<Self> {
        reporter(&log.append(Event::RunStarted(started.clone()))?);
        Ok(Self {
            log,
            reporter,
            standing: Standing::new(started),
            untold: None,
            gathered: None,
            backlog: Backlog::new(),
            last_retry: Instant::now(),
            step: 0,
            last_steps_written: Instant::now(),
            sampler,
            rank_times: RankTimes::default(),
            thinning: Thinning::default(),
            began: Instant::now(),
        })
    }

    /// Records an event. One that the log cannot take is kept in memory until it can, and an alarm tells of it.
    pub fn record(&mut self, event: Event) {
        self.write_gathered_steps();
        self.write(event);
    }

    pub fn raise_alarm(&mut self, step: u64, kind: AlarmKind, message: String) {
        tracing::warn!("{}: {message}", kind.name());
        self.record(Event::AlarmRaised { step, kind, message });
    }

    /// Records a step; it is in the log after 100 ms, or before the next event of another kind.
    pub fn record_step(&mut self, result: &StepResult) {
        self.step = result.step;
        let gathered = self.gathered.get_or_insert_with(|| StepsDone {
            epoch: result.epoch,
            first_step: result.step,
            losses: vec![],
            gradient_norms: vec![],
            correct: 0,
            samples: 0,
            train_secs: 0.0,
            split_us: Some(StepTime::default()),
            learning_rate: None,
        });
        self.rank_times.add(result);
        gathered.losses.push(result.loss);
        gathered.gradient_norms.push(result.gradient_norm);
        gathered.correct += result.correct;
        gathered.samples += result.samples;
        gathered.train_secs += result.train_secs;
        gathered.learning_rate = result.moving_learning_rate;
        *gathered.split_us.get_or_insert_default() += result.time;
        if self.last_steps_written.elapsed() >= STEPS_INTERVAL {
            self.write_gathered_steps();
            self.record_system(result.step);
        }
    }

    /// Records what the machine is doing, where that was looked at and the log is to have it. To be called now and then where
    /// no steps come, as in an evaluation; between steps it waits for them to be written.
    pub fn record_system(&mut self, step: u64) {
        if self.gathered.is_none()
            && let Some(sample) = self.sampler.take()
        {
            let sample = SystemSample { ranks: self.rank_times.take(), ..sample };
            if let Some(sample) = self.thinning.add(self.began.elapsed(), sample) {
                self.write(Event::SystemSampled { step, sample: Box::new(sample) });
            }
        }
    }

    /// Puts the steps so far into the log, and the log on the disk: to be called before a checkpoint, so that a trainer
    /// that goes on from there never lacks a step before it. A full disk may take the checkpoint and not the log: then
    /// the steps are kept in memory.
    pub fn sync_to_disk(&mut self) {
        self.write_gathered_steps();
        self.retry_backlog();
        if let Err(error) = self.log.sync() {
            tracing::warn!("event log: {error}");
        }
    }

    /// Tries to write what the log could not take. To be called now and then where no events come, as in a pause.
    pub fn retry_backlog(&mut self) {
        self.last_retry = Instant::now();
        while let Some(record) = self.backlog.first() {
            let record = record.clone();
            if self.append(&record).is_err() {
                return;
            }
            if let Some((kept, time)) = self.backlog.remove_first() {
                self.alarm_of_log(describe_backlog(kept, time));
            }
        }
    }

    /// Whether the log has room for more.
    pub fn room(&self) -> Room {
        self.log.room()
    }

    /// Events that the log could not take to this day; to be asked when the run has ended.
    pub fn unwritten(&mut self) -> usize {
        let mended = self.log.mend_for_good().and_then(|found| {
            self.untold = found.or(self.untold.take());
            self.tell_interference()
        });
        if let Err(error) = mended {
            tracing::error!("event log: {error}");
        }
        self.retry_backlog();
        self.backlog.len()
    }

    fn write_gathered_steps(&mut self) {
        if let Some(steps) = self.gathered.take() {
            self.write(Event::StepsDone(steps));
            self.last_steps_written = Instant::now();
        }
    }

    /// Writes an event now, or when the log can take it.
    fn write(&mut self, event: Event) {
        let record = Record { time_ms: now_ms(), event };
        (self.reporter)(&record);
        if !self.backlog.is_empty() {
            // In their order.
            self.backlog.push(record);
            if self.last_retry.elapsed() >= RETRY_INTERVAL {
                self.retry_backlog();
            }
        } else if let Err(error) = self.append(&record) {
            self.last_retry = Instant::now();
            self.backlog.push(record);
            self.alarm_of_log(format!(
                "the event log cannot be written ({error}): events are kept in memory until it can be"
            ));
        }
    }

    /// Writes a record, after what another program did to the log.
    fn append(&mut self, record: &Record) -> io::Result<()> {
        self.untold = self.log.mend()?.or(self.untold.take());
        self.tell_interference()?;
        self.log.write(record)?;
        self.standing.note(&record.event);
        Ok(())
    }

    fn tell_interference(&mut self) -> io::Result<()> {
        let Some(interference) = &self.untold else { return Ok(()) };
        if let Interference::Cut { .. } = interference {
            for event in self.standing.events() {
                self.log.append(event)?;
            }
        }
        let (step, message) = (self.step, interference.to_string());
        tracing::error!("{message}");
        (self.reporter)(&self.log.append(Event::AlarmRaised { step, kind: AlarmKind::EventLog, message })?);
        self.untold = None;
        Ok(())
    }

    fn alarm_of_log(&mut self, message: String) {
        tracing::error!("{message}");
        self.write(Event::AlarmRaised { step: self.step, kind: AlarmKind::EventLog, message });
    }
}

/// What there is to say when the log can be written again.
fn describe_backlog(kept: Kept, time: Duration) -> String {
    let Kept { events, thinned_steps, dropped_events } = kept;
    let lost = match (thinned_steps, dropped_events) {
        (0, 0) => "none was lost".to_owned(),
        (steps, 0) => format!("too many: the losses of {steps} steps were thinned out"),
        (steps, events) => format!("too many: the losses of {steps} steps and {events} other events were lost"),
    };
    format!(
        "the event log can be written again: {events} events were kept in memory for {:.0} s, {lost}",
        time.as_secs_f64()
    )
}
