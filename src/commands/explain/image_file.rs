//! An image file as the network takes images: of the data set's size and channels, whatever it was.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::imageops::{FilterType, resize};
use image::metadata::Orientation;
use image::{
    AnimationDecoder, DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb,
    RgbImage,
};

use crate::commands::failure::UsageError;
use crate::data::DatasetInfo;
use crate::ordinary_file;
use crate::render::Planes;

/// What a decoder may take: an image of 10 000 x 10 000 pixels, and more.
const MAX_BYTES: u64 = 1 << 30;
const FORMATS: &str = "PNG, JPEG, GIF, BMP, WebP or TIFF";

pub struct ImageFile {
    pub planes: Planes,
    /// What it was, and all that was done to it, such as `640 x 480 JPEG, resized to 32 x 32`.
    pub description: String,
}

/// # Errors
/// Names the file, what is wrong with it, and what to do.
pub fn read(path: &Path, dataset: &DatasetInfo) -> Result<ImageFile, UsageError> {
    let name = path.display();
    let wrong = |what: String| UsageError(format!("--image {name}: {what}"));
    let about = fs::metadata(path)
        .map_err(|error| wrong(format!("{error}; give the number of a test image, or a file in {FORMATS}")))?;
    ordinary_file::check(&about).map_err(|error| wrong(format!("{error}; give an image file")))?;
    if about.len() == 0 {
        return Err(wrong("the file is empty; give an image file".into()));
    }
    let bytes = ordinary_file::read(path).map_err(|error| wrong(error.to_string()))?;
    decode(&bytes, dataset).map_err(wrong)
}

fn decode(bytes: &[u8], dataset: &DatasetInfo) -> Result<ImageFile, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let format = reader.format().ok_or_else(|| format!("it is no image that taper reads: {FORMATS}"))?;
    let mut decoder = reader.into_decoder().map_err(|error| complaint(&error))?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let (width, height) = decoder.dimensions();
    // Not every decoder keeps to the limit, and a file of a hundred bytes may tell of any size.
    if decoder.total_bytes() > MAX_BYTES {
        return Err(too_large(&format!("{width} x {height} pixels")));
    }
    if is_cut(bytes, format) {
        return Err(complaint_of("the end of the JPEG data is missing"));
    }
    let colours = decoder.original_color_type();
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| complaint(&error))?;

    let mut done = vec![format!("{width} x {height} {}", format_name(format))];
    if is_animated(bytes, format) {
        done.push("its first frame".into());
    }
    if is_cmyk(bytes, format) || matches!(colours, ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16) {
        done.push("CMYK turned into RGB".into());
    }
    if orientation != Orientation::NoTransforms {
        image.apply_orientation(orientation);
        done.push("turned as its EXIF says".into());
    }
    let (mut image, transparent) = opaque(image);
    if transparent == Transparency::Some {
        done.push("laid on white".into());
    }
    let (width, height) = (dataset.width as u32, dataset.height as u32);
    if image.dimensions() != (width, height) {
        let keeps_shape = image.width() * height == width * image.height();
        let stretched = match (keeps_shape, width == height) {
            (true, _) => "",
            (false, true) => " (stretched to a square)",
            (false, false) => " (stretched)",
        };
        done.push(format!("resized to {width} x {height}{stretched}"));
        image = resize(&image, width, height, FilterType::Triangle);
    }
    let bytes = if dataset.channels == 1 {
        done.push("made grey".into());
        DynamicImage::from(image).into_luma8().into_raw()
    } else {
        (0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel.0[channel])).collect()
    };
    done.push("normalised as the test images".into());
    let planes = Planes { width: dataset.width, height: dataset.height, bytes };
    Ok(ImageFile { planes, description: done.join(", ") })
}

/// On one line.
fn complaint(error: &ImageError) -> String {
    let text = error.to_string().replace('\n', " ");
    match error {
        ImageError::Limits(_) => too_large(&text),
        ImageError::Unsupported(_) => format!("{text}; save it as {FORMATS}"),
        _ => complaint_of(&text),
    }
}

fn complaint_of(fault: &str) -> String {
    format!("it cannot be read, is it whole? {fault}")
}

fn too_large(what: &str) -> String {
    format!("{what}: it needs more than {} MiB; make it smaller", MAX_BYTES >> 20)
}

fn format_name(format: ImageFormat) -> String {
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
    format == ImageFormat::Jpeg && !scan.is_some_and(|(_, rest)| rest.windows(2).any(|pair| pair == END_OF_IMAGE))
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

/// What is transparent shows white.
fn opaque(image: DynamicImage) -> (RgbImage, Transparency) {
    if !image.color().has_alpha() {
        return (image.into_rgb8(), Transparency::None);
    }
    let image = image.into_rgba8();
    let mut transparency = Transparency::None;
    let mut on_white = RgbImage::new(image.width(), image.height());
    for (onto, pixel) in on_white.pixels_mut().zip(image.pixels()) {
        let [colours @ .., alpha] = pixel.0.map(u16::from);
        *onto = Rgb(colours.map(|colour| ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8));
        if alpha < 255 {
            transparency = Transparency::Some;
        }
    }
    (on_white, transparency)
}

#[cfg(test)]
mod tests {
    use image::{Frame, Rgba, RgbaImage};

    use super::*;

    const PLANE: usize = 32 * 32;

    fn decoded(bytes: &[u8]) -> ImageFile {
        decode(bytes, &DatasetInfo::cifar10()).unwrap()
    }

    fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![]);
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// Red on the left, blue on the right.
    fn halves(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) }).into()
    }

    /// Less than fifty bytes that tell of an image of 17 GB.
    fn vast_gif() -> Vec<u8> {
        let side = u16::MAX.to_le_bytes();
        let mut bytes = b"GIF89a".to_vec();
        bytes.extend([side, side].concat());
        bytes.extend([0x80, 0, 0, 0, 0, 0, 255, 255, 255]);
        bytes.extend([&[0x2c, 0, 0, 0, 0], [side, side].concat().as_slice(), &[0, 2, 2, 0x4c, 1, 0, 0x3b]].concat());
        bytes
    }

    #[test]
    fn every_format_becomes_32_by_32_and_it_is_said() {
        let formats = [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
            ImageFormat::Bmp,
            ImageFormat::WebP,
            ImageFormat::Tiff,
        ];
        for format in formats {
            let read = decoded(&encoded(&halves(48, 24), format));
            assert!(
                read.planes.bytes[0] > 240 && read.planes.bytes[31] < 15 && read.planes.bytes[2 * PLANE + 31] > 240,
                "{format:?}"
            );
            let expected = format!("48 x 24 {}, resized to 32 x 32 (stretched to a square), ", format_name(format));
            assert!(read.description.starts_with(&expected), "{}", read.description);
        }
    }

    #[test]
    fn a_file_is_made_alike_to_the_images_of_the_data_set() {
        let dataset = DatasetInfo { channels: 1, height: 20, width: 28, ..DatasetInfo::cifar10() };
        let read = decode(&encoded(&halves(56, 10), ImageFormat::Png), &dataset).unwrap();
        assert_eq!((read.planes.width, read.planes.height, read.planes.bytes.len()), (28, 20, 560));
        // Red is brighter than blue.
        assert!(read.planes.bytes[0] > read.planes.bytes[27] && read.planes.channels() == 1);
        assert!(read.description.contains("resized to 28 x 20 (stretched), made grey, "), "{}", read.description);
    }

    #[test]
    fn an_image_of_the_right_size_keeps_its_bytes() {
        let read = decoded(&encoded(&halves(32, 32), ImageFormat::Png));
        assert_eq!((read.planes.bytes[15], read.planes.bytes[16], read.planes.bytes.len()), (255, 0, 3 * PLANE));
        assert_eq!(read.description, "32 x 32 PNG, normalised as the test images");
    }

    #[test]
    fn a_single_pixel_fills_the_image() {
        let read = decoded(&encoded(&halves(1, 1), ImageFormat::Png));
        assert!(read.planes.bytes[2 * PLANE..].iter().all(|&blue| blue == 255));
        assert!(read.description.starts_with("1 x 1 PNG, resized to 32 x 32, "), "{}", read.description);
    }

    #[test]
    fn what_is_transparent_shows_white() {
        let glass = RgbaImage::from_pixel(32, 32, Rgba([200, 100, 0, 0]));
        let read = decoded(&encoded(&glass.into(), ImageFormat::Png));
        assert!(read.planes.bytes.iter().all(|&value| value == 255) && read.description.contains("laid on white"));
    }

    #[test]
    fn of_an_animation_the_first_frame_is_taken() {
        let frame = |colour| Frame::new(RgbaImage::from_pixel(32, 32, Rgba(colour)));
        let mut bytes = vec![];
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
        encoder.encode_frames([frame([255, 0, 0, 255]), frame([0, 255, 0, 255])]).unwrap();
        drop(encoder);
        let read = decoded(&bytes);
        assert_eq!((read.planes.bytes[0], read.planes.bytes[PLANE]), (255, 0));
        assert!(read.description.contains("32 x 32 GIF, its first frame"), "{}", read.description);
    }

    #[test]
    fn four_components_are_cmyk() {
        let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/explain/cmyk.jpg")).unwrap();
        let read = decoded(&bytes);
        assert!(read.description.contains("JPEG, CMYK turned into RGB, resized"), "{}", read.description);
        // Orange: cyan 0, magenta 128, yellow 255.
        let [red, green, blue] = [0, 1, 2].map(|channel| read.planes.bytes[channel * PLANE]);
        assert!(red > 245 && green.abs_diff(127) < 10 && blue < 10, "{red} {green} {blue}");
        assert!(!is_cmyk(&encoded(&halves(8, 8), ImageFormat::Jpeg), ImageFormat::Jpeg));
    }

    #[test]
    fn what_is_no_image_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let mut cut = encoded(&halves(64, 64), ImageFormat::Png);
        cut.truncate(60);
        let mut cut_jpeg = encoded(&halves(64, 64), ImageFormat::Jpeg);
        cut_jpeg.truncate(cut_jpeg.len() * 9 / 10);
        let cases = [
            (folder.path().to_owned(), "it is a folder, and no ordinary file; give an image file"),
            (folder.path().join("none.png"), "No such file or directory (os error 2); give the number of a test image"),
            (file("empty.png", b""), "the file is empty"),
            (file("text.png", b"not an image at all"), "it is no image that taper reads: PNG, JPEG, "),
            (file("cut.png", &cut), "it cannot be read, is it whole? "),
            (file("cut.jpg", &cut_jpeg), "it cannot be read, is it whole? the end of the JPEG data is missing"),
            (file("vast.gif", &vast_gif()), "65535 x 65535 pixels: it needs more than 1024 MiB; make it smaller"),
            (file("other.qoi", b"qoif\0\0\0\x01\0\0\0\x01\x03\0aaaaaaaaaaaaaaaa"), "save it as PNG, JPEG"),
        ];
        for (path, complaint) in cases {
            let error = read(&path, &DatasetInfo::cifar10()).err().expect("no image").to_string();
            assert!(
                error.starts_with(&format!("--image {}: ", path.display())) && error.contains(complaint),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
