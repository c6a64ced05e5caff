//! The way from the loop to the event log: steps are gathered, so that a fast device does not write a line a step.

use std::io;
use std::time::{Duration, Instant};

use crate::run::event::{Event, Record, StepsDone};
use crate::run::log::EventLog;
use crate::run::step_time::StepTime;

/// At most ten lines of steps a second.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// What one optimizer step did.
pub struct StepResult {
    pub epoch: u64,
    pub step: u64,
    pub loss: f32,
    pub gradient_norm: f32,
    pub correct: u64,
    pub examples: u64,
    pub time: StepTime,
    /// All of the step.
    pub train_secs: f64,
}

pub struct Recorder {
    log: EventLog,
    /// Is shown every record after it is in the log.
    reporter: Box<dyn FnMut(&Record) + Send>,
    gathered: Option<StepsDone>,
    last_flush: Instant,
    last_sample: Option<Instant>,
}

impl Recorder {
    pub fn new(log: EventLog, reporter: impl FnMut(&Record) + Send + 'static) -> Self {
        Self { log, reporter: Box::new(reporter), gathered: None, last_flush: Instant::now(), last_sample: None }
    }

    pub fn record(&mut self, event: Event) -> io::Result<()> {
        self.flush()?;
        self.append(event)
    }

    /// Takes a step; it is in the log after 100 ms, or before the next event of another kind.
    pub fn step(&mut self, result: StepResult) -> io::Result<()> {
        let gathered = self.gathered.get_or_insert_with(|| StepsDone {
            epoch: result.epoch,
            first_step: result.step,
            losses: vec![],
            gradient_norms: vec![],
            correct: 0,
            examples: 0,
            train_secs: 0.0,
            split_us: Some(StepTime::default()),
        });
        gathered.losses.push(result.loss);
        gathered.gradient_norms.push(result.gradient_norm);
        gathered.correct += result.correct;
        gathered.examples += result.examples;
        gathered.train_secs += result.train_secs;
        *gathered.split_us.get_or_insert_default() += result.time;
        if self.last_flush.elapsed() >= FLUSH_INTERVAL {
            self.flush()?;
            self.sample_system(result.step)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(steps) = self.gathered.take() {
            self.append(Event::StepsDone(steps))?;
            self.last_flush = Instant::now();
        }
        Ok(())
    }

    fn append(&mut self, event: Event) -> io::Result<()> {
        let record = self.log.append(event)?;
        (self.reporter)(&record);
        Ok(())
    }

    fn sample_system(&mut self, step: u64) -> io::Result<()> {
        if self.last_sample.is_some_and(|last| last.elapsed() < SAMPLE_INTERVAL) {
            return Ok(());
        }
        self.last_sample = Some(Instant::now());
        match resident_bytes() {
            Some(resident_bytes) => self.append(Event::SystemSampled { step, resident_bytes }),
            None => Ok(()),
        }
    }
}

/// Memory of this process, where the system tells it (Linux).
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
