//! What the kernels are tested against: the definitions, written out in f64.

use std::ops::RangeFrom;

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rand::Rng;

use super::geometry::Geometry;
use crate::random::{Purpose, stream};

/// Numbers in [-1, 1), the same for the same `seed`.
pub fn real(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::InitialiseWeights, 0, 0);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// Whole numbers from -2 to 2, whose sums are exact, so that a tie is one however it is computed.
pub fn whole(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::InitialiseWeights, 0, 1);
    (0..len).map(|_| f32::from(rng.random_range(-2i8..=2))).collect()
}

pub fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape has")
}

/// Images, and a convolution of them.
pub fn convolutions() -> impl Strategy<Value = (usize, Geometry)> {
    let sizes = (1..5usize, 1..12usize, 1..12usize, 1..20usize, 1..40usize);
    (sizes, 1..6usize, 1..4usize, 0..5usize).prop_filter_map(
        "the kernel fits",
        |((images, height, width, channels, outputs), kernel, stride, padding)| {
            let fits = padding < kernel && kernel <= height.min(width) + 2 * padding;
            fits.then_some((images, Geometry { height, width, channels, outputs, kernel, stride, padding }))
        },
    )
}

/// Calls `f` with the positions in y (N, OH, OW, O), x (N, H, W, C) and weight (O, C, K, K) of every product of a convolution.
pub fn for_products(images: usize, g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let outputs = (0..images * g.out_pixels() * g.outputs).map(|y| (y, y % g.outputs, y / g.outputs));
    for (y, output, out_pixel) in outputs {
        let (image, out_pixel) = (out_pixel / g.out_pixels(), out_pixel % g.out_pixels());
        for tap in 0..g.taps() {
            let (channel, tap_y, tap_x) = (tap / (g.kernel * g.kernel), tap / g.kernel % g.kernel, tap % g.kernel);
            let row = (out_pixel / g.out_width() * g.stride + tap_y).wrapping_sub(g.padding);
            let column = (out_pixel % g.out_width() * g.stride + tap_x).wrapping_sub(g.padding);
            if row < g.height && column < g.width {
                let pixel = (image * g.height + row) * g.width + column;
                f(y, pixel * g.channels + channel, output * g.taps() + tap);
            }
        }
    }
}

/// The norm of the difference over the norm of `expected`; NaN counts as different.
pub fn relative_error(ours: &Tensor, expected: &[f64]) -> Result<f64> {
    let ours = ours.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    assert_eq!(ours.len(), expected.len());
    let norm = |squares: f64| squares.sqrt();
    let difference = norm(ours.iter().zip(expected).map(|(ours, expected)| (ours - expected).powi(2)).sum());
    let scale = norm(expected.iter().map(|expected| expected * expected).sum());
    Ok(if difference == 0.0 { 0.0 } else { difference / scale })
}

/// The output of `f`, and the gradients of its sum weighted by `output_gradient`, by each of its arguments.
pub fn with_gradients(
    arguments: &[Tensor],
    output_gradient: &Tensor,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<(Tensor, Vec<Tensor>)> {
    let variables: Vec<Var> = arguments.iter().map(Var::from_tensor).collect::<Result<_>>()?;
    let tensors: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    let gradients = (&y * output_gradient)?.sum_all()?.backward()?;
    let of = |variable: &Var| gradients.get(variable).cloned().expect("the argument takes part");
    Ok((y, variables.iter().map(of).collect()))
}

/// Whether `f` and its gradients in f32 equal those in f64, which `f` composes of candle's operations, within 1e-5, or where
/// that is more within what numbers 3e-6 away have: a saturated softmax makes of a little rounding more.
///
/// Each gradient is measured against the greatest norm that it has for several gradients of the output: for one alone, its
/// terms can cancel to nothing but their rounding; and at least against a tenth of the greatest norm of all, as one that
/// is 0 by its nature is nothing but rounding as well. A case is passed over if numbers as near as rounding (to those of
/// `inexact`, the others are exact) have another gradient: there, which of two is the greatest or whether a number is
/// positive is chance. Of a change and its opposite one crosses where that happens.
///
/// # Errors
/// They differ, or the case is passed over.
pub fn equals_f64(
    arguments: &[Tensor],
    inexact: RangeFrom<usize>,
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> std::result::Result<(), TestCaseError> {
    const TOLERANCE: f64 = 1e-5;
    const NEAR: f64 = 3e-6;
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
    let exact: Vec<Tensor> = arguments.iter().map(double).collect::<Result<_>>()?;
    let shape = f(&exact)?.dims().to_vec();
    let output_gradient = |seed: u64| tensor(real(100 + seed, shape.iter().product()), &shape);
    let with_f64 = |arguments: &[Tensor], seed| with_gradients(arguments, &double(&output_gradient(seed))?, &f);
    let (expected, gradients) = with_f64(&exact, 0)?;

    let mut scales = gradients.iter().map(norm).collect::<Result<Vec<f64>>>()?;
    for seed in 1..4 {
        for (scale, gradient) in scales.iter_mut().zip(with_f64(&exact, seed)?.1) {
            *scale = scale.max(norm(&gradient)?);
        }
    }
    let floor = 0.1 * scales.iter().copied().fold(0.0, f64::max);
    scales.iter_mut().for_each(|scale| *scale = scale.max(floor));
    let mut changes = vec![0.0; scales.len()];
    for (seed, sign) in [(200, NEAR), (200, -NEAR), (300, NEAR), (300, -NEAR)] {
        let mut near = exact.clone();
        for (position, argument) in (seed..).zip(&mut near).skip(inexact.start) {
            let change = double(&tensor(real(position, argument.elem_count()), argument.dims()))?;
            *argument = (&*argument * ((change * sign)? + 1.0)?)?;
        }
        let nearby = with_f64(&near, 0)?.1;
        for (((near, gradient), scale), change) in nearby.iter().zip(&gradients).zip(&scales).zip(&mut changes) {
            *change = norm(&(near - gradient)?)?.max(*change);
            if *change > 1e-3 * scale {
                return Err(TestCaseError::reject("rounding decides"));
            }
        }
    }

    let (ours, our_gradients) = with_gradients(arguments, &output_gradient(0), &f)?;
    let error = norm(&(double(&ours)? - &expected)?)? / norm(&expected)?;
    prop_assert!(error <= TOLERANCE, "the output: {error:.1e}");
    for (position, (ours, expected)) in our_gradients.iter().zip(&gradients).enumerate() {
        let (error, scale) = (norm(&(double(ours)? - expected)?)?, scales[position]);
        prop_assert!(
            error <= (TOLERANCE * scale).max(changes[position]),
            "gradient {position}: {error:.1e} of {scale:.1e}"
        );
    }
    Ok(())
}

fn norm(tensor: &Tensor) -> Result<f64> {
    tensor.sqr()?.sum_all()?.to_scalar::<f64>().map(f64::sqrt)
}

/// The bits of what [`with_gradients`] gives, one after another, computed on so many threads.
pub fn bits_on_threads(
    threads: usize,
    arguments: &[Tensor],
    output_gradient: &Tensor,
    f: impl Fn(&[Tensor]) -> Result<Tensor> + Send,
) -> Result<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    pool.install(|| {
        let (y, gradients) = with_gradients(arguments, output_gradient, f)?;
        let mut bits = vec![];
        for tensor in std::iter::once(&y).chain(&gradients) {
            bits.extend(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits));
        }
        Ok(bits)
    })
}
