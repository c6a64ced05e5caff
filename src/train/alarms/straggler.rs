//! One of the ranks takes much longer for its share of a step than the others, which wait for it.

use super::super::step_result::StepResult;
use super::detector::{Detector, Settings};
use super::hysteresis::{Hysteresis, Level};
use crate::run::log::Room;

pub fn detector(settings: &Settings) -> Option<Box<dyn Detector>> {
    let hosts: Vec<String> = settings.ranks.iter().map(|rank| rank.host.clone()).collect();
    (hosts.len() > 1).then(|| Box::new(Straggler::new(hosts)) as _)
}

/// Time of steps over which the ranks are compared: shorter lulls are none.
const WINDOW_SECS: f64 = 10.0;
/// How many times as long as the others, the median of them, is alarming; and is no longer calm.
const ALARMING: f64 = 1.5;
const UNEASY: f64 = 1.25;

struct Straggler {
    /// Of each rank.
    hosts: Vec<String>,
    /// What each rank computed, in this window.
    secs: Vec<f64>,
    steps: u64,
    window_secs: f64,
    hysteresis: Hysteresis,
}

impl Straggler {
    fn new(hosts: Vec<String>) -> Self {
        let secs = vec![0.0; hosts.len()];
        Self { hosts, secs, steps: 0, window_secs: 0.0, hysteresis: Hysteresis::default() }
    }

    fn observe(&mut self, rank_secs: &[f32], step_secs: f64) -> Option<String> {
        if rank_secs.len() != self.secs.len() {
            return None;
        }
        self.secs.iter_mut().zip(rank_secs).for_each(|(sum, &secs)| *sum += f64::from(secs));
        self.steps += 1;
        self.window_secs += step_secs;
        if self.window_secs < WINDOW_SECS {
            return None;
        }
        let millis: Vec<f64> = self.secs.iter().map(|secs| 1e3 * secs / self.steps as f64).collect();
        let hosts = std::mem::take(&mut self.hosts);
        *self = Self { hysteresis: self.hysteresis, ..Self::new(hosts) };
        let (slowest, &most) = millis.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        let mut others: Vec<f64> =
            millis.iter().enumerate().filter(|&(rank, _)| rank != slowest).map(|(_, ms)| *ms).collect();
        others.sort_by(f64::total_cmp);
        let usual = others[others.len() / 2];
        let level = match most / usual {
            times if times >= ALARMING => Level::Alarming,
            times if times >= UNEASY => Level::Uneasy,
            _ => Level::Calm,
        };
        self.hysteresis.raises(level).then(|| {
            format!(
                "rank {slowest} on {} computes {most:.1} ms a step, {:.1} times as long as the others ({usual:.1} ms), which wait for \
                 it",
                self.hosts[slowest],
                most / usual
            )
        })
    }
}

impl Detector for Straggler {
    fn after_step(&mut self, step: &StepResult, _room: Room) -> Option<String> {
        self.observe(&step.rank_secs, step.train_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said over so many seconds of steps of half a second.
    fn told(straggler: &mut Straggler, secs: u64, rank_secs: &[f32]) -> Vec<String> {
        (0..2 * secs).filter_map(|_| straggler.observe(rank_secs, 0.5)).collect()
    }

    #[test]
    fn the_slowest_is_named_once_and_again_after_it_was_as_quick_as_the_others() {
        let hosts = ["box1", "box1", "box2", "box2"].map(str::to_owned).to_vec();
        let mut straggler = Straggler::new(hosts);
        assert_eq!(told(&mut straggler, 30, &[0.2, 0.21, 0.22, 0.24]), [""; 0]);
        let slow = [0.2, 0.2, 0.2, 0.38];
        let said = told(&mut straggler, 60, &slow);
        let expected =
            "rank 3 on box2 computes 380.0 ms a step, 1.9 times as long as the others (200.0 ms), which wait for it";
        assert_eq!(said, [expected]);
        assert_eq!(told(&mut straggler, 20, &[0.2, 0.2, 0.2, 0.27]), [""; 0], "uneasy");
        assert_eq!(told(&mut straggler, 20, &slow), [""; 0], "it has not been calm");
        assert_eq!(told(&mut straggler, 20, &[0.2; 4]), [""; 0]);
        assert_eq!(told(&mut straggler, 20, &slow).len(), 1);
    }

    #[test]
    fn a_short_lull_and_two_ranks_alike_are_none() {
        let mut straggler = Straggler::new(vec!["a".to_owned(), "b".to_owned()]);
        told(&mut straggler, 8, &[0.2, 0.2]);
        assert_eq!(told(&mut straggler, 2, &[0.2, 0.5]), [""; 0]);
        assert_eq!(told(&mut straggler, 20, &[0.2, 0.2]), [""; 0]);
        assert_eq!(told(&mut straggler, 10, &[0.31, 0.2]).len(), 1);
    }
}
