//! The learning rate of the configuration, at every step.

#[derive(Clone, Debug)]
pub struct Constant {
    learning_rate: f64,
}

impl Constant {
    pub fn new(learning_rate: f64) -> Self {
        Self { learning_rate }
    }

    pub fn at(&self) -> f64 {
        self.learning_rate
    }
}
