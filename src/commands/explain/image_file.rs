//! An image file as the network takes images: made what the images of its data set are.

use std::fs;
use std::path::Path;

use crate::commands::failure::UsageError;
use crate::config::{DataConfig, ResizeRule};
use crate::data::DatasetInfo;
use crate::data::folder::fit::{Fit, Fitted, Form};
use crate::data::image_file::FORMATS;
use crate::ordinary_file;
use crate::render::Planes;

pub struct ImageFile {
    pub planes: Planes,
    /// What it was, and all that was done to it, such as `640 x 480 JPEG, resized to 32 x 32`.
    pub description: String,
}

/// # Errors
/// Names the file, what is wrong with it, and what to do.
pub fn read(path: &Path, dataset: &DatasetInfo, config: &DataConfig) -> Result<ImageFile, UsageError> {
    let name = path.display();
    let wrong = |what: String| UsageError(format!("--image {name}: {what}"));
    let about = fs::metadata(path)
        .map_err(|error| wrong(format!("{error}; give the number of a test image, or a file in {FORMATS}")))?;
    ordinary_file::check(&about).map_err(|error| wrong(format!("{error}; give an image file")))?;
    if about.len() == 0 {
        return Err(wrong("the file is empty; give an image file".into()));
    }
    let bytes = ordinary_file::read(path).map_err(|error| wrong(error.to_string()))?;
    decode(&bytes, dataset, config).map_err(wrong)
}

fn decode(bytes: &[u8], dataset: &DatasetInfo, config: &DataConfig) -> Result<ImageFile, String> {
    let form = Form::of_evaluation(dataset.size(), config);
    let fitted = Fit::new(form).decode(bytes).map_err(|error| error.to_string())?;
    let Fitted { planes, about, from: (from_width, from_height), was_colour, .. } = fitted;
    let mut done = about.description();
    if was_colour && dataset.channels == 1 {
        done.push("made grey".into());
    }
    let (width, height) = form.size.sides();
    if (from_width, from_height) != (width, height) {
        let keeps_shape = from_width * height == width * from_height;
        let shape = match (keeps_shape, config.resize, width == height) {
            (true, ..) => "",
            (false, ResizeRule::CentreCrop | ResizeRule::RandomResizedCrop, _) => " (the ends of the longer side cut)",
            (false, ResizeRule::Squash, true) => " (stretched to a square)",
            (false, ResizeRule::Squash, false) => " (stretched)",
        };
        done.push(format!("resized to {width} x {height}{shape}"));
    }
    done.push("normalised as the test images".into());
    let planes = Planes { width: dataset.width, height: dataset.height, bytes: planes };
    Ok(ImageFile { planes, description: done.join(", ") })
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

    use super::*;
    use crate::data::image_file::format_name;
    use crate::data::image_file::testing::{encoded, vast_gif};

    const PLANE: usize = 32 * 32;

    fn decoded(bytes: &[u8]) -> ImageFile {
        decode(bytes, &DatasetInfo::cifar10(), &DataConfig::default()).unwrap()
    }

    /// Red on the left, blue on the right.
    fn halves(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) }).into()
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
        let read = decode(&encoded(&halves(56, 10), ImageFormat::Png), &dataset, &DataConfig::default()).unwrap();
        assert_eq!((read.planes.width, read.planes.height, read.planes.bytes.len()), (28, 20, 560));
        // Red is brighter than blue.
        assert!(read.planes.bytes[0] > read.planes.bytes[27] && read.planes.channels() == 1);
        assert!(read.description.contains("made grey, resized to 28 x 20 (stretched), "), "{}", read.description);
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
    fn the_shape_is_kept_where_the_run_keeps_it() {
        let config = DataConfig { resize: ResizeRule::CentreCrop, ..DataConfig::default() };
        let read = decode(&encoded(&halves(96, 32), ImageFormat::Png), &DatasetInfo::cifar10(), &config).unwrap();
        // Of the middle third, the left half.
        assert_eq!((read.planes.bytes[15], read.planes.bytes[16]), (255, 0));
        assert!(
            read.description.contains("resized to 32 x 32 (the ends of the longer side cut)"),
            "{}",
            read.description
        );
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
            let error =
                read(&path, &DatasetInfo::cifar10(), &DataConfig::default()).err().expect("no image").to_string();
            assert!(
                error.starts_with(&format!("--image {}: ", path.display())) && error.contains(complaint),
                "{error}"
            );
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
