//! Why a network decides as it does, from the network and images to plain numbers, [`crate::render::Explanation`]. Knows no
//! terminal.
//!
//! [`feature_maps`] is what its channels respond to, [`grad_cam`] where the evidence for a class is, and [`attention`] what
//! its blocks attend to; [`explanation`] brings them together, and [`probe`] does so for the images of a run.

pub mod attention;
pub mod explanation;
pub mod feature_maps;
pub mod grad_cam;
pub mod probe;
