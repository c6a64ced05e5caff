//! What a data set is, apart from its images: their size, the classes, and how they are normalised.

use serde::{Deserialize, Serialize};

/// Travels with the data, in the first event of a run and in its probes: nothing else knows a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetInfo {
    pub name: String,
    /// 3 of a colour image, 1 of a grey one.
    pub channels: usize,
    /// In pixels, as the width.
    pub height: usize,
    pub width: usize,
    /// In the order of the labels.
    pub classes: Vec<String>,
    /// The mean of each channel, in [0, 1]: subtracted from the pixels.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel: the pixels are divided by it.
    pub std: Vec<f32>,
}

/// As in `fine_label_names.txt`.
const CIFAR100_CLASSES: [&str; 100] = [
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
];

impl DatasetInfo {
    /// CIFAR-10 (Krizhevsky 2009), with the mean and standard deviation that the study normalises with.
    pub fn cifar10() -> Self {
        let classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
        Self {
            name: "CIFAR-10".into(),
            channels: 3,
            height: 32,
            width: 32,
            classes: classes.map(str::to_owned).to_vec(),
            mean: vec![0.4914, 0.4822, 0.4465],
            std: vec![0.2023, 0.1994, 0.2010],
        }
    }

    /// CIFAR-100 (Krizhevsky 2009) by its fine labels, with the usual mean and standard deviation.
    pub fn cifar100() -> Self {
        Self {
            name: "CIFAR-100".into(),
            classes: CIFAR100_CLASSES.map(str::to_owned).to_vec(),
            mean: vec![0.5071, 0.4865, 0.4409],
            std: vec![0.2673, 0.2564, 0.2762],
            ..Self::cifar10()
        }
    }

    pub fn size(&self) -> ImageSize {
        ImageSize { channels: self.channels, height: self.height, width: self.width }
    }

    /// The same of smaller images: see [`ImageSize::scaled`].
    #[must_use]
    pub fn scaled(&self, scale: f64) -> Self {
        let ImageSize { height, width, .. } = self.size().scaled(scale);
        Self { height, width, ..self.clone() }
    }
}

/// An image of u8 has planes, one for each channel, each row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

/// What the sides of smaller images are multiples of, so that pools can halve them.
const SIDE_MULTIPLE: usize = 4;

impl ImageSize {
    /// Width and height, as libraries for images have them.
    pub fn sides(self) -> (u32, u32) {
        let side = |side: usize| u32::try_from(side).expect("sides are of configured sizes");
        (side(self.width), side(self.height))
    }

    /// With sides of that share (1 at most), or a little shorter: multiples of four, unless a side is shorter than that.
    #[must_use]
    pub fn scaled(self, scale: f64) -> Self {
        if scale >= 1.0 {
            return self;
        }
        let scaled = |side: usize| {
            // A share that is short of a whole pixel by rounding alone is that pixel.
            let pixels = (scale * side as f64 + 1e-3) as usize;
            (pixels / SIDE_MULTIPLE * SIDE_MULTIPLE).clamp(SIDE_MULTIPLE.min(side), side)
        };
        Self { height: scaled(self.height), width: scaled(self.width), ..self }
    }

    /// Bytes of an image: one for each pixel of each channel.
    pub fn bytes(self) -> usize {
        self.channels * self.plane()
    }

    /// Pixels of one channel.
    pub fn plane(self) -> usize {
        self.height * self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_sides_are_multiples_of_four() {
        let sides = |height, width, scale| {
            let ImageSize { height, width, .. } = ImageSize { channels: 3, height, width }.scaled(scale);
            [height, width]
        };
        assert_eq!(sides(32, 32, 0.75), [24, 24]);
        assert_eq!(sides(32, 32, 0.75 + 0.25 / 4.0), [24, 24]);
        assert_eq!(sides(32, 32, 0.75 + 2.0 * 0.25 / 4.0), [28, 28]);
        assert_eq!(sides(32, 32, 0.1 + 0.2 + 0.575), [28, 28]);
        assert_eq!(sides(30, 45, 1.0), [30, 45]);
        assert_eq!(sides(30, 45, 0.9), [24, 40]);
        assert_eq!(sides(3, 8, 0.25), [3, 4]);
    }
}
