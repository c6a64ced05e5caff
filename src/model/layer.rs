//! The layers of a network: its convolutions.

/// A convolution of a network, and the size of its output. A layer is addressed by its index, from 0, in the order of the
/// network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// As in the `state_dict`, such as `conv3`.
    pub name: String,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// A name that no layer of the network has.
#[derive(Debug, thiserror::Error)]
#[error("there is no layer {name:?}; this network has {}", known.join(", "))]
pub struct UnknownLayer {
    name: String,
    known: Vec<String>,
}

/// The index of the layer of that name.
pub(super) fn position(layers: &[LayerInfo], name: &str) -> Result<usize, UnknownLayer> {
    layers.iter().position(|layer| layer.name == name).ok_or_else(|| UnknownLayer {
        name: name.to_owned(),
        known: layers.iter().map(|layer| layer.name.clone()).collect(),
    })
}
