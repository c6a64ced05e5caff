//! From the numbers of an explanation to images: maps of a layer in a colour scale, and heat over the image that it
//! explains. Knows no network and no terminal.

pub mod colour_bar;
pub mod colour_map;
pub mod drawing;
pub mod explanation;
pub mod figures;
pub mod luminance;
pub mod map;
pub mod png;

pub use colour_bar::ColourBar;
pub use drawing::Drawing;
pub use explanation::{ChannelMap, ClassCam, Explanation, LayerExplanation, Planes};
pub use figures::{Choice, Content, Figure, Method, View, figures};
pub use map::Map;
