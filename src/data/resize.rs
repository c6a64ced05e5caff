//! Images at another size than the data set's.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::augment::random_resized_crop::Rectangle;
use super::info::ImageSize;

/// Bilinear and antialiased, as torchvision's `Resize` does it.
pub fn bilinear() -> ResizeOptions {
    ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
}

/// Images of one size to another: see [`bilinear`].
pub struct Resize {
    from: ImageSize,
    to: ImageSize,
    resizer: Resizer,
    options: ResizeOptions,
}

impl Resize {
    /// Both have as many channels, and at least a pixel.
    pub fn new(from: ImageSize, to: ImageSize) -> Self {
        Self { from, to, resizer: Resizer::new(), options: bilinear() }
    }

    /// `image` and `resized` are planes.
    pub fn apply(&mut self, image: &[u8], resized: &mut [u8]) {
        let (width, height) = self.from.sides();
        self.apply_to_part(image, Rectangle { left: 0, top: 0, width, height }, resized);
    }

    /// A part of `image` alone becomes as large as the whole would.
    pub fn apply_to_part(&mut self, image: &[u8], part: Rectangle, resized: &mut [u8]) {
        const FITS: &str = "a plane is as large as its size says";
        let planes = image.chunks_exact(self.from.plane()).zip(resized.chunks_exact_mut(self.to.plane()));
        for (plane, resized) in planes {
            let (width, height) = self.from.sides();
            let plane = ImageRef::new(width, height, plane, PixelType::U8).expect(FITS);
            // Cut out before it is resized, as torchvision does it: what lies beside it does not show.
            let part = CroppedImage::new(&plane, part.left, part.top, part.width, part.height);
            let part = part.expect("a part lies in its image");
            let (width, height) = self.to.sides();
            let mut resized = Image::from_slice_u8(width, height, resized, PixelType::U8).expect(FITS);
            self.resizer.resize(&part, &mut resized, &self.options).expect("both are of one kind of pixel");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, imageops};
    use proptest::prelude::*;

    fn size(channels: usize, [height, width]: [usize; 2]) -> ImageSize {
        ImageSize { channels, height, width }
    }

    #[test]
    fn a_pixel_is_a_weighted_mean_of_those_it_covers() {
        let mut pixel = [0; 2];
        Resize::new(size(2, [1, 4]), size(2, [1, 1])).apply(&[0, 80, 80, 0, 200, 200, 200, 200], &mut pixel);
        // A triangle that reaches 4 pixels to both sides weighs those at 1.5 by 5 and those at 0.5 by 7.
        assert_eq!(pixel, [(14.0f64 * 80.0 / 24.0).round() as u8, 200]);
    }

    proptest! {
        #![proptest_config(crate::testing::property(64))]

        #[test]
        fn it_is_what_another_library_makes_of_it(
            bytes in proptest::collection::vec(any::<u8>(), 3 * 32 * 32),
            from in [4..=32usize, 4..=32usize], to in [1..=32usize, 1..=32usize],
        ) {
            let to = [to[0].min(from[0]), to[1].min(from[1])];
            let (from, to) = (size(3, from), size(3, to));
            let image = &bytes[..from.bytes()];
            let mut resized = vec![0; to.bytes()];
            Resize::new(from, to).apply(image, &mut resized);
            for (plane, resized) in image.chunks(from.plane()).zip(resized.chunks(to.plane())) {
                let plane = GrayImage::from_raw(from.width as u32, from.height as u32, plane.to_vec()).unwrap();
                let expected =
                    imageops::resize(&plane, to.width as u32, to.height as u32, imageops::FilterType::Triangle);
                // Each rounds twice, after columns and after rows.
                prop_assert!(expected.as_raw().iter().zip(resized).all(|(a, b)| a.abs_diff(*b) <= 1));
            }
        }
    }
}
