//! An image file of any format that is read, decoded to eight bits a channel, opaque and upright.

use std::ffi::c_int;
use std::fmt;
use std::io::Cursor;
use std::panic::{catch_unwind, resume_unwind};
use std::ptr::null;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{
    AnimationDecoder, DynamicImage, ExtendedColorType, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader,
    Limits, RgbImage,
};
use memchr::memmem;
use mozjpeg::{ColorSpace, Decompress};
use mozjpeg_sys::{jpeg_common_struct, jpeg_error_mgr, msg_parm_union};
use thiserror::Error;

use crate::config::Background;
use crate::data::luma::luma;

/// What a decoder may take: an image of 10 000 x 10 000 pixels, and more.
const MAX_BYTES: u64 = 1 << 30;
/// For people.
pub const FORMATS: &str = "PNG, JPEG, GIF, BMP, WebP or TIFF";

/// Why an image file cannot be read: one line, for people, without the name of the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Unreadable(String);

#[derive(Clone, Debug)]
pub struct ImageFile {
    pub pixels: Pixels,
    pub about: About,
}

/// What a file was.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// In pixels, as it is stored: before it is turned.
    pub width: u32,
    pub height: u32,
    /// Whether its sides are exchanged to turn it.
    lies: bool,
    pub format: ImageFormat,
    /// What was done to make it an ordinary image, in that order.
    pub changes: Vec<Change>,
}

/// A grey image is kept as one, so that a set of them can have one channel.
#[derive(Clone, Debug)]
pub enum Pixels {
    Grey(GrayImage),
    Colour(RgbImage),
}

/// What had to be done to a file to make it an ordinary image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    FirstFrame,
    FromCmyk,
    Turned,
    Laid(Background),
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            Self::FirstFrame => "its first frame",
            Self::FromCmyk => "CMYK turned into RGB",
            Self::Turned => "turned as its EXIF says",
            Self::Laid(Background::White) => "laid on white",
            Self::Laid(Background::Black) => "laid on black",
        })
    }
}

impl Pixels {
    /// (width, height)
    pub fn dimensions(&self) -> (u32, u32) {
        match self {
            Self::Grey(image) => image.dimensions(),
            Self::Colour(image) => image.dimensions(),
        }
    }

    /// With that many channels, 1 or 3.
    #[must_use]
    pub fn with_channels(self, channels: usize) -> Self {
        match (self, channels) {
            (Self::Colour(image), 1) => {
                let (width, height) = image.dimensions();
                let grey = image.pixels().map(|pixel| luma(pixel.0[0], pixel.0[1], pixel.0[2])).collect();
                Self::Grey(GrayImage::from_raw(width, height, grey).expect("a byte for each pixel"))
            }
            (Self::Grey(image), 3) => Self::Colour(DynamicImage::from(image).into_rgb8()),
            (image, _) => image,
        }
    }
}

impl ImageFile {
    /// Decodes the bytes of a file. What is transparent shows the background. Of a JPEG, pixels may be missing that a shorter side
    /// of `least` pixels does not need.
    ///
    /// # Errors
    /// They are no image of a known format, or not a whole one, or one that takes more than a gigabyte.
    pub fn decode(bytes: &[u8], background: Background, least: u32) -> Result<Self, Unreadable> {
        if bytes.is_empty() {
            return Err(Unreadable("the file is empty".into()));
        }
        let mut decoder = decoder(bytes)?;
        let Encoded { format, width, height, colours } = decoder.encoded;
        let orientation = decoder.decoder.orientation().unwrap_or(Orientation::NoTransforms);
        if width == 0 || height == 0 {
            return Err(Unreadable(format!("it has {width} x {height} pixels")));
        }
        // Not every decoder keeps to the limit, and a file of a hundred bytes may tell of any size.
        if decoder.decoder.total_bytes() > MAX_BYTES {
            return Err(too_large(&format!("{width} x {height} pixels")));
        }
        if is_cut(bytes, format) {
            return Err(incomplete("the end of the JPEG data is missing"));
        }
        let smaller = if format == ImageFormat::Jpeg { scaled_jpeg(bytes, least) } else { None };
        let mut image = match smaller {
            Some(image) => image,
            None => DynamicImage::from_decoder(decoder.decoder).map_err(|error| unreadable(&error))?,
        };

        let mut changes = vec![];
        if is_animated(bytes, format) {
            changes.push(Change::FirstFrame);
        }
        if is_cmyk(bytes, format) || matches!(colours, ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16) {
            changes.push(Change::FromCmyk);
        }
        if orientation != Orientation::NoTransforms {
            image.apply_orientation(orientation);
            changes.push(Change::Turned);
        }
        let lies = matches!(
            orientation,
            Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
        );
        let (pixels, transparency) = opaque(image, background);
        if transparency == Transparency::Some {
            changes.push(Change::Laid(background));
        }
        Ok(Self { pixels, about: About { width, height, lies, format, changes } })
    }
}

impl About {
    /// (width, height), when it is turned as it is to be seen.
    pub fn upright(&self) -> (u32, u32) {
        if self.lies { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// Such as `640 x 480 JPEG`, and what was done to it.
    pub fn description(&self) -> Vec<String> {
        let whole = format!("{} x {} {}", self.width, self.height, format_name(self.format));
        std::iter::once(whole).chain(self.changes.iter().map(ToString::to_string)).collect()
    }
}

/// What the header of a file alone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// In pixels, as it is stored: it may be turned yet.
    pub width: u32,
    pub height: u32,
    pub is_grey: bool,
}

/// # Errors
/// As [`ImageFile::decode`], as far as the header tells.
pub fn header(bytes: &[u8]) -> Result<Header, Unreadable> {
    let Decoder { decoder, encoded: Encoded { width, height, .. } } = decoder(bytes)?;
    Ok(Header { width, height, is_grey: !decoder.color_type().has_color() })
}

/// A JPEG of n / 8 of its sides, rounded up: the least n whose shorter side has `least` pixels. It is made of fewer coefficients of
/// the cosine transform, which takes less time. None: the whole has to be decoded.
fn scaled_jpeg(bytes: &[u8], least: u32) -> Option<DynamicImage> {
    let decoded = || {
        let mut decoder = Decompress::with_err(strict_errors()).from_mem(bytes).ok()?;
        let shorter = decoder.width().min(decoder.height());
        let eighths = (1..8).find(|eighths| (shorter * eighths).div_ceil(8) >= least as usize)?;
        decoder.scale(eighths as u8);
        let is_grey = match decoder.color_space() {
            ColorSpace::JCS_GRAYSCALE => true,
            ColorSpace::JCS_YCbCr | ColorSpace::JCS_RGB => false,
            _ => return None,
        };
        let mut started = if is_grey { decoder.grayscale() } else { decoder.rgb() }.ok()?;
        let (width, height) = (started.width() as u32, started.height() as u32);
        let pixels = started.read_scanlines::<u8>().ok()?;
        started.finish().ok()?;
        match is_grey {
            true => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
            false => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        }
    };
    catch_unwind(decoded).ok().flatten()
}

/// What libjpeg does about errors: what it would only warn of, as of data that is damaged, is one as well, and no message is made
/// of either.
fn strict_errors() -> jpeg_error_mgr {
    extern "C-unwind" fn end(_: &mut jpeg_common_struct) {
        resume_unwind(Box::new(()))
    }
    extern "C-unwind" fn told(of: &mut jpeg_common_struct, level: c_int) {
        const WARNING: c_int = -1;
        if level == WARNING {
            end(of)
        }
    }
    extern "C-unwind" fn begin(_: &mut jpeg_common_struct) {}
    jpeg_error_mgr {
        error_exit: Some(end),
        emit_message: Some(told),
        output_message: Some(end),
        format_message: None,
        reset_error_mgr: Some(begin),
        msg_code: 0,
        msg_parm: msg_parm_union { _bindgen_data_: [0; 20] },
        trace_level: 0,
        num_warnings: 0,
        jpeg_message_table: null(),
        last_jpeg_message: 0,
        addon_message_table: null(),
        first_addon_message: 0,
        last_addon_message: 0,
    }
}

/// What the header of a file says.
struct Encoded {
    format: ImageFormat,
    width: u32,
    height: u32,
    colours: ExtendedColorType,
}

struct Decoder<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    encoded: Encoded,
}

fn decoder(bytes: &[u8]) -> Result<Decoder<'_>, Unreadable> {
    let read = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let mut reader = read.map_err(|error| Unreadable(error.to_string()))?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let format = reader.format().ok_or_else(|| Unreadable(format!("it is no image that taper reads: {FORMATS}")))?;
    let decoder = reader.into_decoder().map_err(|error| unreadable(&error))?;
    let (width, height) = decoder.dimensions();
    let colours = decoder.original_color_type();
    Ok(Decoder { decoder: Box::new(decoder), encoded: Encoded { format, width, height, colours } })
}

/// On one line.
fn unreadable(error: &ImageError) -> Unreadable {
    let text = error.to_string().replace('\n', " ");
    match error {
        ImageError::Limits(_) => too_large(&text),
        ImageError::Unsupported(_) => Unreadable(format!("{text}; save it as {FORMATS}")),
        _ => incomplete(&text),
    }
}

fn incomplete(fault: &str) -> Unreadable {
    Unreadable(format!("it cannot be read, is it whole? {fault}"))
}

fn too_large(what: &str) -> Unreadable {
    Unreadable(format!("{what}: it needs more than {} MiB; make it smaller", MAX_BYTES >> 20))
}

pub fn format_name(format: ImageFormat) -> String {
    match format {
        ImageFormat::WebP => "WebP".into(),
        format => format!("{format:?}").to_uppercase(),
    }
}

/// Whether there is more than the first image. One that cannot be told is taken for still: it was read, after all.
fn is_animated(bytes: &[u8], format: ImageFormat) -> bool {
    let cursor = Cursor::new(bytes);
    match format {
        ImageFormat::Gif => GifDecoder::new(cursor).is_ok_and(|gif| gif.into_frames().take(2).count() > 1),
        ImageFormat::Png => PngDecoder::new(cursor).is_ok_and(|png| png.is_apng().unwrap_or(false)),
        ImageFormat::WebP => WebPDecoder::new(cursor).is_ok_and(|webp| webp.has_animation()),
        _ => false,
    }
}

/// Whether a JPEG's start-of-frame segment tells of four components. The decoder gives RGB, and does not say so.
fn is_cmyk(bytes: &[u8], format: ImageFormat) -> bool {
    let mut segments = jpeg_segments(bytes, format);
    segments.find(|(marker, _)| matches!(marker, 0xC0..=0xC3)).is_some_and(|(_, segment)| segment.get(5) == Some(&4))
}

/// Whether a JPEG has no end-of-image marker after the start of its data, where no other byte can look like one. The
/// decoder shows what is missing as grey.
fn is_cut(bytes: &[u8], format: ImageFormat) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];
    let scan = jpeg_segments(bytes, format).find(|&(marker, _)| marker == START_OF_SCAN);
    format == ImageFormat::Jpeg && scan.is_none_or(|(_, rest)| memmem::find(rest, &END_OF_IMAGE).is_none())
}

/// The marker of each segment of a JPEG up to its data, and the bytes from the segment's contents on.
fn jpeg_segments(bytes: &[u8], format: ImageFormat) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = match format {
        ImageFormat::Jpeg => bytes.get(2..).unwrap_or_default(),
        _ => &[],
    };
    std::iter::from_fn(move || {
        // A marker may have any number of 0xFF before it.
        while let [0xFF, 0xFF, ..] = rest {
            rest = &rest[1..];
        }
        let [0xFF, marker, high, low, contents @ ..] = rest else { return None };
        let length = usize::from(*high) << 8 | usize::from(*low);
        rest = rest.get(2 + length..).unwrap_or_default();
        Some((*marker, contents))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transparency {
    None,
    Some,
}

/// What is transparent shows the background.
fn opaque(image: DynamicImage, background: Background) -> (Pixels, Transparency) {
    let behind = match background {
        Background::White => 255,
        Background::Black => 0,
    };
    let mut transparency = Transparency::None;
    let mut over = |colour: u8, alpha: u8| {
        if alpha < 255 {
            transparency = Transparency::Some;
        }
        let (colour, alpha) = (u16::from(colour), u16::from(alpha));
        ((colour * alpha + behind * (255 - alpha) + 127) / 255) as u8
    };
    let pixels = match (image.color().has_color(), image.color().has_alpha()) {
        (false, false) => Pixels::Grey(image.into_luma8()),
        (true, false) => Pixels::Colour(image.into_rgb8()),
        (false, true) => {
            let image = image.into_luma_alpha8();
            let (width, height) = image.dimensions();
            let grey = image.pixels().map(|pixel| over(pixel.0[0], pixel.0[1])).collect();
            Pixels::Grey(GrayImage::from_raw(width, height, grey).expect("a byte for each pixel"))
        }
        (true, true) => {
            let image = image.into_rgba8();
            let (width, height) = image.dimensions();
            let colours = image.pixels().flat_map(|pixel| {
                let [colours @ .., alpha] = pixel.0;
                colours.map(|colour| over(colour, alpha))
            });
            let colours = colours.collect();
            Pixels::Colour(RgbImage::from_raw(width, height, colours).expect("three bytes for each pixel"))
        }
    };
    (pixels, transparency)
}

#[cfg(test)]
pub mod testing {
    use super::*;

    pub fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// Less than fifty bytes that tell of an image of 17 GB.
    pub fn vast_gif() -> Vec<u8> {
        let side = u16::MAX.to_le_bytes();
        let mut bytes = b"GIF89a".to_vec();
        bytes.extend([side, side].concat());
        bytes.extend([0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
        bytes.extend([&[0x2c, 0, 0, 0, 0], [side, side].concat().as_slice(), &[0, 2, 2, 0x4c, 1, 0, 0x3b]].concat());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::png::PngEncoder;
    use image::{Frame, ImageEncoder, Luma, LumaA, Rgb, Rgba, RgbaImage};

    use super::testing::{encoded, vast_gif};
    use super::*;

    const SIDE: u32 = 8;

    fn decoded(bytes: &[u8]) -> ImageFile {
        ImageFile::decode(bytes, Background::White, u32::MAX).unwrap()
    }

    fn first(image: &ImageFile) -> Vec<u8> {
        match &image.pixels {
            Pixels::Grey(grey) => grey.get_pixel(0, 0).0.to_vec(),
            Pixels::Colour(colour) => colour.get_pixel(0, 0).0.to_vec(),
        }
    }

    #[test]
    fn grey_stays_grey_and_every_depth_becomes_eight_bits() {
        let grey = DynamicImage::ImageLuma8(GrayImage::from_pixel(SIDE, SIDE, Luma([77])));
        assert_eq!(first(&decoded(&encoded(&grey, ImageFormat::Png))), [77]);
        let deep = DynamicImage::ImageLuma16(image::ImageBuffer::from_pixel(SIDE, SIDE, Luma([77 * 257])));
        assert_eq!(first(&decoded(&encoded(&deep, ImageFormat::Png))), [77]);
        let deep = DynamicImage::ImageRgb16(image::ImageBuffer::from_pixel(SIDE, SIDE, Rgb([257, 2 * 257, 65535])));
        assert_eq!(first(&decoded(&encoded(&deep, ImageFormat::Tiff))), [1, 2, 255]);
        let of = |image, format| header(&encoded(image, format)).unwrap();
        let expected = Header { width: SIDE, height: SIDE, is_grey: true };
        assert_eq!(of(&grey, ImageFormat::Jpeg), expected);
        assert_eq!(of(&deep, ImageFormat::Png), Header { is_grey: false, ..expected });
    }

    #[test]
    fn channels_are_added_and_taken_away() {
        let grey = || decoded(&encoded(&GrayImage::from_pixel(SIDE, SIDE, Luma([77])).into(), ImageFormat::Png)).pixels;
        let Pixels::Colour(colour) = grey().with_channels(3) else { panic!("grey") };
        assert_eq!(colour.get_pixel(1, 2).0, [77; 3]);
        assert!(matches!(grey().with_channels(1), Pixels::Grey(_)));
        let Pixels::Grey(grey) = Pixels::Colour(colour).with_channels(1) else { panic!("colour") };
        assert_eq!(grey.get_pixel(3, 4).0, [77]);
        // As Image.convert("L") of Pillow 13.
        let colours = RgbImage::from_fn(3, 1, |x, _| Rgb([[200, 10, 30], [7, 250, 99], [0, 3, 255]][x as usize]));
        let Pixels::Grey(grey) = Pixels::Colour(colours).with_channels(1) else { panic!("colour") };
        assert_eq!(grey.as_raw()[..], [69, 160, 31]);
    }

    #[test]
    fn the_colours_of_a_palette_are_taken() {
        // A GIF has one.
        let red = DynamicImage::ImageRgb8(RgbImage::from_pixel(SIDE, SIDE, Rgb([255, 0, 0])));
        assert_eq!(first(&decoded(&encoded(&red.to_rgba8().into(), ImageFormat::Gif))), [255, 0, 0]);
    }

    #[test]
    fn the_background_is_seen_through_what_is_transparent() {
        let clear: DynamicImage = RgbaImage::from_pixel(SIDE, SIDE, Rgba([200, 100, 0, 0])).into();
        let half: DynamicImage = image::GrayAlphaImage::from_pixel(SIDE, SIDE, LumaA([100, 51])).into();
        for (image, background, expected) in [
            (&clear, Background::White, &[255, 255, 255][..]),
            (&clear, Background::Black, &[0, 0, 0]),
            // A fifth of it, and four of the background.
            (&half, Background::White, &[224]),
            (&half, Background::Black, &[20]),
        ] {
            let read = ImageFile::decode(&encoded(image, ImageFormat::Png), background, u32::MAX).unwrap();
            assert_eq!((&first(&read)[..], &read.about.changes[..]), (expected, &[Change::Laid(background)][..]));
        }
        let opaque: DynamicImage = RgbaImage::from_pixel(SIDE, SIDE, Rgba([200, 100, 0, 255])).into();
        let read = decoded(&encoded(&opaque, ImageFormat::Png));
        assert_eq!((first(&read), read.about.description().join(", ")), (vec![200, 100, 0], "8 x 8 PNG".to_owned()));
    }

    #[test]
    fn of_an_animation_the_first_frame_is_taken() {
        let frame = |colour| Frame::new(RgbaImage::from_pixel(SIDE, SIDE, Rgba(colour)));
        let mut bytes = vec![];
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
        encoder.encode_frames([frame([255, 0, 0, 255]), frame([0, 255, 0, 255])]).unwrap();
        drop(encoder);
        let read = decoded(&bytes);
        assert_eq!((first(&read), read.about.changes), (vec![255, 0, 0], vec![Change::FirstFrame]));
    }

    #[test]
    fn an_image_is_turned_as_its_exif_says() {
        let mut wide = RgbImage::from_pixel(4, 2, Rgb([0; 3]));
        wide.put_pixel(0, 0, Rgb([9; 3]));
        // Little-endian TIFF with one entry: orientation 6, to be turned clockwise by a quarter.
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let mut bytes = vec![];
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif.to_vec()).unwrap();
        encoder.write_image(wide.as_raw(), 4, 2, ExtendedColorType::Rgb8).unwrap();
        let read = decoded(&bytes);
        assert_eq!((read.pixels.dimensions(), &read.about.changes[..]), ((2, 4), &[Change::Turned][..]));
        let Pixels::Colour(upright) = read.pixels else { panic!("grey") };
        assert_eq!(upright.get_pixel(1, 0).0, [9; 3]);
        assert_eq!((read.about.width, read.about.height), (4, 2));
    }

    #[test]
    fn four_components_are_cmyk() {
        let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/explain/cmyk.jpg")).unwrap();
        let read = decoded(&bytes);
        assert_eq!(read.about.changes, [Change::FromCmyk]);
        // Orange: cyan 0, magenta 128, yellow 255.
        let [red, green, blue] = first(&read)[..] else { panic!("grey") };
        assert!(red > 245 && green.abs_diff(127) < 10 && blue < 10, "{red} {green} {blue}");
        let red = RgbImage::from_pixel(SIDE, SIDE, Rgb([255, 0, 0]));
        assert_eq!(decoded(&encoded(&red.into(), ImageFormat::Jpeg)).about.changes, []);
    }

    #[test]
    fn a_large_jpeg_is_decoded_as_small_as_will_do() {
        let smooth = RgbImage::from_fn(100, 68, |x, y| Rgb([(2 * x) as u8, (3 * y) as u8, 90]));
        let bytes = encoded(&smooth.into(), ImageFormat::Jpeg);
        for (least, eighths) in [(69, 8_u32), (61, 8), (60, 7), (35, 5), (34, 4), (17, 2), (9, 1), (1, 1)] {
            let read = ImageFile::decode(&bytes, Background::White, least).unwrap();
            let expected = (100 * eighths).div_ceil(8);
            assert_eq!(
                (read.pixels.dimensions(), read.about.width),
                ((expected, (68 * eighths).div_ceil(8)), 100),
                "{least}"
            );
            let Pixels::Colour(image) = read.pixels else { panic!("grey") };
            // The colours of the middle of what a pixel covers.
            let scale = 8.0 / f64::from(eighths);
            for (x, y, pixel) in
                image.enumerate_pixels().filter(|&(x, y, _)| x + 1 < image.width() && y + 1 < image.height())
            {
                let at = |position: u32, slope: f64| slope * ((f64::from(position) + 0.5) * scale - 0.5);
                let apart =
                    [at(x, 2.0) - f64::from(pixel[0]), at(y, 3.0) - f64::from(pixel[1]), 90.0 - f64::from(pixel[2])];
                assert!(apart.iter().all(|apart| apart.abs() < 6.0), "{least}: {x} {y} {pixel:?}");
            }
        }
        let grey = encoded(&GrayImage::from_pixel(64, 64, Luma([50])).into(), ImageFormat::Jpeg);
        let read = ImageFile::decode(&grey, Background::White, 8).unwrap();
        assert!(matches!(read.pixels, Pixels::Grey(image) if image.dimensions() == (8, 8)));
    }

    #[test]
    fn a_damaged_jpeg_is_not_read_because_it_is_to_be_small() {
        let noise = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (x ^ y) as u8]));
        let mut bytes = encoded(&noise.into(), ImageFormat::Jpeg);
        assert_eq!(scaled_jpeg(&bytes, 8).map(|image| image.width()), Some(8));
        // Nothing but ones is no code.
        let middle = bytes.len() / 2;
        for pair in bytes[middle..middle + 40].chunks_exact_mut(2) {
            pair.copy_from_slice(&[0xFF, 0]);
        }
        assert!(scaled_jpeg(&bytes, 8).is_none());
    }

    #[test]
    fn what_is_no_whole_image_is_told_in_a_line() {
        let noise = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * 37 + y * 91) as u8, (x * y) as u8, (x ^ y) as u8]));
        let mut cut = encoded(&noise.clone().into(), ImageFormat::Png);
        cut.truncate(60);
        let mut cut_jpeg = encoded(&noise.into(), ImageFormat::Jpeg);
        cut_jpeg.truncate(cut_jpeg.len() * 9 / 10);
        for (bytes, complaint) in [
            (&b""[..], "the file is empty"),
            (b"not an image at all", "it is no image that taper reads: PNG, JPEG, "),
            (&cut, "it cannot be read, is it whole? "),
            (&cut_jpeg, "it cannot be read, is it whole? the end of the JPEG data is missing"),
            (&vast_gif(), "65535 x 65535 pixels: it needs more than 1024 MiB; make it smaller"),
            (b"qoif\0\0\0\x01\0\0\0\x01\x03\0aaaaaaaaaaaaaaaa", "save it as PNG, JPEG"),
        ] {
            let error = ImageFile::decode(bytes, Background::White, u32::MAX).unwrap_err().to_string();
            assert!(error.contains(complaint) && !error.contains('\n'), "{error}");
        }
    }
}
