//! The samples of a run's machine, within bounds: the latest as they are, the whole run in intervals of equal time, and the
//! energy of its training.

use std::collections::VecDeque;

use super::system_sample::{Metric, SystemSample};

/// More than any screen has columns.
const RECENT_SAMPLES: usize = 512;
/// The whole run is halved when it has this many intervals: more than any graph has columns.
const INTERVALS: usize = 2048;

#[derive(Clone, Debug, Default)]
pub struct SystemHistory {
    recent: VecDeque<Recent>,
    /// Unix, in milliseconds.
    latest_ms: u64,
    whole: WholeRun,
    energy: Energy,
}

#[derive(Clone, Debug)]
struct Recent {
    /// Time spent on the run until then.
    active_secs: f64,
    sample: SystemSample,
}

impl SystemHistory {
    /// `active_secs`: time spent on the run until then.
    pub fn push(&mut self, time_ms: u64, active_secs: f64, sample: &SystemSample) {
        self.latest_ms = time_ms;
        self.whole.push(active_secs, Metric::ALL.map(|metric| metric.of(sample)));
        self.energy.spend(Metric::CardPower.of(sample));
        if self.recent.len() == RECENT_SAMPLES {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { active_secs, sample: sample.clone() });
    }

    /// Steps were taken since the last sample.
    pub fn add_steps(&mut self, train_secs: f64, samples: u64) {
        self.energy.add_steps(train_secs, samples);
    }

    /// A trainer begins: what no sample followed has no power.
    pub fn start(&mut self) {
        self.energy.spend(None);
    }

    pub fn latest(&self) -> Option<&SystemSample> {
        self.recent.back().map(|recent| &recent.sample)
    }

    /// Unix, in milliseconds.
    pub fn latest_ms(&self) -> u64 {
        self.latest_ms
    }

    /// The last samples, the latest at the end; None where one does not tell.
    pub fn recent(&self, metric: Metric, count: usize) -> Vec<Option<f64>> {
        let skipped = self.recent.len().saturating_sub(count);
        self.recent.iter().skip(skipped).map(|recent| metric.of(&recent.sample)).collect()
    }

    /// (time spent on the run in seconds, value), oldest first: the last samples as they are, and before them the means of
    /// intervals of equal time.
    pub fn points(&self, metric: Metric) -> Vec<(f64, f64)> {
        let recent_secs = self.recent.front().map_or(0.0, |first| first.active_secs);
        let size = self.whole.interval_secs;
        let intervals = self.whole.intervals.iter().zip(1..).filter_map(|(interval, number)| {
            Some((size * f64::from(number) - size / 2.0, interval[metric as usize].value()?))
        });
        let intervals = intervals.take_while(|point| point.0 + size / 2.0 <= recent_secs);
        let recent = self.recent.iter().filter_map(|recent| Some((recent.active_secs, metric.of(&recent.sample)?)));
        intervals.chain(recent).collect()
    }

    /// The whole run in at most `count` intervals of equal time.
    pub fn whole_run(&self, metric: Metric, count: usize) -> Vec<Option<f64>> {
        let intervals = &self.whole.intervals;
        let size = intervals.len().div_ceil(count.max(1)).max(1);
        let mean_of =
            |some: &[Interval]| Mean::of(some.iter().filter_map(|interval| interval[metric as usize].value()));
        intervals.chunks(size).map(|some| mean_of(some).value()).collect()
    }

    /// Energy of the card for each image that was trained on, where its power is known: power times the time of training
    /// steps, without evaluation, pauses and saving, and without the rest of the machine.
    pub fn joules_per_image(&self) -> Option<f64> {
        let joules = self.energy.joules / self.energy.samples as f64;
        joules.is_finite().then_some(joules)
    }
}

#[derive(Clone, Debug, Default)]
struct Energy {
    joules: f64,
    samples: u64,
    /// Since the last sample.
    open_secs: f64,
    open_samples: u64,
}

impl Energy {
    fn add_steps(&mut self, train_secs: f64, samples: u64) {
        self.open_secs += train_secs;
        self.open_samples = self.open_samples.saturating_add(samples);
    }

    fn spend(&mut self, power_watts: Option<f64>) {
        let (secs, samples) = (std::mem::take(&mut self.open_secs), std::mem::take(&mut self.open_samples));
        if let Some(watts) = power_watts {
            self.joules += watts * secs;
            self.samples = self.samples.saturating_add(samples);
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    total: f64,
    count: u32,
}

impl Mean {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut mean = Self::default();
        mean.add(values);
        mean
    }

    fn add(&mut self, values: impl IntoIterator<Item = f64>) {
        for value in values {
            self.total += value;
            self.count += 1;
        }
    }

    fn value(self) -> Option<f64> {
        (self.count > 0).then(|| self.total / f64::from(self.count))
    }
}

type Interval = [Mean; Metric::ALL.len()];

#[derive(Clone, Debug)]
struct WholeRun {
    interval_secs: f64,
    intervals: Vec<Interval>,
}

impl Default for WholeRun {
    fn default() -> Self {
        Self { interval_secs: 1.0, intervals: Vec::new() }
    }
}

impl WholeRun {
    /// Values hold for the time since the ones before.
    fn push(&mut self, active_secs: f64, values: [Option<f64>; Metric::ALL.len()]) {
        while active_secs / self.interval_secs >= INTERVALS as f64 {
            self.interval_secs *= 2.0;
            self.intervals = self.intervals.chunks(2).map(merged).collect();
        }
        let index = (active_secs / self.interval_secs) as usize;
        if self.intervals.len() <= index {
            self.intervals.resize(index + 1, values.map(Mean::of));
        } else if let Some(last) = self.intervals.last_mut() {
            last.iter_mut().zip(values).for_each(|(mean, value)| mean.add(value));
        }
    }
}

fn merged(pair: &[Interval]) -> Interval {
    std::array::from_fn(|metric| Mean::of(pair.iter().filter_map(|interval| interval[metric].value())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::system_sample::CardSample;

    fn cpu(percent: f64) -> SystemSample {
        SystemSample { cpu_percent: Some(percent), ..SystemSample::default() }
    }

    fn power(watts: Option<f64>) -> SystemSample {
        let card = CardSample { power_watts: watts, ..CardSample::default() };
        SystemSample { card: Some(card), ..SystemSample::default() }
    }

    #[test]
    fn the_last_samples_are_bounded() {
        let mut history = SystemHistory::default();
        assert_eq!((history.latest(), history.recent(Metric::Cpu, 9)), (None, vec![]));
        for second in 0..2000 {
            history.push(second, second as f64, &cpu(second as f64));
        }
        assert_eq!(history.recent.len(), RECENT_SAMPLES);
        assert_eq!(history.recent(Metric::Cpu, 2), [Some(1998.0), Some(1999.0)]);
        assert_eq!(history.recent(Metric::CardPower, 2), [None, None]);
        assert_eq!((history.latest(), history.latest_ms()), (Some(&cpu(1999.0)), 1999));
    }

    #[test]
    fn the_whole_run_is_in_intervals_of_equal_time_however_dense_its_samples_are() {
        let mut history = SystemHistory::default();
        for second in 0..1000 {
            history.push(0, second as f64, &cpu(20.0));
        }
        for minute in 0..50 {
            history.push(0, 1000.0 + 60.0 * f64::from(minute), &cpu(60.0));
        }
        let whole = history.whole_run(Metric::Cpu, 40);
        assert!(whole.len() <= 40 && history.whole.intervals.len() <= INTERVALS, "{whole:?}");
        let low = whole.iter().filter(|value| value.is_some_and(|value| value < 40.0)).count();
        assert!((whole.len() * 2 / 10..=whole.len() * 3 / 10).contains(&low), "a quarter of the time: {whole:?}");
        assert!(history.whole_run(Metric::CardPower, 40).iter().all(Option::is_none));
        assert_eq!(history.whole_run(Metric::Cpu, 0).len(), 1);
    }

    #[test]
    fn no_time_is_too_long() {
        let mut history = SystemHistory::default();
        for secs in [0.0, 1.0, u64::MAX as f64, 5.0] {
            history.push(0, secs, &cpu(50.0));
        }
        assert!(history.whole.intervals.len() <= INTERVALS);
    }

    #[test]
    fn energy_is_power_by_the_time_of_steps() {
        let mut history = SystemHistory::default();
        assert_eq!(history.joules_per_image(), None);
        history.add_steps(0.5, 100);
        history.push(0, 0.0, &power(Some(200.0)));
        history.add_steps(0.5, 100);
        history.push(0, 0.0, &power(Some(400.0)));
        assert_eq!(history.joules_per_image(), Some(1.5));
        // Neither their time nor their images count.
        history.add_steps(9.0, 5000);
        history.push(0, 0.0, &power(None));
        history.add_steps(9.0, 5000);
        history.start();
        history.push(0, 0.0, &power(Some(900.0)));
        assert_eq!(history.joules_per_image(), Some(1.5));
    }
}
