//! The network's operations, forward and backward together, one a file.
//!
//! Feature maps are channels-last, (N, H, W, C), weights in PyTorch's order.
//!
//! In f32 on the CPU what costs time is a candle custom op of our own: candle's max-pool gradient is wrong, its relu has
//! gradient 1 at 0, its convolution gradients are an order of magnitude too slow. On other devices, and in f64, each is
//! composed of differentiable operations, which finite differences check and the kernels are held equal to.
//!
//! [`crate::simd`] chooses the vector instructions at run time. Every multiplication of matrices is a `matmul`; `conv`
//! makes convolutions of them, directly or by Winograd's algorithm; `conv_block` is a block of the network in one operation,
//! channel attention included; spatial and non-local attention follow a block that ends before its pool. The only `unsafe`
//! is in the inner loop of `matmul`.
//!
//! The sums of a gradient are taken over the images in order, or as a tree that the number of images alone decides, so no
//! result depends on how many threads computed it, nor on how many processes ([`whole_batch`]). It does depend on the path: on whether it has a fused multiply-add, and on the channels that
//! fill its vectors, for which alone there is Winograd's algorithm.
//!
//! Training differentiates with a [`tape`] instead of candle, which makes zeros and a sum for each gradient.

mod activation;
mod active_channels;
mod adam;
mod attention;
mod average;
mod batch_norm;
mod bf16;
mod channel_statistics;
mod channels;
mod concat;
mod conv;
mod conv_activation;
mod conv_block;
mod conv_pool;
mod cross_entropy;
mod custom_op;
mod dropout;
mod flatten;
mod float;
mod global_average;
mod global_max;
mod global_norm;
#[cfg(test)]
pub(crate) mod gradient_check;
mod in_place;
mod linear;
mod matmul;
mod muon;
mod newton_schulz;
mod norm_activation;
mod normalisation;
mod normalise_relu;
mod pool;
mod pooled_buffer;
#[cfg(test)]
mod reference;
mod relu;
mod rounded_linear;
mod sgd;
pub mod tape;
pub mod whole_batch;

pub use activation::composed as activate;
pub use active_channels::mark_active;
pub use adam::AdamStep;
pub use attention::channel::ChannelGates;
pub use attention::non_local::{NonLocal, NonLocallyAttended, Projection, non_local_attention_and_pool};
pub use attention::spatial::{SpatialGates, SpatiallyAttended, spatial_attention_and_pool};
pub use average::{average_in, look_ahead};
pub use batch_norm::{BatchStatistics, batch_norm_evaluate, batch_norm_train};
pub use bf16::{NoBf16, check_precision};
pub use channels::{channel_sums, weighted_channels};
pub use conv::{conv2d, conv2d_input_gradient};
pub use conv_activation::conv_activation;
pub use conv_block::{BlockParameters, BlockTrace, Epilogue, conv_block_evaluate, conv_block_train};
pub use conv_pool::{AfterConvolution, conv_pool};
pub use cross_entropy::{CrossEntropyLoss, cross_entropy};
pub use dropout::{DropoutRule, dropout};
pub use flatten::{flatten_planes, unflatten_planes};
pub use float::with_elements;
pub use global_average::{global_average, global_average_gradient};
pub use global_max::{global_max, global_max_gradient};
pub use global_norm::global_norm;
pub use linear::{linear, scaled_linear};
pub use muon::MuonStep;
pub use norm_activation::{NormActivation, norm_activation_evaluate, norm_activation_train};
pub use normalise_relu::normalise_and_relu;
pub use pool::max_pool;
pub use relu::relu;
pub use sgd::SgdStep;
