//! The random transforms of a training image: the study's, to the byte as torchvision does them on PIL images of u8, and
//! others that may take their places.
//!
//! What is drawn ([`Augmentation`]) is kept apart from what is done to the pixels ([`Augmentation::apply`]), so that the
//! pixels can be compared with torchvision's under the same draw. Sources: torchvision 0.24 `transforms/transforms.py`
//! and `_functional_pil.py`; Pillow `ImageEnhance.py`, `Image.rotate`, `Blend.c`, `Convert.c`, `Geometry.c`.

mod canvas;
mod colour;
pub mod random_resized_crop;
#[cfg(test)]
mod reference;

use pulp::{Simd, WithSimd};
use rand::Rng;
use rand::seq::SliceRandom;

use self::canvas::Image;
use self::colour::{adjust_brightness, adjust_contrast, adjust_saturation, shift_hue};
use super::info::ImageSize;
use crate::config::{AugmentConfig, CropFill, Flip};
use crate::random::{Purpose, stream};
use crate::simd::{self, SimdPath};

/// What is done to one image, in this order: crop, flip, jitter, rotate, cut out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    /// Column of the image, in pixels, where the crop begins: below 0 it lies in the padding.
    pub crop_left: i32,
    /// Row of the image, in pixels, where the crop begins: below 0 it lies in the padding.
    pub crop_top: i32,
    pub crop_fill: CropFill,
    /// Left and right change positions.
    pub flip: bool,
    /// In the order of application.
    pub jitter: [Option<Jitter>; 4],
    /// Counterclockwise, about the centre; nearest neighbour, zeros where the image does not reach.
    pub angle_degrees: f32,
    pub cutout: Option<Cutout>,
}

/// A square that is blanked, as far as it lies in the image (DeVries and Taylor 2017).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutout {
    /// Column and row of its first pixel; below 0 it begins outside the image.
    pub left: i32,
    pub top: i32,
    pub side: u32,
}

impl Cutout {
    /// About a centre that is a pixel of the image.
    fn draw(side: u32, size: ImageSize, rng: &mut impl Rng) -> Option<Self> {
        let mut first = |length: usize| rng.random_range(0..length as i32) - (side / 2) as i32;
        (side > 0).then(|| Self { left: first(size.width), top: first(size.height), side })
    }

    #[inline(always)]
    fn apply(self, size: ImageSize, blank: &[u8], image: &mut [u8]) {
        let inside = |first: i32, length: usize| {
            let end = first.saturating_add_unsigned(self.side);
            [first, end].map(|edge| edge.clamp(0, length as i32) as usize)
        };
        let ([left, right], [top, bottom]) = (inside(self.left, size.width), inside(self.top, size.height));
        for (plane, &blank) in image.chunks_exact_mut(size.plane()).zip(blank) {
            for row in plane.chunks_exact_mut(size.width).take(bottom).skip(top) {
                row[left..right].fill(blank);
            }
        }
    }
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

impl Jitter {
    /// What a shift of the hue adds to it, modulo 256; 0 of other changes.
    #[inline(always)]
    pub fn hue_shift(self) -> u8 {
        // Truncated towards zero, then modulo 256: as numpy does it.
        if let Self::Hue(turns) = self { (f64::from(turns) * 255.0) as i32 as u8 } else { 0 }
    }
}

impl Augmentation {
    /// Changes nothing.
    pub const NONE: Self = Self {
        crop_left: 0,
        crop_top: 0,
        crop_fill: CropFill::Zero,
        flip: false,
        jitter: [None; 4],
        angle_degrees: 0.0,
        cutout: None,
    };

    /// Draws for image `index` of a dataset of that size in an epoch, from 1: a function of nothing but the arguments.
    pub fn draw(config: &AugmentConfig, size: ImageSize, seed: u64, epoch: u64, index: u64) -> Self {
        let mut rng = stream(seed, Purpose::Augment, epoch, index);
        let padding = i32::try_from(config.crop_padding).unwrap_or(i32::MAX);
        let crop_left = rng.random_range(-padding..=padding);
        let crop_top = rng.random_range(-padding..=padding);
        let drawn: f32 = rng.random();
        let flip = match config.flip {
            Flip::Random => drawn < config.flip_probability,
            Flip::Alternating => {
                let first: f32 = stream(seed, Purpose::AlternatingFlip, 0, index).random();
                (first < config.flip_probability) ^ epoch.is_multiple_of(2)
            }
        };

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
        let cutout = Cutout::draw(config.cutout, size, &mut rng);
        Self { crop_left, crop_top, crop_fill: config.crop_fill, flip, jitter, angle_degrees, cutout }
    }

    /// Transforms `src` into `dst`, both of `size`: planes, each row by row. `blank`: for each channel what a cutout leaves.
    pub fn apply(&self, size: ImageSize, blank: &[u8], src: &[u8], dst: &mut [u8], scratch: &mut Scratch) {
        // The bytes are the same on every path; one that cannot be taken is reported by the network's kernels.
        self.apply_on(simd::chosen().unwrap_or(SimdPath::Portable), size, blank, src, dst, scratch);
    }

    fn apply_on(
        &self,
        path: SimdPath,
        size: ImageSize,
        blank: &[u8],
        src: &[u8],
        dst: &mut [u8],
        scratch: &mut Scratch,
    ) {
        simd::run_on(path, Apply { augmentation: self, size, src, dst, scratch });
        if let Some(cutout) = self.cutout {
            cutout.apply(size, blank, dst);
        }
    }
}

/// Where the pixels of a rotated image come from, in 65536ths of a pixel: Pillow's fixed-point `affine_fixed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The source of the centre of the first pixel.
    pub first_x: i32,
    pub first_y: i32,
    /// From one column to the next.
    pub step_x: i32,
    pub step_y: i32,
    /// From one row to the next.
    pub row_step_x: i32,
    pub row_step_y: i32,
}

impl Rotation {
    /// Counterclockwise about the centre of an image.
    #[inline(always)]
    pub fn new(size: ImageSize, degrees: f32) -> Self {
        let radians = -f64::from(degrees).rem_euclid(360.0).to_radians();
        let rounded = |value: f64| (value * 1e15).round() / 1e15;
        let (cos, sin) = (rounded(radians.cos()), rounded(radians.sin()));
        let (centre_x, centre_y) = (size.width as f64 / 2.0, size.height as f64 / 2.0);
        let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i32;
        Self {
            first_x: fixed((-cos * centre_x - sin * centre_y + centre_x) + cos * 0.5 + sin * 0.5),
            first_y: fixed((sin * centre_x - cos * centre_y + centre_y) + -sin * 0.5 + cos * 0.5),
            step_x: fixed(cos),
            step_y: fixed(-sin),
            row_step_x: fixed(sin),
            row_step_y: fixed(cos),
        }
    }
}

/// Memory for one image, kept from one to the next.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Those of the image, and [`room_behind`] them.
    pixels: Vec<u8>,
    positions: Vec<u32>,
    masks: Vec<u8>,
}

/// One image: the kernel of [`Augmentation::apply`].
struct Apply<'a> {
    augmentation: &'a Augmentation,
    size: ImageSize,
    src: &'a [u8],
    dst: &'a mut [u8],
    scratch: &'a mut Scratch,
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { augmentation, size, src, dst, scratch } = self;
        scratch.pixels.clear();
        scratch.pixels.resize(src.len() + room_behind(size.plane()), 0);
        let pixels = &mut scratch.pixels[..src.len()];
        crop(size, src, pixels, augmentation);
        if augmentation.flip {
            pixels.chunks_exact_mut(size.width).for_each(<[u8]>::reverse);
        }
        let mut image = Image { size, pixels };
        for jitter in augmentation.jitter.iter().flatten() {
            match *jitter {
                Jitter::Brightness(factor) => adjust_brightness(&mut image, factor),
                Jitter::Contrast(factor) => adjust_contrast(&mut image, factor),
                Jitter::Saturation(factor) => adjust_saturation(&mut image, factor),
                Jitter::Hue(_) => shift_hue(&mut image, jitter.hue_shift()),
            }
        }
        rotate(scratch, size, dst, augmentation.angle_degrees);
    }
}

/// `dst` holds zeros.
#[inline(always)]
fn crop(size: ImageSize, src: &[u8], dst: &mut [u8], augmentation: &Augmentation) {
    let &Augmentation { crop_left: left, crop_top: top, crop_fill, .. } = augmentation;
    let (rows, columns) = (covered(top, size.height), covered(left, size.width));
    match crop_fill {
        CropFill::Zero if columns.is_empty() => return,
        CropFill::Zero => {}
        CropFill::Reflect => return reflect(size, src, dst, augmentation),
    }
    let from = |to: usize, shift: i32| (to as i32 + shift) as usize;
    let first = from(columns.start, left);
    for (src, dst) in src.chunks_exact(size.plane()).zip(dst.chunks_exact_mut(size.plane())) {
        for y in rows.clone() {
            let src = &src[from(y, top) * size.width..][..size.width];
            let dst = &mut dst[y * size.width..][..size.width];
            dst[columns.clone()].copy_from_slice(&src[first..][..columns.len()]);
        }
    }
}

/// A crop of the image as mirrors at its outermost pixels show it.
#[inline(always)]
fn reflect(size: ImageSize, src: &[u8], dst: &mut [u8], augmentation: &Augmentation) {
    let columns = covered(augmentation.crop_left, size.width);
    for (src, dst) in src.chunks_exact(size.plane()).zip(dst.chunks_exact_mut(size.plane())) {
        for (y, dst) in dst.chunks_exact_mut(size.width).enumerate() {
            let src = &src[reflected(y, augmentation.crop_top, size.height) * size.width..][..size.width];
            let source = |x: usize| reflected(x, augmentation.crop_left, size.width);
            if !columns.is_empty() {
                dst[columns.clone()].copy_from_slice(&src[source(columns.start)..][..columns.len()]);
            }
            for x in (0..columns.start).chain(columns.end..size.width) {
                dst[x] = src[source(x)];
            }
        }
    }
}

/// Where a row or column of a crop comes from, of `length`, as mirrors at the outermost ones show it.
#[inline(always)]
pub fn reflected(to: usize, shift: i32, length: usize) -> usize {
    let period = (2 * length as i64 - 2).max(1);
    let position = (to as i64 + i64::from(shift)).rem_euclid(period);
    position.min(period - position) as usize
}

/// The rows or columns of a crop, of `length`, that lie in the image and not in its padding.
fn covered(shift: i32, length: usize) -> std::ops::Range<usize> {
    let length = length as i32;
    let inside = |position: i32| position.clamp(0, length) as usize;
    inside(shift.saturating_neg())..inside(length.saturating_sub(shift))
}

/// `Image.rotate` with nearest neighbour, about the centre of the image.
#[inline(always)]
fn rotate(scratch: &mut Scratch, size: ImageSize, dst: &mut [u8], degrees: f32) {
    if degrees == 0.0 {
        dst.copy_from_slice(&scratch.pixels[..dst.len()]);
        return;
    }
    rotation_sources(scratch, size, degrees);
    match size.plane() {
        plane if plane <= SMALL_PLANE => gather::<SMALL_PLANE>(scratch, plane, dst),
        plane if plane <= LARGE_PLANE => gather::<LARGE_PLANE>(scratch, plane, dst),
        plane => {
            for (src, dst) in scratch.pixels.chunks_exact(plane).zip(dst.chunks_exact_mut(plane)) {
                for ((dst, &position), mask) in dst.iter_mut().zip(&scratch.positions).zip(&scratch.masks) {
                    *dst = src[position as usize] & mask;
                }
            }
        }
    }
}

/// Pixels of a plane, powers of two: up to the next of these, a pixel is found without a check of the bounds.
const SMALL_PLANE: usize = 1 << 10;
const LARGE_PLANE: usize = 1 << 16;

/// Bytes behind an image's pixels, so that as many as are looked among follow the beginning of its last plane.
fn room_behind(plane: usize) -> usize {
    [SMALL_PLANE, LARGE_PLANE].into_iter().find_map(|bytes| bytes.checked_sub(plane)).unwrap_or(0)
}

/// The rotation of planes of at most `BYTES` pixels, a power of two.
#[inline(always)]
fn gather<const BYTES: usize>(scratch: &Scratch, plane: usize, dst: &mut [u8]) {
    for (number, dst) in dst.chunks_exact_mut(plane).enumerate() {
        let src = scratch.pixels[number * plane..].first_chunk::<BYTES>().expect("there is room behind the image");
        for ((dst, &position), mask) in dst.iter_mut().zip(&scratch.positions).zip(&scratch.masks) {
            // The remainder changes nothing, and spares a check of the bounds.
            *dst = src[position as usize % BYTES] & mask;
        }
    }
}

/// Notes where in its plane each pixel of the rotated image comes from, and a mask that is 0 where that is outside.
#[inline(always)]
fn rotation_sources(scratch: &mut Scratch, size: ImageSize, degrees: f32) {
    let Rotation { first_x, first_y, step_x, step_y, row_step_x, row_step_y } = Rotation::new(size, degrees);
    let (width, height) = (size.width as i32, size.height as i32);
    scratch.positions.resize(size.plane(), 0);
    scratch.masks.resize(size.plane(), 0);
    let rows = scratch.positions.chunks_exact_mut(size.width).zip(scratch.masks.chunks_exact_mut(size.width));
    for (row, (positions, masks)) in (0..).zip(rows) {
        let (row_x, row_y) = (first_x + row * row_step_x, first_y + row * row_step_y);
        for (column, (position, mask)) in (0..).zip(positions.iter_mut().zip(masks)) {
            let (x, y) = ((row_x + column * step_x) >> 16, (row_y + column * step_y) >> 16);
            let inside = (0..width).contains(&x) & (0..height).contains(&y);
            *position = if inside { (y * width + x) as u32 } else { 0 };
            *mask = if inside { u8::MAX } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::colour::{LANES, hsv_to_rgb, rgb_to_hsv};
    use super::*;
    use crate::data::source::sample;
    use crate::simd::run_on;
    use proptest::prelude::*;
    use serde::Deserialize;
    use sha2::{Digest, Sha256};
    use std::array::from_fn;

    /// Made by tests/fixtures/augment/make.py with torchvision.
    #[derive(Deserialize)]
    struct Fixture {
        rgb_to_hsv_sha256: String,
        hsv_to_rgb_sha256: String,
        cases: Vec<Case>,
    }

    #[derive(Debug, Deserialize)]
    struct Case {
        #[serde(default)]
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
            Augmentation { crop_left, crop_top, flip, jitter, angle_degrees, ..Augmentation::NONE }
        }
    }

    const SIZE: ImageSize = ImageSize { channels: 3, height: 32, width: 32 };
    const PLANE: usize = 1024;
    const IMAGE_BYTES: usize = 3 * PLANE;

    fn augmented(path: SimdPath, augmentation: &Augmentation, size: ImageSize, src: &[u8]) -> Vec<u8> {
        let mut dst = vec![0; src.len()];
        augmentation.apply_on(path, size, &BLANK[..size.channels], src, &mut dst, &mut Scratch::default());
        dst
    }

    const BLANK: [u8; 3] = [125, 123, 114];

    fn fixture() -> Fixture {
        serde_json::from_str(include_str!("../../../tests/fixtures/augment/cases.json")).unwrap()
    }

    #[test]
    fn images_equal_those_of_torchvision_to_the_byte() {
        let (train, _) = sample::read().unwrap();
        let expected = include_bytes!("../../../tests/fixtures/augment/expected.bin");
        let cases = fixture().cases;
        assert_eq!(expected.len(), cases.len() * IMAGE_BYTES);
        for (case, expected) in cases.iter().zip(expected.chunks_exact(IMAGE_BYTES)) {
            for path in paths() {
                let augmented = augmented(path, &case.augmentation(), SIZE, &train.image(case.index).unwrap());
                let different = augmented.iter().zip(expected).filter(|(ours, theirs)| ours != theirs).count();
                assert_eq!(different, 0, "of {IMAGE_BYTES} bytes in {case:?} by {path}");
            }
        }
    }

    /// A case of another size; the source is noise, see make.py.
    #[derive(Debug, Deserialize)]
    struct SizedCase {
        channels: usize,
        height: usize,
        width: usize,
        #[serde(flatten)]
        case: Case,
        sha256: String,
    }

    #[test]
    fn images_of_other_sizes_equal_those_of_torchvision() {
        let cases: Vec<SizedCase> =
            serde_json::from_str(include_str!("../../../tests/fixtures/augment/sizes.json")).unwrap();
        for case in &cases {
            let &SizedCase { channels, height, width, .. } = case;
            let size = ImageSize { channels, height, width };
            let blocks = (0u32..).flat_map(|block| Sha256::digest(block.to_le_bytes()));
            let src: Vec<u8> = blocks.take(size.bytes()).collect();
            for path in paths() {
                let augmented = augmented(path, &case.case.augmentation(), size, &src);
                assert_eq!(format!("{:x}", Sha256::digest(augmented)), case.sha256, "{case:?} by {path}");
            }
        }
    }

    #[derive(Clone, Copy)]
    enum Conversion {
        RgbToHsv,
        HsvToRgb,
    }

    struct Convert(Conversion, [[u8; LANES]; 3]);

    impl WithSimd for Convert {
        type Output = [[u8; LANES]; 3];

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> Self::Output {
            match self.0 {
                Conversion::RgbToHsv => rgb_to_hsv(self.1.each_ref()),
                Conversion::HsvToRgb => hsv_to_rgb(self.1.each_ref()),
            }
        }
    }

    fn paths() -> impl Iterator<Item = SimdPath> {
        SimdPath::ALL.into_iter().filter(|path| path.is_available())
    }

    /// Of what becomes of all colours, in order, `LANES` at a time.
    fn hash(convert: impl Fn([[u8; LANES]; 3]) -> [[u8; LANES]; 3]) -> String {
        let mut hash = Sha256::new();
        for first in (0..1 << 24).step_by(LANES) {
            let colour = |lane: usize| (first as u32 + lane as u32).to_be_bytes();
            let channels = [1, 2, 3].map(|byte| from_fn(|lane| colour(lane)[byte]));
            let converted = convert(channels);
            let colours: [[u8; 3]; LANES] = from_fn(|lane| converted.map(|channel| channel[lane]));
            hash.update(colours.as_flattened());
        }
        format!("{:x}", hash.finalize())
    }

    #[test]
    fn every_colour_is_converted_as_pillow_does() {
        let fixture = fixture();
        for path in paths() {
            let convert = |conversion| hash(|channels| run_on(path, Convert(conversion, channels)));
            assert_eq!(convert(Conversion::RgbToHsv), fixture.rgb_to_hsv_sha256, "{path}");
            assert_eq!(convert(Conversion::HsvToRgb), fixture.hsv_to_rgb_sha256, "{path}");
        }
    }

    #[test]
    fn the_reference_converts_every_colour_as_pillow_does() {
        let hash = |convert: fn(u8, u8, u8) -> (u8, u8, u8)| {
            hash(|[first, second, third]| {
                let mut converted = [[0; LANES]; 3];
                for lane in 0..LANES {
                    let (x, y, z) = convert(first[lane], second[lane], third[lane]);
                    [converted[0][lane], converted[1][lane], converted[2][lane]] = [x, y, z];
                }
                converted
            })
        };
        let fixture = fixture();
        assert_eq!(hash(reference::rgb_to_hsv), fixture.rgb_to_hsv_sha256);
        assert_eq!(hash(reference::hsv_to_rgb), fixture.hsv_to_rgb_sha256);
    }

    /// Sizes whose planes, rows and columns fill no vector, and those of CIFAR-10 and MNIST.
    fn size() -> impl Strategy<Value = ImageSize> {
        let sides = prop_oneof![
            4 => Just((32, 32)),
            2 => Just((28, 28)),
            1 => Just((96, 96)),
            4 => (1..40usize, 1..40usize),
        ];
        (prop_oneof![3 => Just(3), 1 => Just(1)], sides).prop_map(|(channels, (height, width))| ImageSize {
            channels,
            height,
            width,
        })
    }

    /// Photographs, noise, flat images, greys, black and white.
    fn image(size: ImageSize) -> impl Strategy<Value = Vec<u8>> {
        let (photographs, _) = sample::read().expect("the sample is built in");
        let (bytes, plane) = (size.bytes(), size.plane());
        let flat =
            move |[r, g, b]: [u8; 3]| [vec![r; plane], vec![g; plane], vec![b; plane]].concat()[..bytes].to_vec();
        let photograph =
            move |index| photographs.image(index).unwrap().iter().copied().cycle().take(bytes).collect::<Vec<u8>>();
        prop_oneof![
            (0..2000usize).prop_map(photograph),
            prop::collection::vec(any::<u8>(), bytes),
            any::<[u8; 3]>().prop_map(flat),
            prop::collection::vec(any::<u8>(), plane).prop_map(move |plane| plane.repeat(size.channels)),
            prop::collection::vec(prop_oneof![Just(0), Just(255)], bytes),
            prop_oneof![Just(0), Just(255)].prop_map(move |value| vec![value; bytes]),
        ]
    }

    fn augmentation() -> impl Strategy<Value = Augmentation> {
        let factor = || {
            prop_oneof![
                6 => 0.0..3.0f32,
                4 => prop::sample::select(vec![0.0, 1.0, 2.0, 255.0, 1e9, f32::MAX, f32::INFINITY, f32::NAN, -1.0]),
            ]
        };
        let turns = prop_oneof![6 => -1.0..1.0f32, 2 => prop::sample::select(vec![0.0, 0.5, -0.5, 1e9, f32::NAN])];
        let jitter = prop_oneof![
            factor().prop_map(Jitter::Brightness),
            factor().prop_map(Jitter::Contrast),
            factor().prop_map(Jitter::Saturation),
            turns.prop_map(Jitter::Hue),
        ];
        let jitter = prop::array::uniform4(prop::option::weighted(0.7, jitter));
        let angle = prop_oneof![6 => -180.0..180.0f32, 2 => prop::sample::select(vec![0.0, 90.0, 1e9, f32::NAN])];
        let shift = || prop_oneof![6 => -5..=5i32, 2 => -40..=40i32, 1 => any::<i32>()];
        let fill = prop_oneof![Just(CropFill::Zero), Just(CropFill::Reflect)];
        let side = prop_oneof![4 => 1..20u32, 1 => any::<u32>()];
        let cutout =
            prop::option::of((shift(), shift(), side).prop_map(|(left, top, side)| Cutout { left, top, side }));
        (shift(), shift(), fill, any::<bool>(), jitter, angle, cutout).prop_map(
            |(crop_left, crop_top, crop_fill, flip, jitter, angle_degrees, cutout)| Augmentation {
                crop_left,
                crop_top,
                crop_fill,
                flip,
                jitter,
                angle_degrees,
                cutout,
            },
        )
    }

    proptest! {
        #![proptest_config(crate::testing::property(256))]
        #[test]
        fn every_path_gives_the_bytes_of_the_reference(
            (size, src) in size().prop_flat_map(|size| (Just(size), image(size))), augmentation in augmentation()
        ) {
            let mut expected = vec![0; size.bytes()];
            reference::apply(&augmentation, size, &BLANK, &src, &mut expected);
            for path in paths() {
                prop_assert!(augmented(path, &augmentation, size, &src) == expected, "{path}, {size:?}");
            }
        }
    }

    /// 28 x 28 pixels fill twelve vectors and a quarter of one.
    #[test]
    fn the_hue_of_the_last_pixels_is_shifted_too() {
        let size = ImageSize { channels: 3, height: 28, width: 28 };
        let jitter = [Some(Jitter::Hue(0.5)), None, None, None];
        let augmentation = Augmentation { jitter, ..Augmentation::NONE };
        // (200, 100, 50) is 14, 191, 200 in HSV, and half a turn on it is (50, 152, 200), by Pillow.
        let src = [vec![200; 784], vec![100; 784], vec![50; 784]].concat();
        let expected = [vec![50; 784], vec![152; 784], vec![200; 784]].concat();
        for path in paths() {
            assert_eq!(augmented(path, &augmentation, size, &src), expected, "{path}");
        }
    }

    #[test]
    fn draws_are_within_their_ranges_and_reach_across_them() {
        let config = AugmentConfig::default();
        let draws: Vec<_> = (0..2000).map(|index| Augmentation::draw(&config, SIZE, 1, 1, index)).collect();
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
    fn an_image_is_drawn_for_by_seed_epoch_and_index() {
        let config = AugmentConfig::default();
        let draw = |seed, epoch, index| Augmentation::draw(&config, SIZE, seed, epoch, index);
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)] {
            assert_ne!(draw(1, 2, 3), other);
        }
    }

    #[test]
    fn alternating_flips_show_each_image_both_ways() {
        let config = AugmentConfig { flip: Flip::Alternating, ..AugmentConfig::default() };
        let config = &config;
        let flips = |epoch| (0..2000).map(move |index| Augmentation::draw(config, SIZE, 1, epoch, index).flip);
        let first: Vec<bool> = flips(1).collect();
        let flipped = first.iter().filter(|flip| **flip).count();
        assert!((900..1100).contains(&flipped), "{flipped}");
        assert!(flips(2).eq(first.iter().map(|flip| !flip)) && flips(3).eq(first));
    }

    #[test]
    fn other_settings_draw_as_before() {
        let before = AugmentConfig::default();
        let config = AugmentConfig {
            cutout: 8,
            crop_fill: CropFill::Reflect,
            flip: Flip::Alternating,
            ..AugmentConfig::default()
        };
        for index in 0..50 {
            let [before, drawn] = [&before, &config].map(|config| Augmentation::draw(config, SIZE, 1, 1, index));
            let same = Augmentation { crop_fill: before.crop_fill, flip: before.flip, cutout: None, ..drawn };
            assert_eq!(same, before);
        }
    }

    #[test]
    fn a_cutout_has_its_centre_in_the_image_and_leaves_the_mean_colour() {
        let config = AugmentConfig { cutout: 12, ..AugmentConfig::default() };
        let cutouts: Vec<Cutout> =
            (0..2000).filter_map(|index| Augmentation::draw(&config, SIZE, 1, 1, index).cutout).collect();
        let edges = |of: fn(&Cutout) -> i32| (cutouts.iter().map(of).min(), cutouts.iter().map(of).max());
        assert_eq!((cutouts.len(), edges(|cutout| cutout.left)), (2000, (Some(-6), Some(25))));
        assert_eq!(edges(|cutout| cutout.top), (Some(-6), Some(25)));

        let cutout = Some(Cutout { left: 1, top: -2, side: 3 });
        let size = ImageSize { channels: 3, height: 2, width: 5 };
        let blanked = augmented(SimdPath::Portable, &Augmentation { cutout, ..Augmentation::NONE }, size, &[9; 30]);
        let plane = |blank| [[9, blank, blank, blank, 9], [9; 5]].concat();
        assert_eq!(blanked, BLANK.map(plane).concat());
    }

    /// As `torch.nn.functional.pad(…, mode="reflect")` has it.
    #[test]
    fn a_reflected_crop_repeats_no_edge() {
        let size = ImageSize { channels: 1, height: 2, width: 4 };
        let crop = |crop_left, crop_top| {
            let augmentation = Augmentation { crop_left, crop_top, crop_fill: CropFill::Reflect, ..Augmentation::NONE };
            augmented(SimdPath::Portable, &augmentation, size, &[1, 2, 3, 4, 5, 6, 7, 8])
        };
        assert_eq!(crop(-2, 0), [3, 2, 1, 2, 7, 6, 5, 6]);
        assert_eq!(crop(1, 1), [6, 7, 8, 7, 2, 3, 4, 3]);
        assert_eq!(crop(0, -1), [5, 6, 7, 8, 1, 2, 3, 4]);
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
        for index in 0..20 {
            let augmentation = Augmentation::draw(&config, SIZE, 0, 1, index as u64);
            let image = train.image(index).unwrap();
            assert!(augmented(SimdPath::Portable, &augmentation, SIZE, &image) == *image);
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
        for index in 0..100 {
            augmented(SimdPath::Portable, &Augmentation::draw(&config, SIZE, 0, 1, index), SIZE, &[100; IMAGE_BYTES]);
        }
    }
}
