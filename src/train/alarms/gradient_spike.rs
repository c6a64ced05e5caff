//! A gradient many times as large as the ones before it.

use std::collections::VecDeque;

use super::super::step_result::StepResult;
use super::detector::{Detector, Settings};
use super::hysteresis::{Hysteresis, Level};
use crate::run::log::Room;

pub fn detector(settings: &Settings) -> Option<Box<dyn Detector>> {
    let factor = settings.config.alarms.gradient_spike;
    (factor > 0.0).then(|| Box::new(GradientSpike::new(factor)) as _)
}

/// Steps whose median is the usual norm.
const MEMORY: usize = 200;
/// Steps that make a median, and that must be calm before the next alarm.
const FEW: usize = 50;

struct GradientSpike {
    factor: f64,
    norms: VecDeque<f32>,
    calm_steps: usize,
    hysteresis: Hysteresis,
}

impl GradientSpike {
    /// `factor` times the median is a spike.
    fn new(factor: f64) -> Self {
        Self { factor, norms: VecDeque::new(), calm_steps: 0, hysteresis: Hysteresis::default() }
    }

    fn observe(&mut self, norm: f32) -> Option<String> {
        let median = (self.norms.len() >= FEW).then(|| self.median()).filter(|&median| median > 0.0);
        if self.norms.len() == MEMORY {
            self.norms.pop_front();
        }
        self.norms.push_back(norm);
        let median = median?;
        let times = f64::from(norm) / median;
        self.calm_steps = if times > self.factor { 0 } else { self.calm_steps + 1 };
        let level = match self.calm_steps {
            0 => Level::Alarming,
            FEW.. => Level::Calm,
            _ => Level::Uneasy,
        };
        self.hysteresis.raises(level).then(|| {
            format!("the gradient norm is {norm:.3}, {times:.0} times the {median:.3} that were usual (alarms.gradient_spike)")
        })
    }

    fn median(&self) -> f64 {
        let mut norms: Vec<f32> = self.norms.iter().copied().collect();
        let middle = norms.len() / 2;
        f64::from(*norms.select_nth_unstable_by(middle, f32::total_cmp).1)
    }
}

impl Detector for GradientSpike {
    fn after_step(&mut self, step: &StepResult, _room: Room) -> Option<String> {
        self.observe(step.gradient_norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_is_told_once_and_the_next_after_fifty_calm_steps() {
        let mut detector = GradientSpike::new(10.0);
        let usual = |step: usize| if step.is_multiple_of(2) { 1.9 } else { 2.1 };
        for step in 0..60 {
            assert_eq!(detector.observe(usual(step)), None);
        }
        let told = detector.observe(45.0).expect("an alarm");
        assert_eq!(told, "the gradient norm is 45.000, 21 times the 2.100 that were usual (alarms.gradient_spike)");
        assert_eq!((detector.observe(50.0), detector.observe(2.0), detector.observe(30.0)), (None, None, None));
        for step in 0..50 {
            assert_eq!(detector.observe(usual(step)), None);
        }
        assert!(detector.observe(45.0).is_some());
    }

    #[test]
    fn too_few_steps_have_no_median_and_growth_is_no_spike() {
        let mut detector = GradientSpike::new(10.0);
        assert!((0..50).all(|step| detector.observe(if step == 20 { 1000.0 } else { 1.0 }).is_none()));
        let mut detector = GradientSpike::new(10.0);
        assert!((0..2000).all(|step| detector.observe(1.01f32.powi(step)).is_none()));
    }
}
