//! What is measured of a run, as it is called in commands, files and titles.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::system_sample::Metric as SystemMetric;
use crate::suggest;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Of each step, as are gradient norms.
    BatchLoss,
    GradientNorm,
    /// Of the steps of a line in the log, as are step time and throughput.
    LearningRate,
    StepTime,
    Throughput,
    /// Of each epoch, as are all losses and accuracies below.
    TrainLoss,
    TestLoss,
    TrainAccuracy,
    TestAccuracy,
    /// Of the machine, now and then.
    System(SystemMetric),
}

/// Which of two values one would rather have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
    Neither,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no metric {name}{}; the metrics are {}", did_you_mean(nearest), all_names())]
pub struct UnknownMetric {
    pub name: String,
    pub nearest: Option<&'static str>,
}

impl Metric {
    pub const ALL: [Self; 14] = [
        Self::BatchLoss,
        Self::GradientNorm,
        Self::LearningRate,
        Self::StepTime,
        Self::Throughput,
        Self::TrainLoss,
        Self::TestLoss,
        Self::TrainAccuracy,
        Self::TestAccuracy,
        Self::System(SystemMetric::Cpu),
        Self::System(SystemMetric::Memory),
        Self::System(SystemMetric::CardUtilisation),
        Self::System(SystemMetric::CardMemory),
        Self::System(SystemMetric::CardPower),
    ];

    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// In commands and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::BatchLoss => "batch_loss",
            Self::GradientNorm => "gradient_norm",
            Self::LearningRate => "learning_rate",
            Self::StepTime => "step_time",
            Self::Throughput => "throughput",
            Self::TrainLoss => "train_loss",
            Self::TestLoss => "test_loss",
            Self::TrainAccuracy => "train_accuracy",
            Self::TestAccuracy => "test_accuracy",
            Self::System(SystemMetric::Cpu) => "cpu",
            Self::System(SystemMetric::Memory) => "memory",
            Self::System(SystemMetric::CardUtilisation) => "gpu",
            Self::System(SystemMetric::CardMemory) => "gpu_memory",
            Self::System(SystemMetric::CardPower) => "gpu_power",
        }
    }

    /// On screens and in plots, without the unit.
    pub fn title(self) -> &'static str {
        match self {
            Self::BatchLoss => "Batch Loss",
            Self::GradientNorm => "Gradient Norm",
            Self::LearningRate => "Learning Rate",
            Self::StepTime => "Step Time",
            Self::Throughput => "Throughput",
            Self::TrainLoss => "Train Loss",
            Self::TestLoss => "Test Loss",
            Self::TrainAccuracy => "Train Accuracy",
            Self::TestAccuracy => "Test Accuracy",
            Self::System(SystemMetric::Cpu) => "CPU",
            Self::System(SystemMetric::Memory) => "Memory",
            Self::System(SystemMetric::CardUtilisation) => "GPU",
            Self::System(SystemMetric::CardMemory) => "GPU Memory",
            Self::System(SystemMetric::CardPower) => "GPU Power",
        }
    }

    /// Empty where it has none.
    pub fn unit(self) -> &'static str {
        match self {
            Self::BatchLoss | Self::GradientNorm | Self::LearningRate | Self::TrainLoss | Self::TestLoss => "",
            Self::StepTime => "ms",
            Self::Throughput => "images/s",
            Self::TrainAccuracy | Self::TestAccuracy => "%",
            Self::System(SystemMetric::Cpu | SystemMetric::CardUtilisation) => "%",
            Self::System(SystemMetric::Memory | SystemMetric::CardMemory) => "B",
            Self::System(SystemMetric::CardPower) => "W",
        }
    }

    pub fn better(self) -> Better {
        match self {
            Self::BatchLoss | Self::TrainLoss | Self::TestLoss | Self::StepTime => Better::Lower,
            Self::TrainAccuracy | Self::TestAccuracy | Self::Throughput => Better::Higher,
            Self::GradientNorm | Self::LearningRate | Self::System(_) => Better::Neither,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A dash stands for an underscore.
impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(text: &str) -> Result<Self, UnknownMetric> {
        let name = text.replace('-', "_");
        let unknown = || {
            let nearest = suggest::nearest(&name, Self::ALL.map(Self::name)).first().copied();
            UnknownMetric { name: text.to_owned(), nearest: Self::all().map(Self::name).find(|&name| Some(name) == nearest) }
        };
        Self::all().find(|metric| metric.name() == name).ok_or_else(unknown)
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

fn did_you_mean(nearest: &Option<&str>) -> String {
    nearest.map_or(String::new(), |nearest| format!(", did you mean {nearest}?"))
}

fn all_names() -> String {
    Metric::ALL.map(Metric::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_are_unique() {
        for metric in Metric::all() {
            assert_eq!(metric.name().parse(), Ok(metric));
        }
        assert_eq!("test-accuracy".parse(), Ok(Metric::TestAccuracy));
    }

    #[test]
    fn an_unknown_name_has_a_near_one() {
        let text = "test_acuracy".parse::<Metric>().unwrap_err().to_string();
        assert!(text.starts_with("there is no metric test_acuracy, did you mean test_accuracy?; the metrics are batch_loss,"), "{text}");
        let text = "zzz".parse::<Metric>().unwrap_err().to_string();
        assert!(text.starts_with("there is no metric zzz; the metrics are"), "{text}");
    }
}
