//! CIFAR-10: where it comes from, how it is read, augmented and fed to the training loop.

/// Width and height of a picture, in pixels.
pub const SIDE: usize = 32;
/// Bytes of a picture: planes R, G, B, each row by row.
pub const PICTURE_BYTES: usize = 3 * SIDE * SIDE;
/// In the order of the labels.
pub const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Labelled pictures, as u8, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    /// `PICTURE_BYTES` for each picture.
    pub pictures: Vec<u8>,
    /// One for each picture, below 10.
    pub labels: Vec<u8>,
}

impl Dataset {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The planes R, G, B of picture `index`.
    pub fn picture(&self, index: usize) -> &[u8] {
        &self.pictures[index * PICTURE_BYTES..][..PICTURE_BYTES]
    }
}
