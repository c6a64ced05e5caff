//! What either algorithm of a convolution gives back.

/// The gradients of a convolution of a batch.
pub struct Gradients {
    /// (N, H, W, C), where it was wanted.
    pub x: Option<Vec<f32>>,
    /// (O, C, K, K)
    pub weight: Vec<f32>,
}
