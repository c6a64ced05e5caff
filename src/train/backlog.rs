//! Events that the log cannot take while the disk is full: kept in memory, within bounds, until it can.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::run::event::{Event, Record};

/// Some hours of events. Beyond, steps are thinned out.
const MAX_BYTES: usize = 16 << 20;

pub struct Backlog {
    max_bytes: usize,
    records: VecDeque<Record>,
    /// Roughly what they take.
    bytes: usize,
    /// Of this many events of steps in a row, only the first is kept.
    stride: usize,
    /// Events of steps so far.
    step_events: usize,
    since: Instant,
    kept: Kept,
}

/// What became of the events that were kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub events: usize,
    /// Optimizer steps whose losses were thinned out.
    pub thinned_steps: usize,
    /// Events of other kinds that were dropped, the oldest first.
    pub dropped_events: usize,
}

impl Backlog {
    pub fn new() -> Self {
        Self::within(MAX_BYTES)
    }

    fn within(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            records: VecDeque::new(),
            bytes: 0,
            stride: 1,
            step_events: 0,
            since: Instant::now(),
            kept: Kept::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn push(&mut self, record: Record) {
        if self.records.is_empty() {
            *self = Self::within(self.max_bytes);
        }
        self.kept.events += 1;
        if let Event::StepsDone(steps) = &record.event {
            self.step_events += 1;
            if !(self.step_events - 1).is_multiple_of(self.stride) {
                self.kept.thinned_steps += steps.losses.len();
                return;
            }
        }
        self.bytes += size(&record);
        self.records.push_back(record);
        if self.bytes > self.max_bytes {
            self.thin_out();
        }
    }

    /// The oldest.
    pub fn first(&self) -> Option<&Record> {
        self.records.front()
    }

    /// Removes the oldest, which is in the log now. After the last one, returns what was kept and for how long.
    pub fn remove_first(&mut self) -> Option<(Kept, Duration)> {
        if let Some(record) = self.records.pop_front() {
            self.bytes -= size(&record);
        }
        self.records.is_empty().then(|| (self.kept, self.since.elapsed()))
    }

    /// Drops every second event of steps, from now on too: the curve keeps its shape. Only where that is not enough, the
    /// oldest go.
    fn thin_out(&mut self) {
        let (mut dropped, records) = (true, self.records.len());
        self.records.retain(|record| {
            let Event::StepsDone(steps) = &record.event else { return true };
            dropped = !dropped;
            if dropped {
                self.bytes -= size(record);
                self.kept.thinned_steps += steps.losses.len();
            }
            !dropped
        });
        if self.records.len() < records {
            self.stride *= 2;
        }
        while self.bytes > self.max_bytes
            && let Some(record) = self.records.pop_front()
        {
            self.bytes -= size(&record);
            match record.event {
                Event::StepsDone(steps) => self.kept.thinned_steps += steps.losses.len(),
                _ => self.kept.dropped_events += 1,
            }
        }
    }
}

/// Bytes that a record takes, about.
fn size(record: &Record) -> usize {
    let further = match &record.event {
        Event::StepsDone(steps) => size_of_val(steps.losses.as_slice()) + size_of_val(steps.gradient_norms.as_slice()),
        // With its confusion matrix and mistakes.
        Event::EpochDone(_) => 2048,
        Event::AlarmRaised { message, .. } | Event::RunEnded { message, .. } => message.len(),
        // Names, and what a few images are taken for.
        _ => 1024,
    };
    size_of::<Record>() + further
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::StepsDone;

    fn steps(first_step: u64) -> Record {
        let event = Event::StepsDone(StepsDone {
            first_step,
            losses: vec![1.0; 10],
            correct: 0,
            samples: 640,
            train_secs: 0.1,
            ..StepsDone::example()
        });
        Record { time_ms: first_step, event }
    }

    fn paused(step: u64) -> Record {
        Record { time_ms: step, event: Event::Paused { step } }
    }

    #[test]
    fn what_fits_comes_back_in_order() {
        let mut backlog = Backlog::new();
        (0..100).for_each(|i| backlog.push(steps(1 + 10 * i)));
        for i in 0..100 {
            assert_eq!(backlog.first(), Some(&steps(1 + 10 * i)));
            let kept = backlog.remove_first().map(|(kept, _)| kept);
            assert_eq!(kept, (i == 99).then_some(Kept { events: 100, ..Kept::default() }));
        }
        assert_eq!((backlog.len(), backlog.bytes), (0, 0));
    }

    #[test]
    fn beyond_the_bound_steps_are_thinned_out_and_nothing_else() {
        let bound = 100 * size(&steps(1));
        let mut backlog = Backlog::within(bound);
        backlog.push(paused(0));
        for i in 0..1000 {
            backlog.push(steps(1 + 10 * i));
            assert!(backlog.bytes <= bound);
        }
        assert_eq!(backlog.first(), Some(&paused(0)));
        let left = backlog.len() - 1;
        assert!((50..=100).contains(&left), "{left}");
        assert_eq!(backlog.kept, Kept { events: 1001, thinned_steps: 10 * (1000 - left), dropped_events: 0 });
        // What is left is spread over the whole time.
        let times: Vec<u64> = backlog.records.iter().skip(1).map(|record| record.time_ms).collect();
        assert_eq!(times, (0..left as u64).map(|i| 1 + 160 * i).collect::<Vec<_>>());
        assert_eq!(backlog.stride, 16);
    }

    #[test]
    fn events_of_other_kinds_are_bounded_too() {
        let mut backlog = Backlog::within(100 * size(&paused(0)));
        (0..1000).for_each(|step| backlog.push(paused(step)));
        assert_eq!((backlog.len(), backlog.first()), (100, Some(&paused(900))));
        assert_eq!(backlog.kept, Kept { events: 1000, thinned_steps: 0, dropped_events: 900 });
    }
}
