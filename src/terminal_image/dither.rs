//! Few colours that look like many: what one pixel cannot show of its colour, its neighbours make up for (Floyd and
//! Steinberg 1976).

use image::{Rgb, RgbImage};

/// The image in the colours that `nearest` gives.
pub fn dithered(image: &RgbImage, nearest: impl Fn([u8; 3]) -> [u8; 3]) -> RgbImage {
    let width = image.width() as usize;
    let mut result = image.clone();
    // In sixteenths, of this row and the next, with a pixel more on either side.
    let (mut here, mut below) = (vec![[0; 3]; width + 2], vec![[0; 3]; width + 2]);
    for row in result.rows_mut() {
        for (x, Rgb(pixel)) in row.enumerate() {
            let wanted: [i32; 3] =
                std::array::from_fn(|channel| (i32::from(pixel[channel]) + here[x + 1][channel] / 16).clamp(0, 255));
            *pixel = nearest(wanted.map(|value| value as u8));
            for channel in 0..3 {
                let error = wanted[channel] - i32::from(pixel[channel]);
                here[x + 2][channel] += 7 * error;
                below[x][channel] += 3 * error;
                below[x + 1][channel] += 5 * error;
                below[x + 2][channel] += error;
            }
        }
        here = std::mem::replace(&mut below, vec![[0; 3]; width + 2]);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_stays_and_so_does_what_can_be_shown() {
        let black_or_white = |pixel: [u8; 3]| pixel.map(|value| if value < 128 { 0 } else { 255 });
        for grey in [0, 64, 100, 200, 255] {
            let drawn = dithered(&RgbImage::from_pixel(40, 40, Rgb([grey; 3])), black_or_white);
            let sum: u64 = drawn.pixels().map(|pixel| u64::from(pixel.0[0])).sum();
            let mean = sum as f64 / 1600.0;
            assert!((mean - f64::from(grey)).abs() < 4.0, "{mean} for {grey}");
        }
        let image = RgbImage::from_fn(5, 3, |x, y| Rgb([if (x + y) % 2 == 0 { 255 } else { 0 }; 3]));
        assert_eq!(dithered(&image, black_or_white), image);
    }
}
