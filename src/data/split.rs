//! The parts of a data set.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What images are for. A run is judged by the validation images where it holds some out, else by the test images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// The images that a run trains on
    Train,
    /// Training images that it holds out (data.validation_examples)
    Validation,
    /// The test images of the data set
    #[default]
    Test,
}

impl Split {
    /// In tables.
    pub fn abbreviation(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "val",
            Self::Test => "test",
        }
    }

    pub fn is_test(&self) -> bool {
        *self == Self::Test
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}
