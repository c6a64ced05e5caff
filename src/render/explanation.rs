//! What a network makes of one image, as plain numbers. [`crate::explain`] computes it, probes keep it, and
//! [`super::figures`] shows it.

use super::map::Map;
use crate::metrics::{confidences, predicted};

/// An image as a data set has it, one byte for each pixel and channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planes {
    /// In pixels, as the height.
    pub width: usize,
    pub height: usize,
    /// (C, H, W): R, G and B, or brightness alone.
    pub bytes: Vec<u8>,
}

impl Planes {
    pub fn channels(&self) -> usize {
        self.bytes.len() / (self.width * self.height)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub image: Planes,
    /// One for each class.
    pub logits: Vec<f32>,
    /// In the order of the network.
    pub layers: Vec<LayerExplanation>,
}

/// What a convolution and the rest of its block make of an image. The maps have the size of the convolution's output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerExplanation {
    /// Such as `conv3`.
    pub name: String,
    /// The outputs of its first channels, before batch normalisation: all of them, or as many as were asked for.
    pub maps: Vec<Map>,
    /// The channels whose output has the greatest mean, the greatest first: the study's heat map.
    pub active: Vec<ChannelMap>,
    /// Grad-CAM, not normalised, for those classes that were asked for.
    pub cams: Vec<ClassCam>,
    /// How much the block lets each of its channels through, from 0 to 1; `None` in a block without such attention.
    pub channel_attention: Option<Vec<f32>>,
    /// How much the block attends to each position, from 0 to 1; likewise.
    pub spatial_attention: Option<Map>,
    /// How much each position, row by row, attends to every position; likewise.
    pub attention_matrix: Option<Vec<Map>>,
}

/// The output of a channel, numbered from 0.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelMap {
    pub channel: usize,
    pub map: Map,
}

/// The evidence for a class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassCam {
    pub class: usize,
    pub map: Map,
}

impl Explanation {
    /// The class of the greatest logit.
    pub fn predicted(&self) -> usize {
        predicted(&self.logits)
    }

    /// The probability of the predicted class, from 0 to 1.
    pub fn confidence(&self) -> f32 {
        confidences(&self.logits)[self.predicted()]
    }

    /// The Grad-CAM of a layer, by its index, for a class.
    pub fn cam(&self, layer: usize, class: usize) -> Option<&Map> {
        self.layers.get(layer)?.cams.iter().find(|cam| cam.class == class).map(|cam| &cam.map)
    }
}

impl LayerExplanation {
    /// Whether its block attends to anything.
    pub fn attends(&self) -> bool {
        self.channel_attention.is_some() || self.spatial_attention.is_some() || self.attention_matrix.is_some()
    }

    /// Columns and rows of the positions that attend to each other.
    pub fn attending_size(&self) -> Option<(usize, usize)> {
        let first = self.attention_matrix.as_ref()?.first()?;
        Some((first.width, first.height()))
    }
}
