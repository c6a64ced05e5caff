//! Figures as SVG, and those as PNG: charts, a confusion matrix, and pictures with captions.

mod axis;
mod chart;
mod colour_bar;
mod confusion_matrix;
mod pictures;
mod png;
mod svg;

pub use self::chart::{Band, Chart, Interpolation, Line, Scale, Stroke};
pub use self::colour_bar::with_colour_bar;
pub use self::confusion_matrix::confusion_matrix;
pub use self::pictures::{Picture, data_uri, pictures};
pub use self::png::{PngError, pixel_size, rasterise};
pub use self::svg::{Look, Svg};
