//! Looking inside the network: functions from a network and images to arrays, and from arrays to images. Knows no
//! terminal.
//!
//! [`feature_maps`] is what the network has learned to see, [`grad_cam`] why it decides, [`attention_map`] where it looks.
//! [`map`], [`render`] and [`drawing`] need no network, so whoever shows what a run has saved can use them too.

pub mod attention_map;
pub mod feature_maps;
pub mod grad_cam;
pub mod probe;
