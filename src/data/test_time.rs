//! The views of a batch that test-time augmentation evaluates.

use super::augment::reflected;
use super::loader::Batch;
use crate::config::TestTimeAugmentation;

/// A view of every image of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Its share of the logits.
    pub weight: f32,
    /// In pixels, down and to the right: 0, 1 or -1. What comes into the image is the image, mirrored at its outermost pixels.
    shift: i32,
    is_flipped: bool,
}

const fn view(weight: f32, shift: i32, is_flipped: bool) -> View {
    View { weight, shift, is_flipped }
}

/// The image as it is comes first; the weights sum to 1.
pub fn views(augmentation: TestTimeAugmentation) -> &'static [View] {
    const PLAIN: &[View] = &[view(1.0, 0, false)];
    const FLIP: &[View] = &[view(0.5, 0, false), view(0.5, 0, true)];
    const FLIP_AND_SHIFT: &[View] = &[
        view(0.25, 0, false),
        view(0.25, 0, true),
        view(0.125, 1, false),
        view(0.125, 1, true),
        view(0.125, -1, false),
        view(0.125, -1, true),
    ];
    match augmentation {
        TestTimeAugmentation::None => PLAIN,
        TestTimeAugmentation::Flip => FLIP,
        TestTimeAugmentation::FlipAndShift => FLIP_AND_SHIFT,
    }
}

impl View {
    /// The view of each image.
    pub fn of(self, batch: &Batch) -> Batch {
        let size = batch.size;
        let from = |position: usize, side: usize| reflected(position, -self.shift, side);
        let mut images = Vec::with_capacity(batch.images.len());
        for image in batch.images.chunks_exact(size.bytes()) {
            for row in 0..size.height {
                let row = &image[from(row, size.height) * size.width * size.channels..][..size.width * size.channels];
                for column in 0..size.width {
                    let column = if self.is_flipped { size.width - 1 - column } else { column };
                    images.extend_from_slice(&row[from(column, size.width) * size.channels..][..size.channels]);
                }
            }
        }
        Batch { size, images, labels: batch.labels.clone(), of: batch.of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::info::ImageSize;

    /// Two channels, of which the second is the negative of the first.
    fn batch(rows: [[f32; 3]; 3]) -> Batch {
        let images = rows.iter().flatten().flat_map(|&number| [number, -number]).collect();
        Batch { size: ImageSize { height: 3, width: 3, channels: 2 }, images, labels: vec![4], of: 1 }
    }

    #[test]
    fn images_are_flipped_and_moved() {
        let plain = batch([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]);
        let expected = [
            plain.clone(),
            batch([[3.0, 2.0, 1.0], [6.0, 5.0, 4.0], [9.0, 8.0, 7.0]]),
            batch([[5.0, 4.0, 5.0], [2.0, 1.0, 2.0], [5.0, 4.0, 5.0]]),
            batch([[5.0, 4.0, 5.0], [2.0, 1.0, 2.0], [5.0, 4.0, 5.0]]),
            batch([[5.0, 6.0, 5.0], [8.0, 9.0, 8.0], [5.0, 6.0, 5.0]]),
            batch([[5.0, 6.0, 5.0], [8.0, 9.0, 8.0], [5.0, 6.0, 5.0]]),
        ];
        let views = views(TestTimeAugmentation::FlipAndShift);
        for (view, expected) in views.iter().zip(expected) {
            assert_eq!(view.of(&plain), expected, "{view:?}");
        }
    }

    #[test]
    fn the_weights_are_those_of_a_mean() {
        for augmentation in [TestTimeAugmentation::None, TestTimeAugmentation::Flip, TestTimeAugmentation::FlipAndShift]
        {
            assert_eq!(views(augmentation).iter().map(|view| view.weight).sum::<f32>(), 1.0);
            assert_eq!(views(augmentation)[0].of(&batch([[1.0; 3]; 3])), batch([[1.0; 3]; 3]));
        }
    }

    #[test]
    fn an_image_of_one_pixel_is_its_views() {
        let dot =
            Batch { size: ImageSize { height: 1, width: 1, channels: 1 }, images: vec![7.0], labels: vec![0], of: 1 };
        for view in views(TestTimeAugmentation::FlipAndShift) {
            assert_eq!(view.of(&dot), dot);
        }
    }
}
