//! No improvement for long, or none to be had by a lower learning rate: for information.

use super::hysteresis::{Hysteresis, Level};

#[derive(Debug)]
pub struct Plateau {
    epochs: u32,
    /// Relative, as in the schedule.
    threshold: f64,
    /// The learning rate below which the schedule does not go, if it has one.
    floor: Option<f64>,
    best: f64,
    epochs_since: u32,
    hysteresis: Hysteresis,
}

impl Plateau {
    /// So many epochs without improvement are worth a word.
    pub fn new(epochs: u32, threshold: f64, floor: Option<f64>) -> Self {
        Self { epochs, threshold, floor, best: f64::INFINITY, epochs_since: 0, hysteresis: Hysteresis::default() }
    }

    /// Takes an epoch's test loss, and the learning rate of the next one; gives what there is to say.
    pub fn observe(&mut self, test_loss: f64, learning_rate: f64) -> Option<String> {
        if test_loss < self.best * (1.0 - self.threshold) || self.best.is_infinite() {
            (self.best, self.epochs_since) = (test_loss, 0);
        } else {
            self.epochs_since += 1;
        }
        let at_floor = self.floor.is_some_and(|floor| learning_rate <= floor);
        let level = match self.epochs_since {
            _ if at_floor => Level::Alarming,
            0 => Level::Calm,
            since if since >= self.epochs => Level::Alarming,
            _ => Level::Uneasy,
        };
        self.hysteresis.raises(level).then(|| {
            if at_floor {
                "the learning rate is at schedule.min_learning_rate: it will not be reduced any more".to_owned()
            } else {
                let (epochs, best) = (self.epochs_since, self.best);
                format!("the test loss has not improved on {best:.4} for {epochs} epochs (alarms.plateau_epochs)")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_until_the_loss_improves() {
        let mut detector = Plateau::new(2, 1e-4, None);
        let losses = [1.0, 0.9, 0.95, 0.91, 0.92, 0.8, 0.8, 0.79999, 0.85];
        let told = losses.map(|loss| detector.observe(loss, 0.1));
        let epochs: Vec<usize> = told.iter().enumerate().filter(|(_, told)| told.is_some()).map(|(i, _)| i).collect();
        assert_eq!(epochs, [3, 7]);
        assert!(told[3].as_ref().is_some_and(|told| told.contains("on 0.9000 for 2 epochs")), "{told:?}");
    }

    #[test]
    fn the_floor_of_the_schedule_is_told_when_it_is_reached() {
        let mut detector = Plateau::new(10, 1e-4, Some(0.01));
        assert_eq!((detector.observe(1.0, 0.1), detector.observe(0.9, 0.02)), (None, None));
        assert!(detector.observe(0.8, 0.01).is_some_and(|told| told.contains("min_learning_rate")));
        assert_eq!(detector.observe(0.7, 0.01), None);
    }
}
