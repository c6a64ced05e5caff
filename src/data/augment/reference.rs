//! The transforms a pixel at a time, in the arithmetic of Pillow's sources: what the vectors are compared with.

use super::{Augmentation, Jitter};
use crate::config::CropFill;
use crate::data::info::ImageSize;

/// As [`Augmentation::apply`].
pub fn apply(augmentation: &Augmentation, size: ImageSize, blank: &[u8], src: &[u8], dst: &mut [u8]) {
    let mut image = vec![0; src.len()];
    crop_and_flip(augmentation, size, src, &mut image);
    for jitter in augmentation.jitter.iter().flatten() {
        match *jitter {
            Jitter::Brightness(factor) => adjust_brightness(&mut image, factor),
            Jitter::Contrast(factor) => adjust_contrast(&mut image, size, factor),
            Jitter::Saturation(factor) => adjust_saturation(&mut image, size, factor),
            Jitter::Hue(turns) => shift_hue(&mut image, size, turns),
        }
    }
    rotate(&image, size, dst, augmentation.angle_degrees);
    if let Some(cutout) = augmentation.cutout {
        let inside =
            |position: usize, first: i32| (0..i64::from(cutout.side)).contains(&(position as i64 - i64::from(first)));
        for (plane, &blank) in dst.chunks_exact_mut(size.plane()).zip(blank) {
            for (position, value) in plane.iter_mut().enumerate() {
                if inside(position % size.width, cutout.left) && inside(position / size.width, cutout.top) {
                    *value = blank;
                }
            }
        }
    }
}

/// `dst` holds zeros.
fn crop_and_flip(augmentation: &Augmentation, size: ImageSize, src: &[u8], dst: &mut [u8]) {
    // Where a position of the crop, row or column, comes from.
    let source = |position: usize, shift: i32, length: usize| -> Option<usize> {
        let position = position as i64 + i64::from(shift);
        match augmentation.crop_fill {
            CropFill::Zero => usize::try_from(position).ok().filter(|&position| position < length),
            CropFill::Reflect => {
                let there_and_back: Vec<usize> = (0..length).chain((1..length.max(2) - 1).rev()).collect();
                Some(there_and_back[position.rem_euclid(there_and_back.len() as i64) as usize])
            }
        }
    };
    for (src, dst) in src.chunks_exact(size.plane()).zip(dst.chunks_exact_mut(size.plane())) {
        for (y, dst) in dst.chunks_exact_mut(size.width).enumerate() {
            for (x, value) in dst.iter_mut().enumerate() {
                let row = source(y, augmentation.crop_top, size.height);
                let column = source(x, augmentation.crop_left, size.width);
                if let (Some(row), Some(column)) = (row, column) {
                    *value = src[row * size.width + column];
                }
            }
            if augmentation.flip {
                dst.reverse();
            }
        }
    }
}

/// PIL's `blend`: away from `base` by `factor`. The cast truncates and saturates, as PIL does.
fn blend(base: u8, value: u8, factor: f32) -> u8 {
    (f32::from(base) + factor * (f32::from(value) - f32::from(base))) as u8
}

/// PIL's conversion to `L`, ITU-R 601-2 luma in fixed point.
fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// Planes R, G and B, if it is a colour image.
fn planes(image: &mut [u8], size: ImageSize) -> Option<[&mut [u8]; 3]> {
    let (r, rest) = image.split_at_mut_checked(size.plane())?;
    let (g, b) = rest.split_at_mut_checked(size.plane())?;
    Some([r, g, b])
}

fn adjust_brightness(image: &mut [u8], factor: f32) {
    for value in image {
        *value = blend(0, *value, factor);
    }
}

fn adjust_contrast(image: &mut [u8], size: ImageSize, factor: f32) {
    let sum: u32 = match planes(image, size) {
        Some([r, g, b]) => r.iter().zip(&*g).zip(&*b).map(|((&r, &g), &b)| u32::from(luma(r, g, b))).sum(),
        None => image.iter().map(|&grey| u32::from(grey)).sum(),
    };
    let pixels = size.plane() as u32;
    let mean = ((sum + pixels / 2) / pixels) as u8;
    for value in image {
        *value = blend(mean, *value, factor);
    }
}

fn adjust_saturation(image: &mut [u8], size: ImageSize, factor: f32) {
    let Some([r, g, b]) = planes(image, size) else { return };
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let grey = luma(*r, *g, *b);
        *r = blend(grey, *r, factor);
        *g = blend(grey, *g, factor);
        *b = blend(grey, *b, factor);
    }
}

fn shift_hue(image: &mut [u8], size: ImageSize, turns: f32) {
    let Some([r, g, b]) = planes(image, size) else { return };
    // Truncated towards zero, then modulo 256: as numpy does it.
    let shift = (f64::from(turns) * 255.0) as i32 as u8;
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let (h, s, v) = rgb_to_hsv(*r, *g, *b);
        (*r, *g, *b) = hsv_to_rgb(h.wrapping_add(shift), s, v);
    }
}

/// `rgb2hsv_row` of Pillow's `Convert.c`, with its mixture of single and double precision.
pub fn rgb_to_hsv(r: u8, g: u8, b: u8) -> (u8, u8, u8) {
    let max = r.max(g).max(b);
    let min = r.min(g).min(b);
    if max == min {
        return (0, 0, max);
    }
    let chroma = f32::from(max - min);
    let saturation = chroma / f32::from(max);
    let distance = |value: u8| f32::from(max - value) / chroma;
    let sextant = if r == max {
        distance(b) - distance(g)
    } else if g == max {
        (2.0 + f64::from(distance(r)) - f64::from(distance(b))) as f32
    } else {
        (4.0 + f64::from(distance(g)) - f64::from(distance(r))) as f32
    };
    let turns = f64::from(sextant) / 6.0 + 1.0;
    let turns = (if turns >= 1.0 { turns - 1.0 } else { turns }) as f32;
    ((f64::from(turns) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, max)
}

/// `hsv2rgb` of Pillow's `Convert.c`, likewise.
pub fn hsv_to_rgb(h: u8, s: u8, v: u8) -> (u8, u8, u8) {
    if s == 0 {
        return (v, v, v);
    }
    let sextant = f64::from(h) * 6.0 / 255.0;
    let fraction = (sextant - f64::from(sextant as u8)) as f32;
    let saturation = (f64::from(s) / 255.0) as f32;
    // The scaled values are not negative, so adding a half and truncating rounds as `round` does.
    let scaled = |by: f64| (f64::from(v) * by + 0.5) as u8;
    let p = scaled(1.0 - f64::from(saturation));
    let q = scaled(1.0 - f64::from(saturation * fraction));
    let t = scaled(1.0 - f64::from(saturation) * (1.0 - f64::from(fraction)));
    match sextant as u8 % 6 {
        0 => (v, t, p),
        1 => (q, v, p),
        2 => (p, v, t),
        3 => (p, q, v),
        4 => (t, p, v),
        _ => (v, p, q),
    }
}

/// `Image.rotate` with nearest neighbour and its fixed-point `affine_fixed`, about the centre of the image.
fn rotate(src: &[u8], size: ImageSize, dst: &mut [u8], degrees: f32) {
    if degrees == 0.0 {
        dst.copy_from_slice(src);
        return;
    }
    let ImageSize { height, width, .. } = size;
    let radians = -f64::from(degrees).rem_euclid(360.0).to_radians();
    let rounded = |value: f64| (value * 1e15).round() / 1e15;
    let (cos, sin) = (rounded(radians.cos()), rounded(radians.sin()));
    let (centre_x, centre_y) = (width as f64 / 2.0, height as f64 / 2.0);
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i32;
    let (step_x, step_y) = (fixed(cos), fixed(-sin));
    let (row_step_x, row_step_y) = (fixed(sin), fixed(cos));
    // The source of the centre of the first pixel.
    let mut row_x = fixed((-cos * centre_x - sin * centre_y + centre_x) + cos * 0.5 + sin * 0.5);
    let mut row_y = fixed((sin * centre_x - cos * centre_y + centre_y) + -sin * 0.5 + cos * 0.5);
    for row in 0..height {
        let (mut x_fixed, mut y_fixed) = (row_x, row_y);
        for column in 0..width {
            // A negative coordinate becomes a large one, and is outside as well.
            let (x, y) = ((x_fixed >> 16) as usize, (y_fixed >> 16) as usize);
            for (src, dst) in src.chunks_exact(size.plane()).zip(dst.chunks_exact_mut(size.plane())) {
                dst[row * width + column] = if x < width && y < height { src[y * width + x] } else { 0 };
            }
            x_fixed += step_x;
            y_fixed += step_y;
        }
        row_x += row_step_x;
        row_y += row_step_y;
    }
}
