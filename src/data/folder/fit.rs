//! Images of any size to images of one size.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::config::{Background, ResizeRule};
use crate::data::image_file::{About, ImageFile, Pixels, Unreadable};
use crate::data::info::ImageSize;

/// What every image of a data set is made to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub size: ImageSize,
    pub rule: ResizeRule,
    /// What transparent pixels show.
    pub background: Background,
}

impl Form {
    /// Width and height.
    pub fn sides(&self) -> (u32, u32) {
        let side = |side: usize| u32::try_from(side).expect("sides are of configured sizes");
        (side(self.size.width), side(self.size.height))
    }
}

/// An image of that form.
pub struct Fitted {
    pub planes: Vec<u8>,
    pub about: About,
    /// Width and height that it had, if it was resized.
    pub resized_from: Option<(u32, u32)>,
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
        let ImageFile { pixels, about } = ImageFile::decode(bytes, self.form.background)?;
        let was_colour = matches!(pixels, Pixels::Colour(_));
        let from = pixels.dimensions();
        let planes = self.planes(&pixels.with_channels(self.form.size.channels));
        Ok(Fitted { planes, about, resized_from: (from != self.form.sides()).then_some(from), was_colour })
    }

    fn planes(&mut self, image: &Pixels) -> Vec<u8> {
        let (bytes, kind) = match image {
            Pixels::Grey(image) => (image.as_raw(), PixelType::U8),
            Pixels::Colour(image) => (image.as_raw(), PixelType::U8x3),
        };
        let (width, height) = self.form.sides();
        let mut planes = vec![0; self.form.size.bytes()];
        if image.dimensions() == (width, height) {
            to_planes(bytes, &mut planes);
            return planes;
        }
        let (from_width, from_height) = image.dimensions();
        let source = ImageRef::new(from_width, from_height, bytes, kind).expect("an image is as large as it says");
        let mut resized = Image::new(width, height, kind);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        let options = match self.form.rule {
            ResizeRule::Squash => options,
            ResizeRule::CentreCrop => options.fit_into_destination(Some((0.5, 0.5))),
        };
        self.resizer.resize(&source, &mut resized, &options).expect("both are of one kind of pixel");
        to_planes(resized.buffer(), &mut planes);
        planes
    }
}

/// From pixels with their channels beside each other, 1 or 3, to planes.
fn to_planes(pixels: &[u8], planes: &mut [u8]) {
    let plane = planes.len() / 3;
    match pixels.as_chunks() {
        (pixels, []) if pixels.len() == plane => {
            let (red, rest) = planes.split_at_mut(plane);
            let (green, blue) = rest.split_at_mut(plane);
            for (((red, green), blue), pixel) in red.iter_mut().zip(green).zip(blue).zip(pixels) {
                [*red, *green, *blue] = *pixel;
            }
        }
        _ => planes.copy_from_slice(pixels),
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
        assert_eq!((read.resized_from, read.was_colour), (None, true));
    }

    #[test]
    fn all_of_an_image_is_squashed_or_its_middle_is_cut_out() {
        let squashed = fitted(thirds(96, 32), form(3, 32, ResizeRule::Squash));
        assert_eq!((squashed.planes[0], squashed.planes[2 * 1024 + 31]), (255, 255));
        assert_eq!(squashed.resized_from, Some((96, 32)));
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
}
