//! What the bytes of a data set's images are on average.

/// Mean and standard deviation of each channel, in [0, 1].
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStatistics {
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
}

/// Of each plane of an image, of so many bytes: the sum of its bytes, and that of their squares.
pub fn plane_sums(image: &[u8], plane_bytes: usize) -> impl Iterator<Item = (u64, u64)> {
    image.chunks_exact(plane_bytes).map(|plane| {
        let bytes = || plane.iter().map(|&byte| u64::from(byte));
        (bytes().sum(), bytes().map(|byte| byte * byte).sum())
    })
}

impl ChannelStatistics {
    /// Of the sums over all `pixels` of a channel, of its bytes and of their squares.
    pub fn of_sums(sums: &[u64], squares: &[u64], pixels: usize) -> Self {
        let pixels = pixels as f64;
        let mean: Vec<f64> = sums.iter().map(|&sum| sum as f64 / pixels / 255.0).collect();
        let square = squares.iter().map(|&sum| sum as f64 / pixels / (255.0 * 255.0));
        let std = square.zip(&mean).map(|(square, mean)| (square - mean * mean).max(0.0).sqrt()).collect();
        Self { mean, std }
    }
}
