//! Test-time augmentation: in which views an image is judged.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

/// What the logits of an evaluated image are the mean of (Jordan 2024, section 3.5).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum, VariantNames, IntoStaticStr,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum TestTimeAugmentation {
    /// The image as it is
    #[default]
    None,
    /// The image and its mirror image
    Flip,
    /// Half the image, half the image moved by a pixel up-left and down-right, each with its mirror image
    FlipAndShift,
}

impl TestTimeAugmentation {
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// What follows a figure in a sentence.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Flip => " with test-time flips",
            Self::FlipAndShift => " with test-time flips and shifts",
        }
    }

    /// What follows a figure where there is little room.
    pub fn mark(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Flip | Self::FlipAndShift => " TTA",
        }
    }
}
