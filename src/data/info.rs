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

    pub fn size(&self) -> ImageSize {
        ImageSize { channels: self.channels, height: self.height, width: self.width }
    }
}

/// An image of u8 has planes, one for each channel, each row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl ImageSize {
    /// Bytes of an image: one for each pixel of each channel.
    pub fn bytes(self) -> usize {
        self.channels * self.plane()
    }

    /// Pixels of one channel.
    pub fn plane(self) -> usize {
        self.height * self.width
    }
}
