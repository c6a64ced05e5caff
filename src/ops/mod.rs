//! The network's operations, forward and backward together, one a file.
//!
//! On the CPU each is a candle custom op of our own: candle's max-pool gradient is wrong, its relu has gradient 1 at 0,
//! its convolution gradients are an order of magnitude too slow. On other devices each is composed of candle's
//! differentiable ops. Both paths run on the CPU, where the tests hold them equal.
//!
//! The sums of a gradient are taken over a fixed number of groups of pictures, so no result depends on how many
//! threads computed it.

mod adam;
mod batch_norm;
mod conv;
mod dropout;
mod gemm;
#[cfg(test)]
pub(crate) mod gradient_check;
mod pool;
mod real;
mod relu;
pub mod simd;

pub use adam::AdamStep;
pub use batch_norm::{BatchStatistics, batch_norm_evaluate, batch_norm_train};
pub use conv::conv2d_same;
pub use dropout::dropout;
pub use pool::max_pool_2x2;
pub use relu::relu;

/// Mean softmax cross-entropy of `logits` (N, classes) against `labels` (N), u32.
pub use candle_nn::loss::cross_entropy;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gradient_check::{assert_gradient, normal};
    use candle_core::{Device, Tensor};

    #[test]
    fn cross_entropy_gradient_is_finite_differences() {
        let labels = Tensor::new(&[3u32, 0, 9, 3], &Device::Cpu).expect("labels");
        assert_gradient(&normal(1, &[4, 10]), |logits| cross_entropy(logits, &labels));
    }
}
