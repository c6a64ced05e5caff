//! Convolution → batch normalisation → ReLU → 2 × 2 max-pool as one operation, on channels-last images.
//!
//! Apart, the three that follow the convolution cost as much as it does, all of it memory traffic. Together they read its
//! output once: for each maximum they keep its position and the value there, and the gradient of the convolution's output
//! exists for one image at a time, in the cache, where the convolution's gradients consume it.
//!
//! Batch normalisation (Ioffe and Szegedy 2015) as PyTorch's; where maxima tie the first takes the gradient; ReLU's gradient
//! at 0 is 0.

mod kernel;
mod op;
mod parameters;
mod relu_output;
mod statistics;
mod trace;

use std::sync::{Arc, Mutex, OnceLock};

use candle_core::{Result, Tensor, bail};

use super::attention::channel::ChannelGates;
use super::batch_norm::{BatchStatistics, batch_norm_evaluate, batch_norm_train};
use super::channel_statistics::ChannelStatistics;
use super::conv::{conv2d, geometry};
use super::custom_op::OnSlices;
use super::float::has_f32_kernel;
use super::normalisation::Statistics;
use super::pool::max_pool;
use super::relu::relu;
use super::tape::{apply3, is_differentiable};
use op::PooledBlock;
pub use parameters::{BlockParameters, Epilogue};
use relu_output::ReluBlock;
pub use trace::BlockTrace;

/// `x` (N, H, W, C) through a block that normalises with the statistics of the batch: (N, H / 2, W / 2, O), if it is pooled.
pub fn conv_block_train(x: &Tensor, parameters: BlockParameters) -> Result<(Tensor, BatchStatistics)> {
    if !has_f32_kernel(x) {
        let (y, statistics) = batch_norm_train(&planes(x, parameters)?, parameters.norm_weight, parameters.norm_bias)?;
        return Ok((finish(&y, parameters.epilogue)?, statistics));
    }
    let measured = Arc::new(OnceLock::new());
    let output = apply(x, parameters, Statistics::OfBatch(Arc::clone(&measured)))?;
    let measured = measured.get().expect("the forward pass has measured the batch");
    Ok((output, measured.for_running(x.device())?))
}

/// `x` (N, H, W, C) through a block that normalises with running estimates (O): (N, H / 2, W / 2, O), if it is pooled.
pub fn conv_block_evaluate(
    x: &Tensor,
    parameters: BlockParameters,
    mean: &Tensor,
    variance: &Tensor,
) -> Result<Tensor> {
    if !has_f32_kernel(x) {
        let y = planes(x, parameters)?;
        let y = batch_norm_evaluate(&y, parameters.norm_weight, parameters.norm_bias, mean, variance)?;
        return finish(&y, parameters.epilogue);
    }
    apply(x, parameters, Statistics::Running(ChannelStatistics::running(mean, variance)?))
}

/// The convolution alone, (N, O, H, W), for what follows it apart.
fn planes(x: &Tensor, parameters: BlockParameters) -> Result<Tensor> {
    let padding = parameters.weight.dim(2)? / 2;
    conv2d(x, parameters.weight, parameters.bias, 1, padding)?.permute((0, 3, 1, 2))?.contiguous()
}

/// From `y` (N, O, H, W).
fn finish(y: &Tensor, epilogue: Epilogue) -> Result<Tensor> {
    let activated = relu(y)?.permute((0, 2, 3, 1))?.contiguous()?;
    match epilogue {
        Epilogue::Relu => Ok(activated),
        Epilogue::Pool => max_pool(&activated),
        Epilogue::GateAndPool(gates) => {
            let gates = gates.gates(&activated.mean((1, 2))?)?;
            max_pool(&activated.broadcast_mul(&gates.unsqueeze(1)?.unsqueeze(1)?)?)
        }
    }
}

fn apply(x: &Tensor, parameters: BlockParameters, statistics: Statistics) -> Result<Tensor> {
    let weight = parameters.weight;
    let geometry = geometry(x, weight, 1, weight.dim(2)? / 2)?;
    if geometry.height < 2 || geometry.width < 2 {
        bail!("images of {} x {} pixels are too small to pool", geometry.height, geometry.width)
    }
    let (x, weight, wants_x) = (x.contiguous()?, weight.contiguous()?, is_differentiable(x));
    let channel_parameters = parameters.channels()?;
    if matches!(parameters.epilogue, Epilogue::Relu) {
        let precision = parameters.precision;
        let block = ReluBlock { geometry, precision, statistics, wants_x, kept: Mutex::default() };
        return apply3(&x, &weight, &channel_parameters, OnSlices(block));
    }
    let gates = parameters.gates().as_ref().map(ChannelGates::kind);
    let precision = parameters.precision;
    let block = PooledBlock { geometry, precision, gates, statistics, wants_x, kept: Mutex::default() };
    apply3(&x, &weight, &channel_parameters, OnSlices(block))
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    use super::*;
    use crate::config::Precision;
    use crate::ops::reference::{Arguments, bits_on_threads, equals_f64, real, tensor, whole, with_gradients};

    pub(super) fn parameters(arguments: &[Tensor]) -> BlockParameters<'_> {
        let [_, weight, bias, norm_weight, norm_bias, gates @ ..] = arguments else { unreachable!("five arguments") };
        let epilogue = match gates {
            [reduce, expand] => Epilogue::GateAndPool(ChannelGates::SqueezeExcitation { reduce, expand }),
            [kernel] => Epilogue::GateAndPool(ChannelGates::Efficient { kernel }),
            _ => Epilogue::Pool,
        };
        BlockParameters { weight, bias, norm_weight, norm_bias, epilogue, precision: Precision::F32 }
    }

    /// The arguments of a block whose convolution is exact, so that ties are.
    pub(super) fn arguments(shape: [usize; 4], outputs: usize, kernel: usize) -> Vec<Tensor> {
        let channels = shape[3];
        vec![
            tensor(whole(1, shape.iter().product()), &shape),
            tensor(whole(2, outputs * channels * kernel * kernel), &[outputs, channels, kernel, kernel]),
            tensor(whole(3, outputs), &[outputs]),
            tensor(real(4, outputs), &[outputs]),
            tensor(real(5, outputs), &[outputs]),
        ]
    }

    #[derive(Clone, Copy, Debug)]
    pub(super) enum TestGates {
        None,
        /// To this many numbers.
        SqueezeExcite(usize),
        /// With this many taps.
        Efficient(usize),
    }

    fn gates() -> impl Strategy<Value = TestGates> {
        prop_oneof![
            Just(TestGates::None),
            (1..4usize).prop_map(TestGates::SqueezeExcite),
            (0..3usize).prop_map(|half| TestGates::Efficient(2 * half + 1)),
        ]
    }

    /// Adds the weights of the gates.
    pub(super) fn with_gates(mut arguments: Vec<Tensor>, outputs: usize, gates: TestGates) -> Vec<Tensor> {
        match gates {
            TestGates::None => {}
            TestGates::SqueezeExcite(squeezed) => {
                arguments.push(tensor(real(9, squeezed * outputs), &[squeezed, outputs]));
                arguments.push(tensor(real(10, squeezed * outputs), &[outputs, squeezed]));
            }
            TestGates::Efficient(taps) => arguments.push(tensor(real(9, taps), &[1, 1, taps])),
        }
        arguments
    }

    /// Of two channels at least: after a weight alone, whose scale normalisation undoes, a gradient is but rounding.
    fn shapes() -> impl Strategy<Value = ([usize; 4], usize, usize)> {
        ((1..20usize, 2..10usize, 2..10usize, 2..9usize), 1..40usize, 0..3usize)
            .prop_map(|((n, h, w, c), outputs, half)| ([n, h, w, c], outputs, 2 * half + 1))
    }

    /// Whether a block equals the separate operations, in training; and in evaluation, where these take the parameters of
    /// the normalisation, which normalises by a deviation of about `deviation`, for constants.
    fn equals_the_separate_operations(
        block: impl Fn(&[Tensor]) -> BlockParameters,
        arguments: &[Tensor],
        deviation: f64,
    ) -> std::result::Result<(), TestCaseError> {
        let outputs = arguments[2].elem_count();
        let (exact, of_norm, gates) = (&arguments[..3], &arguments[3..5], &arguments[5..]);
        equals_f64(Arguments { exact, inexact: &arguments[3..], ..Arguments::default() }, |arguments| {
            Ok(conv_block_train(&arguments[0], block(arguments))?.0)
        })?;
        let variance = ((tensor(real(8, outputs), &[outputs]) + 2.0)? * (deviation * deviation / 2.0))?;
        let constants = [of_norm, &[tensor(real(7, outputs), &[outputs]), variance]].concat();
        equals_f64(Arguments { exact, inexact: gates, constants: &constants, ..Arguments::default() }, |arguments| {
            let (variables, constants) = arguments.split_at(arguments.len() - constants.len());
            let all = [&variables[..3], &constants[..2], &variables[3..]].concat();
            conv_block_evaluate(&all[0], block(&all), &constants[2], &constants[3])
        })
    }

    proptest! {
        #![proptest_config(crate::testing::property(48))]
        #[test]
        fn a_pooled_block_equals_the_separate_operations((shape, outputs, kernel) in shapes(), gates in gates()) {
            let arguments = with_gates(arguments(shape, outputs, kernel), outputs, gates);
            // As great as the outputs are: gates of great numbers are 0 or 1, and their gradients but rounding.
            equals_the_separate_operations(parameters, &arguments, 10.0)?;
        }

        #[test]
        fn a_block_without_a_pool_equals_the_separate_operations((shape, outputs, kernel) in shapes()) {
            equals_the_separate_operations(activated, &arguments(shape, outputs, kernel), 1.0)?;
        }
    }

    /// A block that normalises by running estimates; in f64 of operations that differentiate by all parameters.
    fn frozen(block: fn(&[Tensor]) -> BlockParameters, arguments: &[Tensor]) -> Result<Tensor> {
        let [arguments @ .., mean, variance] = arguments else { unreachable!("two estimates") };
        let (x, parameters) = (&arguments[0], block(arguments));
        if x.dtype() == DType::F32 {
            return conv_block_evaluate(x, parameters, mean, variance);
        }
        let of_channels = |values: &Tensor| values.reshape((1, (), 1, 1));
        let deviation = (variance + crate::ops::batch_norm::EPSILON)?.sqrt()?;
        let y = planes(x, parameters)?
            .broadcast_sub(&of_channels(mean)?)?
            .broadcast_div(&of_channels(&deviation)?)?
            .broadcast_mul(&of_channels(parameters.norm_weight)?)?
            .broadcast_add(&of_channels(parameters.norm_bias)?)?;
        finish(&y, parameters.epilogue)
    }

    proptest! {
        #![proptest_config(crate::testing::property(24))]
        #[test]
        fn a_frozen_block_has_the_gradients_of_all_its_parameters((shape, outputs, kernel) in shapes(), gates in gates()) {
            let arguments = with_gates(arguments(shape, outputs, kernel), outputs, gates);
            let variance = ((tensor(real(8, outputs), &[outputs]) + 2.0).and_then(|positive| positive * 50.0)).expect("above 0");
            let constants = [tensor(real(7, outputs), &[outputs]), variance];
            let (exact, inexact) = arguments.split_at(3);
            let constants = &constants;
            let pooled = Arguments { exact, inexact, constants, ..Arguments::default() };
            equals_f64(pooled, |arguments| frozen(parameters, arguments))?;
            // A block without a pool has no gates.
            let activated_only = Arguments { inexact: &inexact[..2], ..pooled };
            equals_f64(activated_only, |arguments| frozen(activated, arguments))?;
        }
    }

    #[test]
    fn sizes_that_are_no_multiples() {
        let gates = [TestGates::None, TestGates::SqueezeExcite(2), TestGates::Efficient(3)];
        let blocks = [
            ([1, 28, 28, 1], 5),
            ([2, 14, 14, 5], 3),
            ([1, 7, 7, 3], 10),
            ([2, 3, 3, 10], 33),
            ([1, 96, 96, 3], 2),
            ([1, 24, 36, 2], 5),
        ];
        for ((shape, outputs), gates) in blocks.into_iter().zip(gates.into_iter().cycle()) {
            let arguments = with_gates(arguments(shape, outputs, 3), outputs, gates);
            equals_the_separate_operations(parameters, &arguments, 10.0).expect("equal");
            equals_the_separate_operations(activated, &arguments[..5], 1.0).expect("equal");
        }
    }

    /// The parameters of a block without a pool.
    fn activated(arguments: &[Tensor]) -> BlockParameters<'_> {
        BlockParameters { epilogue: Epilogue::Relu, ..parameters(arguments) }
    }

    #[test]
    fn statistics_are_those_of_the_batch() -> Result<()> {
        let arguments = arguments([7, 6, 8, 3], 10, 3);
        // A great mean beside a small deviation, where a difference of squares would have no digits left.
        let x = ((&arguments[0] * 1e-2)? + 100.0)?;
        let (_, ours) = conv_block_train(&x, parameters(&arguments))?;
        let doubles: Vec<Tensor> = arguments.iter().map(|tensor| tensor.to_dtype(DType::F64)).collect::<Result<_>>()?;
        let (_, expected) = conv_block_train(&x.to_dtype(DType::F64)?, parameters(&doubles))?;
        let difference = |ours: &Tensor, expected: &Tensor| {
            ((ours.to_dtype(DType::F64)? - expected)? / expected)?.abs()?.max(0)?.to_scalar::<f64>()
        };
        assert!(difference(&ours.mean, &expected.mean)? < 1e-6);
        assert!(difference(&ours.variance, &expected.variance)? < 1e-4);
        Ok(())
    }

    #[test]
    fn the_first_of_equal_maxima_takes_the_gradient_and_none_passes_at_zero() -> Result<()> {
        // The identity of one channel; normalisation with running estimates that change nothing.
        let x = tensor(vec![1.0, 1.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0], &[1, 2, 4, 1]);
        let of_one = |value: f32| tensor(vec![value], &[1]);
        let (weight, zero, one) = (tensor(vec![1.0], &[1, 1, 1, 1]), of_one(0.0), of_one((1.0 + 1e-5f32).sqrt()));
        let block = |x: &[Tensor]| {
            let parameters = BlockParameters {
                weight: &weight,
                bias: &zero,
                norm_weight: &one,
                norm_bias: &zero,
                epilogue: Epilogue::Pool,
                precision: Precision::F32,
            };
            conv_block_evaluate(&x[0], parameters, &zero, &of_one(1.0))
        };
        let (y, gradients) = with_gradients(&[x], &tensor(vec![3.0, 5.0], &[1, 1, 2, 1]), block)?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 0.0]);
        assert_eq!(gradients[0].flatten_all()?.to_vec1::<f32>()?, [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        Ok(())
    }

    #[test]
    fn a_nan_is_seen() -> Result<()> {
        let mut arguments = arguments([1, 4, 4, 1], 3, 1);
        let mut x = whole(1, 16);
        x[5] = f32::NAN;
        arguments[0] = tensor(x, &[1, 4, 4, 1]);
        let ones = tensor(vec![1.0; 3], &[3]);
        let evaluated = conv_block_evaluate(&arguments[0], parameters(&arguments), &ones, &ones)?;
        assert_eq!(evaluated.flatten_all()?.to_vec1::<f32>()?.iter().filter(|value| value.is_nan()).count(), 3);
        let (trained, _) = conv_block_train(&arguments[0], parameters(&arguments))?;
        assert!(trained.flatten_all()?.to_vec1::<f32>()?.iter().all(|value| value.is_nan()));
        Ok(())
    }

    #[test]
    fn no_bit_depends_on_the_number_of_threads() -> Result<()> {
        let shape = [21, 8, 8, 5];
        let arguments = with_gates(arguments(shape, 20, 3), 20, TestGates::SqueezeExcite(2));
        let x = tensor(real(9, shape.iter().product()), &shape);
        let gradient = tensor(real(6, 21 * 4 * 4 * 20), &[21, 4, 4, 20]);
        let arguments: Vec<Tensor> = std::iter::once(&x).chain(&arguments[1..]).cloned().collect();
        let block = |arguments: &[Tensor]| Ok(conv_block_train(&arguments[0], parameters(arguments))?.0);
        let bits = |threads| bits_on_threads(threads, &arguments, &gradient, block);
        assert_eq!(bits(1)?, bits(3)?);
        Ok(())
    }
}
