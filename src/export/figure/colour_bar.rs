//! The colour bar beside a picture of a map.

use image::imageops::replace;
use image::{Rgb, RgbImage};
use maud::html;

use super::png::{PngError, drawn};
use super::svg::{Look, Svg, px, text_width};
use crate::render::ColourBar;

/// Of a picture's height, is a line of text.
const LINE_SHARE: f64 = 1.0 / 20.0;
const SMALLEST_TEXT: f64 = 9.0;

/// The picture, and right of it on white its colour bar with the values at the ends and in the middle.
///
/// # Errors
/// It is too large.
pub fn with_colour_bar(picture: &RgbImage, bar: &ColourBar) -> Result<RgbImage, PngError> {
    let (width, height) = picture.dimensions();
    let text = (f64::from(height) * LINE_SHARE).max(SMALLEST_TEXT).min(f64::from(height) / 2.0);
    let (gap, strip) = ((0.7 * text).ceil() as u32, text.ceil() as u32);
    let labels = labels(bar, f64::from(height), text)?;
    let mut whole = RgbImage::from_pixel(width + gap + strip + labels.width(), height, Rgb([255; 3]));
    replace(&mut whole, picture, 0, 0);
    replace(&mut whole, &bar.image(strip, height), (width + gap).into(), 0);
    replace(&mut whole, &labels, (width + gap + strip).into(), 0);
    Ok(whole)
}

fn labels(bar: &ColourBar, height: f64, text: f64) -> Result<RgbImage, PngError> {
    // As many rows as give the middle its value, where that is not in the way of the others.
    let rows = if height >= 5.0 * text { 5 } else { 2 };
    let values = bar.values(rows);
    let widest = values.iter().map(|(_, value)| text_width(value, text)).fold(0.0, f64::max);
    let content = html! {
        @for (row, value) in &values {
            @let share = *row as f64 / (rows - 1) as f64;
            // A digit is 0.73 of a line high, and stands on its base line.
            text x=(px(0.4 * text)) y=(px(0.78 * text + share * (height - 0.83 * text))) font-size=(px(text))
                fill=(Look::Paper.ink()) { (value) }
        }
    };
    drawn(&Svg { width: (widest + 0.8 * text).ceil(), height, content }, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::colour_map::ColourScale;

    #[test]
    fn the_picture_stays_as_it_is_and_the_values_are_beside_its_ends() {
        let bar = ColourBar { low: 0.0, high: 0.5, scale: ColourScale::Viridis };
        for (side, values) in [(256, 3), (64, 3), (28, 2)] {
            let picture = RgbImage::from_fn(side, side, |x, y| Rgb([x as u8, y as u8, 7]));
            let whole = with_colour_bar(&picture, &bar).unwrap();
            assert_eq!(whole.height(), side);
            assert!(picture.enumerate_pixels().all(|(x, y, pixel)| whole.get_pixel(x, y) == pixel));
            // Rows in which there is something dark right of the bar, in as many groups as there are values.
            let beside = side + 2 * (side / 20).max(9);
            let is_text = |y: u32| (beside..whole.width()).any(|x| whole.get_pixel(x, y)[0] < 200);
            let starts = (0..side).filter(|&y| is_text(y) && (y == 0 || !is_text(y - 1))).count();
            assert_eq!(starts, values, "{side}");
        }
    }
}
