//! A figure in pixels, as fine as print asks for.

use std::io::Write;
use std::sync::{Arc, LazyLock};

use image::RgbImage;
use png::{BitDepth, ColorType, Encoder, PixelDimensions, Unit};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{self, Options, Tree};
use thiserror::Error;

use super::svg::Svg;

const DOTS_PER_INCH: f64 = 300.0;
const SVG_PIXELS_PER_INCH: f64 = 96.0;
const SCALE: f64 = DOTS_PER_INCH / SVG_PIXELS_PER_INCH;
const INCHES_PER_METRE: f64 = 1.0 / 0.0254;

#[derive(Debug, Error)]
pub enum PngError {
    #[error("a figure of {0} x {1} pixels is too large")]
    Size(u32, u32),
    #[error("a figure is no SVG: {0}")]
    Svg(#[from] usvg::Error),
    #[error("a figure cannot be written: {0}")]
    Png(#[from] png::EncodingError),
}

/// The font comes with the program: what a machine has installed changes no figure.
static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    Arc::new(fonts)
});

/// Width and height of its PNG.
pub fn pixel_size(svg: &Svg) -> (u32, u32) {
    let size = |length: f64| (length * SCALE).ceil() as u32;
    (size(svg.width), size(svg.height))
}

/// With so many pixels for each of the figure's own.
///
/// # Errors
/// It is too large.
pub fn drawn(svg: &Svg, scale: f64) -> Result<RgbImage, PngError> {
    let options = Options { fontdb: FONTS.clone(), ..Options::default() };
    let tree = Tree::from_str(&svg.to_document(), &options)?;
    let [width, height] = [svg.width, svg.height].map(|length| (length * scale).ceil() as u32);
    let mut pixels = Pixmap::new(width, height).ok_or(PngError::Size(width, height))?;
    resvg::render(&tree, Transform::from_scale(scale as f32, scale as f32), &mut pixels.as_mut());
    // On white, no pixel lets anything through.
    let colours = pixels.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    Ok(RgbImage::from_raw(width, height, colours).expect("a pixmap has width times height pixels"))
}

/// Writes a PNG of 300 dots to the inch.
///
/// # Errors
/// It is too large, or cannot be written.
pub fn rasterise(svg: &Svg, out: impl Write) -> Result<(), PngError> {
    let image = drawn(svg, SCALE)?;
    let (width, height) = image.dimensions();
    let mut encoder = Encoder::new(out, width, height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let per_metre = (DOTS_PER_INCH * INCHES_PER_METRE).round() as u32;
    encoder.set_pixel_dims(Some(PixelDimensions { xppu: per_metre, yppu: per_metre, unit: Unit::Meter }));
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&image)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use maud::html;

    use super::*;

    #[test]
    fn text_is_drawn_with_our_own_font_at_300_dots_to_the_inch() {
        let content = html! { text x="4" y="40" font-size="40" { "W" } };
        let mut out = Vec::new();
        rasterise(&Svg { width: 48.0, height: 48.0, content }, &mut out).unwrap();
        let image = image::load_from_memory(&out).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), (150, 150));
        let black = image.pixels().filter(|pixel| pixel.0 == [0; 3]).count();
        assert!((1000..6000).contains(&black), "{black} black pixels");
        let mut reader = png::Decoder::new(std::io::Cursor::new(out)).read_info().unwrap();
        assert_eq!(reader.info().pixel_dims.unwrap().xppu, 11_811);
        reader.finish().unwrap();
    }
}
