//! Images of any size to images of one size.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, Resizer};

use crate::config::{Background, DataConfig, ResizeRule};
use crate::data::augment::random_resized_crop::Rectangle;
use crate::data::image_file::{About, ImageFile, Pixels, Unreadable};
use crate::data::info::ImageSize;
use crate::data::resize::{Resize, bilinear};

/// What every image of a data set is made to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub size: ImageSize,
    pub rule: ResizeRule,
    /// What transparent pixels show.
    pub background: Background,
}

impl Form {
    /// That of images that are evaluated: all of each, or its middle. Parts are for training.
    pub fn of_evaluation(size: ImageSize, config: &DataConfig) -> Self {
        let rule = match config.resize {
            ResizeRule::Squash => ResizeRule::Squash,
            ResizeRule::CentreCrop | ResizeRule::RandomResizedCrop => ResizeRule::CentreCrop,
        };
        Self { size, rule, background: config.background }
    }
}

/// An image of that form.
pub struct Fitted {
    pub planes: Vec<u8>,
    /// Width and height of the planes: as the form says, or more where parts are to be drawn of them.
    pub sides: (u32, u32),
    pub about: About,
    /// Width and height that it had, upright.
    pub from: (u32, u32),
    pub was_colour: bool,
}

/// Resizes bilinearly and antialiased, as torchvision does it. An image that has the size keeps its bytes.
pub struct Fit {
    form: Form,
    resizer: Resizer,
}

impl Fit {
    pub fn new(form: Form) -> Self {
        Self { form, resizer: Resizer::new() }
    }

    /// # Errors
    /// The bytes are no image: see [`ImageFile::decode`].
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Fitted, Unreadable> {
        let ImageFile { pixels, about } = ImageFile::decode(bytes, self.form.background, self.form.least_side())?;
        let was_colour = matches!(pixels, Pixels::Colour(_));
        // A JPEG may have been decoded smaller.
        let from = about.upright();
        let sides = self.form.kept_sides(from);
        let planes = self.planes(&pixels.with_channels(self.form.size.channels), sides);
        Ok(Fitted { planes, sides, about, from, was_colour })
    }

    fn planes(&mut self, image: &Pixels, sides: (u32, u32)) -> Vec<u8> {
        let (bytes, kind) = match image {
            Pixels::Grey(image) => (image.as_raw(), PixelType::U8),
            Pixels::Colour(image) => (image.as_raw(), PixelType::U8x3),
        };
        let (width, height) = sides;
        let mut planes = vec![0; self.form.size.channels * width as usize * height as usize];
        if image.dimensions() == sides {
            to_planes(bytes, self.form.size.channels, &mut planes);
            return planes;
        }
        let (from_width, from_height) = image.dimensions();
        let source = ImageRef::new(from_width, from_height, bytes, kind).expect(FITS);
        let mut resized = Image::new(width, height, kind);
        let options = match self.form.rule {
            ResizeRule::Squash => bilinear(),
            // Of the whole image, where that is kept.
            ResizeRule::CentreCrop | ResizeRule::RandomResizedCrop => bilinear().fit_into_destination(None),
        };
        self.resizer.resize(&source, &mut resized, &options).expect(ONE_KIND);
        to_planes(resized.buffer(), self.form.size.channels, &mut planes);
        planes
    }
}

/// Images that are kept for parts of them have this times the side that the network takes, at most.
const KEPT_SCALE: u32 = 2;

const FITS: &str = "an image is as large as it says";
const ONE_KIND: &str = "both are of one kind of pixel";

impl Form {
    /// Pixels of an image's shorter side that are needed.
    fn least_side(&self) -> u32 {
        let (width, height) = self.size.sides();
        match self.rule {
            ResizeRule::Squash | ResizeRule::CentreCrop => width.max(height),
            ResizeRule::RandomResizedCrop => KEPT_SCALE * width.max(height),
        }
    }

    /// Width and height of the planes of an image of that size.
    fn kept_sides(&self, from: (u32, u32)) -> (u32, u32) {
        let (width, height) = self.size.sides();
        if self.rule != ResizeRule::RandomResizedCrop {
            return (width, height);
        }
        let shorter = from.0.min(from.1);
        let kept = (KEPT_SCALE * width.max(height)).min(shorter);
        let scaled = |side: u32| (f64::from(side) * f64::from(kept) / f64::from(shorter)).round() as u32;
        (scaled(from.0), scaled(from.1))
    }
}

/// A part of an image, of which there are planes of that width and height, in another size.
pub fn resized_part(planes: &[u8], [width, height]: [u32; 2], part: Rectangle, to: ImageSize) -> Vec<u8> {
    let from = ImageSize { channels: to.channels, height: height as usize, width: width as usize };
    let mut resized = vec![0; to.bytes()];
    Resize::new(from, to).apply_to_part(planes, part, &mut resized);
    resized
}

/// From pixels with their channels beside each other to planes.
fn to_planes(pixels: &[u8], channels: usize, planes: &mut [u8]) {
    if channels == 1 {
        // By their number alone, those of a side that is a multiple of three could be colours.
        return planes.copy_from_slice(pixels);
    }
    let (red, rest) = planes.split_at_mut(planes.len() / 3);
    let (green, blue) = rest.split_at_mut(rest.len() / 2);
    let (pixels, rest) = pixels.as_chunks();
    debug_assert!(rest.is_empty(), "three bytes for each pixel");
    for (((red, green), blue), pixel) in red.iter_mut().zip(green).zip(blue).zip(pixels) {
        [*red, *green, *blue] = *pixel;
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};

    use super::*;
    use crate::data::image_file::testing::encoded;

    fn form(channels: usize, side: usize, rule: ResizeRule) -> Form {
        let size = ImageSize { channels, height: side, width: side };
        Form { size, rule, background: Background::White }
    }

    fn fitted(image: impl Into<DynamicImage>, form: Form) -> Fitted {
        Fit::new(form).decode(&encoded(&image.into(), ImageFormat::Png)).unwrap()
    }

    /// Red, green and blue, from left to right.
    fn thirds(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, _| {
            let mut colour = [0; 3];
            colour[(3 * x / width) as usize] = 255;
            Rgb(colour)
        })
    }

    #[test]
    fn an_image_of_the_right_size_keeps_its_bytes() {
        let image = RgbImage::from_fn(4, 4, |x, y| Rgb([x as u8, y as u8, 100 + (4 * y + x) as u8]));
        let read = fitted(image, form(3, 4, ResizeRule::CentreCrop));
        let expected: Vec<u8> = [[0, 1, 2, 3].repeat(4), vec![0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]].concat();
        assert_eq!(read.planes[..32], expected);
        assert_eq!(read.planes[32..], (100..116).collect::<Vec<u8>>());
        assert_eq!((read.from, read.sides, read.was_colour), ((4, 4), (4, 4), true));
    }

    #[test]
    fn grey_pixels_keep_their_order_at_any_side() {
        for side in [2, 3, 4, 6] {
            let image = GrayImage::from_fn(side, side, |x, y| Luma([(10 * y + x) as u8]));
            let read = fitted(image.clone(), form(1, side as usize, ResizeRule::Squash));
            assert_eq!(read.planes, image.into_raw(), "{side}");
        }
    }

    #[test]
    fn all_of_an_image_is_squashed_or_its_middle_is_cut_out() {
        let squashed = fitted(thirds(96, 32), form(3, 32, ResizeRule::Squash));
        assert_eq!((squashed.planes[0], squashed.planes[2 * 1024 + 31]), (255, 255));
        assert_eq!(squashed.from, (96, 32));
        let cut = fitted(thirds(96, 32), form(3, 32, ResizeRule::CentreCrop));
        let (green, others) = (&cut.planes[1024..2048], [&cut.planes[..1024], &cut.planes[2048..]].concat());
        assert!(green.iter().all(|&byte| byte == 255) && others.iter().all(|&byte| byte == 0));
    }

    #[test]
    fn grey_and_colour_become_what_is_asked_for() {
        let grey = fitted(GrayImage::from_pixel(3, 5, Luma([9])), form(3, 2, ResizeRule::Squash));
        assert_eq!((&grey.planes[..], grey.was_colour), (&[9; 12][..], false));
        let colour = fitted(RgbImage::from_pixel(2, 2, Rgb([9; 3])), form(1, 2, ResizeRule::Squash));
        assert_eq!((&colour.planes[..], colour.was_colour), (&[9; 4][..], true));
    }

    #[test]
    fn an_image_of_which_parts_are_drawn_is_kept_whole_and_larger() {
        let form = form(3, 32, ResizeRule::RandomResizedCrop);
        for (from, kept) in [((300, 200), (96, 64)), ((200, 300), (64, 96)), ((60, 40), (60, 40)), ((90, 64), (90, 64))]
        {
            let read = fitted(thirds(from.0, from.1), form);
            assert_eq!((read.sides, read.planes.len() as u32), (kept, 3 * kept.0 * kept.1));
            let part = Rectangle { left: 0, top: 0, width: kept.0 / 3 - 2, height: kept.1 };
            let red = resized_part(&read.planes, read.sides.into(), part, form.size);
            assert!(red[..1024].iter().all(|&byte| byte > 250) && red[1024..].iter().all(|&byte| byte < 5), "{from:?}");
        }
    }
}
