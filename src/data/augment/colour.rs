//! The changes of colour, to the byte as Pillow does them, in loops that the compiler turns into vectors.
//!
//! Everything here is to be inlined into a kernel of [`crate::simd`], whose instructions it then uses. Conversions of
//! colours are one short loop after the other over a few pixels: bytes fill a vector, floats a quarter of one.

use std::array::from_fn;
use std::hint::select_unpredictable;

use super::canvas::Image;
use crate::data::luma::luma;

/// Pixels at a time: as many as the widest vector has bytes.
pub const LANES: usize = 64;
pub type Bytes = [u8; LANES];

/// Pixels whose brightness is summed as u32: the sum of as many bytes cannot overflow it.
const PIXELS_AT_ONCE: usize = 1 << 16;

#[inline(always)]
pub fn adjust_brightness(image: &mut Image, factor: f32) {
    for value in image.pixels.iter_mut() {
        *value = blend(0, *value, factor);
    }
}

#[inline(always)]
pub fn adjust_contrast(image: &mut Image, factor: f32) {
    let sum: u64 = match image.rgb() {
        Some([r, g, b]) => {
            let chunks = r.chunks(PIXELS_AT_ONCE).zip(g.chunks(PIXELS_AT_ONCE)).zip(b.chunks(PIXELS_AT_ONCE));
            let mut sum = 0;
            for ((r, g), b) in chunks {
                sum += u64::from(luma_sum(r, g, b));
            }
            sum
        }
        None => image.pixels.iter().map(|&grey| u64::from(grey)).sum(),
    };
    let pixels = image.size.plane() as u64;
    let mean = ((sum + pixels / 2) / pixels) as u8;
    for value in image.pixels.iter_mut() {
        *value = blend(mean, *value, factor);
    }
}

#[inline(always)]
fn luma_sum(r: &[u8], g: &[u8], b: &[u8]) -> u32 {
    r.iter().zip(g).zip(b).map(|((&r, &g), &b)| u32::from(luma(r, g, b))).sum()
}

/// A grey image has none.
#[inline(always)]
pub fn adjust_saturation(image: &mut Image, factor: f32) {
    let Some([r, g, b]) = image.rgb() else { return };
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let grey = luma(*r, *g, *b);
        *r = blend(grey, *r, factor);
        *g = blend(grey, *g, factor);
        *b = blend(grey, *b, factor);
    }
}

/// A grey image has none.
#[inline(always)]
pub fn shift_hue(image: &mut Image, shift: u8) {
    let Some(planes) = image.rgb() else { return };
    let [(r, r_rest), (g, g_rest), (b, b_rest)] = planes.map(|plane| plane.as_chunks_mut::<LANES>());
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        [*r, *g, *b] = shifted([r, g, b], shift);
    }
    // What does not fill a vector.
    let rest = [r_rest, g_rest, b_rest];
    if rest[0].is_empty() {
        return;
    }
    let mut padded = [[0; LANES]; 3];
    for (padded, rest) in padded.iter_mut().zip(&rest) {
        padded[..rest.len()].copy_from_slice(rest);
    }
    for (rest, shifted) in rest.into_iter().zip(shifted(padded.each_ref(), shift)) {
        rest.copy_from_slice(&shifted[..rest.len()]);
    }
}

#[inline(always)]
fn shifted(colours: [&Bytes; 3], shift: u8) -> [Bytes; 3] {
    let [h, s, v] = rgb_to_hsv(colours);
    let h = h.map(|h| h.wrapping_add(shift));
    hsv_to_rgb([&h, &s, &v])
}

/// PIL's `blend`: away from `base` by `factor`, truncated and clamped. A NaN becomes 0.
#[inline(always)]
fn blend(base: u8, value: u8, factor: f32) -> u8 {
    let blended = f32::from(base) + factor * (f32::from(value) - f32::from(base));
    let not_negative = if blended > 0.0 { blended } else { 0.0 };
    truncate(if not_negative < 255.0 { not_negative } else { 255.0 })
}

/// `rgb2hsv_row` of Pillow's `Convert.c`.
///
/// Pillow adds the distances of two channels to an even corner of the hexagon, in a mixture of single and double precision.
/// One of the two is the least channel, whose distance is 1; so from an odd corner the other one's distance is all there is
/// to add or subtract, and single precision rounds as Pillow does.
#[inline(always)]
pub fn rgb_to_hsv([r, g, b]: [&Bytes; 3]) -> [Bytes; 3] {
    let max: Bytes = from_fn(|i| r[i].max(g[i]).max(b[i]));
    let min: Bytes = from_fn(|i| r[i].min(g[i]).min(b[i]));
    let middle: Bytes = from_fn(|i| r[i].max(g[i]).min(b[i]).max(r[i].min(g[i])));
    let chroma: Bytes = from_fn(|i| max[i] - min[i]);
    let sextant: Bytes = from_fn(|i| {
        let by_red = if b[i] == min[i] { 0 } else { 5 };
        let by_green = if b[i] == min[i] { 1 } else { 2 };
        let by_blue = if r[i] == min[i] { 3 } else { 4 };
        let by_others = if g[i] == max[i] { by_green } else { by_blue };
        if r[i] == max[i] { by_red } else { by_others }
    });
    let corner: [i8; LANES] = from_fn(|i| if sextant[i] == 5 { -1 } else { (sextant[i] | 1) as i8 });
    let hue: Bytes = from_fn(|i| {
        let distance = f32::from(max[i] - middle[i]) / f32::from(chroma[i].max(1));
        let signed = if sextant[i] % 2 == 1 { distance } else { -distance };
        let turns = (f32::from(corner[i]) + signed) / 6.0;
        truncate_255_times(if turns < 0.0 { turns + 1.0 } else { turns })
    });
    let hue = from_fn(|i| if chroma[i] == 0 { 0 } else { hue[i] });
    let saturation = from_fn(|i| truncate_255_times(f32::from(chroma[i]) / f32::from(max[i].max(1))));
    [hue, saturation, max]
}

/// 2^23: from it to its double the floats are the integers, so that adding it to a small float rounds that float. A cast
/// to an integer, which saturates, would not become a vector instruction.
const INTEGERS: f32 = 8_388_608.0;

/// To the nearest integer, for 0 to 255.
#[inline(always)]
fn round(x: f32) -> u8 {
    (x + INTEGERS).to_bits() as u8
}

/// To the integer below, for 0 to 255.
#[inline(always)]
fn truncate(x: f32) -> u8 {
    let rounded = x + INTEGERS;
    let too_great = rounded - INTEGERS > x;
    (rounded.to_bits() - u32::from(too_great)) as u8
}

/// The integer below the exact product, for 0 to 1.
#[inline(always)]
fn truncate_255_times(x: f32) -> u8 {
    let rounded = x * 255.0 + INTEGERS;
    // Neither the product with 256 nor the difference has to be rounded.
    let too_great = x * 256.0 - (rounded - INTEGERS) < x;
    (rounded.to_bits() - u32::from(too_great)) as u8
}

/// `hsv2rgb` of Pillow's `Convert.c`.
///
/// For every colour its mixture of precisions yields the exact values, rounded; so do the quotients of integers here.
#[inline(always)]
pub fn hsv_to_rgb([h, s, v]: [&Bytes; 3]) -> [Bytes; 3] {
    let sextant: Bytes = from_fn(|i| (u16::from(h[i]) * 6 / 255) as u8);
    let fraction: Bytes = from_fn(|i| (u16::from(h[i]) * 6 - u16::from(sextant[i]) * 255) as u8);
    // The end of the circle is its beginning.
    let sextant = sextant.map(|sextant| if sextant == 6 { 0 } else { sextant });

    let low: Bytes = from_fn(|i| divide_by_255(u16::from(v[i]) * u16::from(255 - s[i])));
    let distance: Bytes = from_fn(|i| if sextant[i] % 2 == 1 { fraction[i] } else { 255 - fraction[i] });
    let middle: Bytes = from_fn(|i| {
        let kept = 255 * 255 - i32::from(s[i]) * i32::from(distance[i]);
        round((i32::from(v[i]) * kept) as f32 / (255.0 * 255.0))
    });
    // One channel: in two sextants it is `middle`, in two `low`, and in the others the value.
    let choose = |middles: [u8; 2], lows: [u8; 2]| -> Bytes {
        from_fn(|i| {
            let is_one_of = |[x, y]: [u8; 2]| (sextant[i] == x) | (sextant[i] == y);
            // An `if` would become a choice of the address to read from, which no vector can make.
            let other = select_unpredictable(is_one_of(lows), low[i], v[i]);
            select_unpredictable(is_one_of(middles), middle[i], other)
        })
    };
    [choose([1, 4], [2, 3]), choose([0, 3], [4, 5]), choose([2, 5], [0, 1])]
}

/// Rounded.
#[inline(always)]
fn divide_by_255(x: u16) -> u8 {
    let x = x + 128;
    ((x + (x >> 8)) >> 8) as u8
}
