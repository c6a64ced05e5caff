//! From numbers to images: maps of a layer in a colour scale, and heat over the image that it explains. Knows no network
//! and no terminal.

pub mod colour_map;
pub mod drawing;
pub mod map;

pub use drawing::Drawing;
pub use map::Map;
