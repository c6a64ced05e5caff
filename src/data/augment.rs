//! The study's random transforms of a training picture, to the byte as torchvision does them on PIL images of u8.
//!
//! What is drawn ([`Augmentation`]) is kept apart from what is done to the pixels ([`Augmentation::apply`]), so that the
//! pixels can be compared with torchvision's under the same draw. Sources: torchvision 0.24 `transforms/transforms.py`
//! and `_functional_pil.py`; Pillow `ImageEnhance.py`, `Image.rotate`, `Blend.c`, `Convert.c`, `Geometry.c`.

use rand::Rng;
use rand::seq::SliceRandom;

use super::{PICTURE_BYTES, PLANE, SIDE};
use crate::config::AugmentConfig;
use crate::random::{Purpose, stream};

/// What is done to one picture, in this order: crop, flip, jitter, rotate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    /// Column of the picture, in pixels, where the crop begins: below 0 it lies in the zero padding.
    pub crop_left: i32,
    /// Likewise the row.
    pub crop_top: i32,
    /// Left and right change places.
    pub flip: bool,
    /// In the order of application.
    pub jitter: [Option<Jitter>; 4],
    /// Counterclockwise, about the centre; nearest neighbour, zeros where the picture does not reach.
    pub angle_degrees: f32,
}

/// A change of colour. A factor of 1 changes nothing, 0 takes the property away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Jitter {
    Brightness(f32),
    Contrast(f32),
    Saturation(f32),
    /// In turns.
    Hue(f32),
}

impl Augmentation {
    /// Draws for picture `index` of the dataset in an epoch: a function of nothing but the arguments.
    pub fn draw(config: &AugmentConfig, seed: u64, epoch: u64, index: u64) -> Self {
        let mut rng = stream(seed, Purpose::Augment, epoch, index);
        let padding = i32::try_from(config.crop_padding).unwrap_or(i32::MAX);
        let crop_left = rng.random_range(-padding..=padding);
        let crop_top = rng.random_range(-padding..=padding);
        let flip = rng.random::<f32>() < config.flip_probability;

        let mut around = |centre: f32, spread: f32| centre + spread * (2.0 * rng.random::<f32>() - 1.0);
        let brightness = around(1.0, config.brightness).max(0.0);
        let contrast = around(1.0, config.contrast).max(0.0);
        let saturation = around(1.0, config.saturation).max(0.0);
        let hue = around(0.0, config.hue);
        let angle_degrees = around(0.0, config.rotation_degrees);
        let mut jitter = [
            (config.brightness > 0.0).then_some(Jitter::Brightness(brightness)),
            (config.contrast > 0.0).then_some(Jitter::Contrast(contrast)),
            (config.saturation > 0.0).then_some(Jitter::Saturation(saturation)),
            // Even a shift of 0 goes through HSV in u8 and changes pixels, so no hue jitter must be no jitter at all.
            (config.hue > 0.0).then_some(Jitter::Hue(hue)),
        ];
        jitter.shuffle(&mut rng);
        Self { crop_left, crop_top, flip, jitter, angle_degrees }
    }

    /// Transforms `src` into `dst`, both `PICTURE_BYTES` long: planes R, G, B.
    pub fn apply(&self, src: &[u8], dst: &mut [u8]) {
        let mut picture = [0; PICTURE_BYTES];
        self.crop_and_flip(src, &mut picture);
        for jitter in self.jitter.iter().flatten() {
            match *jitter {
                Jitter::Brightness(factor) => adjust_brightness(&mut picture, factor),
                Jitter::Contrast(factor) => adjust_contrast(&mut picture, factor),
                Jitter::Saturation(factor) => adjust_saturation(&mut picture, factor),
                Jitter::Hue(turns) => shift_hue(&mut picture, turns),
            }
        }
        rotate(&picture, dst, self.angle_degrees);
    }

    /// `dst` holds zeros.
    fn crop_and_flip(&self, src: &[u8], dst: &mut [u8; PICTURE_BYTES]) {
        let rows = covered(self.crop_top);
        let columns = covered(self.crop_left);
        let from = |to: usize, shift: i32| (to as i32 + shift) as usize;
        for (src, dst) in src.chunks_exact(PLANE).zip(dst.chunks_exact_mut(PLANE)) {
            for y in rows.clone() {
                let src = &src[from(y, self.crop_top) * SIDE..][..SIDE];
                let dst = &mut dst[y * SIDE..][..SIDE];
                if !columns.is_empty() {
                    let first = from(columns.start, self.crop_left);
                    dst[columns.clone()].copy_from_slice(&src[first..][..columns.len()]);
                }
                if self.flip {
                    dst.reverse();
                }
            }
        }
    }
}

/// The rows or columns of a crop that lie in the picture and not in its padding.
fn covered(shift: i32) -> std::ops::Range<usize> {
    let side = SIDE as i32;
    let inside = |position: i32| position.clamp(0, side) as usize;
    inside(shift.saturating_neg())..inside(side.saturating_sub(shift))
}

/// PIL's `blend`: away from `base` by `factor`. The cast truncates and saturates, as PIL does.
#[inline]
fn blend(base: u8, value: u8, factor: f32) -> u8 {
    (f32::from(base) + factor * (f32::from(value) - f32::from(base))) as u8
}

/// PIL's conversion to `L`, ITU-R 601-2 luma in fixed point.
#[inline]
fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

type Planes<'a> = (&'a mut [u8], &'a mut [u8], &'a mut [u8]);

fn planes(picture: &mut [u8; PICTURE_BYTES]) -> Planes<'_> {
    let (r, rest) = picture.split_at_mut(PLANE);
    let (g, b) = rest.split_at_mut(PLANE);
    (r, g, b)
}

fn adjust_brightness(picture: &mut [u8; PICTURE_BYTES], factor: f32) {
    for value in picture {
        *value = blend(0, *value, factor);
    }
}

fn adjust_contrast(picture: &mut [u8; PICTURE_BYTES], factor: f32) {
    let (r, g, b) = planes(picture);
    let sum: u32 = r.iter().zip(&*g).zip(&*b).map(|((&r, &g), &b)| u32::from(luma(r, g, b))).sum();
    let pixels = PLANE as u32;
    let mean = ((sum + pixels / 2) / pixels) as u8;
    for value in picture {
        *value = blend(mean, *value, factor);
    }
}

fn adjust_saturation(picture: &mut [u8; PICTURE_BYTES], factor: f32) {
    let (r, g, b) = planes(picture);
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let grey = luma(*r, *g, *b);
        *r = blend(grey, *r, factor);
        *g = blend(grey, *g, factor);
        *b = blend(grey, *b, factor);
    }
}

fn shift_hue(picture: &mut [u8; PICTURE_BYTES], turns: f32) {
    // Truncated towards zero, then modulo 256: as numpy does it.
    let shift = (f64::from(turns) * 255.0) as i32 as u8;
    let (r, g, b) = planes(picture);
    for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
        let (h, s, v) = rgb_to_hsv(*r, *g, *b);
        (*r, *g, *b) = hsv_to_rgb(h.wrapping_add(shift), s, v);
    }
}

/// `rgb2hsv_row` of Pillow's `Convert.c`, with its mixture of single and double precision.
#[inline]
fn rgb_to_hsv(r: u8, g: u8, b: u8) -> (u8, u8, u8) {
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
#[inline]
fn hsv_to_rgb(h: u8, s: u8, v: u8) -> (u8, u8, u8) {
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

/// `Image.rotate` with nearest neighbour and its fixed-point `affine_fixed`, about the centre of the picture.
fn rotate(src: &[u8; PICTURE_BYTES], dst: &mut [u8], degrees: f32) {
    if degrees == 0.0 {
        dst.copy_from_slice(src);
        return;
    }
    let radians = -f64::from(degrees).rem_euclid(360.0).to_radians();
    let rounded = |value: f64| (value * 1e15).round() / 1e15;
    let (cos, sin) = (rounded(radians.cos()), rounded(radians.sin()));
    let centre = SIDE as f64 / 2.0;
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i32;
    let (step_x, step_y) = (fixed(cos), fixed(-sin));
    let (row_step_x, row_step_y) = (fixed(sin), fixed(cos));
    // The source of the centre of the first pixel.
    let mut row_x = fixed((-cos * centre - sin * centre + centre) + cos * 0.5 + sin * 0.5);
    let mut row_y = fixed((sin * centre - cos * centre + centre) + -sin * 0.5 + cos * 0.5);

    let (dst_r, rest) = dst.split_at_mut(PLANE);
    let (dst_g, dst_b) = rest.split_at_mut(PLANE);
    for y in 0..SIDE {
        let (mut x_fixed, mut y_fixed) = (row_x, row_y);
        for at in y * SIDE..(y + 1) * SIDE {
            // A negative coordinate becomes a large one, and is outside as well.
            let (x, y) = ((x_fixed >> 16) as usize, (y_fixed >> 16) as usize);
            let inside = x < SIDE && y < SIDE;
            let from = if inside { y * SIDE + x } else { 0 };
            let keep = u8::from(inside).wrapping_neg();
            dst_r[at] = src[from] & keep;
            dst_g[at] = src[PLANE + from] & keep;
            dst_b[at] = src[2 * PLANE + from] & keep;
            x_fixed += step_x;
            y_fixed += step_y;
        }
        row_x += row_step_x;
        row_y += row_step_y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sample;
    use serde::Deserialize;
    use sha2::{Digest, Sha256};

    /// Made by tests/fixtures/augment/make.py with torchvision.
    #[derive(Deserialize)]
    struct Fixture {
        rgb_to_hsv_sha256: String,
        hsv_to_rgb_sha256: String,
        cases: Vec<Case>,
    }

    #[derive(Debug, Deserialize)]
    struct Case {
        index: usize,
        crop_left: i32,
        crop_top: i32,
        flip: bool,
        jitter: Vec<(String, f32)>,
        angle_degrees: f32,
    }

    impl Case {
        fn augmentation(&self) -> Augmentation {
            let mut jitter = [None; 4];
            for (jitter, (name, amount)) in jitter.iter_mut().zip(&self.jitter) {
                *jitter = Some(match name.as_str() {
                    "Brightness" => Jitter::Brightness(*amount),
                    "Contrast" => Jitter::Contrast(*amount),
                    "Saturation" => Jitter::Saturation(*amount),
                    "Hue" => Jitter::Hue(*amount),
                    other => panic!("{other}"),
                });
            }
            let &Case { crop_left, crop_top, flip, angle_degrees, .. } = self;
            Augmentation { crop_left, crop_top, flip, jitter, angle_degrees }
        }
    }

    fn fixture() -> Fixture {
        serde_json::from_str(include_str!("../../tests/fixtures/augment/cases.json")).unwrap()
    }

    #[test]
    fn pictures_equal_those_of_torchvision_to_the_byte() {
        let (train, _) = sample::read().unwrap();
        let expected = include_bytes!("../../tests/fixtures/augment/expected.bin");
        let cases = fixture().cases;
        assert_eq!(expected.len(), cases.len() * PICTURE_BYTES);
        let mut augmented = [0; PICTURE_BYTES];
        for (case, expected) in cases.iter().zip(expected.chunks_exact(PICTURE_BYTES)) {
            case.augmentation().apply(train.picture(case.index), &mut augmented);
            let different = augmented.iter().zip(expected).filter(|(ours, theirs)| ours != theirs).count();
            assert_eq!(different, 0, "of {PICTURE_BYTES} bytes in {case:?}");
        }
    }

    #[test]
    fn every_colour_is_converted_as_pillow_does() {
        let hash = |convert: fn(u8, u8, u8) -> (u8, u8, u8)| {
            let mut hash = Sha256::new();
            let mut row = Vec::with_capacity(3 * 65536);
            for first in 0..=255 {
                row.clear();
                for rest in 0..=u16::MAX {
                    let [second, third] = rest.to_be_bytes();
                    let converted = convert(first, second, third);
                    row.extend([converted.0, converted.1, converted.2]);
                }
                hash.update(&row);
            }
            format!("{:x}", hash.finalize())
        };
        let fixture = fixture();
        assert_eq!(hash(rgb_to_hsv), fixture.rgb_to_hsv_sha256);
        assert_eq!(hash(hsv_to_rgb), fixture.hsv_to_rgb_sha256);
    }

    #[test]
    fn draws_are_within_their_ranges_and_reach_across_them() {
        let config = AugmentConfig::default();
        let draws: Vec<_> = (0..2000).map(|index| Augmentation::draw(&config, 1, 1, index)).collect();
        let span = |value: &dyn Fn(&Augmentation) -> f32| {
            let values = draws.iter().map(value);
            (values.clone().fold(f32::INFINITY, f32::min), values.fold(f32::NEG_INFINITY, f32::max))
        };
        assert_eq!(span(&|draw| draw.crop_left as f32), (-4.0, 4.0));
        assert_eq!(span(&|draw| draw.crop_top as f32), (-4.0, 4.0));
        let within = |(low, high): (f32, f32), limits: (f32, f32)| {
            let margin = 0.02 * (limits.1 - limits.0);
            assert!(limits.0 <= low && low < limits.0 + margin, "{low}");
            assert!(limits.1 - margin < high && high <= limits.1, "{high}");
        };
        within(span(&|draw| draw.angle_degrees), (-15.0, 15.0));
        let amount = |wanted: fn(&Jitter) -> Option<f32>| {
            span(&|draw: &Augmentation| draw.jitter.iter().flatten().find_map(wanted).unwrap())
        };
        within(amount(|j| if let Jitter::Brightness(x) = j { Some(*x) } else { None }), (0.8, 1.2));
        within(amount(|j| if let Jitter::Contrast(x) = j { Some(*x) } else { None }), (0.8, 1.2));
        within(amount(|j| if let Jitter::Saturation(x) = j { Some(*x) } else { None }), (0.8, 1.2));
        within(amount(|j| if let Jitter::Hue(x) = j { Some(*x) } else { None }), (-0.1, 0.1));
        let flips = draws.iter().filter(|draw| draw.flip).count();
        assert!((900..1100).contains(&flips), "{flips}");
        let orders: std::collections::HashSet<String> = draws
            .iter()
            .map(|draw| format!("{:?}", draw.jitter.map(|jitter| jitter.as_ref().map(std::mem::discriminant))))
            .collect();
        assert_eq!(orders.len(), 24);
    }

    #[test]
    fn a_picture_is_drawn_for_by_seed_epoch_and_index() {
        let config = AugmentConfig::default();
        let draw = |seed, epoch, index| Augmentation::draw(&config, seed, epoch, index);
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)] {
            assert_ne!(draw(1, 2, 3), other);
        }
    }

    #[test]
    fn what_is_set_to_zero_is_left_alone() {
        let config = AugmentConfig {
            crop_padding: 0,
            flip_probability: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            hue: 0.0,
            rotation_degrees: 0.0,
            ..AugmentConfig::default()
        };
        let (train, _) = sample::read().unwrap();
        let mut augmented = [0; PICTURE_BYTES];
        for index in 0..20 {
            Augmentation::draw(&config, 0, 1, index as u64).apply(train.picture(index), &mut augmented);
            assert!(augmented == *train.picture(index));
        }
    }

    #[test]
    fn settings_beyond_reason_do_not_panic() {
        let config = AugmentConfig {
            crop_padding: u32::MAX,
            brightness: 1e9,
            hue: 1e9,
            rotation_degrees: 1e9,
            contrast: f32::INFINITY,
            ..AugmentConfig::default()
        };
        let mut augmented = [0; PICTURE_BYTES];
        for index in 0..100 {
            Augmentation::draw(&config, 0, 1, index).apply(&[100; PICTURE_BYTES], &mut augmented);
        }
    }
}
