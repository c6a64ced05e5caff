//! How quick each of the ranks is, over the steps since that was last told.

use super::step_result::StepResult;
use crate::ranks::Place;
use crate::run::system_sample::RankSample;

#[derive(Default)]
pub struct RankTimes {
    /// Of each rank; none of one process.
    computed: Vec<Computed>,
    /// Of the steps.
    secs: f64,
}

#[derive(Clone, Copy, Default)]
struct Computed {
    images: usize,
    secs: f64,
}

impl RankTimes {
    pub fn add(&mut self, step: &StepResult) {
        let size = step.rank_secs.len();
        self.computed.resize(size, Computed::default());
        for (rank, (computed, &secs)) in self.computed.iter_mut().zip(&step.rank_secs).enumerate() {
            computed.images += Place { rank, size }.share(step.samples as usize).images.len();
            computed.secs += f64::from(secs);
        }
        self.secs += step.train_secs;
    }

    /// Tells, and begins anew.
    pub fn take(&mut self) -> Vec<RankSample> {
        let Self { computed, secs } = std::mem::take(self);
        let tenths = |value: f64| (10.0 * value).round() / 10.0;
        let of_rank = |computed: Computed| RankSample {
            images_per_sec: tenths(computed.images as f64 / computed.secs.max(f64::MIN_POSITIVE)),
            computing_percent: tenths((100.0 * computed.secs / secs).clamp(0.0, 100.0)),
        };
        if secs > 0.0 { computed.into_iter().map(of_rank).collect() } else { vec![] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::step_time::StepTime;

    #[test]
    fn the_speed_of_a_rank_is_that_of_its_share() {
        let step = |samples, rank_secs: &[f32]| StepResult {
            epoch: 1,
            step: 1,
            loss: 1.0,
            gradient_norm: 1.0,
            correct: 0,
            samples,
            time: StepTime::default(),
            train_secs: 0.5,
            moving_learning_rate: None,
            rank_secs: rank_secs.to_vec(),
        };
        let mut times = RankTimes::default();
        assert_eq!(times.take(), []);
        times.add(&step(64, &[0.25, 0.5]));
        times.add(&step(33, &[0.25, 0.5]));
        let told = [
            RankSample { images_per_sec: 98.0, computing_percent: 50.0 },
            RankSample { images_per_sec: 48.0, computing_percent: 100.0 },
        ];
        assert_eq!(times.take(), told);
        assert_eq!(times.take(), []);
        times.add(&step(64, &[]));
        assert_eq!(times.take(), [], "one process");
    }
}
