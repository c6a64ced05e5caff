//! Which samples the log takes: all of them at first, fewer the longer a trainer runs.

use std::time::Duration;

use crate::run::system_sample::SystemSample;

/// Until then the log takes every sample.
const DENSE: Duration = Duration::from_secs(5 * 60);
/// Until then one in [`INTERVAL`], then one in [`LATE_INTERVAL`]: a day is two thousand lines.
const LATE: Duration = Duration::from_secs(60 * 60);
const INTERVAL: Duration = Duration::from_secs(10);
const LATE_INTERVAL: Duration = Duration::from_secs(60);

/// The samples since the one that the log took last.
#[derive(Debug, Default)]
pub struct Thinning {
    samples: Vec<SystemSample>,
    taken: Duration,
}

impl Thinning {
    /// Takes a sample, `at` so long after the trainer's start, and returns one for all since the last, if it is time.
    pub fn add(&mut self, at: Duration, sample: SystemSample) -> Option<SystemSample> {
        self.samples.push(sample);
        if at.saturating_sub(self.taken) < interval(at) {
            return None;
        }
        self.taken = at;
        let samples = std::mem::take(&mut self.samples);
        SystemSample::merged(&samples)
    }
}

fn interval(at: Duration) -> Duration {
    match at {
        _ if at < DENSE => Duration::ZERO,
        _ if at < LATE => INTERVAL,
        _ => LATE_INTERVAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::event::{Event, Record};
    use crate::run::log::with_checksum;
    use crate::run::system_sample::{CardSample, ThrottleReason};

    fn taken_in(secs: u64, sample: &SystemSample) -> Vec<SystemSample> {
        let mut thinning = Thinning::default();
        (1..=secs).filter_map(|second| thinning.add(Duration::from_secs(second), sample.clone())).collect()
    }

    #[test]
    fn every_second_at_first_and_every_minute_after_an_hour() {
        let counts = [60, 299, 300, 400, 3600, 4200].map(|secs| taken_in(secs, &SystemSample::default()).len());
        assert_eq!(counts, [60, 299, 299, 309, 629, 639]);
    }

    #[test]
    fn a_sample_stands_for_all_since_the_last() {
        let mut thinning = Thinning::default();
        let cpu = |percent| SystemSample { cpu_percent: Some(percent), ..SystemSample::default() };
        assert_eq!(thinning.add(Duration::from_secs(299), cpu(7.0)), Some(cpu(7.0)));
        for second in 300..309 {
            assert_eq!(thinning.add(Duration::from_secs(second), cpu(50.0)), None);
        }
        assert_eq!(thinning.add(Duration::from_secs(309), cpu(100.0)), Some(cpu(55.0)));
    }

    #[test]
    fn a_day_of_a_card_adds_about_a_megabyte() {
        let bytes = 85_899_345_920;
        let card = CardSample {
            name: Some("NVIDIA H100 80GB HBM3".into()),
            utilisation_percent: Some(97.2),
            memory_used_bytes: Some(bytes),
            memory_total_bytes: Some(bytes),
            power_watts: Some(512.3),
            power_limit_watts: Some(700.0),
            temperature_celsius: Some(61),
            sm_clock_mhz: Some(1980),
            memory_clock_mhz: Some(2619),
            throttle_reasons: Some(vec![ThrottleReason::PowerCap]),
        };
        let sample = SystemSample {
            resident_bytes: Some(612_000_000),
            trainer_cpu_percent: Some(187.2),
            cpu_percent: Some(93.1),
            memory_used_bytes: Some(bytes),
            memory_total_bytes: Some(bytes),
            disk_free_bytes: Some(1_234_567_890_123),
            card: Some(card),
            ranks: vec![],
        };
        let line_bytes = |sample| {
            let event = Event::SystemSampled { step: 100_000, sample: Box::new(sample) };
            with_checksum(&Record { time_ms: 1_795_542_762_872, event }).unwrap().len()
        };
        let day: usize = taken_in(24 * 3600, &sample).into_iter().map(line_bytes).sum();
        assert!((500_000..1_300_000).contains(&day), "{day}");
    }
}
