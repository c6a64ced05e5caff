//! When the steps of a run were taken, and how fast: an entry for each line of steps in its log, for several where they are
//! many.

use super::step_time::Breakdown;

/// Entries are merged in pairs when there are this many: more than any screen has columns.
const MOST_ENTRIES: usize = 1 << 16;

/// Some steps in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    pub last_step: u64,
    /// How many, up to and including the last.
    pub steps: u64,
    /// Time spent on the run when the last was done, pauses excluded.
    pub elapsed_secs: f64,
    /// The same by the clock: Unix, in milliseconds.
    pub time_ms: u64,
    /// Time spent in these steps alone.
    pub train_secs: f64,
    pub samples: u64,
    /// Of the last step, as far as it is known.
    pub learning_rate: Option<f64>,
    /// Lines of the log.
    lines: u32,
}

impl Entry {
    /// `taken`: what the steps of a line in the log took.
    pub fn new(last_step: u64, elapsed_secs: f64, time_ms: u64, taken: &Breakdown, learning_rate: Option<f64>) -> Self {
        Self {
            last_step,
            steps: taken.steps as u64,
            elapsed_secs,
            time_ms,
            train_secs: taken.total_secs,
            samples: taken.samples as u64,
            learning_rate,
            lines: 1,
        }
    }

    pub fn step_millis(&self) -> Option<f64> {
        let millis = 1e3 * self.train_secs / self.steps as f64;
        (millis.is_finite() && millis > 0.0).then_some(millis)
    }

    pub fn images_per_sec(&self) -> Option<f64> {
        let rate = self.samples as f64 / self.train_secs;
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }

    fn merge(&mut self, later: &Self) {
        *self = Self {
            steps: self.steps.saturating_add(later.steps),
            train_secs: self.train_secs + later.train_secs,
            samples: self.samples.saturating_add(later.samples),
            lines: self.lines.saturating_add(later.lines),
            ..*later
        };
    }
}

/// When a step was done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Time spent on the run, pauses excluded.
    pub elapsed_secs: f64,
    /// Unix.
    pub time_ms: u64,
}

#[derive(Clone, Debug)]
pub struct StepClock {
    /// In the order of their steps.
    entries: Vec<Entry>,
    lines_per_entry: u32,
}

impl Default for StepClock {
    fn default() -> Self {
        Self { entries: Vec::new(), lines_per_entry: 1 }
    }
}

impl StepClock {
    /// Its steps come after all others.
    pub fn push(&mut self, entry: Entry) {
        match self.entries.last_mut() {
            Some(last) if last.lines < self.lines_per_entry => last.merge(&entry),
            _ => self.entries.push(entry),
        }
        if self.entries.len() == MOST_ENTRIES {
            let merged = self.entries.chunks(2).map(|pair| {
                let mut merged = pair[0];
                pair[1..].iter().for_each(|later| merged.merge(later));
                merged
            });
            self.entries = merged.collect();
            self.lines_per_entry *= 2;
        }
    }

    /// Forgets the steps after `step`.
    pub fn truncate(&mut self, step: u64) {
        let whole = self.entries.partition_point(|entry| entry.last_step <= step);
        let begun =
            self.entries.get(whole).filter(|entry| entry.last_step.saturating_sub(entry.steps) < step).map(|entry| {
                let Moment { elapsed_secs, time_ms } = self.at(step);
                let steps = entry.steps - (entry.last_step - step);
                let share = steps as f64 / entry.steps as f64;
                let samples = (entry.samples as f64 * share).round() as u64;
                Entry {
                    last_step: step,
                    steps,
                    elapsed_secs,
                    time_ms,
                    train_secs: entry.train_secs * share,
                    samples,
                    ..*entry
                }
            });
        self.entries.truncate(whole);
        self.entries.extend(begun);
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// When that step was done. Before the first entry: when its steps began; after the last: at its end.
    pub fn at(&self, step: u64) -> Moment {
        let index = self.entries.partition_point(|entry| entry.last_step < step);
        let Some(entry) = self.entries.get(index) else {
            return self.entries.last().map_or_else(Moment::default, |last| Moment {
                elapsed_secs: last.elapsed_secs,
                time_ms: last.time_ms,
            });
        };
        let steps_after = entry.last_step.saturating_sub(step).min(entry.steps) as f64;
        let secs_after = if entry.steps == 0 {
            0.0
        } else {
            (entry.elapsed_secs - self.start_secs(index)) * steps_after / entry.steps as f64
        };
        Moment {
            elapsed_secs: entry.elapsed_secs - secs_after,
            time_ms: entry.time_ms.saturating_sub((1e3 * secs_after).round() as u64),
        }
    }

    /// The last step that was done by then.
    pub fn step_at(&self, elapsed_secs: f64) -> u64 {
        let index = self.entries.partition_point(|entry| entry.elapsed_secs < elapsed_secs);
        let Some(entry) = self.entries.get(index) else {
            return self.entries.last().map_or(0, |last| last.last_step);
        };
        let start = self.start_secs(index);
        let share = ((elapsed_secs - start) / (entry.elapsed_secs - start)).clamp(0.0, 1.0);
        let done = if share.is_nan() { entry.steps } else { (share * entry.steps as f64) as u64 };
        entry.last_step.saturating_sub(entry.steps - done.min(entry.steps))
    }

    /// The last step that was done by that time of the clock: Unix, in milliseconds.
    pub fn step_by(&self, time_ms: u64) -> u64 {
        let done = self.entries.partition_point(|entry| entry.time_ms <= time_ms);
        done.checked_sub(1).map_or(0, |last| self.entries[last].last_step)
    }

    /// When the steps of an entry began: what passed before them went elsewhere, such as into evaluation.
    fn start_secs(&self, index: usize) -> f64 {
        let entry = &self.entries[index];
        let before = index.checked_sub(1).map_or(0.0, |before| self.entries[before].elapsed_secs);
        // What the log says of times may be nonsense.
        (entry.elapsed_secs - entry.train_secs.max(0.0)).max(before).min(entry.elapsed_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `steps` steps and as many halves of a second, done then.
    fn entry(last_step: u64, steps: u64, elapsed_secs: f64) -> Entry {
        let taken = Breakdown {
            steps: steps as f64,
            samples: 64.0 * steps as f64,
            total_secs: 0.5 * steps as f64,
            ..Breakdown::default()
        };
        Entry::new(last_step, elapsed_secs, 1_000_000 + (1e3 * elapsed_secs) as u64, &taken, Some(0.1))
    }

    fn clock(entries: impl IntoIterator<Item = Entry>) -> StepClock {
        let mut clock = StepClock::default();
        entries.into_iter().for_each(|entry| clock.push(entry));
        clock
    }

    #[test]
    fn the_time_of_other_things_is_not_that_of_steps() {
        // Between the two an evaluation of eight seconds.
        let clock = clock([entry(4, 4, 2.0), entry(8, 4, 12.0)]);
        let secs = [0, 2, 4, 5, 8, 9].map(|step| clock.at(step).elapsed_secs);
        assert_eq!(secs, [0.0, 1.0, 2.0, 10.5, 12.0, 12.0]);
        assert_eq!(clock.at(6).time_ms, 1_011_000);
        assert_eq!([0.0, 1.0, 2.0, 7.0, 11.0, 12.0, 99.0].map(|secs| clock.step_at(secs)), [0, 2, 4, 4, 6, 8, 8]);
        assert_eq!([999_999, 1_002_000, 1_011_999, 1_012_000].map(|time_ms| clock.step_by(time_ms)), [0, 4, 4, 8]);
        assert_eq!((clock.entries()[1].step_millis(), clock.entries()[1].images_per_sec()), (Some(500.0), Some(128.0)));
    }

    #[test]
    fn entries_are_bounded_and_tell_the_same() {
        let clock = clock((1..=1_000_000).map(|step| entry(step, 1, 0.5 * step as f64)));
        assert!((MOST_ENTRIES / 2..MOST_ENTRIES).contains(&clock.entries().len()), "{}", clock.entries().len());
        for step in [1, 77, 499_999, 1_000_000] {
            assert!((clock.at(step).elapsed_secs - 0.5 * step as f64).abs() < 1e-6);
            assert_eq!(clock.step_at(0.5 * step as f64), step);
        }
        assert!(clock.entries().iter().all(|entry| entry.step_millis() == Some(500.0)));
        assert_eq!(clock.entries().iter().map(|entry| entry.steps).sum::<u64>(), 1_000_000);
    }

    #[test]
    fn truncating_cuts_an_entry() {
        let mut clock = clock([entry(4, 4, 2.0), entry(8, 4, 12.0)]);
        clock.truncate(6);
        assert_eq!(clock.entries(), [entry(4, 4, 2.0), entry(6, 2, 11.0)]);
        clock.truncate(4);
        assert_eq!(clock.entries(), [entry(4, 4, 2.0)]);
        clock.truncate(0);
        assert_eq!((clock.entries().len(), clock.at(3), clock.step_at(3.0)), (0, Moment::default(), 0));
    }
}
